"""Constructors: tensors from data, of one value, of a sequence, of random numbers."""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .. import devices, dlpack, dtypes
from ..strides import memory_order
from ..switches import warn_once
from ..tape import astype, is_grad_enabled
from .common import (
    TensorBase,
    cast,
    converted,
    expect_tensor,
    into,
    number,
    sizes,
    unsupported,
    wrap,
)


def finish(array: np.ndarray, requires_grad: bool, device: Any) -> Any:
    """A tensor of `array`, on the device asked for."""
    if device is None and devices.stated and type(array) is np.ndarray:
        device = devices.default.device
    tensor = wrap(array if device is None else devices.put(array, device))
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def numpy_type(dtype: dtypes.dtype | None, default: np.dtype) -> np.dtype:
    if dtype is None:
        return default
    dtype = dtypes.PYTHON.get(dtype, dtype)
    if not isinstance(dtype, dtypes.dtype):
        raise TypeError(f"argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    return dtype.numpy


def kind_of(options: dict, default: np.dtype) -> np.dtype:
    """The type that a constructor's keywords ask for, by dtype= or out=."""
    kind, out = numpy_type(options.get("dtype"), default), options.get("out")
    if out is None:
        return kind
    here = expect_tensor(out, "a constructor", "out").array.dtype
    if options.get("dtype") is not None and kind != here:
        raise RuntimeError(f"dtype {dtypes.word(kind)} does not match dtype of out parameter ({dtypes.word(here)})")
    return here


def from_data(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    """A new array from numbers, nested sequences, arrays or tensors, of torch's type for them."""
    if isinstance(data, TensorBase):
        return astype(data.array, numpy_type(dtype, data.array.dtype))
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        dtypes.of(array.dtype)
        check_strides(array)
        return astype(array, numpy_type(dtype, array.dtype))
    if on_gpu(data):
        array = borrowed(data)
        return array.astype(numpy_type(dtype, array.dtype))
    plain, kind = plain_data(data)
    wanted = numpy_type(dtype, kind)
    dtypes.of(wanted)
    try:
        array = np.array(plain)
    except (ValueError, OverflowError):
        raise ragged(plain) or ValueError("tensor(): expected equally nested sequences of numbers") from None
    if array.dtype.kind == "O" or (array.dtype == np.uint64 and kind == np.int64):
        if wanted.kind != "f":
            raise ValueError(f"Overflow when unpacking long long: {max(array.flat)} is too large for int64")
        array = array.astype(np.float64)
    if wanted.kind in "iu" and array.size and array.dtype != wanted:
        for extreme in (array.min(), array.max()):
            converted(extreme, wanted, "tensor")
    return array.astype(wanted, copy=False)


def on_gpu(data: Any) -> bool:
    """Whether it is another library's array on a GPU (a tensor is none, and may refuse to tell; nor is a class)."""
    if isinstance(data, (TensorBase, type)):
        return False
    face = getattr(data, "__cuda_array_interface__", None)
    return isinstance(face, dict) and face.get("data") is not None


def borrowed(data: Any) -> Any:
    """The memory of such an array as one of ours."""
    array = devices.gpu().shared(data)
    dtypes.of(array.dtype)
    return array


def kind_of_numbers(types: Collection[type]) -> np.dtype:
    """What Python numbers of these types become together; the default type if there are none."""
    if float in types or not types:
        return dtypes.get_default_dtype().numpy
    return np.dtype(np.int64 if int in types else np.bool_)


def plain_data(data: Any) -> tuple[Any, np.dtype]:
    """Nested sequences with tensors replaced by numbers; and what the types of all elements are promoted to."""
    if type(data) in (int, float, bool):
        return data, kind_of_numbers((type(data),))
    if isinstance(data, TensorBase):
        if data.array.size != 1:
            kind = TypeError if data.array.dtype.kind != "f" else ValueError
            raise kind(
                "only one element tensors can be converted to Python scalars, and a tensor in a list is one of shape "
                f"{list(data.array.shape)}: use stack()"
            )
        tell_of_number(data)
        return data.array.item(), data.array.dtype
    if isinstance(data, (np.ndarray, np.generic)):
        if data.dtype.kind not in "biuf":
            dtypes.of(data.dtype)
        return data, data.dtype
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, Sequence):
        types = set(map(type, data))
        if types <= {int, float, bool}:
            return list(data), kind_of_numbers(types)
        parts = [plain_data(x) for x in data]
        return [p[0] for p in parts], functools.reduce(dtypes.wider, {p[1] for p in parts})
    if isinstance(data, (int, float)):
        return data, kind_of_numbers((int if isinstance(data, int) else float,))
    if isinstance(data, complex):
        raise NotImplementedError(f"tensor(): complex numbers are not supported by tinyrnn ({data})")
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def tell_of_number(t: TensorBase) -> None:
    """torch's warning that a tensor becomes a number, which has no gradient; item() says that this is meant."""
    if t.requires_grad and is_grad_enabled():
        warn_once(
            "number",
            "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
            "Consider using tensor.detach() first.",
        )


def ragged(data: Any, depth: int = 0, shape: tuple[int, ...] = ()) -> Exception | None:
    """torch's error for nested sequences that are not of one shape: `shape` is that of the first elements."""
    if not depth:
        first = data
        while isinstance(first, list):
            shape = (*shape, len(first))
            first = first[0] if first else None
    if isinstance(data, list) != (depth < len(shape)):
        return TypeError(f"not a sequence: a {type(data).__name__} among sequences, at dim {depth}")
    if depth < len(shape):
        if len(data) != shape[depth]:
            return ValueError(f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})")
        for part in data:
            if fault := ragged(part, depth + 1, shape):
                return fault
    return None


def check_strides(array: np.ndarray) -> None:
    if any(stride < 0 for stride in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            f"currently supported (strides {array.strides}). (You can probably work around this by making a copy of "
            "your array with array.copy().)"
        )


def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """A new tensor with a copy of `data`: a number, nested sequences of numbers, an array or a tensor."""
    if isinstance(data, TensorBase):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            stacklevel=2,
        )
    return finish(from_data(data, dtype), requires_grad, device)


def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Any:
    """`data` as a tensor: itself or sharing its memory where possible, else a copy."""
    if isinstance(data, TensorBase):
        data = data if device is None else data.to(device)  # type: ignore[attr-defined]
        kind = numpy_type(dtype, data.array.dtype)
        return data if data.array.dtype == kind else cast(data, kind)
    if isinstance(data, np.ndarray) and data.flags.writeable and data.dtype == numpy_type(dtype, data.dtype):
        return finish(from_numpy(data).array, False, device)
    if on_gpu(data):
        array = borrowed(data)
        return finish(array.astype(numpy_type(dtype, array.dtype), copy=False), False, device)
    return finish(from_data(data, dtype), False, device)


def shares_memory(found: Any, obj: Any) -> bool:
    """Whether the tensor that was made of an array lies in its memory; without elements, whether it is alike."""
    if isinstance(obj, np.ndarray):
        face = obj.__array_interface__
    elif on_gpu(obj):
        face = obj.__cuda_array_interface__
    else:
        return False
    if found.is_cpu is not isinstance(obj, np.ndarray) or found.array.dtype.str != face["typestr"]:
        return False
    return not found.array.size or found.data_ptr() == face["data"][0]


def asarray(
    obj: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool | None = None,
) -> Any:
    """`obj` (a tensor, an array, a buffer, numbers) as a tensor that shares its memory where it can; always with a copy
    if `copy` is True, never if it is False.
    """
    plain = (TensorBase, np.ndarray, np.generic, Sequence, int, float)
    if not (isinstance(obj, plain) or on_gpu(obj)) or isinstance(obj, (bytes, bytearray)):
        try:
            obj = np.frombuffer(obj, numpy_type(dtype, dtypes.get_default_dtype().numpy))
        except TypeError:
            raise RuntimeError(f"Could not infer dtype of {type(obj).__name__}") from None
    found = as_tensor(obj, dtype, device)
    shared = found is obj or shares_memory(found, obj)
    if copy is False and not shared:
        raise ValueError(
            f"can't alias arbitrary sequence or other type into a tensor: {type(obj).__name__} (asarray(copy=False))"
        )
    if copy and shared:
        found = found.clone()
    if requires_grad is None or found.requires_grad == requires_grad:
        return found
    return (found if found.node is None else found.detach()).requires_grad_(requires_grad)


def frombuffer(
    buffer: Any, *, dtype: dtypes.dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Any:
    """A vector that shares the memory of a buffer: `count` elements (all, for -1) from byte `offset` on."""
    kind, memory = numpy_type(dtype, np.dtype(np.float32)), memoryview(buffer)
    left = memory.nbytes - offset
    if memory.nbytes == 0 or not 0 <= offset < memory.nbytes:
        raise ValueError(f"frombuffer(): offset must lie within the buffer of {memory.nbytes} bytes, but is {offset}")
    if count == 0 or (count < 0 and left % kind.itemsize):
        raise ValueError(
            f"frombuffer(): the {left} bytes after the offset are no whole number of elements of {kind.itemsize} "
            f"bytes, or "
            f"count is 0 (it is {count})"
        )
    if count > 0 and count * kind.itemsize > left:
        raise ValueError(
            f"frombuffer(): {count} elements of {kind.itemsize} bytes were asked for, but {left} bytes are left"
        )
    return finish(np.frombuffer(memory, kind, count, offset), requires_grad, devices.CPU)


def from_numpy(ndarray: np.ndarray) -> Any:
    """A tensor that shares the memory of an array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    check_strides(ndarray)
    if not ndarray.flags.writeable:
        warn_once(
            "read-only array",
            "The given NumPy array is not writable, and tensors are: writing to this one is an error. You may want to "
            "copy the array, or make it writable, before converting it to a tensor. This type of warning will be "
            "suppressed for the rest of this program.",
        )
    return wrap(ndarray.view(np.ndarray))


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor that shares the memory of another library's array, on the CPU or the GPU, or of a DLPack capsule."""
    array = dlpack.imported(ext_tensor)
    dtypes.of(array.dtype)
    found = devices.put(array, device)
    if copy is False and found is not array:
        raise ValueError(f"cannot move (i.e. copy) the array to {device} without a copy (from_dlpack(copy=False))")
    return wrap(found.copy() if copy and found is array else found)


# ------------------------------------------------------------------------------------------ one value
def shaped(size: tuple, kwargs: dict, call: str) -> tuple[int, ...]:
    """The sizes from f(2, 3), f((2, 3)) or f(size=(2, 3)); torch's error for a negative one."""
    shape = sizes(size or (kwargs.pop("size"),) if "size" in kwargs else size, call)
    if shape and min(shape) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def full_of(
    array: np.ndarray,
    call: str,
    *,
    dtype: Any = None,
    out: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Any:
    """The common end of all constructors."""
    if out is None:
        return finish(array, requires_grad, device)
    return into(out, wrap(devices.put(array, devices.of(out.array))), call)


def place(options: dict) -> Any:
    """Something on the device that a constructor's keywords ask for: the `like` of NumPy's constructors."""
    return devices.place(options.get("device"))


def beside(a: Any, options: dict) -> dict:
    """The keywords of a constructor, with the device of an array if they ask for none."""
    if options.get("device") is None:
        options["device"] = devices.of(a)
    return options


def laid_out(a: Any, options: dict) -> tuple[int, ...] | None:
    """The axes as they lie in memory in a tensor that is made like `a`, the farthest first; None if in order."""
    if a.flags.c_contiguous or options.get("memory_format") is dtypes.contiguous_format:
        return None
    axes = memory_order(a)
    several = [i for i in axes if a.shape[i] != 1]
    return tuple(axes) if several != sorted(several) else None


def template(a: Any, options: dict) -> Any:
    """An array of the shape and type of `a` without gaps: what NumPy makes like it lies as torch's result does."""
    if a.flags.c_contiguous:
        return a
    axes = laid_out(a, options) or range(a.ndim)
    return np.empty([a.shape[i] for i in axes], a.dtype, like=a).transpose(np.argsort(axes))


def zeros(*size: Any, **options: Any) -> Any:
    """Zeros of the given shape; float32 unless `dtype` says otherwise."""
    shape = shaped(size, options, "zeros")
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    return full_of(np.zeros(shape, kind, like=place(options)), "zeros", **options)


def ones(*size: Any, **options: Any) -> Any:
    """Ones of the given shape; float32 unless `dtype` says otherwise."""
    shape = shaped(size, options, "ones")
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    return full_of(np.ones(shape, kind, like=place(options)), "ones", **options)


def empty(*size: Any, **options: Any) -> Any:
    """A tensor of the given shape with whatever is in memory."""
    shape = shaped(size, options, "empty")
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    return full_of(np.empty(shape, kind, like=place(options)), "empty", **options)


def full(size: Any, fill_value: Any, **options: Any) -> Any:
    """`fill_value` in the given shape; its type is the value's unless `dtype` says otherwise."""
    scalar = isinstance(fill_value, TensorBase) and fill_value.array.ndim == 0
    value = number(devices.host(fill_value.array)[()] if scalar else fill_value, "full", "fill_value")
    value = converted(value, kind_of(options, dtypes.promote(value)), "full")
    return full_of(np.full(shaped((size,), {}, "full"), value, value.dtype, like=place(options)), "full", **options)


def zeros_like(input: Any, **options: Any) -> Any:
    """Zeros of the shape and type of `input`."""
    a = expect_tensor(input, "zeros_like").array
    return full_of(np.zeros_like(template(a, options), kind_of(options, a.dtype)), "zeros_like", **beside(a, options))


def ones_like(input: Any, **options: Any) -> Any:
    """Ones of the shape and type of `input`."""
    a = expect_tensor(input, "ones_like").array
    return full_of(np.ones_like(template(a, options), kind_of(options, a.dtype)), "ones_like", **beside(a, options))


def empty_like(input: Any, **options: Any) -> Any:
    """A tensor of the shape and type of `input` with whatever is in memory."""
    a = expect_tensor(input, "empty_like").array
    return full_of(np.empty_like(template(a, options), kind_of(options, a.dtype)), "empty_like", **beside(a, options))


def full_like(input: Any, fill_value: Any, **options: Any) -> Any:
    """`fill_value` in the shape and type of `input`."""
    a = expect_tensor(input, "full_like").array
    value = converted(fill_value, kind_of(options, a.dtype), "full_like")
    return full_of(np.full_like(template(a, options), value, value.dtype), "full_like", **beside(a, options))


def eye(n: int, m: int | None = None, **options: Any) -> Any:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    for name, size in (("n", n), ("m", n if m is None else m)):
        if operator.index(size) < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return full_of(np.eye(n, m, dtype=kind_of(options, dtypes.get_default_dtype().numpy)), "eye", **options)


def scalar_tensor(s: Any, **options: Any) -> Any:
    """A number as a 0-d tensor; float32 unless `dtype` says otherwise."""
    value = converted(
        number(s, "scalar_tensor", "s"), kind_of(options, dtypes.get_default_dtype().numpy), "scalar_tensor"
    )
    return full_of(value, "scalar_tensor", **options)


def empty_strided(size: Any, stride: Any, **options: Any) -> Any:
    """An uninitialised tensor of a shape, with the given steps (in elements) in memory."""
    shape, steps = shaped((size,), {}, "empty_strided"), sizes((stride,), "empty_strided")
    if len(shape) != len(steps):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(steps)} and {list(shape)}")
    if any(n < 0 for n in steps):
        raise RuntimeError(f"empty_strided: negative strides are not supported, got {list(steps)}")
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    room = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    return full_of(
        np.ndarray(shape, kind, np.empty(room, kind), 0, [n * kind.itemsize for n in steps]), "empty_strided", **options
    )


# ------------------------------------------------------------------------------------------ sequences
def scalars(call: str, **given: Any) -> list[Any]:
    """Numbers, some of them perhaps 0-d tensors."""
    found = []
    for name, v in given.items():
        if isinstance(v, TensorBase):
            if v.array.ndim:
                raise RuntimeError(
                    f"{call} only supports 0-dimensional start and end tensors, but {name} has {v.array.ndim} "
                    f"dimension(s)"
                )
            v = v.array.item()
        found.append(number(v, call, name))
    return found


def arange(start: Any = None, end: Any = None, step: Any = 1, **options: Any) -> Any:
    """start (0 unless given), start + step, ... below end; int64 if all are integers."""
    if start is None or end is None:
        start, end = 0, start if end is None else end
    start, end, step = (
        v.array.item() if isinstance(v, TensorBase) else number(v, "arange", n)
        for v, n in ((start, "start"), (end, "end"), (step, "step"))
    )
    whole = all(isinstance(v, int) for v in (start, end, step))
    kind = kind_of(options, np.dtype(np.int64) if whole else dtypes.get_default_dtype().numpy)
    if not all(map(math.isfinite, (start, end, step))):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    first, last, by = (int(v) for v in (start, end, step)) if kind.kind in "iu" else (start, end, step)
    if by == 0:
        raise (RuntimeError if step == 0 else ValueError)(f"step must be nonzero (arange(), {step} as {kind.name})")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = math.ceil((last - first) / by if kind == np.int64 else (end - start) / step)
    if kind.kind == "b":
        raise unsupported("arange", kind)
    values = np.arange(count)
    if first or by != 1:
        values = first + by * values
    return full_of(shaped_as(values.astype(kind, copy=False), **options), "arange", **options)


def inclusive_range(start: Any, end: Any, step: Any = 1, **options: Any) -> Any:
    """start, start + step, ... up to and with end, of the default type: torch.range, which arange replaced."""
    warnings.warn("range() is deprecated, because it includes its end: use arange().", UserWarning, stacklevel=2)
    start, end, step = (
        v.array.item() if isinstance(v, TensorBase) else number(v, "range", n)
        for v, n in ((start, "start"), (end, "end"), (step, "step"))
    )
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    if not all(map(math.isfinite, (start, end))):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if step == 0:
        raise RuntimeError("step must be nonzero (range())")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if kind.kind == "b":
        raise unsupported("range", kind)
    count = math.floor((end - start) / step) + 1
    return full_of(shaped_as((start + step * np.arange(count)).astype(kind), **options), "range", **options)


def shaped_as(values: np.ndarray, out: Any = None, **options: Any) -> np.ndarray:
    """The values in the shape of out=, if it has as many elements: torch keeps it."""
    return values if out is None or out.array.size != values.size else values.reshape(out.array.shape)


def spaced(call: str, start: Any, end: Any, steps: int, options: dict) -> tuple[np.ndarray, np.dtype]:
    """Evenly spaced numbers, counted from both ends, so that the last one is exact; and their type."""
    kind = kind_of(options, dtypes.get_default_dtype().numpy)
    try:
        steps = operator.index(steps)
    except TypeError:
        raise TypeError(
            f"{call}() received an invalid combination of arguments: steps must be int, not {steps!r}"
        ) from None
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    first, last = scalars(call, start=start, end=end)
    real = kind if kind.kind == "f" else np.dtype(np.float64)
    if kind.kind in "iu":
        converted(int(first), kind, call), converted(int(last), kind, call)
    low, high = (real.type(int(v) if kind.kind in "iu" else v) for v in (first, last))
    if steps == 1:
        return np.array([low]), kind
    k = np.arange(steps)
    with np.errstate(all="ignore"):
        step = (high - low) / real.type(steps - 1)
        return np.where(k < steps // 2, low + step * k.astype(real), high - step * (steps - 1 - k).astype(real)), kind


def linspace(start: Any, end: Any, steps: int, **options: Any) -> Any:
    """`steps` evenly spaced numbers from start to end, both included."""
    values, kind = spaced("linspace", start, end, steps, options)
    return full_of(shaped_as(values.astype(kind), **options), "linspace", **options)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Any) -> Any:
    """`base` to the powers of `steps` evenly spaced numbers from start to end, both included."""
    values, kind = spaced("logspace", start, end, steps, options)
    with np.errstate(all="ignore"):
        values = np.power(values.dtype.type(base), values).astype(kind)
    return full_of(shaped_as(values, **options), "logspace", **options)


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple:
    """The coordinates of a grid, one tensor for each axis; indexing is "ij" (the default, with a warning) or "xy"."""
    if indexing is None:
        told = "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument."
        warn_once("meshgrid", told)
        indexing = "ij"
    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if not vectors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for v in vectors:
        if expect_tensor(v, "meshgrid", "tensors").array.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: shape {list(v.array.shape)}"
            )
        devices.check_same(v.array, vectors[0].array)
        if v.array.dtype != vectors[0].array.dtype:
            raise RuntimeError(
                f"meshgrid expects all tensors to have the same dtype, got {vectors[0].dtype} and {v.dtype}"
            )
    grids = []
    shape = [v.array.size for v in vectors]
    for k, v in enumerate(vectors):
        grid = v.reshape(*(-1 if d == k else 1 for d in range(len(shape)))).expand(*shape)
        grids.append(grid.transpose(0, 1) if indexing == "xy" and len(shape) > 1 else grid)
    return tuple(grids)


def typed(name: str, dtype: dtypes.dtype) -> Any:
    """torch.FloatTensor, LongTensor ...: a constructor of tensors of one type, from data or sizes; isinstance tells
    the type.
    """

    class Meta(type):
        def __instancecheck__(cls, instance):
            return isinstance(instance, TensorBase) and instance.array.dtype == dtype.numpy

        def __repr__(cls):
            return f"<class 'torch.{name}'>"

    class Typed(metaclass=Meta):
        def __new__(cls, *args: Any) -> Any:
            if len(args) == 1 and not isinstance(args[0], (int, np.integer)):
                data = args[0]
                if type(data).__name__ == "Size":
                    return wrap(np.empty(data, dtype.numpy))
                if isinstance(data, TensorBase) and data.array.dtype != dtype.numpy:
                    raise TypeError(f"expected torch.{name} (got a tensor of dtype {dtypes.of(data.array.dtype)})")
                if not isinstance(data, (Sequence, TensorBase, np.ndarray)):
                    raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
                return wrap(from_data(data, dtype))
            return wrap(np.empty(sizes(args, name), dtype.numpy) if args else np.empty(0, dtype.numpy))

    Typed.__name__ = Typed.__qualname__ = name
    Typed.dtype, Typed.layout, Typed.is_cuda = dtype, dtypes.strided, False  # type: ignore[attr-defined]
    return Typed


FloatTensor = typed("FloatTensor", dtypes.float32)
DoubleTensor = typed("DoubleTensor", dtypes.float64)
LongTensor = typed("LongTensor", dtypes.int64)
IntTensor = typed("IntTensor", dtypes.int32)
ShortTensor = typed("ShortTensor", dtypes.int16)
CharTensor = typed("CharTensor", dtypes.int8)
ByteTensor = typed("ByteTensor", dtypes.uint8)
BoolTensor = typed("BoolTensor", dtypes.bool)
TYPED = {
    d: name
    for name, d in (
        ("FloatTensor", dtypes.float32),
        ("DoubleTensor", dtypes.float64),
        ("LongTensor", dtypes.int64),
        ("IntTensor", dtypes.int32),
        ("ShortTensor", dtypes.int16),
        ("CharTensor", dtypes.int8),
        ("ByteTensor", dtypes.uint8),
        ("BoolTensor", dtypes.bool),
    )
}
