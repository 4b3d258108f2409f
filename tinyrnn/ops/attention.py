"""Softmax attention: each query takes a weighted mean of the values, by how well its keys fit.

    out[i] = sum over j of p[i, j] value[j],    p[i] = softmax over j of (scale query[i] . key[j] + mask[i, j])

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.  The weights p are never all there at the same time;
what dropout keeps of them is, a byte for each.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..devices import of, put
from ..kernels import twin
from ..strides import contiguous, order
from ..tape import entitled
from .common import Op, TensorBase, cast, expect_tensor, number, run
from .rows import kind

kernels = twin("attention")
CALL = "scaled_dot_product_attention"
BESIDE_CAUSAL = (
    "but for a query, key and value of 4 dimensions, the first two and the last alike, without dropout, and a mask of "
    "2 or 4 dimensions that needs no gradient"
)


def neighbours(a: np.ndarray) -> np.ndarray:
    """`a`, with the numbers of a row next to each other."""
    return a if a.strides[-1] == a.itemsize else contiguous(a)


def folded(a: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """`a` (..., rows, columns), broadcast to the batch axes, with two of them: (B, H, rows, columns)."""
    if a.shape[:-2] != batch:
        a = np.broadcast_to(a, (*batch, *a.shape[-2:]))
    if len(batch) < 2:
        return a[(None,) * (2 - len(batch))]
    return a if len(batch) == 2 else a.reshape(math.prod(batch[:-1]), batch[-1], *a.shape[-2:])


class Attention(Op):
    """query (..., L, D), key (..., S, D), value (..., S, V), mask or None -> (..., L, V).

    `batch` and `shared` are the axes before the last two, of the result, and of keys and values, whose last may be
    fewer heads.  `keep` (*batch, L, S) tells which weights dropout keeps, times `factor`; None for all of them.
    """

    label = "ScaledDotProductFlashAttentionForCpuBackward0"

    @staticmethod
    def forward(query, key, value, mask, *, batch, shared, keep, causal, scale, factor, like_query):
        shape = (*batch, query.shape[-2], value.shape[-1])
        out = np.empty_like(query, order=order(query)) if like_query else np.empty(shape, query.dtype, like=query)
        settings = batch, shared, keep, causal, scale, factor
        stats = kernels.forward(*arguments(query, key, value, mask, *settings), folded(out, batch))
        return out, (query, key, value, mask, out, stats, settings)

    @staticmethod
    def backward(saved, needs, g):
        query, key, value, mask, out, stats, settings = saved
        batch = settings[0]
        given = q, k, v, *_ = arguments(query, key, value, mask, *settings)
        dq, dk, dv = (np.empty_like(a, order=order(a)) for a in (q, k, v))
        d_mask = np.empty((*q.shape[:3], k.shape[2]), q.dtype, like=q) if needs[3] else None
        kernels.backward(*given, folded(out, batch), stats, folded(neighbours(g), batch), dq, dk, dv, d_mask)
        shapes = [(*axes, *a.shape[-2:]) for axes, a in zip((batch, *(settings[1],) * 2), (q, k, v), strict=True)]
        gradients = [d.reshape(shape) for d, shape in zip((dq, dk, dv), shapes, strict=True)]
        return (*gradients, None if d_mask is None else d_mask.reshape(*batch, *d_mask.shape[-2:]))


def arguments(query, key, value, mask, batch, shared, keep, causal, scale, factor) -> tuple:
    """What the kernels take, from what the op does."""
    q, k, v = (folded(neighbours(a), axes) for a, axes in ((query, batch), (key, shared), (value, shared)))
    whole = (query.shape[-2], key.shape[-2])
    if mask is not None:
        if mask.ndim and mask.strides[-1] != 0:
            mask = neighbours(mask)
        mask = folded(np.broadcast_to(mask, (*batch, *whole)), batch)
    return q, k, v, mask, None if keep is None else folded(keep, batch), causal, scale, factor


def check_inputs(query: Any, key: Any, value: Any) -> None:
    """torch's errors for tensors that do not fit each other."""
    if isinstance(query, TensorBase) and isinstance(key, TensorBase) and isinstance(value, TensorBase):
        q, k, v = query.array, key.array, value.array
        same = q.dtype == k.dtype == v.dtype and q.shape == k.shape and q.shape[:-1] == v.shape[:-1]
        if same and q.dtype.kind == "f" and q.ndim > 1:  # the usual case, at once
            return
    named = {"query": query, "key": key, "value": value}
    for name, given in named.items():
        expect_tensor(given, CALL, name)
    if len({t.array.dtype for t in named.values()}) > 1:
        types = ", ".join(f"{name}: {kind(t)}" for name, t in named.items())
        raise RuntimeError(f"Expected query, key, and value to have the same dtype, but got {types} ({CALL}())")
    if query.array.dtype.kind != "f":
        raise RuntimeError(f"{CALL}(): expected floating-point numbers, got {kind(query)}")
    shapes = ", ".join(f"{name}: {list(t.array.shape)}" for name, t in named.items())
    if min(t.array.ndim for t in named.values()) < 2:
        raise RuntimeError(
            f"Expected query, key, and value to all be at least 2 dimensional, but got {shapes} ({CALL}())"
        )
    if query.array.shape[-1] != key.array.shape[-1]:
        raise RuntimeError(f"{CALL}(): expected queries and keys of one width, their last dimension, got {shapes}")
    if key.array.shape[-2] != value.array.shape[-2]:
        raise RuntimeError(f"{CALL}(): expected as many keys as values, in dimension -2, got {shapes}")


def check_mask(mask: Any, query: Any) -> None:
    """torch's errors for masks of other types."""
    expect_tensor(mask, CALL, "attn_mask")
    if mask.array.dtype not in (np.bool_, np.float32, query.array.dtype):
        raise RuntimeError(
            f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask: {kind(mask)}, "
            f"query: {kind(query)} ({CALL}())"
        )


def check_fits(mask: Any, whole: tuple[int, ...]) -> None:
    """torch's error for a mask that does not broadcast to the scores."""
    try:
        fits = np.broadcast_shapes(whole, mask.array.shape) == whole
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(f"{CALL}(): expected attn_mask to broadcast to {list(whole)}, got {list(mask.array.shape)}")


def check_flag(given: Any, name: str) -> None:
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{CALL}(): argument '{name}' must be bool, not {type(given).__name__}")


def factor(scale: Any, width: int) -> float:
    """What the scores are multiplied by; 1 / sqrt(width) if nothing else is said."""
    if scale is None:
        return 1.0 / math.sqrt(width) if width else 1.0
    return float(scale.array.item() if isinstance(scale, TensorBase) else number(scale, CALL, "scale"))


def probability(p: Any) -> float:
    p = float(number(p, CALL, "dropout_p"))
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p} ({CALL}())")
    return p


def common_heads(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Key and value with as many heads, dimension -3, as each other: a number that divides the query's."""
    if min(t.array.ndim for t in (query, key, value)) < 3:
        raise IndexError(f"{CALL}(): enable_gqa=True expects heads in dimension -3, got {list(query.array.shape)}")
    heads, *given = (t.array.shape[-3] for t in (query, key, value))
    if any(n == 0 or heads % n for n in given):
        raise RuntimeError(
            f"Number of heads in key and value must divide the number of heads in query, but got {given[0]} and "
            f"{given[1]} for {heads} ({CALL}())"
        )
    if given[0] != given[1]:
        key, value = (t.repeat_interleave(heads // n, -3) for t, n in zip((key, value), given, strict=True))
    return key, value


def batch_axes(query: Any, key: Any, value: Any, grouped: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes before the last two, broadcast: of the result, and of keys and values, which may have fewer heads."""
    last = 3 if grouped else 2
    q, k, v = query.array.shape[:-2], key.array.shape[:-2], value.array.shape[:-2]
    if q == k == v:
        return q, k
    try:
        outer = np.broadcast_shapes(*(t.array.shape[:-last] for t in (query, key, value)))
    except ValueError:
        shapes = [list(t.array.shape) for t in (query, key, value)]
        raise RuntimeError(
            f"{CALL}(): expected query, key and value whose batch dimensions broadcast, got {shapes}"
        ) from None
    return (*outer, *query.array.shape[-last:-2]), (*outer, *key.array.shape[-last:-2])


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale query key^T + mask) value: query (..., L, D), key (..., S, D), value (..., S, V) -> (..., L, V).

    `attn_mask` broadcasts to (..., L, S): True where a key takes part, or numbers that are added to the scores.
    `is_causal`: query i sees keys 0 ... i only.  A query that sees no key gives zeros, with zero gradients.
    `dropout_p`: each weight becomes zero with this probability, drawn as torch draws it, whenever it is above 0.
    `scale` is 1 / sqrt(D) if None.  `enable_gqa`: dimension -3 of key and value may divide the query's; head h then
    uses theirs of number h // (how many share one) (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245).

    Raises RuntimeError for shapes or types that do not fit.  A mask beside is_causal hides further keys, where torch's
    own kernel does that, and raises RuntimeError elsewhere: see BESIDE_CAUSAL.
    """
    check_inputs(query, key, value)
    check_flag(is_causal, "is_causal")
    check_flag(enable_gqa, "enable_gqa")
    if attn_mask is not None:
        check_mask(attn_mask, query)
    p = probability(dropout_p)
    if enable_gqa:
        key, value = common_heads(query, key, value)
    batch, shared = batch_axes(query, key, value, enable_gqa)
    arrays = q, k, v = query.array, key.array, value.array
    whole = (*batch, q.shape[-2], k.shape[-2])
    mask = None
    if attn_mask is not None:
        check_fits(attn_mask, whole)
        attn_mask = attn_mask if attn_mask.array.dtype == np.bool_ else cast(attn_mask, q.dtype)
        mask = attn_mask.array
    # Where torch has a kernel of its own, the result lies in memory as the query does; else it is contiguous.
    flash = p == 0.0 and {a.ndim for a in arrays} == {4} and q.shape[-1] == v.shape[-1]
    flash = flash and q.shape[:2] == batch and k.shape[:2] == v.shape[:2] == (shared if enable_gqa else batch)
    flash = flash and all(a.strides[-1] == a.itemsize for a in arrays)
    if mask is not None and (attn_mask.requires_grad or mask.ndim == 3):
        flash = False
    if mask is not None and mask.ndim < 2 and q.ndim == 4 and p == 0.0 and not attn_mask.requires_grad:
        raise IndexError(f"{CALL}(): expected attn_mask of 2 to 4 dimensions for 4 of query, got {mask.ndim}")
    if mask is not None and is_causal and not flash:
        raise RuntimeError(f"{CALL}(): explicit attn_mask should not be set when is_causal=True, {BESIDE_CAUSAL}")
    keep = None
    if p == 1.0:
        keep = np.zeros(whole, bool, like=q)
    elif p > 0.0:
        keep = put(random.default_generator.bernoulli(whole, 1.0 - p), of(q))
    result = run(
        Attention, (query, key, value, attn_mask), (*arrays, mask), batch=batch, shared=shared, keep=keep,
        causal=bool(is_causal), scale=factor(scale, q.shape[-1]), factor=0.0 if p == 1.0 else 1.0 / (1.0 - p),
        like_query=flash,
    )  # fmt: skip
    return result if flash else entitled(result, "MmBackward0" if result.ndim == 2 else "UnsafeViewBackward0")
