"""Where a tensor's memory is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .dtypes import Shown
from .kernels import wake

KINDS = [
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
]  # fmt: skip


class device(metaclass=Shown):
    """A device as torch spells it: `device("cpu")`, `device("cpu", 0)`, `device("cpu:0")`.

    A device can be named without being there; `check` refuses to put a tensor on one that is not.  In a `with` block
    a device is where new tensors are made.  Raises RuntimeError for a kind of device that torch does not know.
    """

    _shown = "torch.device"

    __slots__ = ("type", "index")
    type: str
    index: int | None

    def __init__(self, type: str | int | device, index: int | None = None):
        if isinstance(type, device):
            self.type, self.index = type.type, type.index if index is None else index
            return
        if isinstance(type, int):  # a number alone names a GPU
            self.type, self.index = "cuda", type
            return
        if not isinstance(type, str):
            raise TypeError(
                f"device(): argument 'type' must be str, int or torch.device, not {type.__class__.__name__}"
            )
        name, colon, number = type.partition(":")
        if colon:
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {type}"
                )
            if not number.isdecimal() or (number[0] == "0" and number != "0"):
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if name not in KINDS:
            raise RuntimeError(f"Expected one of {', '.join(KINDS)} device type at start of device string: {name}")
        self.type, self.index = name, index

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{number})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self):
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        check(self)
        default.before = (*default.before, default.device)
        state(settled(self))
        return self

    def __exit__(self, *exception: Any) -> None:
        *before, default.device = default.before
        default.before = tuple(before)


CPU, CUDA = device("cpu"), device("cuda", 0)


class _Default(threading.local):
    """Where this thread makes its tensors, and where it did outside of the `with` blocks that it is in."""

    before: tuple[Any, ...] = ()
    device: Any = None  # not said by anybody: on the CPU


default = _Default()
stated = False  # whether anybody ever said where: a question that costs less than the one to `default`


def state(where: device | None) -> None:
    """Say where this thread makes its tensors."""
    global stated
    stated, default.device = True, where


class NoDevice(AssertionError, RuntimeError):
    """A device is not there: torch raises one class or the other, depending on how it was built."""


array_types: set[type] = {np.ndarray}  # the classes that hold a tensor's numbers: the GPU's too, once it is used


def check(where: device | str | int | None) -> None:
    """Raise unless tensors can be put on the device `where` (None: wherever they are made)."""
    if where is not None and where is not CPU:
        settled(where)


def settled(where: device | str | int) -> device:
    """The device that `where` means, CPU or CUDA; raises NoDevice, and RuntimeError for a second GPU."""
    if where is CPU or where is CUDA:
        return where  # type: ignore[return-value]
    if type(where) is str and where == "cpu":
        return CPU
    if not isinstance(where, (device, str, int)):
        raise TypeError(f"a device must be a torch.device, str or int, not {type(where).__name__}")
    named = where if type(where) is device else device(where)
    if named.type == "cpu":
        return CPU
    if named.type != "cuda":
        raise NoDevice(f"a tensor cannot be put on {str(named)!r}: tinyrnn runs on the CPU and on NVIDIA GPUs ('cuda')")
    gpu(f"a tensor cannot be put on {str(named)!r}")
    if named.index:
        raise RuntimeError(f"CUDA error: invalid device ordinal: {str(named)!r}, but tinyrnn uses one GPU, 'cuda:0'")
    return CUDA


def gpu(otherwise: str = "there is no CUDA device") -> Any:
    """The module of arrays on the GPU; raises NoDevice, which says `otherwise` and what is missing."""
    from .kernels.cuda import array, driver

    if missing := driver.missing():
        raise NoDevice(f"{otherwise}: {missing}")
    if array.Array not in array_types:
        driver.driver()
        wake()
        array_types.add(array.Array)
    return array


def has_gpu() -> bool:
    """Whether there is a GPU that can be used."""
    from .kernels.cuda import driver

    return driver.missing() is None


TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


def synchronize() -> None:
    """Wait until the GPU has done all that it was asked for."""
    gpu()
    from .kernels.cuda import driver

    driver.driver().synchronize()


def check_same(a: Any, b: Any) -> None:
    """Raise torch's RuntimeError unless two arrays are on one device."""
    if type(a) is not type(b):
        raise RuntimeError(TWO_DEVICES)


def of(a: Any) -> device:
    """Where an array is."""
    return CPU if type(a) is np.ndarray else CUDA


def put(a: Any, where: device | str | int | None) -> Any:
    """An array on the device `where`: itself, if it is there or `where` is None, else a copy."""
    if where is None or where is CPU and type(a) is np.ndarray or (where := settled(where)) is of(a):
        return a
    return gpu().upload(a) if where is CUDA else gpu().download(a)


def host(a: Any) -> np.ndarray:
    """An array on the CPU: itself, or a copy."""
    return a if type(a) is np.ndarray else gpu().download(a)


ON_CPU = np.empty(0)


def place(where: device | str | int | None) -> Any:
    """Something on the device `where`, or on the one where tensors are made: for the `like` of NumPy's constructors."""
    if where is None and stated:
        where = default.device
    return ON_CPU if where is None or where is CPU or settled(where) is CPU else gpu().empty(0)


def zeros(shape: tuple[int, ...], dtype: np.dtype, where: device) -> Any:
    """An array of zeros on a device."""
    return np.zeros(shape, dtype, like=place(where))


def get_default_device() -> device:
    """Where tensors are made: on the CPU, unless `set_default_device` or a `with` block says otherwise."""
    return default.device or CPU


def set_default_device(device: Any) -> None:
    """Say where this thread makes its tensors from now on; None for the CPU."""
    state(None if device is None else settled(device))
