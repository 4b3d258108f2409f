"""DLPack: tensors on a GPU shared with other libraries, in both directions, without a copy.

https://dmlc.github.io/dlpack/latest/python_spec.html; on the CPU, NumPy speaks it for us.  A producer hands out a
capsule named "dltensor" around a C struct; a consumer renames it to "used_dltensor", and calls the struct's deleter
when it needs the memory no more.  Capsules of DLPack 1, "dltensor_versioned", are taken too.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p, py_object
from typing import Any

import numpy as np

from . import devices
from .kernels import lazy
from .strides import span

release = lazy("cpu.release")

ON_CPU, ON_CUDA = 1, 2
NUMPYS = ON_CPU, 3  # the second: of the CPU, pinned by CUDA
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
NEW, VERSIONED = b"dltensor", b"dltensor_versioned"


class _Device(ctypes.Structure):
    _fields_ = [("type", c_int32), ("number", c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", c_void_p), ("device", _Device), ("ndim", c_int32), ("dtype", _Type), ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)), ("offset", c_uint64),
    ]  # fmt: skip


_Deleter = ctypes.CFUNCTYPE(None, c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("version", c_uint32 * 2), ("context", c_void_p), ("deleter", c_void_p), ("flags", c_uint64),
        ("tensor", _Tensor),
    ]  # fmt: skip


STRUCTS: dict[bytes, Any] = {NEW: _Managed, VERSIONED: _Versioned}
USED = {NEW: b"used_dltensor", VERSIONED: b"used_dltensor_versioned"}
READ_ONLY = 1  # a bit of `flags`


def _api(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's own."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new = _api("PyCapsule_New", py_object, c_void_p, c_char_p, c_void_p)
_pointer = _api("PyCapsule_GetPointer", c_void_p, py_object, c_char_p)
_rename = _api("PyCapsule_SetName", ctypes.c_int, py_object, c_char_p)
_named = _api("PyCapsule_IsValid", ctypes.c_int, py_object, c_char_p)
_is_new = _api("PyCapsule_IsValid", ctypes.c_int, c_void_p, c_char_p)  # of a capsule that is about to go
_pointer_of = _api("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)


# ------------------------------------------------------------------------------------------ out
_lent: dict[int, tuple] = {}  # the address of a struct -> what it is made of, and who owns the memory


def _released(place: int, lent=_lent, new=NEW, is_new=_is_new, pointer_of=_pointer_of) -> None:
    """A struct is given back; or a capsule goes, and if nobody used it so does its struct.

    The names are bound here because this module's are gone when Python ends, and other libraries' arrays may not be.
    """
    if place in lent:
        del lent[place]
    elif is_new(place, new):
        del lent[pointer_of(place, new)]


def capsule(
    owner: Any, address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, device: int
) -> Any:
    """A capsule for numbers at an address, which `owner` keeps alive; strides in bytes."""
    ndim = len(shape)
    sizes, steps = (c_int64 * ndim)(*shape), (c_int64 * ndim)(*[s // dtype.itemsize for s in strides])
    kind = _Type(CODES[dtype.kind], 8 * dtype.itemsize, 1)
    tensor = _Tensor(address, _Device(device, 0), ndim, kind, sizes, steps, 0)
    teller = release.teller(_released)
    managed = _Managed(tensor, None, teller)
    place = ctypes.addressof(managed)
    _lent[place] = managed, sizes, steps, owner
    return _new(place, NEW, teller)


# ------------------------------------------------------------------------------------------ in
class _Other:
    """Memory of another library, given back when this goes."""

    def __init__(self, place: int, deleter: int | None):
        if deleter:
            weakref.finalize(self, _Deleter(deleter), place).atexit = False


class _Capsule:
    """A capsule as NumPy wants it: with the methods of whoever made it."""

    def __init__(self, inside: Any):
        self.inside = inside

    def __dlpack__(self, **options: Any) -> Any:
        return self.inside

    def __dlpack_device__(self) -> tuple[int, int]:
        return ON_CPU, 0


def _writable(a: np.ndarray) -> np.ndarray:
    """The memory of a capsule to which programs may write, which NumPy forbids: such capsules do not tell."""
    if a.flags.writeable or not a.size:
        return a
    low, first, high = span(a)
    memory: Any = (c_uint8 * (high - low)).from_address(low)
    memory.owner = a
    return np.ndarray(a.shape, a.dtype, memory, first - low, a.strides)


def imported(other: Any) -> Any:
    """The array, on the CPU or on the GPU, of an object with __dlpack__, or of a capsule.

    Raises RuntimeError for what is neither, BufferError for a type that tensors cannot have, NoDevice for an array on
    a GPU that cannot be used.
    """
    if hasattr(other, "__dlpack_device__"):
        device, number = map(int, other.__dlpack_device__())
        if device in NUMPYS:
            return np.asarray(other) if isinstance(other, np.ndarray) else np.from_dlpack(other)
        on_first(device, number)
        inside = other.__dlpack__(stream=1) if device == ON_CUDA else other.__dlpack__()
    else:
        inside = other
    name = next((name for name in STRUCTS if _named(inside, name)), None)
    if name is None:
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
            f"might have already constructed a tensor from it once. (It is of the type {type(inside).__name__}.)"
        )
    place = _pointer(inside, name)
    managed = STRUCTS[name].from_address(place)
    if name == VERSIONED and managed.version[0] > 1:  # of which only the version lies where it does now
        raise BufferError(f"from_dlpack: a capsule of DLPack {managed.version[0]}, and the latest known is 1")
    tensor = managed.tensor
    if tensor.device.type in NUMPYS:
        return _writable(np.from_dlpack(_Capsule(inside)))
    if tensor.device.type != ON_CUDA:
        raise BufferError(f"from_dlpack: memory of the device type {tensor.device.type} cannot be shared")
    on_first(tensor.device.type, tensor.device.number)
    gpu = devices.gpu("from_dlpack: an array on a GPU cannot be shared")
    if name == VERSIONED and managed.flags & READ_ONLY:
        raise BufferError("from_dlpack: memory that may only be read cannot be a tensor: copy the array first")
    kind = next((k for k, code in CODES.items() if code == tensor.dtype.code), None)
    if kind is None or tensor.dtype.lanes != 1:
        raise BufferError(f"from_dlpack: numbers of the type {tensor.dtype.code} with {tensor.dtype.bits} bits")
    dtype = np.dtype(bool if kind == "b" else f"{kind}{tensor.dtype.bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(s * dtype.itemsize for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
    _rename(inside, USED[name])
    try:
        return gpu.borrowed(_Other(place, managed.deleter), (tensor.data or 0) + tensor.offset, shape, dtype, strides)
    except ValueError as error:
        raise BufferError(f"from_dlpack: {error}") from None


def on_first(device: int, number: int) -> None:
    """Raise BufferError for memory of another GPU than the first, which is the one in use."""
    if device == ON_CUDA and number:
        raise BufferError(
            f"from_dlpack: memory of GPU {number} cannot be shared with tensors on GPU 0: copy it there first"
        )
