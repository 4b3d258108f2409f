/* A CUDA driver without a GPU, for test_cuda_driver.py: memory is the host's, and a launch is a line on stderr. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Status;
typedef unsigned long long Address;
enum { GOOD = 0, NO_MEMORY = 2, NO_CONTEXT = 201, NOT_FOUND = 500 };
enum { MULTIPROCESSORS = 16, MAJOR = 75, MINOR = 76, SHARED = 97, COOPERATIVE = 95 };

static __thread void *context;

Status cuInit(unsigned flags) { return GOOD; }
Status cuDriverGetVersion(int *version) { return *version = 13000, GOOD; }
Status cuDeviceGetCount(int *count) { return *count = 1, GOOD; }
Status cuDeviceGet(int *device, int number) { return *device = number, GOOD; }
Status cuDeviceGetName(char *name, int length, int device) { return strncpy(name, "Stand-in", length), GOOD; }
Status cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == MULTIPROCESSORS ? 132 : attribute == MAJOR ? 9 : attribute == MINOR ? 0
           : attribute == SHARED ? 227 << 10 : attribute == COOPERATIVE ? 1 : -1;
    return GOOD;
}
Status cuDevicePrimaryCtxRetain(void **made, int device) { return *made = &context, GOOD; }
Status cuCtxSetCurrent(void *given) { return context = given, GOOD; }
Status cuCtxGetCurrent(void **found) { return *found = context, GOOD; }
Status cuCtxSynchronize(void) { return context ? GOOD : NO_CONTEXT; }
Status cuMemGetInfo_v2(size_t *left, size_t *all) { return *left = 1 << 20, *all = 1 << 21, GOOD; }
Status cuMemAlloc_v2(Address *address, size_t size) {
    if (size >> 32) return NO_MEMORY;
    return *address = (Address)malloc(size), context ? GOOD : NO_CONTEXT;
}
Status cuMemFree_v2(Address address) { return free((void *)address), GOOD; }
Status cuMemcpyHtoD_v2(Address to, const void *from, size_t size) { return memcpy((void *)to, from, size), GOOD; }
Status cuMemcpyDtoH_v2(void *to, Address from, size_t size) { return memcpy(to, (void *)from, size), GOOD; }
Status cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void *stream) {
    return memcpy((void *)to, (void *)from, size), GOOD;
}
Status cuMemsetD8Async(Address to, unsigned char value, size_t size, void *stream) {
    return memset((void *)to, value, size), GOOD;
}
Status cuModuleLoadData(void **module, const char *code) { return *module = (void *)code, strncmp(code, "\x7f" "ELF", 4); }
Status cuModuleGetFunction(void **function, void *module, const char *name) { return *function = module, GOOD; }
Status cuFuncSetAttribute(void *function, int attribute, int value) { return attribute == 8 ? GOOD : 1; }
Status cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned across, unsigned down, unsigned deep,
                      unsigned shared, void *stream, void **arguments, void **extra) {
    fprintf(stderr, "plain %u %u %u x %u %u %u, %u bytes, first %lld\n", x, y, z, across, down, deep, shared,
            *(long long *)arguments[0]);
    return stream || extra || !context;
}
Status cuLaunchCooperativeKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned across, unsigned down,
                                 unsigned deep, unsigned shared, void *stream, void **arguments) {
    fprintf(stderr, "cooperative %u %u %u x %u %u %u, %u bytes, first %lld\n", x, y, z, across, down, deep, shared,
            *(long long *)arguments[0]);
    return stream || !context;
}
Status cuGetErrorName(int error, const char **name) {
    return *name = error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN", GOOD;
}

/* How the bindings find all others: under their own names, or that of a second version. */
Status cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *how) {
    void *here = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    char second[256];
    snprintf(second, sizeof second, "%s_v2", name);
    *found = dlsym(here, second);
    if (!*found) *found = dlsym(here, name);
    if (how) *how = *found ? 0 : 1;
    return *found ? GOOD : NOT_FOUND;
}
Status cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, found, version, flags, NULL);
}
