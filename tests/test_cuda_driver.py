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

    asks = "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuGetErrorName"  # without a context

    def __init__(self, memory=1 << 20):
        self.left, self.held, self.calls, self.context = memory, {}, [], threading.local()
        self.CUdevice_attribute = SimpleNamespace(
            **{
                f"CU_DEVICE_ATTRIBUTE_{name}": value
                for name, value in {
                    "COMPUTE_CAPABILITY_MAJOR": 9, "COMPUTE_CAPABILITY_MINOR": 0, "MULTIPROCESSOR_COUNT": 132,
                    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232448,
                }.items()
            }
        )  # fmt: skip
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

    def do_cuDevicePrimaryCtxRetain(self, device):
        return ("context",)

    def do_cuCtxSetCurrent(self, context):
        self.context.set = True

    def do_cuDeviceGetName(self, length, device):
        return (b"Stand-in\0\0\0",)

    def do_cuDeviceGetAttribute(self, attribute, device):
        return (attribute,)

    def do_cuGetErrorName(self, error):
        return ({2: b"CUDA_ERROR_OUT_OF_MEMORY", 7: b"CUDA_ERROR_SEVEN"}[error],)

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

    for init in (no_library, lambda flags: (100,)):  # the second: CUDA_ERROR_NO_DEVICE
        monkeypatch.setattr(cuda.bindings.driver, "cuInit", init)
        assert "nvidia-smi" in drivers.missing()
    with pytest.raises(drivers.NoGPU, match="there is no GPU"):
        drivers.driver()
    monkeypatch.setattr(np, "__version__", "2.5.1")
    assert "NumPy before 2.5" in drivers.missing()
    monkeypatch.setitem(sys.modules, "numba_cuda", None)
    assert "the extra for CUDA is not installed" in drivers.missing()


@pytest.mark.parametrize("capability, words", [(7, "compute capability 8.0"), (8, None)])
def test_a_gpu_without_the_instructions_of_the_kernels_is_none(gpu, monkeypatch, capability, words):
    gpu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = capability
    gpu.do_cuDeviceGetCount = lambda: (1,)
    monkeypatch.setattr(Bindings, "do_cuDeviceGetCount", None, raising=False)
    monkeypatch.setattr(Bindings, "asks", (*Bindings.asks, "cuDeviceGetCount", "cuDeviceGetAttribute"))
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
try:
    array.empty(1 << 40, np.uint8)
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
    first, second, third = done.stdout.splitlines()
    assert first == "None Stand-in (9, 0)"
    assert second == "[[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] [0.0, 0.0]"
    assert third.startswith("CUDA out of memory. Tried to allocate 1099511627776 bytes.")
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
