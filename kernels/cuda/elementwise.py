"""NumPy's ufuncs, copies, assignments and `where` on the device: any types, any layout, broadcasting.

    ufunc(ufunc, inputs, out, dtype)   what NumPy's ufunc gives, with NumPy's result type
    copy(a, order, dtype)              astype
    assign(target, value)              target[...] = value
    where(condition, a, b)             np.where

Results lie in memory as NumPy's do.  Division of integers by zero gives 0, and a number that is too large for an
integer gives what it gives on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formulas import BINARY, UNARY
from ..scalar import lines, spell
from .array import Array, download, upload
from .driver import driver
from .jit import Kernel
from .loops import Body, Input, Result, computed, kept, kernel_of, run

# What a ufunc computes from x and y: of floating-point numbers, of integers (as int64) and of truth values.
FLOAT = {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "divide": "x / y",
    "floor_divide": "floor_divide(x, y)",
    "remainder": "remainder(x, y)",
    "fmod": "fmod(x, y)",
    "power": "x ** y",
    "float_power": "x ** y",
    "arctan2": "atan2(x, y)",
    "hypot": "hypot(x, y)",
    "copysign": "copysign(x, y)",
    "maximum": "maximum(x, y)",
    "minimum": "minimum(x, y)",
    "fmax": "fmax(x, y)",
    "fmin": "fmin(x, y)",
    "negative": "-x",
    "positive": "x",
    "absolute": "abs(x)",
    "fabs": "abs(x)",
    "sign": "sign(x)",
    "square": "x * x",
    "reciprocal": "real(1.0) / x",
    "rint": "rint(x, real({large}))",
    "floor": "floor(x)",
    "ceil": "ceil(x)",
    "trunc": "trunc(x)",
    "isnan": "x != x",
    "isinf": "abs(x) == inf",
    "isfinite": "abs(x) < inf",
    "signbit": "copysign(real(1.0), x) < real(0.0)",
    "logical_and": "x != real(0.0) and y != real(0.0)",
    "logical_or": "x != real(0.0) or y != real(0.0)",
    "logical_xor": "(x != real(0.0)) != (y != real(0.0))",
    "logical_not": "x == real(0.0)",
    **{name: f"{name}(x)" for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt")},
    **{name: f"{name}(x)" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    **{f"arc{name}": f"a{name}(x)" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
COMPARISONS = {
    "equal": "x == y",
    "not_equal": "x != y",
    "less": "x < y",
    "less_equal": "x <= y",
    "greater": "x > y",
    "greater_equal": "x >= y",
}
INTEGER = {
    "add": "x + y",
    "subtract": "x - y",
    "multiply": "x * y",
    "floor_divide": "integer_floor_divide(x, y)",
    "remainder": "integer_remainder(x, y)",
    "fmod": "integer_fmod(x, y)",
    "power": "integer_power(x, y)",
    "maximum": "x if x >= y else y",
    "minimum": "x if x <= y else y",
    "fmax": "x if x >= y else y",
    "fmin": "x if x <= y else y",
    "negative": "-x",
    "absolute": "abs(x)",
    "sign": "1 if x > 0 else (-1 if x < 0 else 0)",
    "square": "x * x",
    "gcd": "gcd(x, y)",
    "lcm": "lcm(x, y)",
    "bitwise_and": "x & y",
    "bitwise_or": "x | y",
    "bitwise_xor": "x ^ y",
    "invert": "~x",
    "left_shift": "left_shift(x, y, {bits})",
    "right_shift": "right_shift(x, y, {bits})",
    "isnan": "False",
    "isinf": "False",
    "isfinite": "True",
    "logical_and": "x != 0 and y != 0",
    "logical_or": "x != 0 or y != 0",
    "logical_xor": "(x != 0) != (y != 0)",
    "logical_not": "x == 0",
    **dict.fromkeys(("positive", "rint", "floor", "ceil", "trunc"), "x"),
}
TRUTH = {
    **dict.fromkeys(("add", "logical_or", "bitwise_or", "maximum", "fmax"), "x or y"),
    **dict.fromkeys(("multiply", "logical_and", "bitwise_and", "minimum", "fmin"), "x and y"),
    **dict.fromkeys(("logical_xor", "bitwise_xor"), "x != y"),
    **dict.fromkeys(("logical_not", "invert"), "not x"),
    **dict.fromkeys(("absolute", "positive", "floor", "ceil", "trunc"), "x"),
    "isnan": "False",
    "isinf": "False",
    "isfinite": "True",
}
FORMULAS = {name: UNARY[name] for name in ("exp2", "deg2rad", "rad2deg")}
FORMULAS |= {"radians": UNARY["deg2rad"], "degrees": UNARY["rad2deg"]}
FORMULAS |= {name: BINARY[name] for name in ("logaddexp", "logaddexp2")}


# ---------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------
def calculation(name: str, type: str, dtype: np.dtype) -> tuple[tuple[str, ...], str] | None:
    """(the statements, the result) of a ufunc of x and y; None if there is no such row."""
    if type in ("float32", "float64") and name in FORMULAS:
        r = FORMULAS[name].recording
        renamed = [f"{own.name} = {x}" for own, x in zip(r.inputs.values(), "xy", strict=False) if own.name != x]
        return (*renamed, *lines(r.outputs)), spell(r.outputs[0])
    table = COMPARISONS | {"bool": TRUTH, "int64": INTEGER}.get(type, FLOAT)
    if name not in table:
        return None
    large = 2.0 ** (52 if type == "float64" else 23)
    return (), table[name].format(large=large, bits=8 * dtype.itemsize)


@functools.cache
def body_of(
    ufunc: np.ufunc, memory: tuple[np.dtype | None, ...], types: tuple[np.dtype, ...], out: np.dtype
) -> Body | None:
    """`memory`: the types of the inputs as they lie there, None for numbers; `types`: those of the ufunc's loop."""
    name, kind = ufunc.__name__, computed(types[0])
    found = calculation(name, kind, types[0])
    if found is None or any(t.itemsize > 8 or t.char == "e" or t.kind not in "biuf" or t == np.uint64 for t in types):
        return None
    statements, value = found
    given = zip("xy", memory, types, strict=False)
    inputs = tuple([Input(x, m and m.name, computed(t)) for x, m, t in given])
    result = computed(types[-1])
    return Body(
        f"{name}_{result}",
        f"{name}({', '.join([x.memory or 'a number' for x in inputs])}) -> {out.name}, in {kind}",
        inputs,
        statements,
        (Result(value, result, out.name),),
        kind if kind.startswith("float") else "",
    )


@functools.cache
def cast_body(memory: np.dtype | None, out: np.dtype) -> Body:
    """What copies numbers of a type in memory, or one number of the type of the result."""
    type, name = computed(memory or out), memory and memory.name
    title = f"{name or 'a number'} -> {out.name}"
    return Body(f"copy_{out.name}", title, (Input("x", name, type),), (), (Result("x", type, out.name),))


@functools.cache
def where_body(memory: tuple[np.dtype | None, ...], out: np.dtype) -> Body:
    own, names = computed(out), [m and m.name for m in memory]
    inputs = tuple([Input(*x) for x in zip(("condition", "x", "y"), names, ("bool", own, own), strict=True)])
    title = f"where({', '.join([name or 'a number' for name in names])}) -> {out.name}"
    return Body(f"where_{out.name}", title, inputs, (), (Result("x if condition else y", own, out.name),))


def examples() -> list[Kernel]:
    """Kernels of each kind: long and short ones, all layouts, conversions between types."""
    f4, f8 = np.dtype("float32"), np.dtype("float64")
    kernels = [kernel_of(cast_body(a, np.dtype(b)), 2) for a, b in ((f8, "uint8"), (f4, "int64"))]
    kernels.append(kernel_of(where_body((np.dtype(bool), f4, None), f4), 4))
    for name, *memory, axes in (
        ("add", "float32", "float32", 0),
        ("add", "float32", "float32", 1),
        ("multiply", "float64", None, 3),
        ("floor_divide", "float32", "float32", 2),
        ("remainder", "int64", "int32", 2),
        ("power", "float64", "float64", 0),
        ("power", "int32", "int32", 0),
        ("gcd", "int64", "int64", 0),
        ("arctan2", "float32", "float32", 5),
        ("rint", "float64", 0),
        ("logical_and", "bool", "float32", 0),
        ("logaddexp", "float64", "float64", 0),
    ):
        ufunc = getattr(np, name)
        given = [m and np.dtype(m) for m in memory]
        types = loop_types(ufunc, tuple([dtype or float for dtype in given]), None)
        body = body_of(ufunc, tuple(given), types, types[-1])
        assert body is not None
        kernels.append(kernel_of(body, axes))
    return kernels


# ---------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------
def operand(value: Any) -> Any:
    """An input: an array of the device, or a number, also for a host array that is one."""
    if type(value) is Array or not isinstance(value, np.ndarray):
        return value
    if value.ndim:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )
    return value[()]


def kind_of(value: Any) -> Any:
    """A number's or an array's type as NumPy's promotion sees it: Python's own numbers adapt to others."""
    return type(value) if type(value) in (int, float) else np.dtype(bool) if type(value) is bool else value.dtype


@functools.cache
def loop_types(ufunc: np.ufunc, kinds: tuple[Any, ...], dtype: np.dtype | None) -> tuple[np.dtype, ...]:
    """The types of the inputs and of the result of the loop that NumPy would run."""
    given = {} if dtype is None else {"signature": (*(None,) * len(kinds), dtype)}
    return ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout), **given)


def ufunc(ufunc: np.ufunc, inputs: Sequence[Any], out: Array | None = None, dtype: Any = None) -> Array:
    """A ufunc of arrays and numbers.  With `out`, which may be one of the inputs, the result goes there."""
    inputs = [operand(x) for x in inputs]
    arrays = [x for x in inputs if type(x) is Array]
    types = loop_types(ufunc, tuple(map(kind_of, inputs)), None if dtype is None else np.dtype(dtype))
    memory = tuple([x.dtype if type(x) is Array else None for x in inputs])
    to = types[-1] if out is None else out.dtype
    body = body_of(ufunc, memory, types, to) if ufunc.nout == 1 else None
    if body is None:
        return through_host(ufunc, inputs, out, dtype)
    if out is not None and not np.can_cast(types[-1], to, "same_kind"):
        raise TypeError(f"Cannot cast ufunc '{ufunc.__name__}' output from {types[-1]!r} to {to!r}")
    if types[0].kind in "iu" and ufunc.__name__ in COMPARISONS:
        types = (np.dtype(np.int64),) * 2  # also for numbers that the array's type has not
    inputs = [x if type(x) is Array else fitted(x, t) for x, t in zip(inputs, types, strict=False)]
    shape = arrays[0].shape if len(arrays) == 1 else np.broadcast_shapes(*[a.shape for a in arrays])
    if out is None:
        out = kept(arrays, shape, to)
    elif np.broadcast_shapes(shape, out.shape) != out.shape:
        raise ValueError(f"non-broadcastable output operand with shape {out.shape} for a result of shape {shape}")
    else:
        inputs = [copy(x) if type(x) is Array and overlap(x, out) else x for x in inputs]
    run(body, inputs, (out,))
    return out


def fitted(number: Any, dtype: np.dtype) -> Any:
    """A number in the type of the loop, as Python's own; OverflowError if it does not fit, in NumPy's words."""
    return float(number) if dtype.kind == "f" else np.asarray(number, dtype).item()


def through_host(ufunc: np.ufunc, inputs: Sequence[Any], out: Array | None, dtype: Any) -> Any:
    """A ufunc without a kernel, on copies."""
    result = ufunc(*[download(x) if type(x) is Array else x for x in inputs], dtype=dtype)
    if out is not None:
        assign(out, result)
        return out
    return tuple(map(uploaded, result)) if isinstance(result, tuple) else uploaded(result)


def uploaded(value: Any) -> Array:
    return upload(np.asarray(value))


def overlap(a: Array, b: Array) -> bool:
    """Whether writing to b may change what has yet to be read of a: they share memory, and are not the same view."""
    if a.block is not b.block or not np.may_share_memory(a.header, b.header):
        return False
    return (a.address, a.shape, a.strides, a.dtype) != (b.address, b.shape, b.strides, b.dtype)


def copy(a: Array, order: str = "C", dtype: Any = None) -> Array:
    """A new array, contiguous in `order`; with "K", its axes lie in memory as those of `a`."""
    out = kept((a,), a.shape, a.dtype if dtype is None else dtype, order)
    move(out, a)
    return out


def assign(target: Array, value: Any) -> None:
    """target[...] = value for an array of either device or a number, cast as NumPy does."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = upload(value)
    if type(value) is not Array:
        number = np.empty((), target.dtype)
        number[...] = value  # with NumPy's casts and errors
        if target.flags.c_contiguous and not number.view(f"u{target.itemsize}"):
            if target.size:
                driver().zero(target.address, target.nbytes)
            return
        run(cast_body(None, target.dtype), (number.item(),), (target,))
        return
    shape = value.shape[max(0, value.ndim - target.ndim) :]
    if any(n != 1 for n in value.shape[: value.ndim - len(shape)]) or (
        np.broadcast_shapes(shape, target.shape) != target.shape
    ):
        raise ValueError(f"could not broadcast input array from shape {value.shape} into shape {target.shape}")
    move(target, copy(value) if overlap(value, target) else value.reshape(shape))


def move(target: Array, value: Array) -> None:
    """Copy and cast; the two do not overlap, or are the same."""
    if not target.size:
        return
    alike = (target.dtype, target.shape, target.strides) == (value.dtype, value.shape, value.strides)
    if alike and (target.flags.c_contiguous or target.flags.f_contiguous):
        if target.address != value.address:
            driver().copy(target.address, value.address, target.nbytes)
        return
    run(cast_body(value.dtype, target.dtype), (value,), (target,))


def where(condition: Array, a: Any, b: Any) -> Array:
    """`a` where the condition is not zero, else `b`: arrays or numbers."""
    a, b = operand(a), operand(b)
    if type(condition) is not Array:
        condition = uploaded(condition)
    dtype = np.result_type(*[np.empty(0, x.dtype) if type(x) is Array else x for x in (a, b)])
    inputs = [condition, *[x if type(x) is Array else fitted(x, dtype) for x in (a, b)]]
    arrays = [x for x in inputs if type(x) is Array]
    shape = np.broadcast_shapes(*[x.shape for x in arrays])
    out = kept(arrays, shape, dtype)
    run(where_body(tuple([x.dtype if type(x) is Array else None for x in inputs]), dtype), inputs, (out,))
    return out
