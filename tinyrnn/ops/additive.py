"""Additive attention, as one node: scores, softmax and context."""

from __future__ import annotations

from typing import Any

from ..kernels import twin
from ..strides import contiguous
from .common import Op, run

kernels = twin("additive")


class AdditiveAttention(Op):
    """query (B, L, H), projected (B, S, H), v (1, H), keys (B, S, K) -> context (B, L, K), weights (B, L, S)."""

    @staticmethod
    def forward(query, projected, v, keys, *, mask):
        mask = None if mask is None else contiguous(mask)
        context, weights = kernels.forward(*map(contiguous, (query, projected, v, keys)), mask)
        return (context, weights), (query, projected, v, keys, mask, weights)

    @staticmethod
    def backward(saved, needs, d_context, d_weights):
        *arrays, mask, weights = saved
        d_context, d_weights = (None if d is None else contiguous(d) for d in (d_context, d_weights))
        return kernels.backward(*map(contiguous, arrays), mask, weights, d_context, d_weights)


def additive_attention(query: Any, projected: Any, v: Any, keys: Any, mask: Any) -> tuple[Any, Any]:
    """Attention with the scores v . tanh(query + projected): (context (B, L, K), weights (B, L, S)).

    query (B, L, H), projected (B, S, H), v (1, H) and keys (B, S, K) of one dtype; mask bool (B, L, S), True where a
    key may be attended to, or None.  Where none may be, both results are zero and send nothing back.  Shapes and types
    are for the caller to check.
    """
    tensors = query, projected, v, keys
    besides, truth = ((), None) if mask is None else ((mask,), mask.array)
    return run(AdditiveAttention, tensors, [t.array for t in tensors], besides, mask=truth)
