"""The driver and the pool without a GPU: a stand-in for NVIDIA's bindings, which notes what it was asked for."""

import ctypes
import gc
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda")

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cuda import array, jit, memory, ptx  # noqa: E402
from tinyrnn.kernels.cuda import driver as drivers  # noqa: E402


class Bindings:
    """As many functions of cuda.bindings.driver as the driver calls, over the memory of the host."""

    asks = (  # without a context
        "cuInit", "cuDeviceGet", "cuDeviceGetCount", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuGetErrorName",
        "cuDriverGetVersion", "cuPointerGetAttribute",
    )  # fmt: skip
    count, version, number = 1, 13_000, 0  # of GPUs; of the driver; of the GPU on which all addresses lie

    def __init__(self, memory=1 << 20):
        self.left, self.held, self.calls, self.context = memory, {}, [], threading.local()
        self.CUdevice_attribute = SimpleNamespace(
            **{
                f"CU_DEVICE_ATTRIBUTE_{name}": value
                for name, value in {
                    "COMPUTE_CAPABILITY_MAJOR": 9, "COMPUTE_CAPABILITY_MINOR": 0, "MULTIPROCESSOR_COUNT": 132,
                    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448, "COOPERATIVE_LAUNCH": 1,
                }.items()
            }
        )  # fmt: skip
        self.CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)
        self.CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)

    def __getattr__(self, name):
        if not hasattr(Bindings, f"do_{name}"):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, *arguments))
            if name not in self.asks:
                assert getattr(self.context, "set", False), f"{name} on a thread without a context"
            result = getattr(self, f"do_{name}")(*arguments)
            return (result, None) if isinstance(result, int) and result else (0, *(result or ()))

        return call

    def do_cuInit(self, flags): ...
    def do_cuDeviceGet(self, number):
        return ("device",)

    def do_cuDeviceGetCount(self):
        return (self.count,)

    def do_cuDriverGetVersion(self):
        return (self.version,)

    def do_cuPointerGetAttribute(self, attribute, address):
        return (self.number,)

    def do_cuDevicePrimaryCtxRetain(self, device):
        return ("context",)

    def do_cuCtxSetCurrent(self, context):
        self.context.set = True

    def do_cuDeviceGetName(self, length, device):
        return (b"Stand-in\0\0\0",)

    def do_cuDeviceGetAttribute(self, attribute, device):
        return (attribute,)

    def do_cuGetErrorName(self, error):
        return ({2: b"CUDA_ERROR_OUT_OF_MEMORY", 3: b"CUDA_ERROR_NOT_INITIALIZED", 7: b"CUDA_ERROR_SEVEN"}[error],)

    def do_cuMemGetInfo(self):
        return (self.left, 1 << 20)

    def do_cuCtxSynchronize(self): ...
    def do_cuMemcpyHtoD(self, to, host, size):
        ctypes.memmove(to, host, size)

    def do_cuMemcpyDtoH(self, host, address, size):
        ctypes.memmove(host, address, size)

    def do_cuMemcpyDtoDAsync(self, to, address, size, stream):
        ctypes.memmove(to, address, size)

    def do_cuMemsetD8Async(self, address, value, size, stream):
        ctypes.memset(address, value, size)

    def do_cuModuleLoadData(self, code):
        return (code,)

    def do_cuModuleGetFunction(self, module, name):
        return (name,)

    def do_cuFuncSetAttribute(self, function, attribute, value): ...

    def do_cuMemAlloc(self, size):
        if size > self.left:
            return 2
        block = np.zeros(size, np.uint8)
        self.held[block.ctypes.data] = block
        self.left -= size
        return (block.ctypes.data,)

    def do_cuMemFree(self, address):
        self.left += self.held.pop(address).size

    def do_cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        self.launched = (gx, gy, gz), (bx, by, bz), shared, parameters and self.read(parameters)

    def do_cuLaunchCooperativeKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, parameters):
        self.launched = "cooperative", self.read(parameters)

    def read(self, parameters):
        """The arguments as a GPU would read them: where the driver says, in the kernel's types."""
        where = (ctypes.c_void_p * len(self.kinds)).from_address(parameters)
        return [kind.from_address(at).value for kind, at in zip(self.kinds, where, strict=True)]


@pytest.fixture
def gpu(monkeypatch):
    import cuda.bindings

    bindings = Bindings()
    monkeypatch.setattr(cuda.bindings, "driver", bindings, raising=False)
    device = drivers.Cuda()
    with drivers.use(device):
        yield bindings


def make_kernel():
    @jit.kernel
    def example(x: jit.pointer(np.float32), n: jit.int32, shape: jit.several(jit.int64, 2), a: jit.float32):
        x[0] = a

    return example


def test_its_calls_have_the_arguments_that_nvidias_bindings_take():
    from cuda.bindings import driver

    for name, function in vars(Bindings).items():
        if name.startswith("do_"):
            declared = getattr(driver, name.removeprefix("do_")).__doc__.split("\n")[0]
            theirs = len(re.search(r"\((.*)\)", declared).group(1).split(",")) if "()" not in declared else 0
            assert len(inspect.signature(function).parameters) - 1 == theirs, declared


def test_arguments_of_a_launch(gpu):
    kernel, x = make_kernel(), array.upload(np.arange(3, dtype=np.float32))
    gpu.kinds = ctypes.c_uint64, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_float
    kernel.launch(7, (32, 2), x, 3, (5, 1 << 40), 0.5)
    assert gpu.launched == ((7, 1, 1), (32, 2, 1), 0, [x.address, 3, 5, 1 << 40, 0.5])
    kernel.launch(7, 32, x[1:], -3, (5, 6), 2, cooperative=True)
    assert gpu.launched == ("cooperative", [x.address + 4, -3, 5, 6, 2.0])


def test_much_shared_memory_is_asked_for_once(gpu):
    kernel, x = make_kernel(), array.empty(3, np.float32)
    gpu.kinds = ctypes.c_uint64, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_float
    for shared in (1000, 100_000, 90_000):
        kernel.launch(1, 32, x, 3, (1, 2), 0.0, shared=shared)
        assert gpu.launched[2] == shared
    assert [call[3] for call in gpu.calls if call[0] == "cuFuncSetAttribute"] == [100_000]


def test_copies_keep_values_and_the_order_of_axes(gpu):
    for host in (np.arange(6.0), np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1), np.array(3.5), np.zeros((0, 3))):
        there = array.upload(host)
        back = array.download(there)
        assert (back == host).all() and (back.shape, back.dtype) == (host.shape, host.dtype)
        assert not host.size or there.strides == back.strides == host.strides


def test_memory_is_used_again(gpu):
    x = array.empty(1000, np.float32)
    address, pool = x.address, memory.pool()
    assert (pool.used, pool.reserved) == (4096, 4096)
    view = x[10:].reshape(9, 110)
    del x
    assert pool.used == 4096  # the view holds it
    del view
    assert (pool.used, pool.reserved) == (0, 4096)
    assert array.empty(1000, np.float32).address == address
    pool.empty()
    assert pool.reserved == 0 and not gpu.held


def test_what_waits_is_given_back_before_memory_runs_out(gpu):
    for size in (400_000, 500_000, 900_000):
        x = array.empty(size, np.uint8)
        del x
    with pytest.raises(drivers.OutOfMemory, match="Tried to allocate 2097152 bytes"):
        array.empty(1_100_000, np.uint8)


def test_what_the_garbage_collector_gives_back_meanwhile_waits_no_more_either(gpu):
    """An array in a cycle goes at any time, also while others are given back to the driver."""
    cycle, pool = [array.empty(5000, np.uint8)], memory.pool()
    cycle.append(cycle)
    free = pool.device.free

    def free_and_collect(address):
        free(address)
        gc.collect()

    pool.device.free = free_and_collect
    pool.empty()
    x = array.empty(1000, np.uint8)
    gc.disable()
    try:
        del x, cycle
        pool.empty()
    finally:
        gc.enable()
    assert not gpu.held and not pool.waiting and pool.reserved == pool.used == 0


def test_an_error_of_the_driver_has_its_name(gpu):
    gpu.do_cuCtxSynchronize = lambda: 7
    with pytest.raises(RuntimeError, match="CUDA_ERROR_SEVEN"):
        drivers.driver().synchronize()


def test_every_thread_knows_the_context(gpu):
    found = []
    thread = threading.Thread(target=lambda: found.append(array.upload(np.ones(3)).shape))
    thread.start()
    thread.join()
    assert found == [(3,)]


def test_a_forked_process_is_told_what_to_do(gpu):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            array.upload(np.ones(3))
        except RuntimeError as error:
            status = 0 if "'spawn'" in str(error) else 2
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_views_are_numpys(gpu):
    host = np.arange(24).reshape(2, 3, 4)
    there = array.upload(host)
    for view in (
        lambda a: a[1], lambda a: a[:, None, 1:, ::2], lambda a: a[..., 0], lambda a: a.T, lambda a: a.reshape(6, 4),
        lambda a: a.transpose(1, 0, 2), lambda a: a.swapaxes(0, 2), lambda a: a.diagonal(0, 1, 2), lambda a: a.ravel(),
    ):  # fmt: skip
        expected, found = view(host), view(there)
        assert (found.shape, found.strides) == (expected.shape, expected.strides)
        assert found.address - there.address == expected.ctypes.data - host.ctypes.data
    with pytest.raises(TypeError, match="to host memory first"):
        np.asarray(there)
    with pytest.raises(ValueError, match="cannot reshape"):
        there.reshape(5, 5)


def test_a_machine_without_a_gpu_says_which_part_is_missing(monkeypatch):
    import cuda.bindings.driver

    def no_library(flags):
        raise RuntimeError("libcuda.so.1 was not found")

    monkeypatch.setattr(cuda.bindings.driver, "cuDriverGetVersion", lambda: (0, 13_000))
    for init in (no_library, lambda flags: (100,)):  # the second: CUDA_ERROR_NO_DEVICE
        monkeypatch.setattr(cuda.bindings.driver, "cuInit", init)
        assert "nvidia-smi" in drivers.missing()
    with pytest.raises(drivers.NoGPU, match="there is no GPU"):
        drivers.driver()
    monkeypatch.setattr(np, "__version__", "2.5.1")
    assert "NumPy before 2.5" in drivers.missing()
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    for found in (True, False):
        monkeypatch.setattr(drivers, "LIBRARY", None if found else "no-such-library.so")  # None: this process
        assert "the extra for CUDA is not installed: pip install" in drivers.missing()
        assert ("nor was the driver of a GPU found" in drivers.missing()) is not found


def test_a_driver_older_than_the_extra(gpu, monkeypatch):
    import cuda.bindings

    monkeypatch.setattr(cuda.bindings, "__version__", "13.2.0", raising=False)
    gpu.version = 12_080
    with drivers.use(None):
        assert re.search(r"of CUDA 12.8, and the extra .* needs one of CUDA 13: .*tinyrnn\[cuda12\]", drivers.missing())


def test_a_driver_older_than_the_compiler(gpu, monkeypatch):
    """What is left of CUDA 13 beside the extra for CUDA 12."""
    monkeypatch.setattr(drivers, "version_of_compiler", lambda: (13, 5))
    monkeypatch.setattr("cuda.bindings.__version__", "12.9.2", raising=False)
    gpu.version = 12_080
    with drivers.use(None):
        assert re.search(r"of CUDA 12.8, and the compiler .* of CUDA 13: .*\[cuda12\]' in a new env", drivers.missing())
        gpu.version = 13_000
        assert drivers.missing() is None
        assert drivers.versions() == {"bindings": "12.9.2", "compiler": "13.5", "driver": "13.0"}


@pytest.mark.parametrize("library", ["nvvm", "nvrtc"])
def test_numba_cuda_without_its_compiler(gpu, monkeypatch, library):
    from cuda import pathfinder

    def load(name):
        if name == library:
            raise pathfinder.DynamicLibNotFoundError(f"Failure finding {name}\nand a page more")

    monkeypatch.setattr(pathfinder, "load_nvidia_dynamic_lib", load)
    with drivers.use(None):
        words = drivers.missing()
        told = drivers.versions()
    assert f"its compiler is missing (Failure finding {library}): pip install 'tinyrnn[cuda]'" in words
    assert told["driver"] == "13.0" and "compiler" not in told


def test_a_gpu_that_is_hidden(gpu, monkeypatch):
    gpu.do_cuInit, gpu.do_cuGetErrorName = lambda flags: 100, lambda error: (b"CUDA_ERROR_NO_DEVICE",)
    with drivers.use(None):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES='' may hide one" in drivers.missing()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert "VISIBLE" not in drivers.missing()


def test_a_driver_older_than_the_bindings(gpu, monkeypatch):
    """They do not get as far as its version."""

    def too_old():
        raise RuntimeError("Failed to get cuGetProcAddress_v2")

    def tell(version):
        version._obj.value = 11_080

    gpu.do_cuDriverGetVersion = too_old
    opened = []
    with drivers.use(None):
        assert "its driver is not installed" in drivers.missing()  # there is no library here
        library = SimpleNamespace(cuDriverGetVersion=tell)
        monkeypatch.setattr(drivers.ctypes, "CDLL", lambda name: opened.append(name) or library)
        words = drivers.missing()
    assert "of CUDA 11.8, and the extra" in words and "update the driver" in words and "cuda12" not in words
    assert opened[0] == drivers.LIBRARY == ("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


FAILURES = {
    802: ("CUDA_ERROR_SYSTEM_NOT_READY", "nvidia-fabricmanager is not running"),
    803: ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "restart the machine"),
    999: ("CUDA_ERROR_UNKNOWN", "nvidia-smi may tell more"),
    100: ("CUDA_ERROR_NO_DEVICE", "there is no GPU"),
    3: ("CUDA_ERROR_NOT_INITIALIZED", "'spawn'"),  # another library initialized CUDA, and then the process was forked
}


@pytest.mark.parametrize("error", FAILURES)
def test_a_driver_that_cannot_be_used_says_why(gpu, monkeypatch, error):
    name, words = FAILURES[error]
    gpu.do_cuInit = lambda flags: error
    gpu.do_cuGetErrorName = lambda error: (name.encode(),)
    monkeypatch.setattr(drivers, "_process", 0)
    with drivers.use(None):
        assert words in drivers.missing()
        assert (name in drivers.missing()) == (error > 100)


def test_a_stream_for_each_thread_is_refused(gpu, monkeypatch):
    with drivers.use(None):
        monkeypatch.setenv(drivers.STREAMS, "1")
        assert "unset it" in drivers.missing()
        monkeypatch.setenv(drivers.STREAMS, "0")
        assert drivers.missing() is None


@pytest.fixture
def two_gpus(monkeypatch):
    import cuda.bindings

    bindings = Bindings()
    bindings.count = 2
    monkeypatch.setattr(cuda.bindings, "driver", bindings, raising=False)
    with drivers.use(drivers.Cuda()):
        yield bindings


def test_beside_another_gpu_every_call_has_its_context(two_gpus):
    """Other libraries may have chosen the other one since."""
    x = array.upload(np.ones(3))
    before = len(two_gpus.calls)
    array.download(x)
    two_gpus.context.set = False  # torch.cuda.set_device(1), say
    array.download(x)
    assert [name for name, *_ in two_gpus.calls[before:]] == ["cuCtxSetCurrent", "cuMemcpyDtoH"] * 2


class Face:
    """Another library's array, by its description."""

    def __init__(self, x, **other):
        self.owner, self.__cuda_array_interface__ = x, {**x.__cuda_array_interface__, **other}


def test_memory_of_another_gpu_is_not_shared(two_gpus):
    x = array.upload(np.arange(4.0))
    assert array.download(array.shared(Face(x))).tolist() == [0, 1, 2, 3]
    two_gpus.number = 1
    with pytest.raises(ValueError, match="lies on GPU 1"):
        array.shared(Face(x))


@pytest.mark.parametrize(
    "other, words",
    [
        ({"typestr": ">f8"}, "bytes in another order"),
        ({"strides": (-8,)}, "negative stride"),
        ({"strides": (12,)}, "no multiple of the element"),
        ({"shape": (3,), "data": 4}, "no multiple of the element"),
    ],
)
def test_memory_that_lies_as_no_array_of_ours_is_not_shared(gpu, other, words):
    x = array.upload(np.arange(4.0))
    if "data" in other:
        other = {**other, "data": (x.address + other["data"], False)}
    with pytest.raises(ValueError, match=words):
        array.shared(Face(x, **other))


def test_memory_that_may_only_be_read_is_not_shared(gpu):
    x = array.upload(np.arange(4.0))
    with pytest.raises(TypeError, match="read only flag"):
        array.shared(Face(x, data=(x.address, True)))


@pytest.mark.parametrize("other, waits", [({}, 0), ({"stream": 7}, 1), ({"version": 2, "stream": None}, 1)])
def test_what_another_library_does_on_a_stream_of_its_own_is_waited_for(gpu, other, waits):
    """Version 2 of the interface, which torch speaks, does not tell of it."""
    x = array.upload(np.arange(4.0))
    array.shared(Face(x, **other))
    assert [name for name, *_ in gpu.calls].count("cuCtxSynchronize") == waits


@pytest.mark.parametrize("call", ["cuModuleLoadData", "cuLaunchKernel"])
def test_what_waits_is_given_back_before_a_kernel_finds_no_memory(gpu, monkeypatch, call):
    """When it is loaded, or launched: one that has a stack needs room for those of all threads."""
    kernel, x = make_kernel(), array.empty(3, np.float32)
    gpu.kinds = ctypes.c_uint64, ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_float
    waits = array.empty(900_000, np.uint8)
    del waits
    before = getattr(Bindings, f"do_{call}")
    monkeypatch.setattr(Bindings, f"do_{call}", lambda self, *a: 2 if self.left < 500_000 else before(self, *a))
    kernel.launch(1, 32, x, 3, (1, 2), 0.0)
    assert gpu.launched[0] == (1, 1, 1) and gpu.left > 900_000


def test_cublas_that_finds_no_memory_is_asked_again(gpu, monkeypatch):
    from tinyrnn.kernels.cuda import cublas

    answers = [3, 3, 3, 0]  # CUBLAS_STATUS_ALLOC_FAILED
    found = SimpleNamespace(cublasCreate_v2=lambda handle: answers.pop(0))
    monkeypatch.setattr(cublas, "functions", lambda: found)
    monkeypatch.setattr(cublas, "_made", [])
    assert cublas.library() is None and len(answers) == 2
    assert cublas.library()[0] is found and cublas.library()[0] is found and not answers


def test_cublas_that_does_not_fit_the_driver_is_asked_once(gpu, monkeypatch):
    """The pool stays as it is: memory is not what is missing."""
    from tinyrnn.kernels.cuda import cublas

    asked = []
    found = SimpleNamespace(cublasCreate_v2=lambda handle: asked.append(1) or 1)  # CUBLAS_STATUS_NOT_INITIALIZED
    monkeypatch.setattr(cublas, "functions", lambda: found)
    monkeypatch.setattr(cublas, "_made", [])
    x = array.empty(3)
    del x
    assert cublas.library() is None and cublas.library() is None and asked == [1]
    assert not any(name == "cuMemFree" for name, *_ in gpu.calls)


@pytest.mark.parametrize("problem", [RuntimeError("Failed to dlopen libcublas.so.13"), OSError("file too short")])
def test_cublas_that_cannot_be_loaded_is_not_there(monkeypatch, problem):
    import cuda.pathfinder

    from tinyrnn.kernels.cuda import cublas

    def load(name):
        raise problem

    monkeypatch.setattr(cuda.pathfinder, "load_nvidia_dynamic_lib", load)
    assert cublas.functions.__wrapped__() is None


def test_a_lock_that_was_held_is_open_in_a_forked_process(gpu):
    x, pool = array.empty(3), memory.pool()
    held, go = threading.Event(), threading.Event()

    def hold():
        with pool.lock:
            held.set()
            go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    pid = os.fork()
    if not pid:
        del x  # waits for the lock, if that is as it was
        os._exit(0)
    found = (0, 0)
    for _ in range(500):
        found = os.waitpid(pid, os.WNOHANG)
        if found[0]:
            break
        threading.Event().wait(0.01)
    else:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    go.set()
    thread.join()
    assert found == (pid, 0)


@pytest.mark.parametrize("capability, words", [(7, "compute capability 8.0"), (8, None)])
def test_a_gpu_without_the_instructions_of_the_kernels_is_none(gpu, monkeypatch, capability, words):
    gpu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = capability
    monkeypatch.setattr(Bindings, "asks", (*Bindings.asks, "cuDeviceGetAttribute"))
    monkeypatch.setattr(drivers, "_process", 0)
    with drivers.use(None):
        assert words is None and drivers.missing() is None or words in drivers.missing()
        gpu.do_cuInit = lambda flags: 3  # as in a process that was forked
        monkeypatch.setattr(drivers, "_process", os.getpid() + 1)
        assert "'spawn'" in drivers.missing()


# ------------------------------------------------------------------------------------------ NVIDIA's own bindings
PROGRAM = """
import numpy as np, tinyrnn
from tinyrnn.kernels.cuda import array, driver, jit, memory

@jit.kernel
def example(n: jit.int64, flag: jit.boolean, x: jit.pointer(np.float64), a: jit.float32):
    x[0] = a

print(driver.missing(), driver.driver().name, driver.driver().capability)
x = array.upload(np.arange(6.0).reshape(2, 3))
print(array.download(x.T).tolist(), array.download(array.zeros(2)).tolist())
example.launch(7, (32, 2), 6, True, x, 0.5)
example.launch(8, 64, -5, False, x, np.float32(1), shared=100_000, cooperative=True)
del x
memory.pool().empty()
for size in (1 << 40, 1 << 64):
    try:
        array.empty(size, np.uint8)
    except driver.OutOfMemory as error:
        print(error)
"""


# The library that it makes is found by LD_LIBRARY_PATH, which is Linux's.
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_nvidias_bindings_take_what_they_are_given(tmp_path):
    """The real ones, over a libcuda.so that is made here, which has memory but runs no kernel."""
    source = Path(__file__).with_name("libcuda.c")
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", tmp_path / "libcuda.so.1", "-ldl"], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    first, second, third, fourth = done.stdout.splitlines()
    assert first == "None Stand-in (9, 0)"
    assert second == "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] [0.0, 0.0]"
    assert third.startswith("CUDA out of memory. Tried to allocate 1099511627776 bytes.")
    assert fourth.startswith("CUDA out of memory. Tried to allocate 18446744073709551616 bytes.")
    launches = [line for line in done.stderr.splitlines() if line.startswith(("plain", "cooperative"))]
    assert launches == [
        "plain 7 1 1 x 32 2 1, 0 bytes, first 6", "cooperative 8 1 1 x 64 1 1, 100000 bytes, first -5"
    ]  # fmt: skip


def test_kernels_that_differ_in_what_they_take_are_two():
    """What is kept on disk for one must not be found for the other."""

    def loading(n):
        load = ptx.load(n)

        @jit.kernel
        def example(x: jit.pointer(np.float32), y: jit.pointer(np.float32)):
            load(x, 0, y, 0)

        return example

    def rounding(kind):
        @jit.kernel
        def example(x: jit.pointer(np.float32)):
            x[0] = kind(x[0]) / kind(3)

        return example

    def calling(function):
        @jit.kernel
        def example(x: jit.pointer(np.float32)):
            x[0] = function(x[0])

        return example

    def adding(n):
        @jit.device
        def add(x):
            return x + n

        return add

    for make, a, b in (
        (loading, 2, 4), (rounding, jit.float32, jit.float64), (calling, adding(1), adding(2)),
    ):  # fmt: skip
        assert make(a)._identity == make(a)._identity != make(b)._identity


def test_a_kernel_is_compiled_once(monkeypatch):
    from numba.cuda.cudadrv import nvvm

    compiled, own = [], nvvm.compile_ir
    monkeypatch.setattr(
        nvvm, "compile_ir", lambda *given, **options: compiled.append(options) or own(*given, **options)
    )
    for capability in ((8, 0), (9, 0)):
        assert jit.compiled(make_kernel(), capability).code.startswith(b"\x7fELF")
        assert len(compiled) == 1
        compiled.clear()
