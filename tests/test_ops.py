"""Every function and method on tensors against torch: one row of the table each (see table.py)."""

import importlib
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import structure
from conftest import needs_torch
from table import Row, answers, check, gradients_check, takes_out, torchs_answer

import tinyrnn
from tinyrnn import switches
from tinyrnn.kernels.cpu import map as map_kernels
from tinyrnn.kernels.formulas import UNARY
from tinyrnn.kernels.scalar import PRIMITIVES
from tinyrnn.ops import arithmetic


def each(names: str, cases: str, *calls: str, **how) -> list[Row]:
    """The same row for several ops."""
    return [Row(name, cases, *calls, **how) for name in names.split()]


pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of much that is right

ONE = "2,3; -; 0,3; 2:i; 2:h; 2:b; 2:y; 8:s; 6:t"
TWO = "2,3 2,3; 2,1 3; - 2; 0,3 1,3; 0 2,1; 8:s 8:s; 4:t 4:t; 2 2:i; 3:n 1:n; 2:i 2:b; 2:b 2:b; 3 2; 2,3 2"
BOTH = ("_(x, y)", "_(x, other=2)", "_(x, -1.5)", "_(x, True)", "_(x, '1')")
INTEGERS = ("_(x, y)", "_(x, other=2)", "_(x, True)", "_(x, '1')")
ALONG = ("_(x)", "_(x, 0)", "_(x, dim=-1, keepdim=True)", "_(x, axis=0)", "_(x, (0, 1))", "_(x, 3)", "_(x, '0')")
OPERATORS = {
    "__add__": "+", "__sub__": "-", "__mul__": "*", "__truediv__": "/", "__mod__": "%", "__floordiv__": "//",
    "__pow__": "**", "__lshift__": "<<", "__rshift__": ">>", "__and__": "&", "__or__": "|", "__xor__": "^", "__eq__": "==", "__ne__": "!=", "__lt__": "<",
    "__le__": "<=", "__gt__": ">", "__ge__": ">=",
}  # fmt: skip

# fmt: off
ELEMENTWISE = [
    *each("exp expm1 sin cos tan sinh cosh tanh sigmoid erf", ONE, "_(x)"),
    *each("abs absolute square neg negative relu reciprocal", ONE, "_(x)"),
    *each("log log1p sqrt rsqrt log2 log10", "2,3:p; 0,3:p; -:p; 2:i; 2:b; 8:s; 6:t", "_(x)"),
    *each("atan arctan exp2 erfc sinc deg2rad rad2deg positive sgn", ONE, "_(x)"),
    *each("lgamma digamma", "2,3:p; 2,3; 0,3; -; 2:i; 2:b; 8:s; 6:t", "_(x)"),
    *each("acos arccos asin arcsin erfinv", "2,3:u; 0,3:u; -:u; 2:i; 2:b; 8:s; 6:t; 2,3", "_(x)"),
    *[row for name in ("acosh", "asinh", "atanh") for form in (name, f"arc{name[1:]}")  # torch has no gradient in place
      for row in (Row(form, "2,3:p; 2,3:u; 0,3; -; 2:i; 2:b; 8:s; 6:t", "_(x)", "_(x + 1)", without="in-place"),
                  Row(f"{form}_", "2,3:p; 2:i; 8:s", f"x.detach().clone().{form}_()", rough=True))],
    Row("logit", "2,3:u; 0,3:u; -:u; 2:i; 2:b; 8:s; 2,3", "_(x)", "_(x, 0.25)", "_(x, eps=0.01)", "_(x, '1')"),
    Row("nan_to_num", ONE.replace("; 8:s", ""), "_(x)", "_(x, 2.5)"),
    Row("nan_to_num", ONE, "_(x, nan=1, posinf=2, neginf=-3.0)", "_(x, '1')"),
    *each("frac signbit isposinf isneginf isreal fix", ONE, "_(x)", rough=True),
    *each("floor ceil trunc sign isnan isinf isfinite bitwise_not", ONE, "_(x)", rough=True),
    Row("logical_not", ONE, "_(x)", rough=True, without="in-place"),
    Row("round", ONE, "_(x)", "_(x, decimals=1)", "_(x, decimals=-1)", rough=True),
    Row("clamp", "2,3; -; 0,3; 3:i; 3:b; 8:s; 6:t",
        "_(x, -1, 1)", "_(x, min=0.25)", "_(x, max=1)", "_(x, 1, -1)", "_(x)", "_(x, '1')",
        "_(x, t.tensor(0), t.tensor(1.0))"),
    Row("clip", "2,3 3 1; 3:i 3 3; 2 2:t 2:t; 6:t 6:t 6:t; 2,3 2,3 3,1", "_(x, y, z)", "_(x, max=z)", "_(x, 0, z)"),
    *each("clamp_min", "2,3 3; 2 2:i; 3:i 3; 3:b 3:b; 6:t 6:t; 8:s 8:s",
          "_(x, y)", "_(x, 0.25)", "_(x, min=1)", "_(x, True)", "_(x, '1')"),
    *each("clamp_max", "2,3 3; 2 2:i; 3:i 3; 3:b 3:b; 6:t 6:t; 8:s 8:s",
          "_(x, y)", "_(x, 0.25)", "_(x, max=1)", "_(x, True)", "_(x, '1')"),
    Row("where", "2,3:b 2,3 2,3; 3:b 2,1 -; 0,3:b 3 3; 2:b 2:i 2; 2:y 2 2; 2 2 2; 2:b 3 2; 2,3:b 2 3; 2:b 2:b 2:i",
        "_(x, y, z)", "_(x, y, 0.5)", "_(condition=x, input=y, other=z)", "_(x, 1, z)", "_(x, 1, 2.5)",
        "_(x, y, '1')", "y.where(x, z)", "_(x, y)", without="method"),
    Row("where", "2,3:t; -:t; 0,3; 2:i; 3:b", "_(x)", "_(3)", without="method out", rough=True),
    Row("masked_fill", "2,3 3:b; 2,3 2,1:b; - 3:b; 2:i 2:b; 2:b 2:b; 2 2:y; 2 3:b; 2 2; 0,3 3:b",
        "_(x, y, -1.5)", "_(x, mask=y, value=2)", "_(x, y, -inf)", "_(x, y, t.tensor(3.0))",
        "_(x, y, x.sum())", "_(x, y, t.tensor([3.0]))", "_(x, y, True)", "_(x, y, '1')", "_(x, [True], 1)"),
    Row("leaky_relu", ONE, "_(x)", "_(x, negative_slope=-0.25)", "_(x, '1')"),
    Row("elu", ONE, "_(x)", "_(x, alpha=0.5)", "_(x, 2)"),
    Row("gelu", ONE, "_(x)", "_(x, approximate='tanh')", "_(x, approximate='fast')"),
    Row("silu", ONE, "_(x)"),
    Row("softplus", ONE, "_(x)", "_(x, beta=2, threshold=1)", "_(x, 0.5, 0.25)"),
    Row("logsigmoid", ONE, "_(x)"),
]
ARITHMETIC = [
    *each("add sub mul div", TWO, *BOTH),
    *each("multiply divide true_divide subtract", "2,3 3; 2:i 2; 2:b 2:b", *BOTH),
    *each("maximum minimum", TWO, *BOTH),
    *each("remainder floor_divide fmod copysign", TWO, *BOTH, rough=True),
    *each("fmax fmin atan2 arctan2 hypot logaddexp logaddexp2", TWO, *BOTH, "_(3, y)"),
    Row("xlogy", "2,3 2,3:p; 2,1 3:p; - 2:p; 0,3 1,3; 8:s 8:s; 4:t 4:t; 2 2:i; 2:i 2:b; 2:b 2:b; 3 2:p",
        *BOTH, "_(3, y)"),
    Row("float_power", "2,1:p 3; -:p 2; 0,3 3; 3:i 3:i; 2:p 2:i; 2:b 2:b; 8:s 8:s",
        "_(x, y)", "_(x, 2)", "_(x, exponent=0.5)", "_(2, y)", "_(2, 3)", "_(x, '2')"),
    Row("ldexp", "2,3 2,3; 2,1 3:k; - 2:y; 2:i -; 0,3 1,3; 2 2:k; 2:i 2:k; 2:b 2:b; 3 2", *BOTH),
    Row("nextafter", "2,3 2,3; 2,1 3; 8:s 8:s; 4:t 4:t; 2 2:i; 2:i 2:i; 0 0", *BOTH, rough=True),
    *each("gcd lcm bitwise_left_shift bitwise_right_shift", "2,3:i 2,3:i; 2,1:i 3:k; -:h 2:y; 2:y 2:i; 2:b 2:b; 2 2; 0:i 0:i",
          *INTEGERS, "_(3, y)", "_(x, 70)", rough=True),
    Row("heaviside", "2,3 2,3; 4:t 4; 3:i 3:i; 2:b 2:b; 2 2:i; 8:s 8:s; 0 0; 2 -",
        "_(x, y)", "_(x, values=y)", "_(x.detach(), y.detach())", "_(x, 1.0)", rough=True),
    Row("rsub", "2,3 3; 2:i 2:i; 2:b 2:b; 2:i 2", *BOTH[:3], "_(x, y, alpha=2)", "_(x, 3, alpha=0.5)", "_(2, y)"),
    *each("less less_equal greater greater_equal", "2,3 3; 2:i 2; 2:b 2:b", *BOTH, rough=True),
    *each("eq ne lt le gt ge not_equal", TWO, *BOTH, rough=True),
    *each("logical_and logical_or logical_xor", TWO, *BOTH, rough=True, without="in-place"),
    *[Row(name, "2,3 2,1; 2:i 2; 2:b 2:b; 2 3", f"x.detach().clone().{name}(y.detach())", rough=True)  # torch's gradient is not zero
      for name in ("logical_and_", "logical_or_", "logical_xor_")],
    Row("logical_not_", "2,3; 6:t; 2:i; 2:b", "x.detach().clone().logical_not_()", rough=True),
    *each("bitwise_and bitwise_or bitwise_xor", "2,3:i 2,3:i; 2,1:i 3:k; -:h 2:y; 2:y 2:i; 2:b 2:b; 2:b 2:i; 2 2; 0:i 0:i",
          *INTEGERS, rough=True),
    Row("add", "2,3 3; 2:i 2:i; 2:i 2; 2:b 2:b; 2:h -:i",
        "_(x, y, alpha=2)", "_(input=x, other=y, alpha=-0.5)", "_(x, 3, alpha=2)", "_(x, y, alpha=True)",
        "_(x, y, alpha='2')", "_(x)", "_(3, y)", "_(x, [1])", "_(x, None)"),
    Row("add", "2; 2:i",  # out= is resized and cast to, and refused for a gradient or a type that is too narrow
        "_(x.detach(), 1, out=t.zeros(3, dtype=t.float64))", "_(x.detach(), 1, out=t.zeros(2, dtype=t.float64)[:1])",
        "_(x.detach(), 0.5, out=t.zeros(2, dtype=t.int64))", "_(x.detach(), 1, out=t.empty(0).bool())",
        "_(x.detach(), 1, out=x.detach())", "_(x, 1, out=t.zeros(2, dtype=t.float64))", "_(x.detach(), 1, out=[1])",
        "_(x.detach(), 1, out=t.zeros(2, dtype=t.float64, requires_grad=True))", without="out", rough=True),
    Row("sub", "2,3 3; 2:i 2:i; 2:i 2; 2:b 2:b; 2:h -:i; 2 2:b",
        "_(x, y, alpha=2)", "_(x, y, alpha=-0.5)", "_(x, True)"),
    Row("div", "2,3 2,3; 3:n 3:n; 3:n 3; 2 2:i; 2:y 2:n; 8:s 8:s",
        "_(x, y, rounding_mode='floor')", "_(x, y, rounding_mode='trunc')", "_(x, 2, rounding_mode='trunc')",
        "_(x, y, rounding_mode=None)", "_(x, y, rounding_mode='ceil')", rough=True),
    Row("floor_divide", "3:n 3:k; 3 3:t", "_(x, y)", "_(x, 0)", rough=True),
    Row("remainder", "3:n 3:k; 3 3:t", "_(x, y)", "_(x, 0)", rough=True),
    Row("pow", "2,1:p 3; -:p 2; 0,3 3; 2:t 2:t; 8:s 8:s; 3:i 3:k; 3:i 3:i; 2:i 2:p; 2:b 2:b; 2:p 2:i; 2 3",
        "_(x, y)", "_(x, 2)", "_(x, 3)", "_(x, 0)", "_(x, exponent=0.5)", "_(x, -1)", "_(2, y)", "_(0, y)",
        "_(2.5, y)", "_(2, 3)", "_(x, '2')"),
    Row("addcmul", "2,3 2,3 2,3; 2,3 2,1 3; - 2 2; 0,3 3 3; 2:i 2:i 2:i; 2 2:i 2:i; 2 2 3; 2:i 2 2",
        "_(x, y, z)", "_(x, y, z, value=-0.5)", "_(x, y, 2)"),
    Row("addcdiv", "2,3 2,3 2,3; 2,3 2,1 3; - 2 2; 0,3 3 3; 2:i 2:n 2:n; 2 2:n 2; 2 2 3",
        "_(x, y, z)", "_(x, y, z, value=2)"),
    Row("lerp", "2,3 2,3 2,3; 2,3 2,1 3; 2 2 -; - - 2; 0,3 3 3; 2:i 2:i 2; 2 2:i 2; 2 2 3; 8:s 8:s 8",
        "_(x, y, z)", "_(x, y, weight=0.25)", "_(x, y, 2)", "_(x, 1.0, 0.5)"),
    Row("equal", "2,3 2,3; 2:k 2:k; 2 3; 0 0; - -; 2:i 2; 2:s 2:s", "_(x, y)", "_(x, x + 0)", "_(x, 1)", rough=True),
    Row("isclose", "2,3 2,3; 2,1 3; 8:s 8:s; 3:i 3:i; 3:t 3:t; 2 2:i; 2:b 2:b; 0 0; 2 3",
        "_(x, y)", "_(x, y, rtol=0.5, atol=0.25)", "_(x, y, equal_nan=True)", "_(x, y, rtol=-1.0)", rough=True),
    Row("allclose", "2,3 2,3; 2,1 3; 8:s 8:s; 3:i 3:i; 0 0; 2 2:i; 2 3",
        "_(x, y)", "_(x, x + 1e-09)", "_(x, y, 10.0, 10.0)", "_(x, x, equal_nan=True)", rough=True),
    *[Row(name, "2,3 3; 2 2:i; 3:n 3:n; 2:b 2:b",
          *[f"{left} {op} {right}" for left, right in [("x", "y"), ("x", "2"), ("x", "0.5"), ("x", "None"),
            ("3", "y.detach()"), ("(-1.5)", "y.detach()"), ("True", "y.detach()")]],
          rough=op not in "+-*/") for name, op in OPERATORS.items()],
    *[Row(name, "3 3; 3:i 3:i", *[f"{left} {op} y.detach()" for left in
          ("np.float64(2)", "np.int64(2)", "np.float32(0.5)", "np.bool_(True)", *["np.arange(1, 4)"] * (op != "/"))],
          *[f"x.detach() {op} {right}" for right in ("np.float64(2)", "np.int64(2)", "np.float32(0.5)")], rough=True)
      for name, op in {**OPERATORS, "__matmul__": "@"}.items()],
    *[Row(f"__i{name}__", "2,3 3; 2,1 3; 3:n 3:n; 2:i 2; 2:b 2:b",
          *[f"operator.i{name}({sides})" for sides in
            ("x.clone(), y", "x.clone(), 2", "x.detach(), 0.5", "x, y", "x.clone(), None")], rough=True)
      for name in ("add", "sub", "mul", "truediv", "mod", "floordiv", "pow")],
    *[Row(f"__i{name}__", "2:i 2:i; 2:b 2:b; 2:i 2:b; 2:b 2:i; 2,1:i 3:i; 2 2",
          f"operator.i{name}(x.clone(), y)", f"operator.i{name}(x.clone(), True)", rough=True)
      for name in ("and", "or", "xor", "lshift", "rshift")],
    *[Row(name, "2,3; -; 2:i; 2:b; 0", call, rough=name == "__invert__")
      for name, call in {"__neg__": "-x", "__pos__": "+x", "__abs__": "abs(x)", "__invert__": "~x"}.items()],
    Row("__matmul__", "2,3 3,2; 3 3; 2,3 3; 2,3 2,3; - 2; 2,2:i 2,2:i; 2,2:b 2,2:b", "x @ y", "x @ 2.0", "None @ x"),
]
REDUCTIONS = [
    Row("sum", "2,3,2; -; 2,0; 1,1; 3:i; 2,3:b; 3:y; 8:s",
        "_(x)", "_(x, 0)", "_(x, dim=-1, keepdim=True)", "_(x, (0, -1))", "_(x, [])", "_(x, None, True)",
        "_(x, axis=1, keepdims=True)", "_(x, dtype=t.float32)", "_(x, 3)", "_(x, (0, 0))", "_(x, '0')", "_(x, 0.5)",
        "_([1.0])"),
    Row("sum", "3:i; 2,3:b; -:y",
        "_(x, dtype=t.int32)", "_(x, 0, dtype=t.bool)", "_(x, -1, dtype=t.uint8)", rough=True),
    Row("mean", "2,3,2; -; 2,0; 1,1; 3:i; 2,3:b; 8:s",
        "_(x)", "_(x, 0)", "_(x, dim=-1, keepdim=True)", "_(x, [0, 1])", "_(x, ())", "_(x, axis=0, keepdims=True)",
        "_(x, dtype=t.float32)", "_(x, dtype=t.int64)", "_(x, 3)"),
    *each("max min", "2,3,2; -; 2,0; 1,2; 3:i; 3:b; 2,3:t; 8:s", *ALONG),
    *each("argmax argmin", "2,3,2; -; 2,0; 1,2; 3:i; 3:b; 2,3:t; 8:s", *ALONG, rough=True),
    *each("max min", "2,3 2,3; 2,1 3; 2:i 2; 4:t 4:t; 2 3", "_(x, y)", "_(x, other=y)"),
    *each("amax amin", "2,3,2; -; 2,0; 1,2; 3:i; 3:b; 2,3:t; 8:s",
          "_(x)", "_(x, 1, True)", "_(x, dim=(0, -1))", "_(x, axis=0, keepdims=True)", "_(x, 3)"),
    *each("all any", "2,3,2; -; 2,0; 1,2; 3:i; 3:b; 3:y; 2,3:t; 8:s",
          "_(x)", "_(x, 1)", "_(x, dim=(0, -1), keepdim=True)", "_(x, ())", "_(x, axis=0)", "_(x, 3)", rough=True),
    Row("logsumexp", "2,3,2; -; 2,0; 1,2; 3:i; 3:b; 8:s",
        "_(x, 0)", "_(x, dim=(0, -1), keepdim=True)", "_(x, 3)", "_(x)"),
    *each("var std", "2,3,2; -; 2,0; 1,2; 1; 3:i; 3:b; 2,3:t; 8:s",
          "_(x)", "_(x, 0)", "_(x, False)", "_(x, unbiased=False)", "_(x, 0, True, True)",
          "_(x, (0, -1), keepdim=True)", "_(x, dim=None, correction=0.5)", "_(x, 0, correction=2)",
          "_(x, axis=0, keepdims=True)", "_(x, 3)"),
    Row("norm", "2,3,2; -; 2,0; 1,2; 2,2; 3:i; 2,3:t; 8:s",
        "_(x)", "_(x, 1)", "_(x, 2, 0)", "_(x, p=inf, dim=-1, keepdim=True)", "_(x, -inf)",
        "_(x, 0)", "_(x, 3, (0, 1))", "_(x, 'fro', (0, 1))", "_(x, 'fro', 0)", "_(x, 2, None, True)",
        "_(x, dtype=t.float64)", "_(x, 2, 3)", "_(x, 'max')"),
    Row("cumsum", "2,3,2; -; 2,0; 3:i; 3:b; 3:y; 8:s",
        "_(x, 0)", "_(x, dim=-1)", "_(x, axis=0)", "_(x, 0, dtype=t.float32)", "_(x, 3)", "_(x)"),
]
SHAPES = [
    Row("reshape", "2,6; -; 0,3; 12:i; 1",
        "_(x, (3, 4))", "_(x, [-1])", "_(x, shape=(-1, 1))", "_(x, ())", "x.reshape(2, -1)",
        "x.reshape(t.tensor(3), 4)", "_(x, (-1, -1))", "_(x, (5, -1))", "_(x, (-2, 3))", "_(x, (0, -1))",
        "_(x, (2.0, 6))", "_(x, '2')"),
    Row("view", "2,6; -; 0,3; 12:i; 1",
        "_(x, 3, 4)", "_(x, [4, -1])", "_(x, size=(-1,))", "_(x, -1, 1)", "_(x)", "_(x, ())", "_(x, 5, -1)",
        "_(x, -1, -1)", "_(x, x.dtype)", "_(x, '2')", without="strided"),
    Row("view", "2,2:i; 2,4:h; 4:y; -:i; 2,3:h; 0,2:i",
        "_(x, t.int32)", "_(x, dtype=t.int64)", "_(x, t.float64)", "_(x, t.uint8)", without="strided", rough=True),
    Row("view_as", "2,6 3,4; 2,6 5", "_(x, y)", without="strided"),
    Row("reshape_as", "2,6 3,4; 2,6 5; 0,3 0", "_(x, y)"),
    Row("flatten", "2,3,2; -; 0,3; 4:i",
        "_(x)", "_(x, 1)", "_(x, start_dim=0, end_dim=1)", "_(x, -2, -1)", "_(x, 1, 0)", "_(x, 5)"),
    Row("unflatten", "4,6; 6; -; 0,6; 6:i",
        "_(x, -1, (2, 3))", "_(x, 0, [2, -1])", "_(x, dim=-1, sizes=(-1,))", "_(x, 0, (5, 2))", "_(x, 0, ())",
        "_(x, 4, (2, 3))"),
    Row("permute", "2,3,2; 2,0,3; -; 2:i",
        "_(x, (2, 0, 1))", "_(x, dims=(-1, 1, 0))", "x.permute(0, 2, 1)", "x.permute()", "_(x, (0, 1))",
        "_(x, (0, 0, 1))", "_(x, (0, 1, 3))"),
    *each("transpose swapaxes", "2,3,2; 2,0; -; 2:i", "_(x, 0, 1)", "_(x, -1, 0)", "_(x, 0, 3)", "_(x, 0)"),
    Row("transpose", "2,3", "_(x, dim0=0, dim1=1)"),
    Row("swapaxes", "2,3", "_(x.swapaxes(axis0=0, axis1=1), 0, 1)"),
    Row("t", "2,3; 3; -; 0,3; 2,3,2; 2:i", "_(x)", "_(3)"),
    Row("T", "2,3; 3; 0,3", "x.T"),
    Row("mT", "2,3; 2,3,2; 0,3; 3; -", "x.mT"),
    Row("movedim", "2,3,2; 2,0; -; 2:i",
        "_(x, 0, -1)", "_(x, source=1, destination=0)", "_(x, (0, 1), (1, 2))", "_(x, (0, 1), (1,))",
        "_(x, (0, 0), (1, 2))", "_(x, 4, 0)"),
    Row("unsqueeze", "2,3; -; 0; 2:i", "_(x, 0)", "_(x, dim=-1)", "_(x, 1)", "_(x, 4)", "_(x, '0')", "_(x)"),
    Row("squeeze", "1,3,1; 2,3; -; 1; 0,1; 1,1:i", "_(x)", "_(x, 0)", "_(x, dim=-1)", "_(x, (0, -1))", "_(x, 3)"),
    Row("expand", "2,1; 3; -; 0,1; 2:i",
        "_(x, 2, 3)", "_(x, (2, 2, 3))", "_(x, -1, -1)", "_(x, -1)", "_(x, 4, 5, 6)", "_(x, size=(2, 3))", "_(x)"),
    Row("expand_as", "2,1 2,3; 3 2,3; - 2; 2 3; 2,3 3", "_(x, y)"),
    Row("repeat", "2,3; 2; -; 0,3; 2:i",
        "_(x, 2, 3)", "_(x, (2, 1, 2))", "_(x, repeats=(2, 0))", "_(x, 2)", "_(x, -1, 2)"),
    Row("repeat_interleave", "2,3; 3; -; 0,3; 3:i",
        "_(x, 2)", "_(x, 2, dim=0)", "_(x, repeats=0, dim=-1)", "_(x, t.tensor([1, 0, 2]), dim=-1)",
        "_(x, t.tensor([2]), dim=0)", "_(x, t.tensor([1, 2, 0]), -1, output_size=3)", "_(x, -1)", "_(x, 2, 3)",
        "_(x, t.tensor([1.0]))"),
    Row("repeat_interleave", "3:k; 0:k; 2; 2,2:k", "_(x)", rough=True),
    *each("cat concat concatenate stack", "2,3 2,3; 2,3 1,3; 3 0; 0,3 2,3; - -; 2:i 2; 2:b 2:i; 2,3 3,2; 2,3 3",
          "_([x, y])", "_((x, y, x), dim=-1)", "_(tensors=(x, y), axis=0)", "_([x], 1)", "_([])", "_([x, 1])",
          "_(x)", "_([x, y], 3)"),
    Row("split", "5,2; 4; -; 0,3; 4:i",
        "_(x, 2)", "_(x, 3, dim=-1)", "_(x, [1, 3])", "_(x, [2, 0, 3], 0)", "_(x, 0)", "_(x, -1)", "_(x, [5, -1])",
        "_(x, 2, 4)", "x.split(split_size=3)"),
    Row("split", "5,2", "_(tensor=x, split_size_or_sections=2, dim=0)", without="method"),
    Row("chunk", "5,2; 4; -; 0,3; 4:i", "_(x, 2)", "_(x, chunks=3, dim=-1)", "_(x, 8)[-1]", "_(x, 0)", "_(x, 2, 4)"),
    Row("unbind", "2,3; 3; 2,0; 0,2; -; 2:i", "_(x)", "_(x, dim=-1)[0]", "_(x, 3)"),
    Row("clone", "2,3; -; 0,3; 2:i", "_(x)"),
    Row("contiguous", "2,3; -; 0,3; 2:i", "_(x)", without="strided"),
    Row("contiguous", "2,3; 3,2:i", "_(x.t())", "x[:, ::2].contiguous()"),
    Row("flip", "2,3,2; -; 0,3; 3:i; 3:b",
        "_(x, (0,))", "_(x, dims=(0, -1))", "x.flip(0, 1)", "_(x, ())", "_(x, (0, 0))", "_(x, (3,))"),
    Row("roll", "2,3,2; -; 0,3; 4:i",
        "_(x, 1)", "_(x, -1, 0)", "_(x, shifts=(1, 2), dims=(0, 1))", "_(x, (1, 1), (0, 0))", "_(x, 7, -1)",
        "_(x, (1, 2))", "_(x, (1, 2), 0)", "_(x, 1, 3)"),
    *each("tril triu", "3,4; 2,3,2; 0,3; 1,1; 3:i; 3,3:i; 2,2:b; -; 2,2:s",
          "_(x)", "_(x, 1)", "_(x, diagonal=-1)", "_(x, 9)", "_(x, 0.5)"),
]
INDEXING = [
    Row("narrow", "4,3; 0,3; -; 4:i",
        "_(x, 0, 1, 2)", "_(x, dim=-1, start=-2, length=2)", "_(x, 0, t.tensor(1), 1)", "_(x, 0, 4, 0)",
        "_(x, 0, 3, 2)", "_(x, 0, 6, 1)", "_(x, 0, 0, -1)", "_(x, 2, 0, 1)"),
    Row("select", "2,3; 3; 0,3; -; 3:i",
        "_(x, 0, 1)", "_(x, dim=-1, index=-2)", "_(x, 0, 5)", "_(x, 2, 0)", "_(x, 0, '1')"),
    Row("index_select", "4,3; 4; 0,3; -; 4:i",
        "_(x, 0, t.tensor([0, 2, 2]))", "_(x, dim=-1, index=t.tensor([1, 0]))", "_(x, 0, t.tensor(0))",
        "_(x, 0, t.tensor([], dtype=t.int64))", "_(x, 0, t.tensor([1], dtype=t.int32))", "_(x, 0, t.tensor([-1]))",
        "_(x, 0, t.tensor([4]))", "_(x, 0, t.tensor([[1]]))", "_(x, 0, t.tensor([1.0]))", "_(x, 0, [1])",
        "_(x, 3, t.tensor([0]))"),
    Row("masked_select", "2,3 2,3:b; 2,3 3:b; 2,1 3:b; - 2:b; 0,3 3:b; 2:i 2:b; 2 2:y; 2 3:b; 2 2",
        "_(x, y)", "_(x, mask=x > 0)", "_(x, [True])"),
    Row("gather", "3,2; 3; 0,3; -; 3:i",
        "_(x, 0, t.tensor([[0, 2], [1, 1]]))", "_(x, dim=1, index=t.tensor([[0, 1, 1]]))",
        "_(x, 0, t.tensor([0, 1]))", "_(x, 0, t.tensor(0))", "_(x, -1, t.tensor([2, 0, 0, 1]))",
        "_(x, 0, t.tensor([], dtype=t.int64))", "_(x, 0, t.zeros(0, 2, dtype=t.int64))",
        "_(x, 0, t.tensor([[0, 0, 0]]))", "_(x, 0, t.tensor([[3, 0]]))", "_(x, 0, t.tensor([[-1, 0]]))",
        "_(x, 0, t.tensor([[0.0, 1]]))", "_(x, 0, t.tensor([[0, 1]], dtype=t.int32))", "_(x, 2, t.tensor([[0, 1]]))"),
    Row("scatter", "3,3 2,3; 3 3; 3:i 3:i; 3 3:i; 0,3 0,3; - -; 3,3 2,3:i",
        "_(x, 0, t.tensor([[0, 2, 1], [1, 0, 2]]), y)", "_(x, dim=-1, index=t.tensor([0, 2, 1]), src=y)",
        "_(x, 0, t.tensor([0, 2]), 1.5)", "_(x, 1, t.tensor([[0], [1]]), value=2)",
        "_(x, 0, t.tensor([[0, 3, 1]]), y)", "_(x, 0, t.tensor([[0, -1, 1]]), y)",
        "_(x, 1, t.tensor([[0, 1, 2, 0]]), y)", "_(x, 0, t.tensor([[0.0]]), y)", "_(x, 4, t.tensor([[0]]), y)"),
    Row("scatter", "3,3 3,3; 3,3:i 2,3:i; 3 3; - -",
        "_(x.detach(), 1, t.tensor([[0, 2]]), y.detach())", "_(x.detach(), 0, t.tensor([0]), y.detach())",
        "_(x.detach(), 0, t.tensor(0), y.detach())",
        "_(x.detach(), 0, t.tensor([[0, 2, 0], [1, 2, 0]]), y.detach(), reduce='add')",
        "_(x.detach(), 0, t.tensor([[0, 2, 0], [1, 2, 0]]), y.detach(), reduce='multiply')",
        "_(x.detach(), 0, t.tensor([0, 0]), 2, reduce='multiply')", "_(x, 0, t.tensor([0]), y, reduce='mean')",
        rough=True),
    Row("scatter_add", "3,3 2,3; 3 3; 3:i 3:i; 3 3:i; 0,3 0,3; - -; 3,3:i 3,3:i",
        "_(x, 0, t.tensor([[0, 2, 1], [0, 0, 2]]), y)", "_(x, dim=-1, index=t.tensor([1, 1, 1]), src=y)",
        "_(x.detach(), 0, t.tensor(0), y.detach())", "_(x, 0, t.tensor([[0, 3, 1]]), y)",
        "_(x, 0, t.tensor([0]), 1.0)"),
    Row("nonzero", "2,3:t; -:t; -; 0,3; 3:i; 3:b; 2,2,2:t", "_(x)", "_([1])", rough=True),
    Row("nonzero", "2,3:t; -:t; 0,3; 3:b", "_(x, as_tuple=True)", without="out", rough=True),
    Row("sort", "3,4; -; 0,3; 2,0; 6:t; 8:s; 5:i; 4:b; 5:y",
        "_(x, stable=True)", "_(x, dim=0, descending=True, stable=True)", "_(x, -1, True)[0]",
        "_(x, stable=True, dim=0).values", "_(x, 3)"),
    Row("argsort", "3,4; -; 0,3; 6:t; 8:s; 5:i; 4:b",
        "_(x, stable=True)", "_(x, dim=0, descending=True, stable=True)", "_(x, 3)", rough=True),
    Row("topk", "3,4; 4; -; 0,3; 5:i",
        "_(x, 2)", "_(x, k=1, dim=0, largest=False)", "_(x, 0)", "_(x, 2, -1, True, True)[0]", "_(x, 9)", "_(x, -1)",
        "_(x, 1, 3)"),
    Row("topk", "3,4; 8:s; 6:t; 5:y; 3:b",
        "_(x.detach(), 3)[0]", "_(x.detach(), 2, largest=False).values", rough=True),
    Row("unique", "2,3:t; -; 0; 0,3; 6:i; 4:b; 8:s",
        "_(x.detach())", "_(x.detach(), return_inverse=True)", "_(x.detach(), sorted=True, return_counts=True)",
        "_(x.detach(), True, True, True)", rough=True),
    Row("unique", "4,2:t; 6:i; 2,2:b; 0,3; -",
        "_(x.detach(), dim=0)", "_(x.detach(), return_inverse=True, return_counts=True, dim=-1)",
        "_(x.detach(), dim=3)", rough=True),
    Row("embedding", "3,2; 3",
        "F.embedding(t.tensor([[0, 2], [2, 1]]), x)", "F.embedding(t.tensor(1), x)",
        "F.embedding(t.zeros(0, 2, dtype=t.int64), x)", "F.embedding(t.tensor([3]), x)",
        "F.embedding(t.tensor([-1]), x)", "F.embedding(t.tensor([1.0]), x)",
        "F.embedding(t.tensor([0]), x, padding_idx=3)", "F.embedding([0], x)"),
    Row("embedding", "3,2",
        "F.embedding(input=t.tensor([0, 1, 1]), weight=x, padding_idx=1)",
        "F.embedding(t.tensor([0, 2], dtype=t.int32), x, -1)",
        rough=True),
    Row("one_hot", "3:k; 2,2:k; 0:k; -:k; 3:i; 3; 3:h",
        "_(x)", "_(x, 4)", "_(x, num_classes=2)", "_(x, 0)", rough=True),
    Row("pad", "2,3; 3; 1,2,2; 0,3; -; 3:i; 3:b",
        "_(x, (1, 2))", "_(x, pad=[1, 0, 0, 2], value=-1.5)", "_(x, (-1, 1))",
        "_(x, (0, 0), mode='constant', value=2)", "_(x, (1,))", "_(x, (-5, 1))", "_(x, (1, 1, 1, 1, 1, 1, 1, 1))",
        "_(x, ())"),
]
PRODUCTS = [
    Row("matmul",
        "2,3 3,2; 3 3; 2,3 3; 3 3,2; 2,2,3 3,2; 2,1,2,3 3,3,2; 3 2,3,2; 2,2,3 3; 0,3 3,2; 2,0 0,3; 2,3 2,3; "
        "3 2; - 2; 2,2,3 3,3,2; 2,3:i 3,2:i; 2,3 3,2:i; 2,2:b 2,2:b; 2,2,3 2,2,2; 0,2,3 3,2",
        "_(x, y)", "_(input=x, other=y)", "_(x, 2.0)"),
    Row("mm", "2,3 3,2; 0,3 3,2; 2,0 0,2; 2,3 2,3; 3 3,2; 2,2:i 2,2:i; 2,2 2,2:i",
        "_(x, y)", "_(x, mat2=y)", "_(x, [1])"),
    Row("bmm", "2,2,3 2,3,2; 0,2,3 0,3,2; 2,2,0 2,0,1; 2,3 3,2; 2,2,3 1,3,2; 2,2,3 2,2,3; 1,2,2:i 1,2,2:i",
        "_(x, y)", "_(x, mat2=y)"),
    Row("mv", "2,3 3; 0,3 3; 2,0 0; 2,3 2; 3 3; 2,2:i 2:i; 2,3 3:i", "_(x, y)", "_(x, vec=y)"),
    Row("dot", "3 3; 0 0; 2 3; 2,3 3; - -; 3:i 3:i; 3 3:i", "_(x, y)", "_(x, tensor=y)"),
    *each("outer ger", "2 3; 0 2; - 2; 2,2 2; 2:i 2; 2:b 2:b", "_(x, y)", "_(x, vec2=y)"),
    Row("vdot", "3 3; 0 0; 2 3; 2,3 3; - -; 3:i 3:i; 3 3:i", "_(x, y)", "_(x, other=y)"),
    Row("inner", "2,3 4,3; 3 3; 2,3 3; 3 2,2,3; - 2,3; 0 0; 2,3 2; 2:i 2:i; 2:i 2; 2,0 3,0", "_(x, y)", "_(x, other=y)"),
    Row("kron", "2,3 2,2; 2 3; - 2; 2,2 2; 0 2; 2:i 2; 2:b 2:b", "_(x, y)", "_(x, other=y)", "_(x, 2)"),
    Row("tensordot", "2,3 2,3; 2,3,4 4,3; 3 3; - -; 2:i 2:i; 2:i 2; 2,1 3,2; 0,2 2,3",
        "_(x, y)", "_(x, y, 1)", "_(x, y, dims=0)", "_(x, y, ([0], [1]))", "_(x, y, dims=[[-1], [0]])",
        "_(x, y, ([1, 0], [0, 1]))", "_(a=x, b=y, dims=t.tensor([[0], [0]]))", "_(x, y, -1)", "_(x, y, [1, 0])",
        "_(x, y, ([0], [0, 1]))", "_(x, y, '1')"),
    Row("tensordot", "2,3 2,3", "_(x, y, ([0, 0], [0, 0]))", "_(x, y, ([0], [0]))"),
    Row("chain_matmul", "2,3 3,4 4,2; 4,1 1,5 5,2; 2,3 3 3; 2,3 2,3 2,3; 2,2:i 2,2:i 2,2:i; 2,0 0,3 3,1",
        "_(x, y, z)", "_(x, y)", "_(x)", "_()"),
    Row("dist", "2,3 2,3; 3 2,3; - -; 0 0; 2 3; 3:i 3; 3:i 3:i; 8:s 8:s; 4:t 4:t",
        "_(x, y)", "_(x, y, 1)", "_(x, other=y, p=inf)", "_(x.detach(), y.detach(), 0)", "_(x, y, 3.5)", "_(x, 1.0)"),
    Row("addmv", "2 2,3 3; - 2,3 3; 3 2,3 3; 2 3 3; 2 2,0 0; 2:i 2,2:i 2:i; 2 2,2:i 2",
        "_(x, y, z)", "_(x, y, z, beta=0.5, alpha=2)", "_(x, mat=y, vec=z, beta=0)"),
    Row("addr", "2,3 2 3; - 2 3; 3 2 3; 2,2 2 3; 2,2:i 2:i 2:i; 2,2:b 2:b 2:b; 0,3 0 3",
        "_(x, y, z)", "_(x, y, z, beta=0.5, alpha=2)", "_(x, vec1=y, vec2=z, beta=0)", "_(x, y, z, alpha=2)"),
    Row("addbmm", "2,2 3,2,3 3,3,2; 2,2 0,2,3 0,3,2; 3 3,2,3 3,3,2; 2,2:i 1,2,2:i 1,2,2:i",
        "_(x, y, z)", "_(x, y, z, beta=0.5, alpha=2)", "_(x, batch1=y, batch2=z)"),
    Row("addmm",
        "2,2 2,3 3,2; 2 2,3 3,2; - 2,3 3,2; 2,1 2,0 0,2; 3 2,3 3,2; 2 2,3 2,3; 2,2:i 2,2:i 2,2:i; 2,2 2,2:i 2,2",
        "_(x, y, z)", "_(x, y, z, beta=0.5, alpha=2)", "_(x, y, z, beta=0)", "_(x, mat1=y, mat2=z)"),
    Row("baddbmm", "2,2,2 2,2,3 2,3,2; 2 2,2,3 2,3,2; 2,1,2 2,2,0 2,0,2; 3 2,2,3 2,3,2",
        "_(x, y, z)", "_(x, batch1=y, batch2=z, beta=0.5, alpha=2)"),
    Row("linear",
        "2,3 2,3 2; 3 2,3 2; 2,2,3 2,3 2; 2,3 3 -; 0,3 2,3 2; 2,0 2,0 2; 2,4 2,3 2; 2,3 2,3 3; 2,3 2,3 1; "
        "2,3 2,3 2,2; 2,3 2,3 2,1; 2,2,3 2,3 2,2; 2,2,3 2,3 -; 3 2,3 2,2; "
        "2,3 2,3 2:i; 2,3:i 2,3:i 2:i; 2,3:i 2,3 2; - 2,3 2; 2,3 2,2,3 2",
        "_(x, y)", "_(x, y, z)", "_(input=x, weight=y, bias=z)"),
    Row("einsum", "2,3 3,2; 2,2 2,2; 2,2,2 2,2",
        "_('ij,jk->ik', x, y)", "_('ij,jk', x, y)", "_('ij,kl->', x, y)", "_('...j,jk->...k', x, y)",
        "_('bij,jk->bik', x, y)", "_(' i j , j i -> i ', x, y)", "_('ii->i', x)", "_('ii', x)", "_('ij->ji', x)",
        "_('ij->j', [x])", "_('ij,jk,kl->il', x, y, x)", "_('ij,jk->ijk', (x, y))", "_('Ab,bA->A', x, y)",
        "_('ij,jk->iz', x, y)", "_('ij,jk->ii', x, y)", "_('ij', x, y)", "_('i!,jk->i', x, y)",
        "_('ij,jk->ik', x, 1)", "_(x, [0, 1], y, [1, 2], [0, 2])", "_(x, [..., 1], y, [1, 2])"),
    Row("einsum", "2 3; 1 3; 2 2,3; 2:i 2:i; 2:i 2; - 2; 0 2",
        "_('i,j->ij', x, y)", "_('i,i->i', x, y)", "_('...,...->...', x, y)"),
]
CONSTRUCTORS = [
    *each("zeros ones", "",
          "_(2, 3)", "_((2, 0))", "_([3], dtype=t.float64)", "_(())", "_(size=(1, 2), dtype=t.int64)",
          "_(t.tensor(2), 2)", "_(2, dtype=t.bool, device='cpu')", "_(2, 3, requires_grad=True)",
          "_(3, out=t.empty(0))", "_(2, dtype=t.int64, requires_grad=True)", "_(2, -1)", "_(2.0)", "_('2')",
          "_(2, shape=3)", "_(2, dtype='float32')"),
    Row("empty", "",
        "_(2, 3).shape", "_((2, 0), dtype=t.int64)", "_(3, requires_grad=True).zero_()", "_(3, dtype=t.uint8).dtype",
        "_(-1)"),
    Row("full", "",
        "_((2, 3), 1.5)", "_([2], 3)", "_((), True)",
        "_(size=(2,), fill_value=3, dtype=t.float64, requires_grad=True)", "_((2,), t.tensor(2))",
        "_((2,), 2.75, dtype=t.int64)", "_((2,), -1, dtype=t.uint8)", "_((2,), 300, dtype=t.uint8)",
        "_((2,), 2, dtype=t.bool)", "_((-1,), 2)", "_((2,), '1')", "_((2,))"),
    *each("zeros_like ones_like", "2,3; -; 0,3; 2:i; 2:b",
          "_(x)", "_(x, dtype=t.int64)", "_(x.detach(), dtype=t.float64, requires_grad=True)", "_(3)"),
    Row("empty_like", "2,3; -; 2:i", "_(x).zero_()", "_(x, dtype=t.int64).dtype", "_(2)"),
    Row("full_like", "2,3; -; 2:i; 2:b",
        "_(x, 2.5)", "_(x, fill_value=3, dtype=t.int64)", "_(x, True)", "_(x, inf)", "_(x)"),
    Row("eye", "", "_(3)", "_(2, 3, dtype=t.int64)", "_(n=3, m=1, requires_grad=True)", "_(0)", "_(-1)", "_(2.0)"),
    Row("arange", "",
        "_(5)", "_(1, 6, 2)", "_(5, 0, -2)", "_(0.5, 3)", "_(0, 1, 0.1)", "_(start=1, end=4, dtype=t.float64)",
        "_(end=3)", "_(3.0, dtype=t.int32)", "_(t.tensor(3))", "_(0, 3, requires_grad=True)",
        "_(0.0, 3, requires_grad=True)", "_(1, 1)", "_(1, 3, 0)", "_(3, 1)", "_('3')", "_()"),
    Row("linspace", "",
        "_(0, 1, 5)", "_(-1.5, 2, steps=4, dtype=t.float64)", "_(3, 1, 1)", "_(0, 10, 4, dtype=t.int64)",
        "_(0, 1, 0)", "_(start=t.tensor(1.0), end=t.tensor(2.0), steps=3)", "_(0, 1, -1)", "_(0, 1)"),
    Row("meshgrid", "2 3; 2 -; 0 2; 2:i 2; 2:i 3:i; 2,2 2",
        "_(x, y, indexing='ij')", "_([x, y], indexing='xy')", "_(x, indexing='xy')", "_(x, y, x, indexing='xy')",
        "_(x, y, indexing='ji')"),
    Row("tensor", "",
        "_(3)", "_(2.5)", "_(True)", "_([])", "_([[1, 2], [3, 4]])", "_([1, 2.5, True])", "_((1, True))",
        "_([True, False])", "_([[], []])", "_(range(3))", "_([1, 2], dtype=t.float64, requires_grad=True)",
        "_([1.75, -1.75], dtype=t.int64)", "_([0.5, 0], dtype=t.bool)", "_([_(1), _(2)])", "_([_(1.5), 2])",
        "_(np.arange(3))", "_(np.float64(2))", "_([np.float32(1), np.float32(2)])",
        "_([np.arange(2), np.arange(2)])", "_(np.arange(6.0).reshape(2, 3)[:, ::-1])", "_(data=[1])",
        "_(2 ** 63 - 1)", "_(2 ** 63)", "_(300, dtype=t.uint8)", "_([1, 2], requires_grad=True)", "_([[1, 2], [3]])",
        "_('1')", "_(None)", "_([1, None])", "_({1: 2})", "_([_([1, 2])])", "_(np.array(['a']))",
        "_([1], dtype='int64')", "_()"),
    *each("as_tensor asarray", "",
          "_([1, 2])", "_(2.5, dtype=t.float64)", "_(np.arange(3))", "_(np.arange(3), dtype=t.float32)",
          "_(t.ones(2))", "_(t.ones(2, requires_grad=True))", "_(t.ones(2, requires_grad=True), dtype=t.float64)",
          "_([[1], [2, 3]])", "_('1')"),
    Row("from_numpy", "",
        "_(np.arange(3))", "_(np.ones((2, 3)).T)", "_(np.ones(3, np.float32))", "_(np.ones(3)[::-1])",
        "_(np.array(['a']))", "_([1])"),
    *each("FloatTensor DoubleTensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor Tensor", "",
          "_([1, 2])", "_([[0.5], [1]])", "_(2, 3).shape", "_(2, 3).dtype", "_()", "_(np.arange(3))", "_([])",
          "_(t.Size([2, 1])).shape", "isinstance(t.ones(2), _)", "_('1')", "_([[1], [2, 3]])"),
    Row("rand", "",
        "seeded(t).rand(2, 3)", "seeded(t).rand((2,), dtype=t.float64, requires_grad=True)",
        "_(2, generator=t.Generator().manual_seed(3))", "_(2, dtype=t.int64)"),
    Row("randn", "", "seeded(t).randn(2, 3)", "seeded(t).randn(size=(2,), dtype=t.float64)", "_(-1)"),
    Row("rand_like", "2,3; 0; 2:i", "seeded(t).rand_like(x.double())", "seeded(t).rand_like(x, dtype=t.float32)",
        without="strided"),
    Row("randn_like", "2,3; 0; 2:i", "seeded(t).randn_like(x.double())", "seeded(t).randn_like(x, dtype=t.float64)",
        without="strided"),
    Row("randint", "",
        "seeded(t).randint(5, (2, 3))", "seeded(t).randint(-3, 5, [4])",
        "seeded(t).randint(high=5, size=(2,), dtype=t.float32)",
        "seeded(t).randint(low=2, high=5, size=(2,), dtype=t.int32)", "_(3, 3, (2,))", "_(5)"),
    Row("randperm", "", "seeded(t).randperm(6)", "seeded(t).randperm(3, dtype=t.int32)", "_(0)", "_(-1)", "_(2.5)"),
    Row("normal", "2:p 2:p; 2,1:p 3:p; 2:p 3:p",
        "seeded(t).normal(x.detach(), y.detach())", "seeded(t).normal(x.detach(), 0.5)",
        "seeded(t).normal(2.0, y.detach())", "seeded(t).normal(0.0, 2.0, (2, 3))",
        "seeded(t).normal(mean=1.0, std=2.0, size=(2,), dtype=t.float64)", "_(0.0, -1.0, (2,))",
        "_(x.detach(), -y.detach())", "_(0.0, 1.0)", without="in-place"),
    Row("bernoulli", "5:u; 2,2:u; 0:u; 2:i",
        "seeded(t).bernoulli(x.double())", "seeded(t).bernoulli(x.detach(), p=0.5)", "_(x.detach(), 2)", "_(x + 3)",
        without="in-place out"),
    Row("multinomial", "4:u; 2,3:u; 3; 2,2,2:u",
        "seeded(t).multinomial(x, 1)", "seeded(t).multinomial(x.detach(), num_samples=2)",
        "seeded(t).multinomial(x.detach(), 5, replacement=True)", "_(x.detach(), 9)", "_(x.detach(), 0)",
        without="strided out"),
]
METHODS = [
    Row("fill_", "2,3; -; 0,3; 2:i; 2:b; 2:y",
        "_(x.clone(), 2)", "_(x.clone(), value=-1.5)", "_(x.clone(), x.sum())", "_(x.clone(), nan)",
        "_(x.clone(), t.ones(2))", "_(x.clone(), '1')", "_(x, 1)"),
    Row("zero_", "2,3; -; 2:i; 2:b", "_(x.clone())", "_(x)"),
    Row("copy_", "2,3 2,3; 2,3 3; 2,3 -; 2:i 2; 2 2:i; 2:b 2; 3 2,3; 2 3; 0,3 1,3",
        "_(x.clone(), y)", "_(x.detach().clone(), y)", "_(x.clone(), y.detach(), non_blocking=True)", "_(x, y)",
        "_(x.clone(), 1.0)"),
    Row("index_fill_", "3,2; 3; -; 3:i",
        "_(x.clone(), 0, t.tensor([0, 2]), 1.5)", "_(x.clone(), dim=-1, index=t.tensor([1]), value=2)",
        "_(x.clone(), 0, t.tensor([-1]), 2)", "_(x.clone(), 0, t.tensor(0), t.tensor(3.0))",
        "_(x.clone(), 0, t.tensor([0]), x.sum())", "_(x.clone(), 0, t.tensor([3]), 2)",
        "_(x.clone(), 0, t.tensor([0.0]), 2)", "_(x.clone(), 0, t.tensor([0]), t.ones(2))",
        "_(x.clone(), 2, t.tensor([0]), 2)"),
    Row("index_add_", "3,2 2,2; 3 2; 3:i 2:i; 3 2:i; - -; 3,2 2,3; 3,2 3,2",
        "_(x.clone(), 0, t.tensor([2, 0]), y)", "_(x.clone(), dim=0, index=t.tensor([1, 1]), source=y, alpha=2)",
        "_(x.clone(), -1, t.tensor([0, 1]), y)", "_(x.clone(), 0, t.tensor(0), y)",
        "_(x.clone(), 0, t.tensor([0, 3]), y)", "_(x.clone(), 0, t.tensor([0.0, 1]), y)",
        "_(x.clone(), 3, t.tensor([0, 1]), y)"),
    Row("masked_scatter", "2,3 3:b 6; 3 3:b 3; 3 2,1:b 6; 3:i 3:b 3:i; 3 3:b 3:i; 3 3:b 0; 3 3 3; - 1:b 2",
        "_(x, y, z)"),
    Row("unsqueeze_", "2,3; -; 2:i", "_(x.clone(), 0)", "_(x.clone(), dim=-1)", "_(x.clone(), 5)", "_(x, 0)"),
    Row("squeeze_", "1,3,1; 2; -", "_(x.clone())", "_(x.clone(), -1)", "_(x.clone(), 4)"),
    Row("t_", "2,3; 3; -; 2,2,2", "_(x.clone())", "_(x)"),
    *[Row(name, "2,3; 2,0,3; 3; 2:i", "_(x.clone(), 0, -1)", f"_(x.clone(), {names[0]}=0, {names[1]}=0)",
          "_(x.clone(), 0, 5)", "_(x, 0, 0)")
      for name, names in {"transpose_": ("dim0", "dim1"), "swapaxes_": ("axis0", "axis1"),
                          "swapdims_": ("dim0", "dim1")}.items()],
    *[Row(name, "5; 0; 2,3; 3:i",
          "_(drawn(t, x))", f"_(drawn(t, x), {bounds})", "_(drawn(t, x), generator=t.Generator().manual_seed(2))",
          f"_(drawn(t, x).requires_grad_() + 1, {bounds})", f"_(x, {bounds})[:0]",
          without="strided")  # in which torch draws by the order in memory
      for name, bounds in {"uniform_": "-1.0, 2.0", "normal_": "1.0, 0.5", "exponential_": "2.0", "bernoulli_": "0.25",
                           "random_": "10"}.items()],
    *[Row(name, "3; 0", f"_(x.detach(), {bounds})")
      for name, bounds in {"uniform_": "2, 1", "normal_": "0, -1", "exponential_": "0", "bernoulli_": "1.5",
                           "random_": "3, 3"}.items()],
    Row("uniform_", "3", "_(drawn(t, x), **{'from': 1, 'to': 2})"),
    Row("normal_", "3", "_(drawn(t, x), mean=1, std=2)"),
    Row("bernoulli_", "4 4:u; 2,2 2:u; 2 3:u; 3:i 3:u", "_(drawn(t, x), y.double().detach())"),
    Row("random_", "4; 3:i", "_(drawn(t, x), -3, 5)"),
    Row("new_tensor", "2; 2:i",
        "x.new_tensor([1, 2.5])", "x.new_tensor(3, dtype=t.bool)",
        "x.new_tensor([1.0], dtype=t.float64, requires_grad=True)"),
    *each("new_zeros new_ones", "2; 2:i",
          "_(x, 2, 3)", "_(x, (2,))", "_(x, [1], dtype=t.float64, requires_grad=True)", "_(x, -1)"),
    Row("new_empty", "2; 2:i", "_(x, 2, 3).zero_()", "_(x, (2,), dtype=t.bool).dtype"),
    Row("new_full", "2; 2:i", "_(x, (2,), 1)", "_(x, (2,), 2.5, dtype=t.float64)"),
    Row("new", "2; 2:i; 2:b", "_(x, 2, 3).shape", "_(x, [1, 2])", "_(x)"),
    Row("to", "2,3; -; 2:i; 2:b",
        "_(x, t.float64)", "_(x, t.int64)", "_(x, 'cpu')", "_(x, t.device('cpu'), t.float32)",
        "_(x, dtype=t.float32, device='cpu', non_blocking=True)", "_(x, t.ones(1, dtype=t.float64))",
        "_(x, x.dtype, copy=True)", "_(x, t.float32, False, True)", "_(x) is x", "_(x, x.dtype) is x",
        "_(x, 'nowhere')", "_(x, typo=1)"),
    Row("type", "2; 2:i; 2:b; 2:y",
        "_(x, t.float64)", "_(x, 'torch.LongTensor')", "_(x, t.FloatTensor)", "_(x, 'Long')"),
    Row("type", "2:i; 2:b; 2:y; 2:h", "_(x)", "_(x.float())", "_(x.double())"),
    Row("type_as", "2 2:i; 2:i 2; 2 2", "_(x, y)", "_(x, 1)"),
    *[Row(name, "2,3; -; 0; 3:i; 3:b; 3:y", f"x.{name}()")
      for name in ("float", "double", "long", "int", "short", "char", "byte", "bool")],
    Row("cpu", "2; 2:i", "x.cpu()", "x.cpu() is x"),
    Row("detach", "2,3; 2:i", "_(x)", "_(x).requires_grad"),
    Row("data", "2,3; 2:i", "x.data", "x.data.requires_grad"),
]
# fmt: on

OPS = ELEMENTWISE + ARITHMETIC + REDUCTIONS + SHAPES + INDEXING + PRODUCTS
ROWS = OPS + CONSTRUCTORS + METHODS
ALL = ROWS + structure.ROWS  # which test_structure.py asks
SMOOTH = [row for row in OPS if not row.rough]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_as_torch(row, oracle):
    check(row, torchs_answer(row, oracle))


@pytest.mark.parametrize("row", SMOOTH, ids=[row.name for row in SMOOTH])
def test_gradcheck(row):
    assert gradients_check(row), f"no call of {row.name} can be differentiated"


# ------------------------------------------------------------------------------------------ nothing is left out
ELSEWHERE = """
    __array__ __array_wrap__ __bool__ __cuda_array_interface__ from_dlpack __contains__ __deepcopy__ __float__ __format__ __getitem__ __hash__
    __index__ __int__ __iter__ __len__ __reduce_ex__ __repr__ __reversed__ __setitem__ backward cuda data_ptr
    detach_ device dim dtype element_size get_default_dtype get_device get_printoptions get_rng_state grad_fn
    initial_seed is_complex is_contiguous is_cuda is_floating_point is_leaf is_quantized is_sparse is_tensor
    item itemsize layout load log_softmax manual_seed nbytes ndim nelement numel numpy pin_memory promote_types record_stream
    register_hook requires_grad requires_grad_ result_type retain_grad retains_grad save seed set_default_dtype
    set_ set_printoptions set_rng_state shape size softmax stride tolist
    H __dlpack__ __dlpack_device__ apply_ are_deterministic_algorithms_enabled bfloat16 can_cast cdouble cfloat conj
    get_default_device get_deterministic_debug_mode get_float32_matmul_precision get_num_interop_threads half imag
    is_anomaly_check_nan_enabled is_anomaly_enabled is_autocast_enabled is_conj is_cpu
    is_deterministic_algorithms_warn_only_enabled is_distributed is_inference is_meta is_mkldnn is_mps is_neg is_nested
    is_nonzero is_pinned is_same_size is_set_to is_shared is_signed is_sparse_csr is_warn_always_enabled is_xpu mH map_
    ndimension output_nr real register_post_accumulate_grad_hook resize_ resize_as_ resolve_conj resolve_neg
    set_anomaly_enabled set_default_device set_default_tensor_type set_deterministic_debug_mode
    set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_warn_always share_memory_ storage_offset
    typename
    volatile range unravel_index adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d max_pool1d max_pool1d_with_indices
    bilinear celu celu_ cosine_similarity group_norm hardshrink layer_norm pairwise_distance prelu rms_norm rrelu rrelu_
    selu selu_ threshold threshold_
"""  # public names that other files test
NOT_OPS = """__init__ __module__ __doc__ __annotations__ __array_priority__ compile get_num_threads set_num_threads
    use_deterministic_algorithms is_grad_enabled is_inference_mode_enabled"""
REFLECTED = """__radd__ __rsub__ __rmul__ __rtruediv__ __rfloordiv__ __rmod__ __rpow__ __rand__ __ror__ __rxor__
    __rlshift__ __rrshift__ __rmatmul__"""


def covered() -> set[str]:
    in_place = {f"{row.name}_" for row in ALL if "in-place" not in row.without}
    return {row.name for row in ALL} | in_place | set(f"{ELSEWHERE} {NOT_OPS} {REFLECTED}".split())


def test_functions_that_write_into_their_argument(oracle):
    """torch.exp_ and its like, which are the methods."""
    names = sorted(n for n in vars(tinyrnn) if n.endswith("_") and n[0] != "_" and hasattr(tinyrnn.Tensor, n))
    assert names and all(getattr(tinyrnn, n) is getattr(tinyrnn.Tensor, n) for n in names)
    theirs = oracle(lambda torch: {"names": " ".join(n for n in dir(torch) if n.endswith("_") and n[0] != "_")})
    assert not set(names) - set(str(theirs["names"]).split())


def test_every_function_has_a_row():
    public = {n for n, f in vars(tinyrnn).items() if n[0] != "_" and callable(f) and not isinstance(f, type)}
    assert not public - covered()


def test_every_method_has_a_row():
    public = {n for n in vars(tinyrnn.Tensor) if n[0] != "_" or n[:2] == "__"}
    assert not public - covered()


def test_what_has_no_row_is_tested_elsewhere():
    here = Path(__file__)
    text = " ".join(file.read_text() for file in here.parent.glob("test_*.py") if file != here)
    assert not [name for name in ELSEWHERE.split() if not re.search(rf"\b{name}\b", text)]


@needs_torch
def test_every_name_is_torchs():
    import torch

    assert not [row.name for row in OPS + METHODS + structure.ROWS if not (hasattr(torch, row.name) or hasattr(torch.Tensor, row.name)
                or hasattr(torch.nn.functional, row.name))]  # fmt: skip


@needs_torch
def test_out_is_taken_where_torch_takes_it():
    import torch

    documented = {
        row.name for row in OPS + structure.OPS if "out=None" in (getattr(torch, row.name, None).__doc__ or "")
    }
    documented -= {"var_mean", "std_mean"}  # which do not take it
    assert not [name for name in documented if hasattr(tinyrnn, name) and not takes_out(name)]


# ------------------------------------------------------------------------------------------ digits and signs
def test_quotients_and_remainders_of_floats_are_torchs_to_the_bit(oracle):
    """Signs of zeros too, which are printed."""
    x = np.array([-4, 4, -0.0, 0, -5, 5, 0.3, -0.3, 3, 1e30, -1e-30, 16777217, np.inf, -np.inf, np.nan], np.float32)
    y = np.array([2, -2, 0.5, 0.1, -0.3, np.inf, -np.inf, 0.0, -0.0, np.nan], np.float32)[:, None]

    def body(torch):
        found = {}
        for bits in (32, 64):
            a, b = (torch.from_numpy(v.astype(f"float{bits}")) for v in (x, y))
            found |= {f"{bits} %": a % b, f"{bits} //": a // b, f"{bits} number": -4.0 % a}
            found |= {f"{bits} fmod": torch.fmod(a, b), f"{bits} floor": torch.div(a, b, rounding_mode="floor")}
        return {name: t.numpy() for name, t in found.items()}

    found = body(tinyrnn)
    for name, expected in oracle(body).items():
        ours = found[name]
        np.testing.assert_array_equal(ours, expected, err_msg=name)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(ours)[known], np.signbit(expected)[known], err_msg=name)


def test_bounds_that_are_no_numbers(oracle):
    """Clamped by NaN all is NaN, without a gradient; infinities and bounds the wrong way round are bounds."""
    bounds = [
        (math.nan, None),
        (None, math.nan),
        (-1.0, math.nan),
        (2.0, -1.0),
        (-math.inf, math.inf),
        (0.0, None),
        (-1, 1),
    ]

    def body(torch):
        found = {}
        for k, (low, high) in enumerate(bounds):
            x = torch.tensor([1.0, -2.0, math.nan, math.inf, -math.inf, 0.0, -0.0, 3.0], requires_grad=True)
            y = x.clamp(low, high)
            y.sum().backward()
            found |= {f"{k}": y.detach().numpy(), f"{k} in place": x.detach().clone().clamp_(low, high).numpy()}
            found[f"{k} gradient"] = x.grad.numpy()
        return found

    found = body(tinyrnn)
    for name, expected in oracle(body).items():
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[name])[known], np.signbit(expected)[known], err_msg=name)


def test_the_gamma_function_keeps_its_digits(oracle):
    """At the zeros of its logarithm, between all formulas, near zero and far out; less close to poles and reflected."""
    random = np.random.default_rng(3)
    near = (1 + np.arange(2))[:, None] + random.normal(size=100) * 10 ** random.uniform(-12, -1, 100)
    x = np.concatenate([np.linspace(0.01, 12, 500), near.ravel(), np.exp(random.uniform(-700, 600, 100))])
    below = -np.linspace(0.013, 9.07, 300)

    def body(torch):
        found = {}
        for name, values in (("x", x), ("below", below)):
            for dtype in (np.float64, np.float32):
                t = torch.from_numpy(values.astype(dtype))
                found[f"lgamma {name} {dtype.__name__}"] = torch.lgamma(t).numpy()
                found[f"digamma {name} {dtype.__name__}"] = torch.digamma(t).numpy()
        return found

    found = body(tinyrnn)
    for name, expected in oracle(body).items():
        rtol = {"x": 4e-15, "below": 1e-12}[name.split()[1]] if "64" in name else 2e-6
        atol = 0 if name.startswith("lgamma x") else 0.2 * rtol  # digamma has a zero between 1 and 2
        np.testing.assert_allclose(found[name], expected, rtol=rtol, atol=atol, err_msg=name)


# ------------------------------------------------------------------------------------------ the test can fail
def row_of(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_a_wrong_backward_is_caught(monkeypatch):
    row = row_of("mul")
    answer = answers(tinyrnn, row)
    check(row, answer)
    monkeypatch.setattr(arithmetic.Mul, "backward", staticmethod(lambda saved, needs, g: (g * saved[1], g)))
    with pytest.raises(AssertionError, match="mul: _\\(x, y\\) for .2,3 2,3., float64, Functions, gradient 3"):
        check(row, answer)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradients_check(row)


def test_a_wrong_derivative_in_the_table_of_formulas_is_caught(monkeypatch):
    row, formula = row_of("tanh"), UNARY["tanh"]
    answer = answers(tinyrnn, row)
    check(row, answer)
    monkeypatch.setattr(map_kernels, "_modules", {})
    monkeypatch.setitem(PRIMITIVES, "tanh", PRIMITIVES["tanh"]._replace(derivative=lambda a, y, g: (g * (1.0 - y),)))
    for known in ("derivative", "saves"):
        monkeypatch.delitem(formula.__dict__, known)
    with pytest.raises(AssertionError, match="tanh: _\\(x\\) for .2,3., float64, Functions, gradient 2"):
        check(row, answer)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradients_check(row)


@pytest.mark.parametrize("wrong", ["value", "shape", "dtype", "view", "missing", "exception"])
def test_a_wrong_result_is_caught(wrong, monkeypatch):
    row = row_of("unsqueeze")
    answer, right = answers(tinyrnn, row), tinyrnn.unsqueeze

    def planted(input, dim):
        y = right(input, dim)
        return {"value": lambda: y * (1 + 1e-11), "shape": lambda: y.squeeze(), "dtype": lambda: y.to(tinyrnn.float32),
                "view": y.clone, "missing": y.detach, "exception": lambda: 1 / 0}[wrong]()  # fmt: skip

    monkeypatch.setattr(tinyrnn, "unsqueeze", planted)
    with pytest.raises(AssertionError):
        check(row, answer)


# ------------------------------------------------------------------------------------------ errors name the numbers
ERRORS = [  # a call that torch refuses, and what our message must say
    (lambda t: t.ones(2, 3) + t.ones(4), "3 4"),
    (lambda t: t.ones(2, 3).sum(7), "-2 1 7"),
    (lambda t: t.ones(2, 3).sum((0, 0)), "0"),
    (lambda t: t.ones(2, 0).max(1), "1 non-zero"),
    (lambda t: t.ones(2, 0).max(), "2, 0"),
    (lambda t: t.ones(2, 3).view(4, 2), "[4, 2] 6"),
    (lambda t: t.ones(2, 3).view(-1, 4), "[-1, 4] 6"),
    (lambda t: t.ones(2, 3).reshape(5), "[5] 6"),
    (lambda t: t.ones(2, 3).t().view(6), "reshape"),
    (lambda t: t.ones(2, 3).permute(0), "2 1"),
    (lambda t: t.ones(2, 3).permute(0, 0), "0, 0"),
    (lambda t: t.ones(2, 3, 4).t(), "3D"),
    (lambda t: t.ones(2, 3).expand(4, 3), "4 2 [2, 3] [4, 3]"),
    (lambda t: t.ones(2, 1).expand(2, -2), "[2, -2]"),
    (lambda t: t.ones(2).broadcast_to((-3, 2)), "[-3, 2]"),
    (lambda t: t.ones(2, 3).repeat(2), "1 2"),
    (lambda t: t.ones(2, 3).unflatten(1, (2, 2)), "[2, 2] 3"),
    (lambda t: t.ones(2, 3).flatten(1, 0), "start_dim end_dim"),
    (lambda t: t.ones(5).split([2, 2]), "5 [2, 2]"),
    (lambda t: t.ones(5).split(0), "0 5"),
    (lambda t: t.ones(5).chunk(0), "0"),
    (lambda t: t.cat([t.ones(2, 3), t.ones(2, 4)]), "3 4 1"),
    (lambda t: t.cat([t.ones(2, 3), t.ones(3)]), "2 1"),
    (lambda t: t.cat([t.ones(2), t.tensor(1.0)]), "position 1"),
    (lambda t: t.stack([t.ones(2), t.ones(3)]), "[2] [3] entry 1"),
    (lambda t: t.stack([]), "non-empty"),
    (lambda t: t.cat([t.ones(2), 3]), "element 1 int"),
    (lambda t: t.ones(3)[5], "5 0 3"),
    (lambda t: t.ones(3)[t.tensor([1, 4])], "4 0 3"),
    (lambda t: t.ones(3)[0, 0], "1"),
    (lambda t: t.tensor(1.0)[0], "item"),
    (lambda t: t.ones(3)[::-1], "step"),
    (lambda t: t.ones(3)[t.tensor([True, False])], "[2] [3]"),
    (lambda t: t.ones(3)[t.tensor([1.0])], "long, int, byte or bool"),
    (lambda t: t.ones(3)["a"], "str"),
    (lambda t: t.ones(2, 3).narrow(1, 2, 2), "2 3"),
    (lambda t: t.ones(2, 3).select(1, 5), "5 [2, 3]"),
    (lambda t: t.ones(2, 3).index_select(0, t.tensor([4])), "4 2"),
    (lambda t: t.ones(2, 3).gather(0, t.tensor([[5, 0, 0]])), "5 0 2"),
    (lambda t: t.ones(2, 3).gather(0, t.tensor([0])), "[1] [2, 3]"),
    (lambda t: t.ones(2, 3).gather(0, t.tensor([[0.0]])), "int64"),
    (lambda t: t.ones(2, 3).scatter(0, t.tensor([[3]]), 1.0), "3 0 2"),
    (lambda t: t.ones(2, 3).scatter(0, t.tensor([[0]]), t.ones(1, 1).double()), "float32 float64"),
    (lambda t: t.ones(4).topk(5), "5 4"),
    (lambda t: t.ones(2, 3) @ t.ones(2, 3), "2x3"),
    (lambda t: t.ones(2, 2, 3) @ t.ones(2, 2, 3), "3 2"),
    (lambda t: t.ones(2, 2, 3) @ t.ones(3, 3, 2), "2 3"),
    (lambda t: t.ones(2, 3) @ t.tensor(1.0), "2D 0D"),
    (lambda t: t.ones(2, 3) @ t.ones(3).double(), "float32 float64"),
    (lambda t: t.bmm(t.ones(2, 2, 3), t.ones(1, 3, 2)), "2 3 1"),
    (lambda t: t.mm(t.ones(3), t.ones(3, 2)), "2-D [3]"),
    (lambda t: t.dot(t.ones(2), t.ones(3)), "2 3"),
    (lambda t: t.outer(t.ones(2, 2), t.ones(3)), "1-D 2-D"),
    (lambda t: t.einsum("ij,jk->ik", t.ones(2, 3), t.ones(2, 3)), "j 2 3"),
    (lambda t: t.einsum("ij->i", t.ones(3)), "ij 1"),
    (lambda t: t.nn.functional.linear(t.ones(32, 10, 4), t.ones(2, 5)), "4 5 [32, 10, 4]"),
    (lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(2, 3), t.ones(4)), "[2] [4]"),
    (lambda t: t.nn.functional.embedding(t.tensor([7]), t.ones(5, 2)), "7 5"),
    (lambda t: t.nn.functional.embedding(t.tensor([1.0]), t.ones(5, 2)), "Long Float"),
    (lambda t: t.nn.functional.one_hot(t.tensor([3]), 3), "smaller"),
    (lambda t: t.nn.functional.pad(t.ones(3), (1,)), "2"),
    (lambda t: t.tensor([1]).mean(), "Long"),
    (lambda t: t.tensor([1]).var(), "int64"),
    (lambda t: t.tensor([1]) ** -2, "-2"),
    (lambda t: t.tensor([1]) // 0, "0"),
    (lambda t: t.tensor([1]).add_(0.5), "Float Long"),
    (lambda t: t.ones(1).add_(t.ones(2, 2)), "[1] [2, 2]"),
    (lambda t: t.ones(1).copy_(t.ones(2)), "[1] [2]"),
    (lambda t: t.ones(2).masked_fill(t.tensor([1.0, 0.0]), 1), "float32"),
    (lambda t: t.full((2,), 300, dtype=t.uint8), "300 uint8"),
    (lambda t: t.zeros(2, -3), "-3"),
    (lambda t: t.arange(3, 1), "bound"),
    (lambda t: t.tensor([[1, 2], [3]]), "2 1"),
    (lambda t: t.tensor(None), "NoneType"),
    (lambda t: t.tensor([1.0]).requires_grad_() + t.tensor([1]).requires_grad_(), "floating"),
    (lambda t: t.ones(2).add(None), "add NoneType"),
    (lambda t: t.add([1], 2), "add input list"),
    (lambda t: t.exp(2.0), "exp input float"),
    (lambda t: t.ones(2, 3).size(4), "-2 1 4"),
    (lambda t: t.ones(2, 3).item(), "6"),
    (lambda t: float(t.ones(2)), "2"),
    (lambda t: len(t.tensor(1.0)), "0-d"),
    (lambda t: t.ones(2).numpy(bad=1), "bad"),
    (lambda t: t.ones(2).to(typo=1), "typo"),
    (lambda t: t.zeros(2, typo=1), "typo"),
]  # fmt: skip


def raised(call, library) -> tuple[str, str]:
    try:
        call(library)
    except Exception as error:
        return type(error).__name__, str(error)
    return "nothing", ""


def test_errors_are_torchs_and_name_the_numbers(oracle):
    classes = str(oracle(lambda torch: {"": " ".join(raised(call, torch)[0] for call, _ in ERRORS)})[""]).split()
    wrong = []
    for number, ((call, words), theirs) in enumerate(zip(ERRORS, classes, strict=True)):
        ours, message = raised(call, tinyrnn)
        missing = [word for word in re.findall(r"\[[^]]*\]|\S+", words) if word not in message]
        if ours != theirs or missing:
            wrong.append(f"{number} ({words}): {ours} instead of {theirs}, without {missing}: {message}")
    assert not wrong, "\n".join(wrong)


def test_sums_of_integers_lie_in_order():
    x = tinyrnn.arange(8).view(2, 2, 2).transpose(1, 2)
    assert x.sum(0).is_contiguous()
    assert x.sum(0).tolist() == [[4, 8], [6, 10]]


@pytest.mark.parametrize("n", [1, 7, 100])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
def test_zero_keeps_its_sign_in_relu_and_has_no_gradient(library, dtype, n):
    t = importlib.import_module(library)
    for value, expected in ((-0.0, "-0.0"), (0.0, "0.0"), (-1.0, "0.0"), (math.nan, "nan"), (2.0, "2.0")):
        x = t.full((n,), value, dtype=getattr(t, dtype), requires_grad=True)
        y = t.relu(x)
        y.backward(t.full((n,), 3.0, dtype=x.dtype))
        assert {*map(str, y.tolist())} == {*map(str, x.detach().clone().relu_().tolist())} == {expected}
        assert x.grad.tolist() == [0.0 if value <= 0.0 else 3.0] * n


TEXTS = {  # how torch's error begins
    "t.zeros(2, 2).fill_diagonal_('a')": "fill_diagonal_(): argument 'fill_value' (position 1) must be Number, not str",
    "F.cross_entropy(t.zeros(2, 3), t.zeros(2))": "expected target dtype to be Long or Byte, but got Float",
    "F.cross_entropy(t.zeros(2, 3, 4), t.zeros(2, 4).int())": "expected target dtype to be Long or Byte, but got Int",
    "F.nll_loss(t.zeros(2, 3), t.zeros(2).double())": "expected target dtype to be Long or Byte, but got Double",
    "t.nn.LSTM(3, 4)(t.zeros(3))": "LSTM: Expected input to be 2D or 3D, got 1D instead",
    "t.nn.GRU(3, 4)(t.zeros(1, 2, 3, 4))": "GRU: Expected input to be 2D or 3D, got 4D instead",
    "t.nn.RNN(3, 4)(t.zeros(3))": "RNN: Expected input to be 2D or 3D, got 1D tensor instead",
    "t.nn.utils.rnn.pack_padded_sequence(t.zeros(4, 2, 1), [1, 2])": (
        "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
        "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do "
        "not need ONNX exportability."
    ),
}


@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("call", TEXTS)
def test_errors_begin_as_torchs(call, library):
    t = importlib.import_module(library)
    with pytest.raises((RuntimeError, TypeError, ValueError), match=f"^{re.escape(TEXTS[call])}"):
        eval(call, {"t": t, "F": t.nn.functional})


def test_the_error_of_fill_diagonal_names_it():
    with pytest.raises(RuntimeError, match=r"without overflow \(fill_diagonal_\(\): 1e\+300\)"):
        tinyrnn.zeros(2, 2).fill_diagonal_(1e300)


# ------------------------------------------------------------------------------------------ arithmetic in place
IN_PLACE = [
    lambda t, x, y: x.add_(y), lambda t, x, y: x.add_(y, alpha=-0.1), lambda t, x, y: x.sub_(y, alpha=3),
    lambda t, x, y: x.mul_(y), lambda t, x, y: x.div_(y), lambda t, x, y: x.add_(2), lambda t, x, y: x.sub_(1, alpha=0.5),
    lambda t, x, y: x.mul_(-0.3), lambda t, x, y: x.div_(0.7), lambda t, x, y: x.mul_(x), lambda t, x, y: x.add_(y[:1]),
    lambda t, x, y: x.t().add_(y.t(), alpha=2), lambda t, x, y: x[:, 1:].sub_(y[:, :-1]), lambda t, x, y: x.add_(x, alpha=2),
    lambda t, x, y: x.mul_(t.tensor(3.0)), lambda t, x, y: x.add_(t.tensor(3.0).double(), alpha=2), lambda t, x, y: x.mul_(y > 0),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize("shape", [(3, 5), (300, 401)])
@pytest.mark.parametrize("call", IN_PLACE)
def test_arithmetic_in_place_is_torchs(call, shape):
    torch = importlib.import_module("torch")
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    found, expected = tinyrnn.tensor(a), torch.tensor(a)
    whole, place = found._version, found.data_ptr()
    call(tinyrnn, found, tinyrnn.tensor(b)), call(torch, expected, torch.tensor(b))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6, atol=1e-6)
    assert found._version == whole + 1 and found.data_ptr() == place


@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
def test_arithmetic_in_place_refuses_memory_that_lies_across(library):
    t = importlib.import_module(library)
    for n in (4, 300):
        x = t.ones(n, n)
        for call in (lambda x=x: x.mul_(x[0]), lambda x=x: x[1:].add_(x[:-1]), lambda x=x: x[1:].add_(x[:-1], alpha=2)):
            with pytest.raises(RuntimeError, match="single memory location"):
                call()
        with pytest.raises(RuntimeError, match="more than one element"):
            t.ones(1).expand(3).add_(1)
        assert bool((x == 1).all())
        with pytest.raises(TypeError):
            x.mul_(2, alpha=3)
        leaf = t.ones(n, requires_grad=True)
        with pytest.raises(RuntimeError, match="leaf Variable"):
            leaf.add_(1)
        with t.no_grad():
            leaf.add_(1)
        assert leaf[0].item() == 2


LARGE = [  # what is computed in another way for many elements
    lambda t, x, y: x.prod(1), lambda t, x, y: (x * x).prod(0, keepdim=True), lambda t, x, y: t.prod(1 + x[:, 0] / 9),
    lambda t, x, y: x.triu(-7), lambda t, x, y: x.tril(11), lambda t, x, y: x[None, :, ::2].tril(),
    lambda t, x, y: t.cosine_similarity(x, y), lambda t, x, y: t.cosine_similarity(x[:, None, :40], y[:30, :40], 2),
    lambda t, x, y: x.norm(dim=1), lambda t, x, y: x.t().norm(dim=1, keepdim=True), lambda t, x, y: x.norm(),
    lambda t, x, y: x.var(0), lambda t, x, y: x.std(1), lambda t, x, y: x.lerp(y, 0.7), lambda t, x, y: x.lerp(y[0], y),
    lambda t, x, y: t.addcmul(x, y, y[:1], value=0.3), lambda t, x, y: t.addcdiv(x, y, y.exp(), value=-2), lambda t, x, y: -x,
    lambda t, x, y: x.repeat(2, 1, 3), lambda t, x, y: x.repeat_interleave(3, 0), lambda t, x, y: x.repeat_interleave(2, 1),
    lambda t, x, y: t.nn.functional.pad(x, (2, 0, 1, 3), value=0.5), lambda t, x, y: x - y, lambda t, x, y: x.t().clone(),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize("call", LARGE)
def test_many_elements_as_few(call):
    torch = importlib.import_module("torch")
    rng = np.random.default_rng(4)
    a, b = (rng.uniform(0.9, 1.1, (300, 501)).astype(np.float32) * rng.choice([-1, 1], (300, 501)) for _ in range(2))
    results = []
    for t in (tinyrnn, torch):
        x, y = (t.tensor(v.astype(np.float32), requires_grad=True) for v in (a, b))
        out = call(t, x, y)
        weights = np.random.default_rng(5).normal(size=tuple(out.shape))
        (out * t.tensor(weights.astype(np.float32))).sum().backward()
        results.append((out.detach().numpy(), x.grad.numpy(), None if y.grad is None else y.grad.numpy()))
    for found, expected in zip(*results, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * abs(expected).max())


@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
@pytest.mark.parametrize("name", ["addcmul", "addcdiv", "lerp"])
def test_only_what_a_gradient_reads_must_stay_as_it_is(name, library):
    t = importlib.import_module(library)
    free = {
        "addcmul": [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 2)],
        "addcdiv": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)],
    }
    free["lerp"] = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for wanted in range(3):
        for touched in range(3):
            inputs = [t.tensor([1.5, 2.0]).requires_grad_(k == wanted) for k in range(3)]
            out = getattr(t, name)(*inputs).sum()
            with t.no_grad():
                inputs[touched].add_(1)
            if (wanted, touched) in free[name]:
                out.backward()
                assert inputs[wanted].grad is not None
            elif (name, wanted, touched) not in (("addcdiv", 0, 2), ("lerp", 2, 2)):  # torch reads more
                with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                    out.backward()


# ------------------------------------------------------------------------------------------ the forms before torch 1.5
X, Y, M = [1.0, 2.0], [10.0, 20.0], [[1.0, 2.0], [3.0, 4.0]]
OLD_FORMS = [  # numbers before the tensors that they multiply; with the result
    ("t.add(x, 2, y)", [21.0, 42.0]),
    ("x.add(-0.5, y)", [-4.0, -8.0]),
    ("x.add_(-0.5, y)", [-4.0, -8.0]),
    ("x.add_(t.tensor(2.0), y)", [21.0, 42.0]),
    ("x.mul_(3).add_(2, 1)", [5.0, 8.0]),
    ("t.add(x, 2, y, out=t.empty(2))", [21.0, 42.0]),
    ("t.sub(x, 2, y)", [-19.0, -38.0]),
    ("x.sub(2, y)", [-19.0, -38.0]),
    ("x.sub_(2, y)", [-19.0, -38.0]),
    ("t.addcmul(x, 0.5, y, y)", [51.0, 202.0]),
    ("x.addcmul_(0.5, y, y)", [51.0, 202.0]),
    ("t.addcdiv(x, 2, y, x)", [21.0, 22.0]),
    ("x.addcdiv_(-1, y, x.clone())", [-9.0, -8.0]),
    ("t.addmm(2, m, 3, m, m)", [[23.0, 34.0], [51.0, 74.0]]),
    ("t.addmm(2, m, m, m)", [[9.0, 14.0], [21.0, 30.0]]),
    ("m.addmm(2, 3, m, m)", [[23.0, 34.0], [51.0, 74.0]]),
    ("m.addmm_(2, m.clone(), m.clone())", [[9.0, 14.0], [21.0, 30.0]]),
    ("t.addmv(2, x, 3, m, x)", [17.0, 37.0]),
    ("x.addmv_(2, 3, m, x.clone())", [17.0, 37.0]),
    ("t.addr(2, m, 3, x, x)", [[5.0, 10.0], [12.0, 20.0]]),
    ("m.addr_(2, x, x)", [[3.0, 6.0], [8.0, 12.0]]),
    ("t.addbmm(2, m, 3, m[None], m[None])", [[23.0, 34.0], [51.0, 74.0]]),
    ("m.addbmm(2, m[None], m[None])", [[9.0, 14.0], [21.0, 30.0]]),
    ("t.baddbmm(2, m[None], 3, m[None], m[None])", [[[23.0, 34.0], [51.0, 74.0]]]),
    ("m[None].baddbmm_(2, 3, m[None].clone(), m[None].clone())", [[[23.0, 34.0], [51.0, 74.0]]]),
]


@pytest.mark.parametrize("call, expected", OLD_FORMS, ids=[call for call, _ in OLD_FORMS])
@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
def test_numbers_may_stand_before_what_they_multiply(call, expected, library):
    t = importlib.import_module(library)
    assert eval(call, {"t": t, "x": t.tensor(X), "y": t.tensor(Y), "m": t.tensor(M)}).tolist() == expected


def test_an_old_form_has_its_gradient():
    x, y = tinyrnn.tensor(X, requires_grad=True), tinyrnn.tensor(Y, requires_grad=True)
    x.clone().add_(-0.5, y).addcmul_(2, y, y).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert y.grad.tolist() == [39.5, 79.5]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("large", [arithmetic.SOME, arithmetic.FEW + 5])
def test_powers_of_many_numbers_are_those_of_few(large, dtype):
    """Kernels compute the ones, NumPy the others; with numbers and tensors in either place."""
    few = 8
    n = -(-large // few) * few
    random = np.random.default_rng(0)
    base, exponent, g = (random.uniform(0.1, 3, n).astype(dtype), *random.normal(size=(2, n)).astype(dtype))
    base[:8:2] *= -1
    base[8:14] = [np.inf, -np.inf, np.nan, 1e30, -0.0, 1.0]
    base[3], exponent[3:9] = 0.0, [2.0, 0.0, 3.0, -1.0, 0.5, 0.0]
    forms = [f"x ** {k}" for k in (0, 1, 2, 3, 4, -1, -2, 0.5, -0.5, 1.5, 1.7)] + [
        "2.5 ** y",
        "x ** y",
        "x ** c",
        "x ** d",
    ]
    forms += ["x ** t.tensor(3.0, dtype=x.dtype)", "t.tensor([1.5], dtype=x.dtype) ** y"]
    scalars = {"c": 2.0, "d": 1.7}
    tolerance = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}

    def answer(form, part):
        x, y = (tinyrnn.tensor(v[part], requires_grad=True) for v in (base, exponent))
        c, d = (tinyrnn.tensor(v, dtype=x.dtype, requires_grad=True) for v in scalars.values())
        out = eval(form, {"x": x, "y": y, "c": c, "d": d, "t": tinyrnn})
        out.backward(tinyrnn.tensor(g[part]))
        return out.detach().numpy(), *(t.grad.numpy() for t in (x, y, c, d) if t.grad is not None)

    for form in forms:
        whole = answer(form, slice(0, n))
        parts = [answer(form, slice(k, k + few)) for k in range(0, n, few)]
        for place, found in enumerate(whole):
            pieces = [p[place] for p in parts]
            if found.ndim == 0:
                np.testing.assert_allclose(found, sum(map(float, pieces)), rtol=1e-3 if dtype == "float32" else 1e-9)
            else:
                np.testing.assert_allclose(found, np.concatenate(pieces), **tolerance, err_msg=form)


@pytest.mark.parametrize(
    "call",
    ["t.add(x, y, 2)", "t.add(x, 2, y, 3)", "t.add(x, 2, y, alpha=3)", "x.add_('2', y)", "x.mul_(2, y)",
     "t.addcmul(x, y, y, 2)", "t.addmm(m, m, m, 1, 2)", "x.add_(t.tensor(2.0, requires_grad=True), y)",
     "x.add_(t.ones(1), y)"],
)  # fmt: skip
@pytest.mark.parametrize("library", ["tinyrnn", pytest.param("torch", marks=needs_torch)])
def test_other_orders_of_numbers_and_tensors_are_refused(call, library):
    t = importlib.import_module(library)
    with pytest.raises(TypeError):
        eval(call, {"t": t, "x": t.tensor(X), "y": t.tensor(Y), "m": t.tensor(M)})


def test_one_warning_tells_of_the_old_forms(monkeypatch):
    monkeypatch.setattr(switches, "_told", set())
    x = tinyrnn.tensor(X)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            x.add_(2, x)
            tinyrnn.addmm(2, x, 3, x.unsqueeze(0), tinyrnn.eye(2))
        assert [(w.category, str(w.message), w.filename) for w in told] == [
            (
                UserWarning,
                "This overload of add_ is deprecated:\n\tadd_(Number alpha, Tensor other)\nConsider using one of the "
                "following signatures instead:\n\tadd_(Tensor other, *, Number alpha = 1)",
                __file__,
            )
        ]
        monkeypatch.setitem(switches._state, "warn", True)
        tinyrnn.addmm(2, x, 3, x.unsqueeze(0), tinyrnn.eye(2))
    assert len(told) == 2 and told[1].filename == __file__
    assert str(told[1].message).startswith(
        "This overload of addmm is deprecated:\n\taddmm(Number beta, Tensor input, Number alpha, Tensor mat1, Tensor "
        "mat2, *, Tensor out = None)\nConsider using one of the following signatures instead:\n\taddmm(Tensor input, "
    )
