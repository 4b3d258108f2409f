"""The device: its memory, copies to and from it, launches.

`driver()` is the one in use, `Cuda` unless a test installed another with `use`.  Everything runs on one stream, in the
order in which it was asked for; copies from and to the host wait for what came before them.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np

EXTRA = "pip install 'tinyrnn[cuda]' (CUDA 13) or 'tinyrnn[cuda12]'"
LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"  # the driver's
OLDEST = 8  # the first number of the compute capability of the oldest GPUs that have the instructions of the kernels
HELP = {  # what to do about errors of cuInit, by their names
    "CUDA_ERROR_SYSTEM_NOT_READY": "its GPUs are joined by NVSwitch, and nvidia-fabricmanager is not running",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was updated: restart the machine",
}
STREAMS = "CUDA_PYTHON_CUDA_PER_THREAD_DEFAULT_STREAM"
FORKED = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)


class NoGPU(RuntimeError):
    """There is no GPU that can be used; the message says what is missing."""


class OutOfMemory(RuntimeError, MemoryError):
    """The device has not as much memory left as was asked for."""


class Driver(Protocol):
    """What the kernels ask of a device."""

    name: str
    threads: int  # of a block, in kernels that do not care
    multiprocessors: int
    capability: tuple[int, int]
    shared_limit: int  # the bytes of shared memory that a block may have
    cooperative: bool  # whether blocks of a launch may wait for one another

    def allocate(self, size: int) -> int:
        """The address of `size` new bytes; raises OutOfMemory."""

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""

    def upload(self, address: int, host: np.ndarray) -> None:
        """Copy a contiguous array to the device."""

    def download(self, address: int, host: np.ndarray) -> None:
        """Fill a contiguous array from the device."""

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes that do not overlap, on the device."""

    def zero(self, address: int, size: int) -> None:
        """Make all bytes 0."""

    def launch(
        self, kernel: Any, blocks: Any, threads: Any, arguments: Sequence[Any], shared: int, cooperative: bool
    ) -> None:
        """Start a kernel; with `cooperative`, all its blocks run at the same time and may wait for one another."""

    def blocks(self, n: int, threads: int) -> int:
        """How many blocks a loop over n elements gets, each thread taking every (blocks * threads)-th element."""

    def number_of(self, address: int) -> int:
        """The number of the GPU on which an address lies; this device is number 0."""

    def synchronize(self) -> None:
        """Wait for all that was asked for."""

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes."""


class Cuda:
    """A GPU, through the CUDA driver."""

    threads = 256

    def __init__(self) -> None:
        from cuda.bindings import driver

        self.bindings = driver
        self.local = threading.local()  # .ready: whether this thread knows the context
        self.loaded: dict[Any, Loaded] = {}
        self._call("cuInit", 0)
        self.device = self._call("cuDeviceGet", 0)
        self.several = self._call("cuDeviceGetCount") > 1
        self.context = self._call("cuDevicePrimaryCtxRetain", self.device)  # torch's and CuPy's, too
        self.forked = False
        if hasattr(os, "register_at_fork"):  # Windows has no processes of that kind
            os.register_at_fork(after_in_child=self._after_fork)
        self.name = self.call("cuDeviceGetName", 128, self.device).split(b"\0")[0].decode()
        self.capability = self.attribute("COMPUTE_CAPABILITY_MAJOR"), self.attribute("COMPUTE_CAPABILITY_MINOR")
        self.multiprocessors = self.attribute("MULTIPROCESSOR_COUNT")
        self.shared_limit = self.attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        self.cooperative = self.attribute("COOPERATIVE_LAUNCH") == 1

    def _after_fork(self) -> None:
        self.forked, self.local = True, threading.local()

    def attribute(self, name: str) -> int:
        """What the driver tells of the device, by the end of CU_DEVICE_ATTRIBUTE_*."""
        attribute = getattr(self.bindings.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return self.call("cuDeviceGetAttribute", attribute, self.device)

    def call(self, function: str, *arguments: Any) -> Any:
        """A function of the driver's interface; its error, if it fails, as an exception."""
        if self.several or not hasattr(self.local, "ready"):  # where there are several, other libraries switch
            if self.forked:
                raise RuntimeError(FORKED)
            self._call("cuCtxSetCurrent", self.context)
            self.local.ready = True
        return self._call(function, *arguments)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *results = getattr(self.bindings, function)(*arguments)
        if error != 0:
            name = self.bindings.cuGetErrorName(error)[1].decode()
            kind = OutOfMemory if name == "CUDA_ERROR_OUT_OF_MEMORY" else RuntimeError
            raise kind(f"CUDA error: {name} ({function})")
        return results[0] if len(results) == 1 else results

    def allocate(self, size: int) -> int:
        if size >> 63:  # which the bindings cannot even ask for
            raise OutOfMemory(f"{size} bytes")
        return int(self.call("cuMemAlloc", size))

    def free(self, address: int) -> None:
        self.call("cuMemFree", address)

    def upload(self, address: int, host: np.ndarray) -> None:
        self.call("cuMemcpyHtoD", address, host.ctypes.data, host.nbytes)

    def download(self, address: int, host: np.ndarray) -> None:
        self.call("cuMemcpyDtoH", host.ctypes.data, address, host.nbytes)

    def copy(self, target: int, source: int, size: int) -> None:
        self.call("cuMemcpyDtoDAsync", target, source, size, 0)

    def zero(self, address: int, size: int) -> None:
        self.call("cuMemsetD8Async", address, 0, size, 0)

    def launch(
        self, kernel: Any, blocks: Any, threads: Any, arguments: Sequence[Any], shared: int, cooperative: bool
    ) -> None:
        loaded = self.loaded.get(kernel)
        if loaded is None:
            loaded = self.loaded[kernel] = with_room(Loaded, self, kernel)
        if shared > loaded.shared:
            loaded.allow(shared)
        name = "cuLaunchCooperativeKernel" if cooperative else "cuLaunchKernel"
        values, addresses = loaded.packed(arguments)
        rest = () if cooperative else (0,)
        grid = (*three(blocks), *three(threads))
        with_room(self.call, name, loaded.function, *grid, shared, 0, ctypes.addressof(addresses), *rest)
        del values  # held until here: the driver copies what the addresses lead to

    def blocks(self, n: int, threads: int) -> int:
        return max(1, min(-(-n // threads), 8 * self.multiprocessors))

    def number_of(self, address: int) -> int:
        if not self.several:
            return 0
        return self.call(
            "cuPointerGetAttribute", self.bindings.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address
        )

    def synchronize(self) -> None:
        self.call("cuCtxSynchronize")

    def memory(self) -> tuple[int, int]:
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)


def with_room(function: Any, *arguments: Any) -> Any:
    """function(*arguments); once more, with what waits in the pool given back, if the driver has no memory left."""
    try:
        return function(*arguments)
    except OutOfMemory:
        from .memory import pool

        pool().empty()
        return function(*arguments)


class Loaded:
    """A kernel in the memory of the GPU, and how its arguments are laid out for a launch."""

    NUMBERS = {
        "int8": ctypes.c_int8, "uint8": ctypes.c_uint8, "int32": ctypes.c_int32, "int64": ctypes.c_int64,
        "uint32": ctypes.c_uint32, "uint64": ctypes.c_uint64, "float32": ctypes.c_float, "float64": ctypes.c_double,
        "bool": ctypes.c_uint8, "boolean": ctypes.c_uint8,
    }  # fmt: skip

    def __init__(self, device: Cuda, kernel: Any):
        binary = kernel.binary(device.capability)
        self.device = device
        self.module = device.call("cuModuleLoadData", binary.code)
        self.function = device.call("cuModuleGetFunction", self.module, binary.entry.encode())
        self.shared = 48 << 10  # the bytes that a block may have
        self.tuples = [hasattr(kind, "count") for kind in kernel.types]
        kinds = [self.NUMBERS.get(str(kind), ctypes.c_void_p) for kind in kernel.kinds]  # the others are pointers
        self.values = type("Values", (ctypes.Structure,), {"_fields_": [(f"v{k}", c) for k, c in enumerate(kinds)]})
        self.offsets = [getattr(self.values, f"v{k}").offset for k in range(len(kinds))]
        self.addresses = ctypes.c_void_p * len(kinds)

    def packed(self, arguments: Sequence[Any]) -> tuple[Any, Any]:
        """The arguments one after the other, and where each is."""
        flat: list[Any] = []
        for value, several in zip(arguments, self.tuples, strict=True):
            if several:
                flat += value
            else:
                flat.append(value)
        values = self.values(*flat)
        start = ctypes.addressof(values)
        return values, self.addresses(*[start + k for k in self.offsets])

    def allow(self, shared: int) -> None:
        """Let blocks have more shared memory than every kernel's may."""
        attribute = self.device.bindings.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.device.call("cuFuncSetAttribute", self.function, attribute, shared)
        self.shared = shared


def three(n: int | Sequence[int]) -> tuple[int, ...]:
    """A number of blocks or threads along each of three axes."""
    return (n, 1, 1) if isinstance(n, int) else (*n, *(1,) * (3 - len(n)))


_driver: Driver | None = None
_process = 0  # the one in which CUDA was initialized


def version_of_driver(bindings: Any) -> int:
    """The version of CUDA that the driver is of: 13020 for 13.2."""
    try:
        return bindings.cuDriverGetVersion()[1]
    except RuntimeError:  # the bindings do not get as far as that with one older than CUDA 12
        version = ctypes.c_int()
        ctypes.CDLL(LIBRARY).cuDriverGetVersion(ctypes.byref(version))
        return version.value


def version_of_compiler() -> tuple[int, int]:
    """The version of CUDA of what makes machine code; raises RuntimeError if a library of it is not there."""
    from cuda.bindings import nvjitlink
    from cuda.pathfinder import load_nvidia_dynamic_lib

    for library in ("nvvm", "nvrtc"):
        load_nvidia_dynamic_lib(library)
    return nvjitlink.version()


def versions() -> dict[str, str]:
    """The versions of CUDA that the driver, the bindings to it, and the compiler are of, as far as they are there."""
    found = {}
    try:
        import cuda.bindings
        from cuda.bindings import driver as bindings

        found["bindings"] = cuda.bindings.__version__
    except ImportError:
        return found
    for what, ask in {"driver": lambda: version_of_driver(bindings), "compiler": version_of_compiler}.items():
        with suppress(Exception):  # `missing` tells
            version: Any = ask()
            found[what] = dotted(version) if what == "driver" else ".".join(map(str, version))
    return found


def dotted(version: int) -> str:
    """12.8 for 12080."""
    return f"{version // 1000}.{version % 1000 // 10}"


def without_extra() -> str:
    """What is missing where the extra is: perhaps the GPU, too."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        also = "; nor was the driver of a GPU found, which nvidia-smi would show"
    else:
        also = ""
    return f"the extra for CUDA is not installed: {EXTRA}{also}"


def missing() -> str | None:
    """What keeps this machine from using a GPU, in words; None if nothing does."""
    global _process
    if _driver is not None:
        return None
    try:
        import cuda.bindings
        import numba_cuda  # noqa: F401  (its version and no more: numba.cuda takes its time)
        from cuda.bindings import driver as bindings
    except ImportError:
        return without_extra()
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":  # which has no row_stack any more
        return f"numba-cuda needs a NumPy before 2.5, and this is {np.__version__}: {EXTRA} brings an earlier one"
    if os.environ.get(STREAMS, "0") != "0":
        return f"{STREAMS} is set, but all threads have to use one stream: unset it"
    try:
        version, made_for = version_of_driver(bindings), int(cuda.bindings.__version__.partition(".")[0])
        if 0 < version // 1000 < made_for:
            return too_old(version, f"the extra that is installed needs one of CUDA {made_for}")
        error = bindings.cuInit(0)[0]
        name = "" if error == 0 else bindings.cuGetErrorName(error)[1].decode()
        if name == "CUDA_ERROR_NOT_INITIALIZED" or (name and _process not in (0, os.getpid())):
            return FORKED
        if name not in ("", "CUDA_ERROR_NO_DEVICE"):
            return f"the driver of the GPU cannot be used, {name}: {HELP.get(name, 'nvidia-smi may tell more')}"
        if name or not bindings.cuDeviceGetCount()[1]:
            shown = os.environ.get("CUDA_VISIBLE_DEVICES")
            hidden = "" if shown is None else f"; CUDA_VISIBLE_DEVICES={shown!r} may hide one from programs"
            return f"there is no GPU (nvidia-smi would show it{hidden})"
    except Exception as problem:  # the driver's library is not there
        return f"there is no GPU, or its driver is not installed ({type(problem).__name__}: nvidia-smi would show both)"
    _process = os.getpid()
    major = bindings.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    if bindings.cuDeviceGetAttribute(major, bindings.cuDeviceGet(0)[1])[1] < OLDEST:
        return f"the GPU is too old: kernels are made for compute capability {OLDEST}.0 (Ampere, 2020) and later"
    try:
        made_by = version_of_compiler()
    except Exception as problem:  # NVIDIA's own, or the system's
        said = str(problem).partition("\n")[0]
        return f"the extra for CUDA is not complete, a library of its compiler is missing ({said}): {EXTRA}"
    if 0 < version // 1000 < made_by[0]:
        return too_old(version, f"the compiler that is installed makes code for one of CUDA {made_by[0]}")
    return None


def too_old(version: int, why: str) -> str:
    """What is wrong with a driver of a version, and what to do about it."""
    # beside what is of CUDA 13, which pip leaves where it is, the libraries of CUDA 12 are not found
    other = ", or pip install 'tinyrnn[cuda12]' in a new environment" if version // 1000 == 12 else ""
    return f"the driver of the GPU is of CUDA {dotted(version)}, and {why}: update the driver{other}"


def driver() -> Driver:
    """The device in use; raises NoGPU."""
    global _driver
    if _driver is None:
        if words := missing():
            raise NoGPU(words)
        _driver = Cuda()
    return _driver


@contextmanager
def use(other: Driver | None):
    """In this block, `other` is the device."""
    global _driver
    before, _driver = _driver, other
    try:
        yield other
    finally:
        _driver = before
