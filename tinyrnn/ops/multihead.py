"""Multi-head attention: projections to heads, attention within each, and a projection back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape import is_grad_enabled
from .attention import scaled_dot_product_attention
from .common import Op, run
from .create import zeros
from .dropout import dropout
from .join import cat
from .linear import linear
from .padding import pad
from .rows import softmax


class Heads(Op):
    """Projected rows (L, N, P H D), or (N, L, P H D), as P times the heads (N, H, L, D), in the same memory.

    They are no views to the tape: nobody else holds the rows.
    """

    @staticmethod
    def forward(x, *, parts, heads, batch_first):
        return tuple(Heads.split(x, parts, heads, batch_first)), (x.shape, heads, batch_first)

    @staticmethod
    def split(x, parts, heads, batch_first):
        x = x.reshape(*x.shape[:2], parts, heads, x.shape[2] // (parts * heads))
        return x.transpose((2, 0, 3, 1, 4) if batch_first else (2, 1, 3, 0, 4))

    @staticmethod
    def backward(saved, needs, *gradients):
        shape, heads, batch_first = saved
        some = next(g for g in gradients if g is not None)
        d = np.empty(shape, some.dtype, like=some)
        for part, g in zip(Heads.split(d, len(gradients), heads, batch_first), gradients, strict=True):
            part[...] = 0 if g is None else g
        return d


def alike(function: Callable, *tensors: Any) -> list:
    """function(x) for each tensor; those that are one and the same stay so."""
    found: dict[int, Any] = {}
    for x in tensors:
        if id(x) not in found:
            found[id(x)] = function(x)
    return [found[id(x)] for x in tensors]


def swapped(x: Any) -> bool:
    """Whether (L, N, E) was transposed: it lies in memory as (N, L, E), and is best used in that order."""
    return x.array.strides[1] > x.array.strides[0]


def project(query: Any, key: Any, value: Any, weights: tuple, bias: Any, heads: int) -> list:
    """Heads (N, H, ., D) of query, key and value (., N, .), by as few products as there are different tensors.

    `weights` are one (3 E, E), or three for inputs of different widths; `bias` is (3 E,) or None.
    """
    width = query.shape[-1]
    inputs: tuple = (query, key, value)
    parts = [1, 1, 1]  # how many of the three results each input has
    if len(weights) == 3:
        for name, w, x in zip(("query", "key", "value"), weights, inputs, strict=True):
            if w.shape != (width, x.shape[-1]):
                raise AssertionError(
                    f"expecting {name} weights shape of {(width, x.shape[-1])}, but got {tuple(w.shape)}"
                )
    elif key is value:
        inputs, parts = ((query,), [3]) if query is key else ((query, key), [1, 2])
    sizes = [n * width for n in parts]
    if len(weights) < len(parts):
        weights = weights[0].split(sizes)
    biases = [None] * len(parts) if bias is None else bias.split(sizes) if len(parts) > 1 else [bias]
    found: list = []
    for x, w, b, n in zip(inputs, weights, biases, parts, strict=True):
        batch_first = swapped(x)
        rows = linear(x.transpose(0, 1) if batch_first else x, w, b)
        found += run(Heads, (rows,), (rows.array,), parts=n, heads=heads, batch_first=batch_first)
    return found


# ------------------------------------------------------------------------------------------ masks
def additive(mask: Any, name: str, other: Any, other_name: str, dtype: Any) -> Any:
    """A mask that is added to the scores: -inf where a boolean one is True; floating-point ones and None stay.

    Raises AssertionError for other types; warns where the `other` mask, if it matters, has another type.
    """
    if mask is None:
        return None
    check_kind(mask, name)
    if other is not None and mask.dtype != other.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.is_floating_point():
        return mask
    return zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, -math.inf)


def check_kind(mask: Any, name: str) -> None:
    if mask.array.dtype.kind not in "bf":
        raise AssertionError(f"only bool and floating types of {name} are supported, not {mask.dtype}")


def check_dimensions(query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any, heads: int) -> None:
    """That everything has the dimensions of a batch, or of a single sequence; AssertionError otherwise."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    ndim, batched = query.dim(), "For batched (3-D)" if query.dim() == 3 else "For unbatched (2-D)"
    if key.dim() != ndim or value.dim() != ndim:
        raise AssertionError(
            f"{batched} `query`, expected `key` and `value` to be {ndim}-D but found {key.dim()}-D and {value.dim()}-D "
            "tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != ndim - 1:
        raise AssertionError(
            f"{batched} `query`, expected `key_padding_mask` to be `None` or {ndim - 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is None:
        return
    if attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"{batched} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor "
            "instead"
        )
    expected = (heads, query.shape[0], key.shape[0])
    if ndim == 2 and attn_mask.dim() == 3 and attn_mask.shape != expected:
        raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {tuple(attn_mask.shape)}")


def by_heads(mask: Any, batch: int, heads: int, length: int, source: int) -> Any:
    """A mask (L, S) as (1, 1, L, S), or (N H, L, S) as (N, H, L, S); RuntimeError if it has another shape."""
    expected = (length, source) if mask.dim() == 2 else (batch * heads, length, source)
    if mask.shape != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be {expected}."
        )
    return mask.reshape(1, 1, length, source) if mask.dim() == 2 else mask.reshape(batch, heads, length, source)


# ------------------------------------------------------------------------------------------ the function
def static(given: Any, name: str, batch: int, heads: int, width: int) -> Any:
    """Keys or values (N H, S, D) that were projected before, as (N, H, S, D)."""
    if given.shape[0] != batch * heads:
        raise AssertionError(f"expecting {name}.size(0) of {batch * heads}, but got {given.shape[0]}")
    if given.shape[2] != width:
        raise AssertionError(f"expecting {name}.size(2) of {width}, but got {given.shape[2]}")
    return given.reshape(batch, heads, given.shape[1], width)


def longer(x: Any, last: Any) -> Any:
    """(N, H, S, D) with one more key or value at the end, (1, H, 1, D) for the whole batch."""
    return cat([x, last.expand(x.shape[0], -1, -1, -1)], 2)


def weighted(q: Any, k: Any, v: Any, mask: Any, p: float) -> tuple[Any, Any]:
    """softmax(q k^T / sqrt(D) + mask) after dropout, times v; and these weights (N, H, L, S)."""
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    if mask is not None:
        if mask.dtype != scores.dtype:
            raise RuntimeError(f"multi_head_attention_forward(): a mask of {mask.dtype} for a query of {scores.dtype}")
        scores = mask + scores
    weights = softmax(scores, dim=-1)
    if p > 0.0:
        weights = dropout(weights, p)
    return weights @ v, weights


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Multi-head attention of query (L, N, E) to key (S, N, K) and value (S, N, V), or of one sequence, without N.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.  Returns (L, N, E) and, with `need_weights`,
    the weights, (N, L, S) as an average or (N, H, L, S); else None.  in_proj_weight is (3 E, E); or, with
    `use_separate_proj_weight`, there are three.  bias_k and bias_v (1, 1, E) are one key and value more; so are zeros
    with `add_zero_attn`.  static_k and static_v (N H, S, D) take the place of what would be projected.  Masks:
    attn_mask (L, S) or (N H, L, S), key_padding_mask (N, S); True forbids, numbers are added to the scores.
    `is_causal` promises that attn_mask is the causal one.  Raises AssertionError for what does not fit, RuntimeError
    for an attn_mask that does not.
    """
    check_dimensions(query, key, value, key_padding_mask, attn_mask, num_heads)
    single = query.dim() == 2
    if single:
        query, key, value = alike(lambda x: x.unsqueeze(1), query, key, value)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, embed_dim = query.shape
    key_padding_mask = additive(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint: nn.Transformer.generate_square_subsequent_mask makes one."
        )
    if attn_mask is not None:
        check_kind(attn_mask, "attn_mask")
    is_causal = is_causal and key_padding_mask is None and not need_weights
    attn_mask = None if is_causal else additive(attn_mask, "attn_mask", None, "", query.dtype)
    if embed_dim != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}")
    width = embed_dim // num_heads
    if width * num_heads != embed_dim:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if key.shape[:2] != value.shape[:2] or not (use_separate_proj_weight or key.shape == value.shape):
        raise AssertionError(f"key shape {tuple(key.shape)} does not match value shape {tuple(value.shape)}")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else (in_proj_weight,)
    if any(w is None for w in weights):
        raise AssertionError(f"use_separate_proj_weight is {use_separate_proj_weight}, but the weights for it are None")
    q, k, v = project(query, key, value, weights, in_proj_bias, num_heads)
    if k.shape[0] != batch:
        raise RuntimeError(f"multi_head_attention_forward(): query has a batch of {batch}, but key of {k.shape[0]}")
    if attn_mask is not None:
        attn_mask = by_heads(attn_mask, batch, num_heads, length, k.shape[2])
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("one of bias_k and bias_v is set, but not the other")
    if bias_k is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k, v = (longer(x, b.reshape(1, num_heads, 1, width)) for x, b in ((k, bias_k), (v, bias_v)))
    if static_k is not None:
        k = static(static_k, "static_k", batch, num_heads, width)
    if static_v is not None:
        v = static(static_v, "static_v", batch, num_heads, width)
    if add_zero_attn:
        k, v = (longer(x, x.new_zeros(1, num_heads, 1, width)) for x in (k, v))
    more = add_zero_attn + (bias_k is not None)  # keys that no mask forbids
    if more:
        attn_mask, key_padding_mask = (m if m is None else pad(m, (0, more)) for m in (attn_mask, key_padding_mask))
    if key_padding_mask is not None:
        expected = (batch, k.shape[2])
        if key_padding_mask.shape != expected:
            raise AssertionError(
                f"Expected key_padding_mask to have shape {expected}, but got {tuple(key_padding_mask.shape)}"
            )
        padding = key_padding_mask.reshape(batch, 1, 1, k.shape[2])
        attn_mask = padding if attn_mask is None else attn_mask + padding
    p = dropout_p if training else 0.0
    if need_weights:
        found, attention = weighted(q, k, v, attn_mask, p)
        attention = attention.mean(dim=1) if average_attn_weights else attention
    else:
        found, attention = scaled_dot_product_attention(q, k, v, attn_mask, p, is_causal), None
    # Where dropout may follow, the result lies as torch's, in whose order it draws.
    batch_first = swapped(query) and not training and not is_grad_enabled()
    found = found.permute((0, 2, 1, 3) if batch_first else (2, 0, 1, 3)).flatten(2).contiguous()
    found = linear(found, out_proj_weight, out_proj_bias)
    found = found.transpose(0, 1) if batch_first else found
    if single:
        return found.squeeze(1), attention if attention is None else attention.squeeze(0)
    return found, attention
