"""torch.cuda: the GPU, its memory, and the clock of its events.  One GPU, on which everything runs in one stream.

Without a GPU, as in torch, questions are answered (there is none, and none of its memory is in use), seeds are
accepted, and the rest refuses: NoDevice is both an AssertionError and a RuntimeError, because torch raises either,
depending on how it was built.
"""

from __future__ import annotations

import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from . import amp as _amp
from . import devices as _devices
from . import random as _random
from .dtypes import Shown as _Shown
from .dtypes import float16 as _float16
from .ops import create as _create


def _gpu(call: str, device: Any = None) -> Any:
    """The driver of the GPU; raises NoDevice for `call`, and RuntimeError if `device` is not the GPU."""
    _devices.gpu(f"cuda.{call}()")
    if device is not None:
        chosen = _devices.device(device)
        if chosen.type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {chosen}")
        _devices.settled(chosen)
    from .kernels.cuda import driver

    return driver.driver()


def _pool() -> Any:
    """The memory that tensors lie in; None if none was ever asked for."""
    if not is_initialized():
        return None
    from .kernels.cuda import memory

    return memory.pool()


# ------------------------------------------------------------------------------------------ what there is
def is_available() -> bool:
    """Whether there is a GPU that can be used."""
    return _devices.has_gpu()


def device_count() -> int:
    """The number of GPUs that can be used: one or none."""
    return int(is_available())


def is_initialized() -> bool:
    """Whether the GPU was used in this program."""
    return is_available() and len(_devices.array_types) > 1


def init() -> None:
    """Get ready to use the GPU; raises NoDevice."""
    _gpu("init")


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """No: tinyrnn computes in float32 and float64."""
    return False


def is_tf32_supported() -> bool:
    """Whether the GPU multiplies matrices in TensorFloat-32: from compute capability 8.0 on."""
    return is_available() and get_device_capability() >= (8, 0)


def get_arch_list() -> list[str]:
    """The kinds of GPU that were compiled for ahead: none, kernels are compiled for the GPU that is there."""
    return []


def current_device() -> int:
    """The number of the GPU in use."""
    _gpu("current_device")
    return 0


def set_device(device: Any) -> None:
    """Accepts the one GPU; refuses any other, with torch's RuntimeError."""
    _gpu("set_device", device)


def get_device_name(device: Any = None) -> str:
    """The name of the GPU."""
    return _gpu("get_device_name", device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of the GPU: (9, 0), say."""
    return _gpu("get_device_capability", device).capability


@dataclass(frozen=True)
class _CudaDeviceProperties:
    """What is known of a GPU; `total_memory` in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int = 32

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory >> 20}MB, multi_processor_count={self.multi_processor_count})"
        )


def get_device_properties(device: Any = None) -> _CudaDeviceProperties:
    """The GPU's name, compute capability, memory and number of multiprocessors."""
    driver = _gpu("get_device_properties", device)
    major, minor = driver.capability
    return _CudaDeviceProperties(driver.name, major, minor, driver.memory()[1], driver.multiprocessors)


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that it was asked for."""
    _gpu("synchronize", device).synchronize()


class device:
    """A `with` block for a GPU: None or a negative number stand for none, any but the one there is refused."""

    def __init__(self, device: Any):
        self.idx = device

    def __enter__(self) -> None:
        if self.idx is not None and not (isinstance(self.idx, int) and self.idx < 0):
            _gpu("device", self.idx)

    def __exit__(self, *exception: Any) -> None:
        pass


class device_of(device):
    """A `with` block for the GPU that a tensor is on; for a tensor on the CPU it does nothing."""

    def __init__(self, obj: Any):
        super().__init__(obj.get_device() if obj.is_cuda else -1)


# ------------------------------------------------------------------------------------------ its memory
def memory_allocated(device: Any = None) -> int:
    """The bytes of GPU memory that tensors lie in."""
    return (pool := _pool()) and pool.used or 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors lay in at one time."""
    return (pool := _pool()) and pool.peak_used or 0


def memory_reserved(device: Any = None) -> int:
    """The bytes that were taken from the driver: for tensors that are there, and kept for others."""
    return (pool := _pool()) and pool.reserved or 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were taken from the driver at one time."""
    return (pool := _pool()) and pool.peak_reserved or 0


memory_cached, max_memory_cached = memory_reserved, max_memory_reserved  # torch's old names


def memory_stats(device: Any = None) -> OrderedDict:
    """The figures on the use of memory by torch's names; empty before the GPU is used."""
    figures: OrderedDict = OrderedDict()
    if (pool := _pool()) is not None:
        for name, now, peak in (
            ("allocated", pool.used, pool.peak_used),
            ("reserved", pool.reserved, pool.peak_reserved),
        ):
            figures[f"{name}_bytes.all.current"], figures[f"{name}_bytes.all.peak"] = now, peak
    return figures


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The same in words, for people."""
    free, total = mem_get_info(device)
    return (
        f"GPU 0 ({get_device_name()}): {free >> 20} of {total >> 20} MiB free; tensors take "
        f"{memory_allocated() >> 20} MiB (at most {max_memory_allocated() >> 20}), reserved are "
        f"{memory_reserved() >> 20} MiB (at most {max_memory_reserved() >> 20})"
    )


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the GPU's memory."""
    return _gpu("mem_get_info", device).memory()


def empty_cache() -> None:
    """Give memory that no tensor lies in back to the driver."""
    if (pool := _pool()) is not None:
        pool.empty()


def ipc_collect() -> None:
    """Nothing is shared with other processes."""
    _gpu("ipc_collect")


def reset_peak_memory_stats(device: Any = None) -> None:
    """The most memory in use counts from now on."""
    if (pool := _pool()) is not None:
        pool.peak_used, pool.peak_reserved = pool.used, pool.reserved


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats  # torch's old names


# ------------------------------------------------------------------------------------------ the random stream
def manual_seed(seed: int) -> None:
    """Start the random stream anew: there is one, the CPU's, so that a seed gives the same run on both devices."""
    if is_available():
        _random.manual_seed(seed)


def seed() -> None:
    """Start the random stream anew from a seed that nobody knows."""
    if is_available():
        _random.seed()


manual_seed_all, seed_all = manual_seed, seed


def initial_seed() -> int:
    """The seed that the random stream started from."""
    _gpu("initial_seed")
    return _random.initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of the random stream, on the CPU."""
    _gpu("get_rng_state", device)
    return _random.get_rng_state()


def get_rng_state_all() -> list:
    """The same in a list, with one element for each GPU."""
    return [get_rng_state()] if is_available() else []


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Go on where the random stream stood."""
    if is_available():
        _random.set_rng_state(new_state)


def set_rng_state_all(new_states: Any) -> None:
    """The same, from a list with one element for each GPU."""
    for state in new_states:
        set_rng_state(state)


# ------------------------------------------------------------------------------------------ streams and events
class Stream:
    """All streams are one: what is asked for first is done first, and nothing has to wait for another stream."""

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any):
        _gpu("Stream", device)
        self.device, self.priority, self.cuda_stream, self.stream_id = _devices.CUDA, priority, 0, 0

    def synchronize(self) -> None:
        """Wait until everything is done."""
        synchronize()

    def query(self) -> bool:
        """Whether everything is done: it is, once this has waited for it."""
        synchronize()
        return True

    def wait_stream(self, stream: Stream) -> None:
        """Nothing to wait for: it is the same stream."""

    def wait_event(self, event: Event) -> None:
        """Nothing to wait for: the event is in this stream."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event, a new one if none is given."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream)

    def __hash__(self) -> int:
        return hash(Stream)

    def __repr__(self) -> str:
        return "<torch.cuda.Stream device=cuda:0 cuda_stream=0x0>"


def current_stream(device: Any = None) -> Stream:
    """The stream."""
    _gpu("current_stream", device)
    return Stream()


def default_stream(device: Any = None) -> Stream:
    """The stream."""
    _gpu("default_stream", device)
    return Stream()


def set_stream(stream: Stream | None) -> None:
    """Without effect: there is one stream."""
    _gpu("set_stream")


class StreamContext:
    """A `with` block in which a stream is the current one, which it is anyway."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        pass


stream = StreamContext


class Event:
    """A moment in the stream.  Recording one waits for the device, so that its time is that of the work before it."""

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False, external: bool = False
    ):
        _gpu("Event")
        self.timed = enable_timing
        self.at: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """This is the moment."""
        synchronize()
        self.at = time.perf_counter()

    def wait(self, stream: Stream | None = None) -> None:
        """Nothing to wait for: there is one stream."""

    def query(self) -> bool:
        """Whether the moment is over: it is, recording waits for it."""
        return True

    def synchronize(self) -> None:
        """Nothing to wait for: recording has waited."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this moment to another; ValueError if one was not recorded, or not made for timing."""
        if not (self.timed and end_event.timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.at is None or end_event.at is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return 1000.0 * (end_event.at - self.at)


# ------------------------------------------------------------------------------------------ types and errors
class _Typed(_Shown):
    """The class of torch.cuda.FloatTensor and its like: constructors of tensors of one type on the GPU."""

    def __instancecheck__(cls, instance: object) -> bool:
        on_cpu = getattr(_create, cls.__name__, None)
        return on_cpu is not None and getattr(instance, "is_cuda", False) is True and isinstance(instance, on_cpu)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        on_cpu = getattr(_create, cls.__name__, None)
        if on_cpu is None:
            raise TypeError(f"type {cls._shown} not available: tinyrnn computes in float32 and float64")
        try:
            _devices.check("cuda")
        except _devices.NoDevice as error:
            raise TypeError(f"type {cls._shown} not available: {error}") from None
        return on_cpu(*args, **kwargs).to("cuda")


for _kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
    _name = f"{_kind}Tensor"
    globals()[_name] = _Typed(_name, (), {"_shown": f"torch.cuda.{_name}", "__doc__": f"{_kind} tensors on the GPU."})


def _old_form(name: str, now: str = "'cuda', args...") -> None:
    warnings.warn(
        f"`torch.cuda.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}({now})` instead.",
        FutureWarning,
        stacklevel=3,
    )


class _Autocast(_amp.autocast):
    __doc__ = _amp.autocast.__doc__

    def __init__(self, enabled: bool = True, dtype: Any = _float16, cache_enabled: bool = True):
        _old_form("autocast")
        super().__init__("cuda", dtype, enabled, cache_enabled)


class _GradScaler(_amp.GradScaler):
    __doc__ = _amp.GradScaler.__doc__

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        _old_form("GradScaler")
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)


def _custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
    _old_form("custom_fwd", now="args..., device_type='cuda'")
    return _amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def _custom_bwd(bwd: Any) -> Any:
    _old_form("custom_bwd", now="args..., device_type='cuda'")
    return _amp.custom_bwd(bwd, device_type="cuda")


_Autocast.__name__ = _Autocast.__qualname__ = "autocast"
_GradScaler.__name__ = _GradScaler.__qualname__ = "GradScaler"
amp = SimpleNamespace(
    autocast=_Autocast, GradScaler=_GradScaler, custom_fwd=_custom_fwd, custom_bwd=_custom_bwd,
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "OutOfMemoryError":  # a class of the driver's, which is not imported before it is asked for
        from .kernels.cuda import driver

        return driver.OutOfMemory
    if name == "_initialized":  # what copies of torch's checkpoint look at
        return is_initialized()
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r}", name=name, obj=None)
