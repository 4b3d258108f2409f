"""Constructors: tensors from data, of one value, of a sequence, of random numbers."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import devices, dtypes, random
from .common import (
    Op,
    TensorBase,
    cast,
    check_broadcast,
    converted,
    expect_tensor,
    into,
    number,
    run,
    sizes,
    unsupported,
    wrap,
)


def finish(array: np.ndarray, requires_grad: bool, device: Any) -> Any:
    """A tensor of `array`, on the device asked for."""
    devices.check(device)
    tensor = wrap(array)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def numpy_type(dtype: dtypes.dtype | None, default: np.dtype) -> np.dtype:
    if dtype is None:
        return default
    if not isinstance(dtype, dtypes.dtype):
        raise TypeError(f"argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    return dtype.numpy


def from_data(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    """A new array from numbers, nested sequences, arrays or tensors, of torch's type for them."""
    if isinstance(data, TensorBase):
        return data.array.astype(numpy_type(dtype, data.array.dtype))
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        dtypes.of(array.dtype)
        check_strides(array)
        return array.astype(numpy_type(dtype, array.dtype))
    plain, arrays = plain_data(data)
    try:
        array = np.array(plain)
    except (ValueError, OverflowError):
        raise ragged(plain) or ValueError("tensor(): expected equally nested sequences of numbers") from None
    if array.dtype.kind not in "biuf" or (array.dtype == np.uint64 and not arrays):
        raise ValueError(f"Overflow when unpacking long long: {max(array.flat)} is too large for int64")
    if array.dtype.kind == "f" and not arrays or array.size == 0:
        default = dtypes.get_default_dtype().numpy
    elif array.dtype.kind in "iu" and not arrays:
        default = np.dtype(np.int64)
    else:
        default = array.dtype
    wanted = numpy_type(dtype, default)
    if wanted.kind in "iu" and array.size and array.dtype != wanted:
        for extreme in (array.min(), array.max()):
            converted(extreme, wanted, "tensor")
    return array.astype(wanted, copy=False)


def plain_data(data: Any) -> tuple[Any, bool]:
    """Nested sequences with tensors replaced by numbers; and whether NumPy values were in them."""
    if type(data) in (int, float, bool):
        return data, False
    if isinstance(data, TensorBase):
        if data.array.size != 1:
            kind = TypeError if data.array.dtype.kind != "f" else ValueError
            raise kind(
                "only one element tensors can be converted to Python scalars, and a tensor in a list is one of shape "
                f"{list(data.array.shape)}: use stack()"
            )
        return data.array.item(), False
    if isinstance(data, (np.ndarray, np.generic)):
        return data, True
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, Sequence):
        if set(map(type, data)) <= {int, float, bool}:
            return list(data), False
        parts = [plain_data(x) for x in data]
        return [p[0] for p in parts], any(p[1] for p in parts)
    if isinstance(data, (int, float)):
        return data, False
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


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
    devices.check(device)
    if isinstance(data, TensorBase):
        return data if dtype is None or data.array.dtype == dtype.numpy else cast(data, dtype.numpy)
    if isinstance(data, np.ndarray) and data.flags.writeable and (dtype is None or data.dtype == dtype.numpy):
        return from_numpy(data)
    return wrap(from_data(data, dtype))


asarray = as_tensor


def from_numpy(ndarray: np.ndarray) -> Any:
    """A tensor that shares the memory of an array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    check_strides(ndarray)
    return wrap(ndarray.view(np.ndarray))


# ------------------------------------------------------------------------------------------ one value
def shaped(size: tuple, kwargs: dict, call: str) -> tuple[int, ...]:
    """The sizes from f(2, 3), f((2, 3)) or f(size=(2, 3)); torch's error for a negative one."""
    shape = sizes(size or (kwargs.pop("size"),) if "size" in kwargs else size, call)
    if any(n < 0 for n in shape):
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
    if out is not None:
        if out.array.shape != array.shape:
            out.array = np.empty(array.shape, out.array.dtype)
        out.array[...] = array
        out.version[0] += 1
        return out
    return finish(array, requires_grad, device)


def zeros(*size: Any, **options: Any) -> Any:
    """Zeros of the given shape; float32 unless `dtype` says otherwise."""
    shape = shaped(size, options, "zeros")
    return full_of(
        np.zeros(shape, numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)), "zeros", **options
    )


def ones(*size: Any, **options: Any) -> Any:
    """Ones of the given shape; float32 unless `dtype` says otherwise."""
    shape = shaped(size, options, "ones")
    return full_of(
        np.ones(shape, numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)), "ones", **options
    )


def empty(*size: Any, **options: Any) -> Any:
    """A tensor of the given shape with whatever is in memory."""
    shape = shaped(size, options, "empty")
    return full_of(
        np.empty(shape, numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)), "empty", **options
    )


def full(size: Any, fill_value: Any, **options: Any) -> Any:
    """`fill_value` in the given shape; its type is the value's unless `dtype` says otherwise."""
    scalar = isinstance(fill_value, TensorBase) and fill_value.array.ndim == 0
    value = number(fill_value.array[()] if scalar else fill_value, "full", "fill_value")
    dtype = numpy_type(options.get("dtype"), dtypes.promote(value))
    return full_of(np.full(shaped((size,), {}, "full"), converted(value, dtype, "full")), "full", **options)


def zeros_like(input: Any, **options: Any) -> Any:
    """Zeros of the shape and type of `input`."""
    a = expect_tensor(input, "zeros_like").array
    return full_of(np.zeros_like(a, numpy_type(options.get("dtype"), a.dtype)), "zeros_like", **options)


def ones_like(input: Any, **options: Any) -> Any:
    """Ones of the shape and type of `input`."""
    a = expect_tensor(input, "ones_like").array
    return full_of(np.ones_like(a, numpy_type(options.get("dtype"), a.dtype)), "ones_like", **options)


def empty_like(input: Any, **options: Any) -> Any:
    """A tensor of the shape and type of `input` with whatever is in memory."""
    a = expect_tensor(input, "empty_like").array
    return full_of(np.empty_like(a, numpy_type(options.get("dtype"), a.dtype)), "empty_like", **options)


def full_like(input: Any, fill_value: Any, **options: Any) -> Any:
    """`fill_value` in the shape and type of `input`."""
    a = expect_tensor(input, "full_like").array
    value = converted(fill_value, numpy_type(options.get("dtype"), a.dtype), "full_like")
    return full_of(np.full_like(a, value, value.dtype), "full_like", **options)


def eye(n: int, m: int | None = None, **options: Any) -> Any:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    for name, size in (("n", n), ("m", n if m is None else m)):
        if operator.index(size) < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    return full_of(
        np.eye(n, m, dtype=numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)), "eye", **options
    )


# ------------------------------------------------------------------------------------------ sequences
def arange(start: Any = None, end: Any = None, step: Any = 1, **options: Any) -> Any:
    """start (0 unless given), start + step, ... below end; int64 if all are integers."""
    if start is None or end is None:
        start, end = 0, start if end is None else end
    start, end, step = (
        v.array.item() if isinstance(v, TensorBase) else number(v, "arange", n)
        for v, n in ((start, "start"), (end, "end"), (step, "step"))
    )
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    whole = all(isinstance(v, int) for v in (start, end, step))
    dtype = numpy_type(options.get("dtype"), np.dtype(np.int64) if whole else dtypes.get_default_dtype().numpy)
    if not math.isfinite((end - start) / step):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    count = math.ceil((end - start) / step)
    return full_of((start + step * np.arange(count)).astype(dtype), "arange", **options)


def linspace(start: Any, end: Any, steps: int, **options: Any) -> Any:
    """`steps` evenly spaced numbers from start to end, both included."""
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    start, end = (float(v) for v in (start, end))
    dtype = numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)
    k = np.arange(steps)
    width = (end - start) / (steps - 1) if steps > 1 else 0.0
    real = dtype if dtype.kind == "f" else np.dtype(np.float64)
    step = real.type(width)
    # torch counts from both ends, so that the last element is exact
    values = np.where(
        k < steps // 2, real.type(start) + step * k.astype(real), real.type(end) - step * (steps - 1 - k).astype(real)
    )
    return full_of((values if steps != 1 else np.array([start])).astype(dtype), "linspace", **options)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple:
    """The coordinates of a grid, one tensor for each axis."""
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


# ------------------------------------------------------------------------------------------ random numbers
def generator_of(options: dict) -> random.Generator:
    return options.pop("generator", None) or random.default_generator


def rand(*size: Any, **options: Any) -> Any:
    """Uniform numbers in [0, 1)."""
    generator, shape = generator_of(options), shaped(size, options, "rand")
    dtype = numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)
    return full_of(generator.uniform(shape, 0.0, 1.0, dtype.type), "rand", **options)


def randn(*size: Any, **options: Any) -> Any:
    """Standard normal numbers."""
    generator, shape = generator_of(options), shaped(size, options, "randn")
    dtype = numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)
    return full_of(generator.normal(shape, 0.0, 1.0, dtype.type), "randn", **options)


def rand_like(input: Any, **options: Any) -> Any:
    """Uniform numbers in [0, 1), of the shape and type of `input`."""
    options.setdefault("dtype", expect_tensor(input, "rand_like").dtype)
    return rand(input.array.shape, **options)


def randn_like(input: Any, **options: Any) -> Any:
    """Standard normal numbers, of the shape and type of `input`."""
    options.setdefault("dtype", expect_tensor(input, "randn_like").dtype)
    return randn(input.array.shape, **options)


def randint(*bounds: Any, **options: Any) -> Any:
    """Integers from low (0 unless given) to high - 1: randint(high, size) or randint(low, high, size)."""
    names: tuple[str, ...] = ("low", "high", "size")
    named = {n: options.pop(n) for n in names if n in options}
    if len(bounds) + len(named) < 3 and "low" not in named:
        names = names[1:]
    given = {**dict(zip(names, bounds, strict=False)), **named}
    if len(bounds) + len(named) != len(given) or set(given) != set(names):
        raise TypeError(
            f"randint() takes (high, size) or (low, high, size), got {len(bounds)} of them and {set(named)}"
        )
    low, high, size = given.get("low", 0), given["high"], given["size"]
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    generator = generator_of(options)
    dtype = numpy_type(options.get("dtype"), np.dtype(np.int64))
    return full_of(generator.integers(low, high, shaped((size,), {}, "randint")).astype(dtype), "randint", **options)


def randperm(n: int, **options: Any) -> Any:
    """The integers 0 to n - 1 in random order."""
    generator = generator_of(options)
    return full_of(
        generator.permutation(n).astype(numpy_type(options.get("dtype"), np.dtype(np.int64))), "randperm", **options
    )


def normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> Any:
    """Normal numbers: of tensors of means and standard deviations, or of numbers and a size."""
    generator = generator_of(options)
    if isinstance(mean, TensorBase) or isinstance(std, TensorBase):
        arrays = [
            v.array if isinstance(v, TensorBase) else np.asarray(v, dtypes.get_default_dtype().numpy)
            for v in (mean, std)
        ]
        shape = check_broadcast(*arrays)
        if np.any(arrays[1] < 0):
            raise RuntimeError(f"normal expects all elements of std >= 0.0, got {arrays[1].min()}")
        dtype = dtypes.promote(*arrays)
        return full_of(
            (generator.normal(shape, 0.0, 1.0, dtype.type) * arrays[1] + arrays[0]).astype(dtype), "normal", **options
        )
    if size is None:
        raise TypeError("normal(): numbers as mean and std need a size")
    dtype = numpy_type(options.get("dtype"), dtypes.get_default_dtype().numpy)
    return full_of(
        generator.normal(shaped((size,), {}, "normal"), float(mean), float(std), dtype.type), "normal", **options
    )


class Drawn(Op):
    """Numbers drawn with probabilities, which get no gradient but zero."""

    @staticmethod
    def forward(p, *, draw):
        return draw(p), ()

    @staticmethod
    def backward(saved, needs, g):
        return np.zeros_like(g)


def bernoulli(input: Any, p: Any = None, *, generator: random.Generator | None = None, out: Any = None) -> Any:
    """1 with the probability that each element gives, or with probability `p`, else 0."""
    a, source = expect_tensor(input, "bernoulli").array, generator or random.default_generator
    if p is not None:
        p = number(p, "bernoulli", "p")
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        return into(out, wrap(source.bernoulli(a.shape, p).astype(a.dtype)), "bernoulli")
    if a.dtype.kind != "f":
        raise unsupported("bernoulli_tensor", a.dtype)
    if not np.all((a >= 0) & (a <= 1)):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return into(out, run(Drawn, (input,), (a,), draw=lambda p: source.bernoulli_from(p).astype(p.dtype)), "bernoulli")


def multinomial(
    input: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: random.Generator | None = None,
    out: Any = None,
) -> Any:
    """Indices drawn with the probabilities (not necessarily normalised) in each row of `input`: (..., num_samples)
    int64.
    """
    weights = expect_tensor(input, "multinomial").array
    drawn = (generator or random.default_generator).multinomial(weights, num_samples, replacement)
    return into(out, wrap(drawn), "multinomial")


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
