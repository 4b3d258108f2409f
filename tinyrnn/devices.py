"""Where a tensor's memory is."""

from __future__ import annotations

from typing import Any

from .dtypes import Shown

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
        return self

    def __exit__(self, *exception: Any) -> None:
        pass


CPU = device("cpu")


class NoDevice(AssertionError, RuntimeError):
    """A device is not there: torch raises one class or the other, depending on how it was built."""


def check(where: device | str | int | None) -> None:
    """Raise unless tensors can be put on the device `where` (None: wherever they are made)."""
    if where is None or where is CPU:
        return
    if device(where).type != "cpu":
        raise NoDevice(
            f"a tensor cannot be put on {str(device(where))!r}: tinyrnn runs on the CPU only "
            "(cuda.is_available() is False)"
        )


def get_default_device() -> device:
    """Where tensors are made: on the CPU."""
    return CPU


def set_default_device(device: Any) -> None:
    """Accepts the CPU, or None; refuses any other device."""
    check(device)
