"""Padding as layers: see functional.pad."""

from __future__ import annotations

from typing import Any

from ..ops.padding import pad
from .module import Module
from .tuples import _ntuple


class _Pad(Module):
    """Base of the layers that pad the last `dimensions` dimensions, by one width or by pairs (last dimension first)."""

    dimensions: int
    mode: str

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = _ntuple(2 * self.dimensions)(padding)

    def forward(self, input: Any) -> Any:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    """Padding with a number."""

    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Padding of the last dimension with `value`."""

    dimensions = 1


class ConstantPad2d(_ConstantPadNd):
    """Padding of the last two dimensions with `value`."""

    dimensions = 2


class ConstantPad3d(_ConstantPadNd):
    """Padding of the last three dimensions with `value`."""

    dimensions = 3


class ZeroPad1d(ConstantPad1d):
    """Padding of the last dimension with zeros."""

    def __init__(self, padding: Any):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad2d(ConstantPad2d):
    """Padding of the last two dimensions with zeros."""

    def __init__(self, padding: Any):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad3d(ConstantPad3d):
    """Padding of the last three dimensions with zeros."""

    def __init__(self, padding: Any):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class _ReflectionPadNd(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Padding of the last dimension with what a mirror at its edges shows."""

    dimensions = 1


class ReflectionPad2d(_ReflectionPadNd):
    """Padding of the last two dimensions with what a mirror at their edges shows."""

    dimensions = 2


class ReflectionPad3d(_ReflectionPadNd):
    """Padding of the last three dimensions with what a mirror at their edges shows."""

    dimensions = 3


class _ReplicationPadNd(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Padding of the last dimension with the elements at its edges."""

    dimensions = 1


class ReplicationPad2d(_ReplicationPadNd):
    """Padding of the last two dimensions with the elements at their edges."""

    dimensions = 2


class ReplicationPad3d(_ReplicationPadNd):
    """Padding of the last three dimensions with the elements at their edges."""

    dimensions = 3


class _CircularPadNd(_Pad):
    mode = "circular"

    def forward(self, input: Any) -> Any:
        low = self.dimensions + 1
        if input.dim() not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Padding of the last dimension as if it went on from its beginning."""

    dimensions = 1


class CircularPad2d(_CircularPadNd):
    """Padding of the last two dimensions as if they went on from their beginnings."""

    dimensions = 2


class CircularPad3d(_CircularPadNd):
    """Padding of the last three dimensions as if they went on from their beginnings."""

    dimensions = 3
