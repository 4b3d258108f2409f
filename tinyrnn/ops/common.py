"""What all ops share: turning arguments into arrays, in-place forms, dimensions, error wording."""

from __future__ import annotations

import functools
import math
import operator
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import CPU, array_types, host, of, put
from ..kernels.formulas import UNARY
from ..kernels.layouts import in_order, inverse, order_of
from ..kernels.scalar import NotRecordable, Var
from ..strides import contiguous, copied, laid_as, overlaps
from ..tape import (
    SHARED,
    Cast,
    Op,
    TensorBase,
    apply,
    check_writable,
    converted_to,
    is_grad_enabled,
    record,
    run,
    wrap,
    write,
)

Number = (int, float, bool, np.number, np.bool_)

# How a cell's step has what these functions of tensors compute.
OPERATORS = {
    "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "pow": "a ** b", "neg": "-a", "positive": "a",
    "gt": "a > b", "ge": "a >= b", "lt": "a < b", "le": "a <= b", "eq": "a == b", "ne": "a != b",
}  # fmt: skip


OF_TWO = {"atan2", "fmod", "hypot", "logaddexp", "logaddexp2", "maximum", "minimum", "xlogy"}  # which a step may call
INTERNAL = {"gelu_tanh"}  # formulas that have no function of their name


def expect_tensor(x: Any, call: str, argument: str = "input") -> Any:
    """`x`, if it is a tensor; torch's TypeError otherwise."""
    if not isinstance(x, TensorBase):
        if isinstance(x, Var):
            raise unrecordable(call)
        raise TypeError(f"{call}(): argument '{argument}' must be Tensor, not {type_of(x)}")
    return x


def type_of(x: Any) -> str:
    """What something is that cannot be taken, for an error: a type, or of a tensor of ours why it is no number."""
    kind = type(x)
    if isinstance(x, TensorBase):
        return f"a Tensor of shape {list(x.array.shape)}{' that requires a gradient' if x.requires_grad else ''}"
    if kind.__name__ not in ("Tensor", "Parameter"):
        return kind.__name__
    return f"{kind.__module__}.{kind.__name__}, a tensor of another library (was an import left as it was?)"


def unrecordable(call: str) -> NotRecordable:
    """The error for a function that the step of a recurrent cell called, and cannot be made of."""
    if call in OPERATORS:
        return NotRecordable(f"it calls {call}(); write {OPERATORS[call]}")
    if call in UNARY:  # which it may call
        return NotRecordable(f"it calls {call}() in place; a value cannot be overwritten: use what {call}() returns")
    return NotRecordable(
        f"it calls {call}(), but it is about one number of each kind, that of one hidden unit at one step, and made of "
        f"+ - * / **, comparisons, where(), the mean over all units mean(-1, keepdim=True), and these functions: "
        f"{', '.join(sorted((UNARY.keys() | OF_TWO) - INTERNAL))}"
    )


def cast(t: Any, dtype: np.dtype) -> Any:
    """A tensor with the elements of `t` as `dtype`: `t` itself if it has that type already."""
    return t if t.array.dtype == dtype else run(Cast, (t,), (t.array,), dtype=dtype)


def floating(t: Any) -> Any:
    """`t`, or its elements in the default floating-point type if they are integers or booleans."""
    return t if t.array.dtype.kind == "f" else cast(t, dtypes.get_default_dtype().numpy)


def check_broadcast(*arrays: np.ndarray) -> tuple[int, ...]:
    """The shape that `arrays` broadcast to; torch's RuntimeError if there is none."""
    if len(arrays) == 2:  # one of them is often the last axes of the other, a bias say: some microseconds less
        long, short = arrays[0].shape, arrays[1].shape
        if len(long) < len(short):
            long, short = short, long
        if long[len(long) - len(short) :] == short:
            return long
    elif len(arrays) == 3 and arrays[0].shape == arrays[1].shape == arrays[2].shape:
        return arrays[0].shape
    try:
        return np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        pass
    a: tuple[int, ...] = ()
    for b in (array.shape for array in arrays):
        for axis in range(1, min(len(a), len(b)) + 1):
            if a[-axis] != b[-axis] and 1 not in (a[-axis], b[-axis]):
                raise RuntimeError(
                    f"The size of tensor a ({a[-axis]}) must match the size of tensor b ({b[-axis]}) at non-singleton "
                    f"dimension {max(len(a), len(b)) - axis}; the shapes are {list(a)} and {list(b)}"
                )
        a = np.broadcast_shapes(a, b)
    return a


def refuse_bool(call: str, a: Any, b: Any) -> None:
    """torch's error for subtracting truth values."""
    truth = False
    for x in (a, b):
        if isinstance(x, TensorBase):
            truth |= x.array.dtype.kind == "b"
        else:
            truth |= isinstance(number(x, call, "other"), bool)
    if truth:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )


INT64, LARGE = np.dtype(np.int64), 1 << 63
NO_BOOL = "iuf"  # the kinds of types that can be subtracted


def operands(a: Any, b: Any, call: str, kinds: str = "biuf") -> tuple[Any, Any, Any, Any]:
    """Two tensors, or a tensor and a number, after torch's promotion: (tensor or None, tensor or None, array, array).

    `kinds` are the kinds of NumPy types that the op works on; others become floating point, or int64 (NO_BOOL: are
    refused).
    """
    if isinstance(a, TensorBase):
        x: Any = a.array
        if isinstance(b, TensorBase):
            y: Any = b.array
            if x.dtype == y.dtype and x.dtype.kind in kinds:
                if x.shape != y.shape:
                    check_broadcast(x, y)
                return a, b, x, y
        elif type(b) in (float, int) and x.dtype.kind == "f":
            return a, None, x, x.dtype.type(b)
        elif type(b) is int and x.dtype is INT64 and "i" in kinds and -LARGE <= b < LARGE:
            return a, None, x, np.int64(b)
        else:
            y = number(b, call, "other")
    elif type(a) in (float, int) and isinstance(b, TensorBase) and b.array.dtype.kind == "f":
        y = b.array
        return None, b, y.dtype.type(a), y
    else:
        x = number(a, call, "input")
        y = number(b, call, "other") if not isinstance(b, TensorBase) else b.array
    if kinds == NO_BOOL:
        refuse_bool(call, a, b)
    dtype = dtypes.promote(x, y)
    if dtype.kind not in kinds:
        dtype = dtypes.get_default_dtype().numpy if kinds == "f" else np.dtype(np.int64)
    x, y = (v if type(v) in array_types else np.asarray(v) for v in (x, y))
    x, y = converted_to(dtype, x), converted_to(dtype, y)  # an integer that does not fit wraps, as in torch
    check_broadcast(x, y)
    return a if isinstance(a, TensorBase) else None, b if isinstance(b, TensorBase) else None, x, y


def binary(op: type[Op], a: Any, b: Any, call: str, kinds: str = "biuf") -> Any:
    """`op` on two tensors, or a tensor and a number, after torch's promotion of their types."""
    if isinstance(a, TensorBase) and isinstance(b, TensorBase):
        x, y = a.array, b.array
        dtype = x.dtype
        if dtype is y.dtype and dtype.kind in kinds and x.shape == y.shape:  # as most are: nothing to promote
            return record(op, (a, b), op.forward(x, y) if x.flags.c_contiguous else lying(op, x, y))
    elif not isinstance(a, TensorBase) and not isinstance(b, TensorBase):
        a = as_tensor(a) if call in OF_NUMBERS and isinstance(a, Number) else expect_tensor(a, call)
    a, b, x, y = operands(a, b, call, kinds)
    simple = x.flags.c_contiguous and y.flags.c_contiguous
    return record(op, (a, b), op.forward(x, y) if simple else lying(op, x, y))


def lying(op: type[Op], x: Any, y: Any) -> tuple:
    """op.forward(x, y), with a result that lies in memory as torch's.

    Of two arrays of one shape, NumPy's result is in order if one of them is, torch's if `x` is.
    """
    axes = None
    if x.shape == y.shape:
        if in_order(x.strides):
            return op.forward(x, y)
        axes = order_of(x.shape, (x.shape, x.strides), (y.shape, y.strides))
    if axes is None:
        out, saved = op.forward(x, y)
        found = laid_as(out, x, y)
        return found, tuple([found if a is out else a for a in saved])
    across, along, back = x.transpose(axes), y.transpose(axes), inverse(axes)
    out, saved = op.forward(across, along)
    found = contiguous(out).transpose(back)
    if saved:
        same = {id(across): x, id(along): y, id(out): found}
        turned = [a.transpose(back) if type(a) in array_types and id(a) not in same else a for a in saved]
        saved = tuple([same.get(id(a), a) for a in turned])
    return found, saved


OF_NUMBERS = {"add", "sub", "mul", "div", "floor_divide"}  # which torch also does for two numbers


def as_tensor(x: Any) -> Any:
    """A number as a 0-d tensor of the type that torch gives it."""
    x = number(x, "a function", "input")
    kinds = {bool: np.dtype(np.bool_), int: np.dtype(np.int64), float: dtypes.get_default_dtype().numpy}
    return wrap(np.asarray(x, kinds[type(x)]))


def number(x: Any, call: str, argument: str) -> Any:
    """`x`, which may be a 0-d tensor without a gradient, as a Python number (NumPy's truth values count as floats, as
    in torch); torch's TypeError if it is none.
    """
    if type(x) is float or type(x) is int:
        return x
    if isinstance(x, (np.number, np.bool_)) and not isinstance(x, np.complexfloating):
        return x.item() if not isinstance(x, np.bool_) else float(x)
    if isinstance(x, (int, float, bool)):
        return x
    if isinstance(x, Var):
        raise unrecordable(call)
    if isinstance(x, TensorBase) and not x.array.shape and not x.requires_grad:
        return x.array.item()
    raise TypeError(f"{call}(): argument '{argument}' must be Tensor or a number, not {type_of(x)}")


@functools.cache
def limits(dtype: np.dtype, whole: bool) -> tuple[float, float]:
    """Between which numbers a value must lie to be written as `dtype`; whole numbers may be negative, as in C."""
    if dtype.kind == "f":
        return -float(np.finfo(dtype).max), float(np.finfo(dtype).max)
    if dtype.kind == "b":
        return -np.inf, np.inf
    ends = np.iinfo(dtype)
    return (-int(ends.max) if dtype.kind == "u" and whole else int(ends.min)), int(ends.max)


def converted(value: Any, dtype: np.dtype, call: str) -> np.ndarray:
    """A number as a 0-d array of the type that it is written to; torch's RuntimeError if it does not fit."""
    value = number(value, call, "value")
    least, most = limits(dtype, isinstance(value, int))
    if not least <= value <= most and (dtype.kind in "iu" or math.isfinite(value)):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow ({call}(): {value})")
    return np.asarray(int(value) if dtype.kind in "iu" else value).astype(dtype)


def unsupported(call: str, dtype: np.dtype) -> NotImplementedError:
    """torch's error for a function of floating-point numbers that is given others, or the other way round."""
    return NotImplementedError(f"\"{call}_cpu\" not implemented for '{dtypes.word(dtype)}'")


class Truth(Op):
    """Truth values in place of floating-point numbers: constant."""

    @staticmethod
    def forward(*arrays, truth):
        return truth, tuple((a.shape, a.dtype) for a in arrays)

    @staticmethod
    def backward(saved, needs, g):
        return tuple(np.zeros(*each, like=g) for each in saved)


def on_host(op: type[Op]) -> type[Op]:
    """An op that is computed on the CPU wherever its arrays are: rare, or made of branches and searches."""
    forward, backward = op.forward, op.backward

    def there(*arrays: Any, **parameters: Any) -> Any:
        where = CPU
        for a in arrays:
            if a is not None and type(a) is not np.ndarray:
                where = of(a)
        if where is CPU:
            return forward(*arrays, **parameters)
        out, saved = forward(*(None if a is None else host(a) for a in arrays), **parameters)
        return (tuple(put(a, where) for a in out) if type(out) is tuple else put(out, where)), saved

    def back(saved: tuple, needs: tuple, *gradients: Any) -> Any:
        where = of(next(g for g in gradients if g is not None))
        found = backward(saved, needs, *(None if g is None else host(g) for g in gradients))
        found = found if type(found) is tuple else (found,)
        return tuple(None if g is None else put(g, where) for g in found)

    op.forward, op.backward = staticmethod(there), staticmethod(back)  # type: ignore[method-assign]
    return op


class Changing(threading.local):
    array: np.ndarray | None = None  # what an op may change instead of copying it, in this thread


changing = Changing()


def change(array: np.ndarray | None, function: Any, *args: Any, **kwargs: Any) -> Any:
    """function(...), in which `fresh` gives the array itself, and formulas whose first input it is overwrite it."""
    changing.array = array
    try:
        return function(*args, **kwargs)
    finally:
        changing.array = None


def fresh(a: np.ndarray) -> np.ndarray:
    """A copy of an array, in order, for an op to change at some places; the array itself where it may be changed, so
    that a write to a few places of a large tensor does not take the time of all of it.
    """
    return a if changing.array is a and a.flags.c_contiguous else a.copy(order="C")


# The functions whose op changes what `fresh` gives it, or is a formula that overwrites it, and does not need the old
# content for its backward; or does.
SPARING = {"scatter", "scatter_add", "index_add", "index_copy", "index_fill", "fill_diagonal"}
SPARING |= {"erfinv", "exp", "expm1", "reciprocal", "relu", "rsqrt", "sigmoid", "sqrt", "tan", "tanh"}
SAVING = {
    "abs", "addcdiv", "addcmul", "clamp", "clamp_max", "clamp_min", "cos", "cosh", "erf", "erfc",
    "index_reduce", "lerp", "log", "log1p", "logit", "scatter_reduce", "sin", "sinh", "square",
}  # fmt: skip


def inplace(function: Any) -> Any:
    """The in-place form of `function`: its result overwrites the first argument, which is returned."""
    name = f"{function.__name__}_"
    sparing, saving = function.__name__ in SPARING, function.__name__ in SAVING

    @functools.wraps(function)
    def overwrite(self, *args, **kwargs):
        if "out" in kwargs:
            raise TypeError(f"{name}() got an unexpected keyword argument 'out'")
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, TensorBase)]
        recorded = bool(tensors) and any(x.requires_grad for x in tensors)
        check_writable(self, recorded)
        some = sparing or (saving and not (is_grad_enabled() and (recorded or self.requires_grad)))
        if some and not (tensors and any(shares(self, x) for x in tensors)):
            result = change(self.array, function, self, *args, **kwargs)
        else:
            result = function(before(self) if recorded or self.requires_grad else self, *args, **kwargs)
        here, there = self.array, result.array
        if there.shape != here.shape:
            raise RuntimeError(
                f"output with shape {list(here.shape)} doesn't match the broadcast shape {list(there.shape)}"
            )
        if there.dtype != here.dtype and not dtypes.can_cast(result.dtype, self.dtype):
            raise cannot_write(there.dtype, here.dtype)
        of_truth = there.dtype.kind == "b" and "logical" not in name
        if of_truth and here.dtype.kind in "iu" and recorded and is_grad_enabled():
            raise RuntimeError(f"{name}(): what requires a gradient would be recorded in integers, which can have none")
        if here.dtype.kind == "f" and there.dtype.kind == "b":  # of truth values nothing was recorded
            inputs = [self, *tensors]
            result = run(Truth, inputs, [x.array for x in inputs], truth=there.astype(here.dtype))
        return write(self, result, checked=True)

    overwrite.__name__ = overwrite.__qualname__ = name
    overwrite.__doc__ = f"{function.__name__}, written into this tensor."
    return overwrite


def shares(t: Any, x: Any) -> bool:
    """Whether `x` is a tensor that may share memory with the tensor `t`."""
    return isinstance(x, TensorBase) and np.may_share_memory(t.array, x.array)


def cannot_write(there: np.dtype, here: np.dtype) -> RuntimeError:
    return RuntimeError(
        f"result type {dtypes.word(there)} can't be cast to the desired output type {dtypes.word(here)}"
    )


def before(t: Any) -> Any:
    """A tensor at the same place of the tape as `t`, with a copy of its content: ops may save it and `t` may change."""
    if not is_grad_enabled():
        return t
    copy = wrap(copied(t.array))
    copy._edge, copy._requires = t._edge, t._requires
    return copy


# The functions whose out= must have the type of the result; others write what can be cast to its type.
EXACT = {
    "abs", "addbmm", "addmm", "addmv", "amax", "amin", "aminmax", "argmax", "argmin", "baddbmm", "bitwise_not", "bmm",
    "ceil", "cummax", "cummin", "cumprod", "cumsum", "diag", "dot", "float_power", "floor", "frac", "gather", "gelu",
    "hardshrink", "heaviside", "histc", "index_add", "index_copy", "index_reduce", "index_select", "inner", "isin",
    "isneginf", "isposinf", "kthvalue", "lerp", "log_softmax", "logcumsumexp", "logsigmoid", "masked_select",
    "matmul", "matrix_norm", "max", "min", "mm", "mode", "msort", "multi_dot", "mv", "nan_to_num", "nanquantile",
    "neg", "nonzero", "norm", "prod", "quantile", "renorm", "round", "scatter", "scatter_add", "scatter_reduce",
    "sgn", "sign", "signbit", "slice_scatter", "softmax", "softplus", "softshrink", "sort", "sum", "take_along_dim",
    "tensordot", "topk", "tril", "triu", "trunc", "vdot", "vecdot", "vector_norm", "where",
}  # fmt: skip


def into(out: Any, result: Any, call: str, exact: bool | None = None, apart: Sequence[Any] = ()) -> Any:
    """`result`, or `out` after it was overwritten with it (the out= argument of torch's functions); `exact`: whether
    the types must be the same, if EXACT does not tell; `apart`: tensors that must not share its memory.
    """
    if out is None:
        return result
    expect_tensor(out, call, "out")
    if (call in EXACT if exact is None else exact) and out.array.dtype != result.array.dtype:
        raise RuntimeError(f"{call}(): Expected out tensor to have dtype {result.dtype}, but got {out.dtype} instead")
    if is_grad_enabled() and (out.requires_grad or result.requires_grad):
        raise RuntimeError(
            f"{call}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if overlaps(out.array):
        raise RuntimeError(SHARED)
    if any(t is out or np.may_share_memory(out.array, t.array) for t in apart):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            f"memory location. Please clone() the tensor before performing the operation. ({call}())"
        )
    if out.array.dtype != result.array.dtype and not dtypes.can_cast(result.dtype, out.dtype):
        raise cannot_write(result.array.dtype, out.array.dtype)
    if out.array.shape != result.array.shape:
        if out.array.size:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out.array.shape)}, which "
                f"does not match the required output shape {list(result.array.shape)}.",
                stacklevel=3,
            )
        out.array = np.empty_like(result.array, out.array.dtype)
    return write(out, result)


def numpy_names(function: Any) -> Any:
    """`function` with NumPy's keywords too, as torch takes them: axis for dim and keepdims for keepdim."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        if kwargs:
            if "axis" in kwargs and "dim" not in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs and "keepdim" not in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return call


def axis(dim: Any, ndim: int) -> int:
    """A dimension as a number from 0; torch's IndexError if it is out of range."""
    if type(dim) is not int:
        try:
            dim = operator.index(dim)
        except TypeError:
            raise TypeError(f"a dimension must be an int, not {type(dim).__name__}") from None
    size = max(ndim, 1)
    if not -size <= dim < size:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})")
    return dim % size


def axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """Dimensions as sorted numbers from 0; all of them for None or ()."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim % ndim,)
    chosen = [axis(d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    for d in chosen:
        if chosen.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return tuple(sorted(chosen)) if ndim else ()


def sizes(args: Sequence[Any], call: str, named: dict | None = None, keyword: str = "size") -> tuple[int, ...]:
    """The sizes in f(2, 3), f((2, 3)) or f([2, 3]); with `named`, the rest of the keywords, in f(size=(2, 3)) too."""
    if named is not None:
        for name in named:
            if name != keyword or args:
                raise TypeError(f"{call}() got an unexpected keyword argument '{name}'")
        args = args or tuple(named.values())
        if not args:
            raise TypeError(f'{call}() missing 1 required positional arguments: "{keyword}"')
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    try:
        return tuple(map(operator.index, args))
    except TypeError:
        wrong = next(n for n in args if isinstance(n, TensorBase) or not hasattr(n, "__index__"))
        raise TypeError(f"{call}(): sizes must be ints, but one is {type(wrong).__name__}") from None


__all__ = [
    "NO_BOOL",
    "Number",
    "Op",
    "TensorBase",
    "apply",
    "axes",
    "axis",
    "binary",
    "before",
    "cast",
    "check_broadcast",
    "converted",
    "converted_to",
    "expect_tensor",
    "floating",
    "inplace",
    "into",
    "number",
    "numpy_names",
    "on_host",
    "operands",
    "record",
    "refuse_bool",
    "run",
    "sizes",
    "unsupported",
    "wrap",
]
