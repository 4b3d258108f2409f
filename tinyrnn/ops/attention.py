"""Softmax attention: each query takes a weighted mean of the values, by how well its keys fit.

    out[i] = sum over j of p[i, j] value[j],    p[i] = softmax over j of (scale query[i] . key[j] + mask[i, j])

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tape import wrap
from .common import TensorBase, check_broadcast, expect_tensor, number
from .elementwise import where
from .rows import kind, softmax

CALL = "scaled_dot_product_attention"


def check_inputs(query: Any, key: Any, value: Any) -> None:
    """torch's errors for tensors that do not fit each other."""
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


def check_mask(mask: Any, query: Any, is_causal: bool) -> None:
    """torch's errors for masks of other types, or beside is_causal."""
    expect_tensor(mask, CALL, "attn_mask")
    if mask.array.dtype not in (np.bool_, np.float32, query.array.dtype):
        raise RuntimeError(
            f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask: {kind(mask)} and "
            f"query: {kind(query)} ({CALL}())"
        )
    if is_causal:
        raise RuntimeError(f"{CALL}(): explicit attn_mask should not be set when is_causal=True")
    if mask.array.ndim < 2 and query.array.ndim == 4:
        raise IndexError(f"{CALL}(): expected attn_mask of 2 to 4 dimensions for 4 of query, got {mask.array.ndim}")


def check_flag(given: Any, name: str) -> None:
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{CALL}(): argument '{name}' must be bool, not {type(given).__name__}")


def factor(scale: Any, width: int) -> float:
    """What the scores are multiplied by; 1 / sqrt(width) if nothing else is said."""
    if scale is None:
        return 1.0 / math.sqrt(width) if width else 1.0
    return float(scale.item() if isinstance(scale, TensorBase) else number(scale, CALL, "scale"))


def probability(p: Any) -> float:
    p = float(number(p, CALL, "dropout_p"))
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p} ({CALL}())")
    return p


def grouped(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
    """Keys and values repeated for the heads of the query, dimension -3, that share them."""
    if min(t.array.ndim for t in (query, key, value)) < 3:
        raise IndexError(f"{CALL}(): enable_gqa=True expects heads in dimension -3, got {list(query.array.shape)}")
    heads, *given = (t.array.shape[-3] for t in (query, key, value))
    if any(n == 0 or heads % n for n in given):
        raise RuntimeError(
            f"Number of heads in key and value must divide the number of heads in query, but got {given[0]} and "
            f"{given[1]} for {heads} ({CALL}())"
        )
    key, value = (
        t if n == heads else t.repeat_interleave(heads // n, -3) for t, n in zip((key, value), given, strict=True)
    )
    return key, value


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
    """softmax(scale query key^T + mask) value, for query (..., L, D), key (..., S, D), value (..., S, V) -> (..., L, V).

    `attn_mask` broadcasts to (..., L, S): True where a key takes part, or numbers that are added to the scores.
    `is_causal`: query i sees keys 0 ... i only.  A query that sees no key gives zeros, with zero gradients.
    `dropout_p`: each weight becomes zero with this probability, drawn as torch draws it, whenever it is above 0.
    `scale` is 1 / sqrt(D) if None.  `enable_gqa`: dimension -3 of key and value may divide the query's; head h then
    uses theirs of number h // (how many share one) (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245).

    Raises RuntimeError for shapes or types that do not fit, and for a mask beside is_causal.
    """
    check_inputs(query, key, value)
    check_flag(is_causal, "is_causal")
    check_flag(enable_gqa, "enable_gqa")
    if attn_mask is not None:
        check_mask(attn_mask, query, is_causal)
    p = probability(dropout_p)
    if enable_gqa:
        key, value = grouped(query, key, value)
    width = query.array.shape[-1]
    scores = (query @ key.transpose(-2, -1)) * factor(scale, width)
    if is_causal:
        attn_mask = wrap(np.tri(*scores.array.shape[-2:], dtype=bool))
    if attn_mask is not None:
        if (
            np.broadcast_shapes(scores.array.shape, check_broadcast(scores.array, attn_mask.array))
            != scores.array.shape
        ):
            raise RuntimeError(
                f"{CALL}(): expected attn_mask that broadcasts to {list(scores.array.shape)}, got "
                f"{list(attn_mask.array.shape)}"
            )
        scores = where(attn_mask, scores, -math.inf) if attn_mask.array.dtype == np.bool_ else scores + attn_mask
        blind = (scores.detach() == -math.inf).all(-1, keepdim=True)
        weights = where(blind, 0.0, softmax(where(blind, 0.0, scores), -1))
    else:
        weights = softmax(scores, -1)
    if p > 0.0:
        from ..nn.functional import dropout

        weights = dropout(weights, p)
    return weights @ value
