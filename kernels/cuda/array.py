"""`Array`: numbers on the device, with NumPy's shape, strides, dtype and views.

An array's header is a NumPy array at an address of the device, which is never read: NumPy does the arithmetic of views
(slices, transposes, reshapes), and no more.  What computes goes through NumPy's two protocols to `protocol`, which has
the kernels; an op that says `np.add(a, b)` or `np.where(c, a, b)` works on both devices.  No array of the device
becomes one of the host without being asked to: `np.asarray` of one raises.
"""

from __future__ import annotations

import ctypes
import operator
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import lazy
from .driver import driver
from .memory import Block, Borrowed

protocol = lazy("cuda.protocol")

DATA = object.__basicsize__  # where NumPy keeps the address of an array's data: see kernels.cpu.arrays, which checks it
_word = ctypes.c_int64.from_address


class _At:
    """Where NumPy is to believe that an array is."""

    __slots__ = ("__array_interface__",)

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None = None):
        self.__array_interface__ = {
            "data": (address, False), "shape": shape, "typestr": dtype.str, "strides": strides, "version": 3,
        }  # fmt: skip


def is_basic(index: Any) -> bool:
    """Whether an index, or a tuple of them, makes a view."""
    return all(
        i is None or i is Ellipsis or isinstance(i, (slice, int, np.integer)) and not isinstance(i, (bool, np.bool_))
        for i in (index if type(index) is tuple else (index,))
    )


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device; made by `empty`, `zeros`, `upload`, and by the kernels."""

    __slots__ = ("block", "header")

    def __init__(self, block: Block | Borrowed, header: np.ndarray):
        self.block, self.header = block, header

    # -------------------------------------------------------------------------------------- what it is
    shape = property(lambda self: self.header.shape)
    strides = property(lambda self: self.header.strides)
    dtype = property(lambda self: self.header.dtype)
    ndim = property(lambda self: self.header.ndim)
    size = property(lambda self: self.header.size)
    itemsize = property(lambda self: self.header.itemsize)
    nbytes = property(lambda self: self.header.nbytes)
    flags = property(lambda self: self.header.flags)

    @property
    def address(self) -> int:
        """Where the first element is."""
        return _word(id(self.header) + DATA).value  # header.ctypes.data, in an eighth of the time

    @property
    def base(self) -> Block | Borrowed | None:
        """The memory, if other arrays may lie in it too; None for one that has it for itself, without gaps."""
        flags = self.header.flags
        return None if sys.getrefcount(self.block) == 2 and (flags.c_contiguous or flags.f_contiguous) else self.block

    def __len__(self) -> int:
        return len(self.header)

    def __repr__(self) -> str:
        return f"<{self.dtype} {self.shape} on {driver().name}>"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """For CuPy, Numba and torch, which share the memory: stream 1 is the one that everything here runs on."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "strides": None if self.flags.c_contiguous else self.strides,
            "stream": 1,
        }

    # -------------------------------------------------------------------------------------- views
    def _view(self, header: np.ndarray) -> Array:
        return Array(self.block, header)

    def at(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Array:
        """The memory in another shape, `offset` bytes after the first element."""
        return self._view(header(self.address + offset, shape, self.dtype, tuple(strides)))

    @property
    def T(self) -> Array:
        return self._view(self.header.T)

    def transpose(self, *axes: Any) -> Array:
        return self._view(self.header.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> Array:
        return self._view(self.header.swapaxes(a, b))

    def squeeze(self, axis: Any = None) -> Array:
        return self._view(self.header.squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
        return self._view(self.header.diagonal(offset, axis1, axis2))

    def view(self, dtype: Any) -> Array:
        return self._view(self.header.view(dtype))

    def reshape(self, *shape: Any) -> Array:
        """A view where there is one, else a copy."""
        try:
            return self._view(self.header.reshape(*shape, copy=False))
        except ValueError:
            if self.flags.c_contiguous:
                raise
        return self.copy().reshape(*shape)

    def ravel(self) -> Array:
        return self.reshape(-1)

    def flatten(self) -> Array:
        return self.copy().reshape(-1)

    def __getitem__(self, index: Any) -> Array:
        if not is_basic(index):
            return protocol.take(self, index)
        view = self._part(index)
        return view if min(view.strides, default=0) >= 0 else protocol.forwards(view)

    def __setitem__(self, index: Any, value: Any) -> None:
        if not is_basic(index):
            return protocol.put(self, index, value)
        view = self._part(index)
        if backwards := [axis for axis, step in enumerate(view.strides) if step < 0]:
            view = self._view(np.flip(view.header, backwards))
            value = np.flip(np.broadcast_to(value, view.shape), backwards) if np.ndim(value) else value
        return protocol.assign(view, value)

    def _part(self, index: Any) -> Array:
        """What a basic index names; no kernel can walk it if it goes backwards."""
        index = index if type(index) is tuple else (index,)
        return self._view(self.header[index if Ellipsis in index else (*index, ...)])

    def __iter__(self) -> Iterator[Array]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # -------------------------------------------------------------------------------------- copies
    def copy(self, order: str = "C") -> Array:
        return protocol.copy(self, order)

    def astype(self, dtype: Any, order: str = "K", *, copy: bool = True) -> Array:
        dtype = np.dtype(dtype)
        if not copy and dtype == self.dtype and (order == "K" or self.flags[f"{order}_CONTIGUOUS"]):
            return self
        return protocol.copy(self, order, dtype)

    def fill(self, value: Any) -> None:
        protocol.assign(self, value)

    # -------------------------------------------------------------------------------------- to the host
    def item(self, *index: int) -> Any:
        return download(self).item(*index)

    def tolist(self) -> Any:
        return download(self).tolist()

    def __bool__(self) -> bool:
        return bool(download(self))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, spec: str) -> str:
        return format(repr(self) if self.ndim else self.item(), spec)

    # -------------------------------------------------------------------------------------- NumPy's protocols
    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
            "first."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return protocol.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: tuple, kwargs: dict) -> Any:
        return protocol.function(function, args, kwargs)


def _method(name: str) -> Any:
    """A method that is NumPy's function of its name, with the array as the first argument."""

    def method(self: Array, *args: Any, **kwargs: Any) -> Any:
        return protocol.function(getattr(np, name), (self, *args), kwargs)

    method.__name__ = name
    return method


for _name in ("sum", "prod", "mean", "max", "min", "all", "any", "argmax", "argmin", "argsort", "cumsum", "nonzero",
              "repeat", "round", "clip", "trace", "take", "searchsorted", "std", "var"):  # fmt: skip
    setattr(Array, _name, _method(_name))


# ------------------------------------------------------------------------------------------ making arrays
def header(address: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None = None) -> np.ndarray:
    return np.asarray(_At(address, tuple(shape), dtype, strides))


def shared(other: Any) -> Array:
    """An array in the memory of another library's, which lives as long as this one (CUDA Array Interface 3)."""
    face = other.__cuda_array_interface__
    if face.get("mask") is not None:
        raise TypeError("an array with a mask cannot be shared")
    if face["data"][1]:
        raise TypeError("the read only flag is not supported, should always be False: copy the array first")
    if face.get("stream") not in (None, 1) or face.get("version", 3) < 3:  # the earlier ones do not tell of streams
        driver().synchronize()  # what was asked for on a stream of its own
    address, shape = face["data"][0], tuple(face["shape"])
    if 0 not in shape and (number := driver().number_of(address)):
        raise ValueError(f"given array lies on GPU {number}, and tensors on GPU 0: copy it there first")
    return borrowed(other, address, shape, np.dtype(face["typestr"]), face.get("strides"))


def borrowed(
    owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None = None
) -> Array:
    """An array at an address whose memory `owner` keeps alive; ValueError if it lies as no array of ours does."""
    size = dtype.itemsize
    if not dtype.isnative:
        raise ValueError(
            f"given array has its bytes in another order than this machine's ({dtype.str}): convert it first"
        )
    if address % size or any(step % size for step in strides or ()):
        raise ValueError(
            f"given array has an address, {address:#x}, or strides, {strides}, that are no multiple of the element "
            f"byte size {size}: copy it first"
        )
    if any(step < 0 for step in strides or ()):
        raise ValueError(
            f"given array has a negative stride ({list(strides or ())} bytes), as no tensor has: copy it first"
        )
    return Array(Borrowed(owner), header(address, shape, dtype, strides))


def empty(shape: Any, dtype: Any = np.float64) -> Array:
    """An array of whatever is in its memory."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    for n in shape:
        size *= int(n)
    block = Block(size)
    return Array(block, header(block.address, shape, dtype))


def empty_as(a: Array, shape: Any = None, dtype: Any = None, order: tuple[int, ...] | None = None) -> Array:
    """An array of the shape and type of another, unless others are given; `order`: its axes as they lie in memory."""
    shape = a.shape if shape is None else shape
    out = empty(shape if order is None else [shape[k] for k in order], a.dtype if dtype is None else dtype)
    return out if order is None else out.transpose(np.argsort(order))


def zeros(shape: Any, dtype: Any = np.float64) -> Array:
    out = empty(shape, dtype)
    if out.nbytes:
        driver().zero(out.block.address, out.nbytes)
    return out


def upload(host: np.ndarray) -> Array:
    """A copy on the device, with the axes in the same order in memory."""
    order = tuple(sorted(range(host.ndim), key=lambda k: -abs(host.strides[k])))
    dense = np.ascontiguousarray(host.transpose(order))
    out = empty(dense.shape, dense.dtype)
    if dense.nbytes:
        driver().upload(out.block.address, dense)
    return out.transpose(np.argsort(order)) if host.ndim else out.reshape(())


def download(a: Array) -> np.ndarray:
    """A copy on the host, with the axes in the same order in memory."""
    order = tuple(sorted(range(a.ndim), key=lambda k: -abs(a.strides[k])))
    dense = a.transpose(order) if a.ndim else a
    if not dense.flags.c_contiguous:
        dense = dense.copy()
    host = np.empty(dense.shape, dense.dtype)
    if host.nbytes:
        driver().download(dense.address, host)
    return host.transpose(np.argsort(order)) if a.ndim else host
