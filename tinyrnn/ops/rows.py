"""What works on rows: softmax, cross-entropy, layer norm."""

from __future__ import annotations

import builtins
import math
import warnings
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import check_same, host
from ..kernels import twin
from ..strides import contiguous
from ..tape import entitled, is_grad_enabled
from ..titles import LOSSES
from .arithmetic import div, mul, neg
from .common import Op, axis, cast, expect_tensor, into, numpy_names, record, sizes
from .create import TYPED
from .reduce import mean, sum

kernels = twin("rows")


def along(axis: int, name: str, *arrays: np.ndarray) -> np.ndarray:
    """The kernels' function `name` along an axis of arrays of one shape."""
    first = arrays[0]
    shape, count = first.shape, math.prod(first.shape[axis + 1 :]) if first.ndim else 1
    if not first.size:
        return first.copy()
    n = shape[axis] if shape else 1
    if count == 1:
        return getattr(kernels, name)(*(contiguous(a).reshape(-1, n) for a in arrays)).reshape(shape)
    rest = "_columns_backward" if name.endswith("_backward") else "_columns"
    columns = getattr(kernels, name.removesuffix("_backward") + rest)
    return columns(*(contiguous(a).reshape(-1, n, count) for a in arrays)).reshape(shape)


class Softmax(Op):
    @staticmethod
    def forward(a, *, axis):
        out = along(axis, "softmax", a)
        return out, (out, axis)

    @staticmethod
    def backward(saved, needs, g):
        y, axis = saved
        return along(axis, "softmax_backward", y, g)


class LogSoftmax(Op):
    @staticmethod
    def forward(a, *, axis):
        out = along(axis, "log_softmax", a)
        return out, (out, axis)

    @staticmethod
    def backward(saved, needs, g):
        y, axis = saved
        return along(axis, "log_softmax_backward", y, g)


def expect_floating(t: Any, call: str) -> Any:
    """`t`, if it holds floating-point numbers; torch's NotImplementedError otherwise."""
    if t.array.dtype.kind != "f":
        raise NotImplementedError(f"{call}(): not implemented for {kind(t)!r}, expected floating-point numbers")
    return t


def kind(t: Any) -> str:
    """The type of a tensor as torch's errors name it: Float, Double, Long ..."""
    return TYPED[t.dtype].removesuffix("Tensor")


def prepared(input: Any, dim: int, dtype: dtypes.dtype | None, call: str) -> tuple[Any, int]:
    expect_tensor(input, call)
    if dtype is not None:
        input = cast(input, dtype.numpy)
    over = axis(dim, input.array.ndim)
    return expect_floating(input, call), over


@numpy_names
def softmax(input: Any, dim: int, dtype: dtypes.dtype | None = None, *, out: Any = None) -> Any:
    """e ** input, divided by its sum along `dim`."""
    input, over = prepared(input, dim, dtype, "softmax")
    return into(out, record(Softmax, (input,), Softmax.forward(input.array, axis=over)), "softmax")


@numpy_names
def log_softmax(input: Any, dim: int, dtype: dtypes.dtype | None = None, *, out: Any = None) -> Any:
    """The logarithm of softmax along `dim`, with no underflow."""
    input, over = prepared(input, dim, dtype, "log_softmax")
    return into(out, record(LogSoftmax, (input,), LogSoftmax.forward(input.array, axis=over)), "log_softmax")


# ------------------------------------------------------------------------------------------ classification losses
FEW = 64  # numbers that Python is done with when NumPy has begun


def added(a: np.ndarray) -> Any:
    """The sum of a row of numbers, in double precision."""
    return (
        builtins.sum(a.tolist(), 0.0) if a.size <= FEW and type(a) is np.ndarray else np.add.reduce(a, dtype=np.float64)
    )


def quotient(a: Any, b: float, dtype: np.dtype) -> np.ndarray:
    """A number (of no axes) divided by another, in double precision, in the end as `dtype`."""
    if type(a) in (float, np.float64, np.ndarray):  # Python is faster, but has its own mind about b = 0
        a = float(a)
        return np.asarray(a / b if b else a * math.inf, dtype)
    return (a.astype(np.float64, copy=False) / float(b)).astype(dtype)


class CrossEntropy(Op):
    """The loss of each row of x (R, C) for the class numbers `target` (R,): -log softmax(x)[target], weighted and
    smoothed; or, given a number to divide it by, their sum.
    """

    label = LOSSES["cross_entropy"]

    @staticmethod
    def forward(x, target, weight, ignored, smoothing, divisor):
        x = contiguous(x)
        losses, lse = kernels.cross_entropy(x, target, weight, ignored, smoothing)
        if divisor is not None:
            losses = quotient(added(losses), divisor, x.dtype)
        return losses, (x, target, weight, ignored, smoothing, lse, divisor)

    @staticmethod
    def backward(saved, needs, g):
        *saved, divisor = saved
        if divisor is not None:
            each = np.empty(len(saved[1]), g.dtype, like=g)
            each[...] = quotient(g, divisor, g.dtype)
            g = each
        return kernels.cross_entropy_backward(*saved, contiguous(g))


class NegativeLogLikelihood(Op):
    """The loss of each row of log-probabilities x (R, C): -weight[target] * x[target], 0 if the target is ignored; or,
    given a number to divide it by, their sum.
    """

    label = LOSSES["nll_loss"]

    @staticmethod
    def forward(x, target, weight, ignored, divisor):
        (places,) = (target != ignored).nonzero()
        ids = target[places]
        scale = -weight[ids] if weight.size else x.dtype.type(-1)
        losses = np.zeros(len(target), x.dtype, like=x)
        with np.errstate(all="ignore"):
            losses[places] = scale * x[places, ids]
            out = losses if divisor is None else quotient(added(losses), divisor, x.dtype)
        return out, (x.shape, places, ids, scale, divisor)

    @staticmethod
    def backward(saved, needs, g):
        shape, places, ids, scale, divisor = saved
        out = np.zeros(shape, g.dtype, like=g)
        g = g[places] if divisor is None else quotient(g, divisor, g.dtype)
        out[places, ids] = scale * g
        return out


def by_reduction(losses: Any, reduction: str, call: str, weights: float | None = None) -> Any:
    """The losses as they are, their sum, or their mean (divided by `weights` where elements have weights)."""
    if reduction == "none":
        result = losses
    elif reduction == "sum":
        result = sum(losses)
    elif reduction == "mean":
        result = mean(losses) if weights is None else div(sum(losses), weights)
    else:
        raise ValueError(f"{reduction} is not a valid value for reduction ({call}(): expected 'mean', 'sum' or 'none')")
    label = LOSSES.get(call)
    return result if label is None else entitled(result, label)


def divisor_of(reduction: str, total: float, call: str) -> float | None:
    """What a sum of losses is divided by, where `total` is the sum of their weights; None if they stay as they are."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction ({call}(): expected 'mean', 'sum' or 'none')")
    return {"none": None, "mean": total, "sum": 1}[reduction]


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that torch's deprecated pair of flags stands for, where one is given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is not None and not reduce:
        reduction = "none"
    else:
        reduction = "mean" if size_average is None or size_average else "sum"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction={reduction!r} instead.", stacklevel=3
    )
    return reduction


def constant(weight: Any, call: str, argument: str = "weight") -> Any:
    """`weight`, a tensor; torch's error if it wants a gradient, which the losses do not compute for it."""
    if expect_tensor(weight, call, argument).requires_grad and is_grad_enabled():
        raise RuntimeError(
            f"The function '{call}' is not differentiable with respect to argument '{argument}'. "
            "This input cannot have requires_grad True."
        )
    return weight


def class_rows(input: Any, target: np.ndarray, call: str) -> Any:
    """input (C), (N, C) or (N, C, d1, ...) as a tensor (rows, C), after a check against the targets' shape."""
    shape = input.array.shape
    if len(shape) == 0:
        raise ValueError(f"{call}(): Expected 1 or more dimensions (got 0)")
    batch = () if len(shape) == 1 else (shape[0], *shape[2:])
    if len(shape) == target.ndim == 1 and target.size != 1 and target.dtype.kind in "iu":
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.size} ({call}())")
    if target.shape != batch and not len(shape) == target.ndim == 1:
        rows = target.shape[0] if target.ndim else 0
        if len(shape) > 1 and rows != shape[0]:
            raise ValueError(f"Expected input batch_size ({shape[0]}) to match target batch_size ({rows}).")
        if len(shape) > 1 and not target.ndim:
            raise IndexError(f"Dimension specified as 0 but tensor has no dimensions ({call}(): target)")
        raise RuntimeError(
            f"{call}(): expected target size {list(batch)} for an input of size {list(shape)}, got {list(target.shape)}"
        )
    if len(shape) == 2:
        return input
    if len(shape) > 2:
        input = input.permute(0, *range(2, len(shape)), 1)
    return input.reshape(math.prod(batch), shape[1] if len(shape) > 1 else shape[0])


def highest(ids: np.ndarray) -> int:
    """The largest of some int64; a negative one is taken for a very large one."""
    if ids.size <= FEW:
        few = ids.tolist()
        return max(few) if min(few) >= 0 else 1 << 63
    return np.maximum.reduce(ids.view(np.uint64))


NO_WEIGHTS = {np.dtype(real): np.empty(0, real) for real in (np.float32, np.float64)}


def class_numbers(
    target: Any, classes: int, ignored: int, weight: Any, input: Any, call: str
) -> tuple[np.ndarray, np.ndarray, Any]:
    """(targets, weights or an empty array, the sum of the targets' weights), checked; copies, for the backward."""
    if target.array.dtype not in (np.int64, np.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {kind(target)} ({call}())")
    if not isinstance(ignored, int):
        raise TypeError(f"{call}(): argument 'ignore_index' must be int, not {type(ignored).__name__}")
    a = input.array
    none = NO_WEIGHTS[a.dtype] if type(a) is np.ndarray else np.empty(0, a.dtype, like=a)
    ids = target.array.reshape(-1).astype(np.int64)
    seen = host(ids)
    if weight is None and ids.size and not 0 <= ignored < classes and highest(seen) < classes:
        return ids, none, ids.size
    kept = seen != ignored
    wrong = seen[kept & ((seen < 0) | (seen >= classes))]
    if wrong.size:
        raise IndexError(f"Target {wrong[0]} is out of bounds. ({call}(): there are {classes} classes)")
    if weight is None:
        return ids, none, int(kept.sum())
    check_same(a, constant(weight, call).array)
    if weight.array.shape != (classes,):
        raise RuntimeError(
            f"{call}(): weight tensor should be defined either for all {classes} classes or no classes but got weight "
            f"tensor of shape: {list(weight.array.shape)}"
        )
    if weight.array.dtype != input.array.dtype:
        raise RuntimeError(f"expected scalar type {kind(input)} but found {kind(weight)} ({call}(): weight)")
    return ids, weight.array.copy(), float(host(weight.array)[seen[kept]].sum())


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-log softmax(input)[target].

    input (C), (N, C) or (N, C, d1, ...) of unnormalised scores; target: class numbers (int64) of shape (), (N) or
    (N, d1, ...), or probabilities of the shape of `input`.  `weight` (C) weighs the classes; targets equal to
    `ignore_index` count nothing.  'mean' divides by the sum of the weights of the targets.
    """
    expect_tensor(input, "cross_entropy")
    expect_tensor(target, "cross_entropy", "target")
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    reduction = reduction_of(size_average, reduce, reduction)
    if target.array.shape == input.array.shape:
        if target.array.dtype.kind != "f":
            raise RuntimeError(f"Expected floating point type for target with class probabilities, got {kind(target)}")
        if ignore_index >= 0:
            raise RuntimeError(f"ignore_index is not supported for floating point target (got {ignore_index})")
        return soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    expect_floating(input, "cross_entropy")
    axis(classes_at(input), input.array.ndim)
    rows = class_rows(input, target.array, "cross_entropy")
    if label_smoothing and input.array.ndim == target.array.ndim == 1:
        raise RuntimeError("cross_entropy(): for a 1D input with label_smoothing the target must be 0D, got 1D")
    ids, weights, total = class_numbers(target, rows.array.shape[1], ignore_index, weight, input, "cross_entropy")
    divisor = divisor_of(reduction, total, "cross_entropy")
    called = CrossEntropy.forward(rows.array, ids, weights, ignore_index, float(label_smoothing), divisor)
    loss = record(CrossEntropy, (rows,), called)
    if reduction == "none" and (input.array.ndim > 2 or input.array.ndim == 1):
        loss = loss.reshape(target.array.shape if input.array.ndim > 1 else ())
    return entitled(loss, "AddBackward0") if label_smoothing else of_places(loss, input)


def of_places(loss: Any, input: Any) -> Any:
    """A loss under torch's other name, if there are several places in each row of `input`."""
    return entitled(loss, "NllLoss2DBackward0") if input.array.ndim > 2 else loss


def classes_at(input: Any) -> int:
    """The dimension of the classes."""
    return 0 if input.array.ndim == 1 else 1


def soft_cross_entropy(input: Any, target: Any, weight: Any, reduction: str, smoothing: float) -> Any:
    """Cross-entropy with probabilities as targets; 'mean' divides by the number of rows."""
    dim = classes_at(input)
    logs = log_softmax(input, dim)
    classes = input.array.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    terms = mul(logs, target)
    if weight is not None:
        if expect_tensor(weight, "cross_entropy", "weight").array.shape != (classes,):
            raise RuntimeError(
                f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but "
                f"got weight tensor of shape: {list(weight.array.shape)}"
            )
        terms = mul(terms, weight.reshape(*(classes if d == dim else 1 for d in range(input.array.ndim))))
    rows = input.array.size / classes if classes else math.nan
    loss = by_reduction(neg(sum(terms, dim)), reduction, "cross_entropy", rows)
    return entitled(loss, "DivBackward1" if reduction == "mean" else "NegBackward0")


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    """-input[target] for log-probabilities `input`; shapes, weights and reduction as in cross_entropy."""
    expect_tensor(input, "nll_loss")
    check_same(input.array, expect_tensor(target, "nll_loss", "target").array)
    reduction = reduction_of(size_average, reduce, reduction)
    rows = class_rows(expect_floating(input, "nll_loss"), target.array, "nll_loss")
    ids, weights, total = class_numbers(target, rows.array.shape[1], ignore_index, weight, input, "nll_loss")
    divisor = divisor_of(reduction, total, "nll_loss")
    loss = record(
        NegativeLogLikelihood, (rows,), NegativeLogLikelihood.forward(rows.array, ids, weights, ignore_index, divisor)
    )
    if reduction == "none" and input.array.ndim != 2:
        loss = loss.reshape(target.array.shape if input.array.ndim > 1 else ())
    return of_places(entitled(loss, LOSSES["nll_loss"]), input)


# ------------------------------------------------------------------------------------------ layer norm
def matrix(a: np.ndarray, columns: int) -> np.ndarray:
    """`a` as a contiguous matrix with so many columns."""
    if a.ndim == 2 and a.shape[1] == columns:
        return a if a.flags.c_contiguous else contiguous(a)
    return contiguous(a).reshape(a.size // columns if columns else 0, columns)


def vector(p: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """The weight or the bias of a layer norm in one row; an empty array for None."""
    if p is None:
        return np.empty(0, like.dtype, like=like)
    return p if p.ndim == 1 and p.flags.c_contiguous else contiguous(p).reshape(-1)


class LayerNorm(Op):
    """Over the last dimensions, of `shape`; an RMS norm if not `centred`."""

    @staticmethod
    def forward(x, weight, bias, *, shape, eps, centred=True):
        rows = matrix(x, math.prod(shape))
        out, mean, rstd = kernels.layer_norm(rows, vector(weight, x), vector(bias, x), eps, centred)
        return out if out.shape == x.shape else out.reshape(x.shape), (x, weight, mean, rstd, shape, centred)

    @staticmethod
    def backward(saved, needs, g):
        x, weight, mean, rstd, shape, centred = saved
        columns = math.prod(shape)
        dx, dw, db = kernels.layer_norm_backward(
            matrix(x, columns), vector(weight, x), mean, rstd, matrix(g, columns), centred
        )
        # No view where it can be avoided: a leaf takes arrays as they are.
        if len(shape) > 1:
            dw, db = dw.reshape(shape), db.reshape(shape)
        return dx if dx.shape == x.shape else dx.reshape(x.shape), dw, db


def shape_of_rows(normalized_shape: Any, name: str) -> tuple[int, ...]:
    """The last dimensions, over which `name` normalises, as a tuple of ints; checked."""
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'normalized_shape' must be tuple of ints, not {type(normalized_shape).__name__}"
        )
    shape = sizes(normalized_shape, name)
    if not shape:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, but got normalized_shape = []")
    return shape


def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-05) -> Any:
    """(input - mean) / sqrt(variance + eps) * weight + bias over the last dimensions (Ba et al. 2016)."""
    x = expect_tensor(input, "layer_norm").array
    shape = shape_of_rows(normalized_shape, "layer_norm")
    if x.shape[-len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of "
            f"size{list(x.shape)}"
        )
    w, b = None if weight is None else weight.array, None if bias is None else bias.array
    for name, p, a in ("weight", weight, w), ("bias", bias, b):
        if a is not None and a.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(a.shape)} and "
                f"normalized_shape = {list(shape)}"
            )
        if a is not None and a.dtype != x.dtype:
            raise RuntimeError(f"layer_norm(): expected {name} of dtype {input.dtype}, got {p.dtype}")
    expect_floating(input, "layer_norm")
    return record(LayerNorm, (input, weight, bias), LayerNorm.forward(x, w, b, shape=shape, eps=float(eps)))
