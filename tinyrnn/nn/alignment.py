"""Attention over the states of an encoder: the additive score of Bahdanau et al., and the scores of Luong et al.

Both take a query, the state of a decoder, compare it with each of the keys, the states of an encoder, and return the
mean of the keys, weighted by how well they match: the context, and the weights.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import finfo
from ..ops.additive import additive_attention
from ..ops.common import expect_tensor
from ..ops.linear import matmul
from ..ops.rows import softmax
from . import functional as F
from .layers import Linear
from .module import Module


def masked_softmax(scores: Any, mask: Any) -> Any:
    """softmax over the last dimension, of what the mask permits; the rest is zero, all of it if nothing is permitted.

    A row that is hidden altogether sends no gradient back, and nothing in it is NaN.
    """
    if mask is None:
        return softmax(scores, -1)
    hidden = mask.logical_not()
    return softmax(scores.masked_fill(hidden, finfo(scores.dtype).min), -1).masked_fill(hidden, 0.0)


class _Attention(Module):
    """What both kinds share: their sizes, the checks, and a query of one step or of several."""

    query_size: int
    key_size: int

    def _sizes(self, query_size: int, key_size: int | None) -> None:
        self.query_size, self.key_size = query_size, query_size if key_size is None else key_size
        for what, size in (("query_size", self.query_size), ("key_size", self.key_size)):
            expect_size(size, what, self)

    def project_keys(self, keys: Any) -> Any:
        """What the scores need of the keys (B, S, K) alone, for `projected`; None if that is nothing."""
        return None

    def _attend(self, query: Any, keys: Any, mask: Any, projected: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def forward(self, query: Any, keys: Any, mask: Any = None, projected: Any = None) -> tuple[Any, Any]:
        single = self._check(query, keys)
        query = query.unsqueeze(1) if single else query
        mask = None if mask is None else self.full_mask(mask, (*query.shape[:2], keys.shape[1]))
        context, weights = self._attend(query, keys, mask, projected)
        return (context.squeeze(1), weights.squeeze(1)) if single else (context, weights)

    def _check(self, query: Any, keys: Any) -> bool:
        """Refuse what does not fit; whether the query is of one step."""
        name = type(self).__name__
        expect_tensor(query, name, "query")
        expect_tensor(keys, name, "keys")
        if query.dim() not in (2, 3) or query.shape[-1] != self.query_size:
            raise RuntimeError(
                f"{name}: expected query of shape (B, {self.query_size}) or (B, L, {self.query_size}), got "
                f"{list(query.shape)}"
            )
        if keys.dim() != 3 or keys.shape[-1] != self.key_size or keys.shape[0] != query.shape[0]:
            raise RuntimeError(
                f"{name}: expected keys of shape (B, S, {self.key_size}) with the query's batch, B = {query.shape[0]}, "
                f"got {list(keys.shape)}"
            )
        if query.dtype != keys.dtype:
            raise RuntimeError(f"{name}: expected query and keys of one dtype, got {query.dtype} and {keys.dtype}")
        return query.dim() == 2

    def full_mask(self, mask: Any, shape: tuple[int, int, int]) -> Any:
        """The mask as `shape`, (B, L, S)."""
        name = type(self).__name__
        if expect_tensor(mask, name, "mask").array.dtype.kind != "b":
            raise RuntimeError(
                f"{name}: expected a mask of torch.bool, True where a key may be attended to, got {mask.dtype}"
            )
        full = mask.unsqueeze(1) if mask.dim() == 2 else mask
        if full.dim() != 3 or any(n not in (1, size) for n, size in zip(full.shape, shape, strict=True)):
            raise RuntimeError(
                f"{name}: expected a mask of shape (B, S) or (B, L, S), here (B, L, S) = {shape}, got "
                f"{list(mask.shape)}"
            )
        return full.expand(shape)


def expect_size(size: Any, what: str, module: Any) -> None:
    name = type(module).__name__
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"{name}: {what} should be of type int, got: {type(size).__name__}")
    if size <= 0:
        raise ValueError(f"{name}: {what} must be greater than zero, got {size}")


class BahdanauAttention(_Attention):
    """Additive attention (Bahdanau, Cho and Bengio 2015, https://arxiv.org/abs/1409.0473).

        e_s = v . tanh(W_q query + W_k keys_s)          section A.1.2; there W_q is W_a, and W_k is U_a
        weights = softmax(e)                            equation (6)
        context = sum over s of weights_s keys_s        equation (5)

    Constructor: query_size Q; key_size K, that of the query if it is not given; hidden_size H of the sum inside tanh,
    Q if it is not given.  Parameters, without biases as in the paper: W_q.weight (H, Q), W_k.weight (H, K), v.weight
    (1, H), all initialised as those of nn.Linear, in this order.

    query      (B, Q), one step of a decoder, or (B, L, Q), several
    keys       (B, S, K), the states of an encoder
    mask       bool (B, S) or (B, L, S): True where a key may be attended to; None if all may be
    projected  W_k keys (B, S, H), from `project_keys`: the same for every step of a decoder, so that it need not be
               computed again in each; computed if it is not given
    returns    (context, weights): (B, K) and (B, S), or for several steps (B, L, K) and (B, L, S)

    Where no key may be attended to, weights and context are zero, and so are the gradients that they send back.

    Raises RuntimeError for shapes and dtypes that do not fit.
    """

    def __init__(
        self,
        query_size: int,
        key_size: int | None = None,
        hidden_size: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self._sizes(query_size, key_size)
        self.hidden_size = query_size if hidden_size is None else hidden_size
        expect_size(self.hidden_size, "hidden_size", self)
        options: dict[str, Any] = {"bias": False, "device": device, "dtype": dtype}
        self.W_q = Linear(self.query_size, self.hidden_size, **options)
        self.W_k = Linear(self.key_size, self.hidden_size, **options)
        self.v = Linear(self.hidden_size, 1, **options)

    def project_keys(self, keys: Any) -> Any:
        """W_k keys: (B, S, K) -> (B, S, H)."""
        return self.W_k(keys)

    def _attend(self, query: Any, keys: Any, mask: Any, projected: Any) -> tuple[Any, Any]:
        projected = expect_projected(self.project_keys(keys) if projected is None else projected, keys, self)
        return additive_attention(self.W_q(query), projected, self.v.weight, keys, mask)

    def extra_repr(self) -> str:
        return f"{self.query_size}, key_size={self.key_size}, hidden_size={self.hidden_size}"


def expect_projected(projected: Any, keys: Any, module: Any) -> Any:
    shape = (*keys.shape[:2], module.hidden_size)
    expect_tensor(projected, type(module).__name__, "projected")
    if tuple(projected.shape) != shape or projected.dtype != keys.dtype:
        raise RuntimeError(
            f"{type(module).__name__}: expected projected keys of shape {list(shape)} and {keys.dtype}, as "
            f"project_keys gives them, got {list(projected.shape)} and {projected.dtype}"
        )
    return projected


SCORES = ("dot", "general", "concat")


class LuongAttention(_Attention):
    """Global attention (Luong, Pham and Manning 2015, https://arxiv.org/abs/1508.04025, section 3.1).

        dot      e_s = query . keys_s
        general  e_s = (W_a query) . keys_s
        concat   e_s = v_a . tanh(W_a [query; keys_s])
        weights = softmax(e)                            equation (7)
        context = sum over s of weights_s keys_s

    Constructor: query_size Q; key_size K, that of the query if it is not given and necessarily with `dot`; score;
    hidden_size H, for `concat` only, Q if it is not given.  Parameters, initialised as those of nn.Linear: none with
    dot; W_a.weight (K, Q) with general, the transpose of the paper's, so that a query is multiplied once and not each
    key; W_a.weight (H, Q + K) and v_a.weight (1, H) with concat.

    query      (B, Q), one step of a decoder, or (B, L, Q), several
    keys       (B, S, K), the states of an encoder
    mask       bool (B, S) or (B, L, S): True where a key may be attended to; None if all may be
    projected  with concat, the part of W_a [query; keys] that comes from the keys (B, S, H), from `project_keys`; it is
               computed if it is not given
    returns    (context, weights): (B, K) and (B, S), or for several steps (B, L, K) and (B, L, S)

    Where no key may be attended to, weights and context are zero, and so are the gradients that they send back.

    Raises ValueError for a score of another name and for sizes that `dot` cannot multiply, RuntimeError for shapes and
    dtypes that do not fit.
    """

    def __init__(
        self,
        query_size: int,
        key_size: int | None = None,
        score: str = "general",
        hidden_size: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        self._sizes(query_size, key_size)
        if score not in SCORES:
            raise ValueError(f"LuongAttention: expected a score of {', '.join(SCORES)}, got {score!r}")
        if score == "dot" and self.query_size != self.key_size:
            raise ValueError(
                f"LuongAttention: dot compares queries and keys of one size, got query_size {self.query_size} and "
                f"key_size {self.key_size}; general and concat take different ones"
            )
        if hidden_size is not None and score != "concat":
            raise ValueError(f"LuongAttention: hidden_size belongs to the score concat, not to {score}")
        self.score = score
        options: dict[str, Any] = {"bias": False, "device": device, "dtype": dtype}
        if score == "general":
            self.W_a = Linear(self.query_size, self.key_size, **options)
        elif score == "concat":
            self.hidden_size = self.query_size if hidden_size is None else hidden_size
            expect_size(self.hidden_size, "hidden_size", self)
            self.W_a = Linear(self.query_size + self.key_size, self.hidden_size, **options)
            self.v_a = Linear(self.hidden_size, 1, **options)

    def project_keys(self, keys: Any) -> Any:
        """With concat, the part of W_a [query; keys] that comes from the keys: (B, S, K) -> (B, S, H); else None."""
        return F.linear(keys, self.W_a.weight[:, self.query_size :]) if self.score == "concat" else None

    def _attend(self, query: Any, keys: Any, mask: Any, projected: Any) -> tuple[Any, Any]:
        if self.score == "concat":
            projected = expect_projected(self.project_keys(keys) if projected is None else projected, keys, self)
            query = F.linear(query, self.W_a.weight[:, : self.query_size])
            return additive_attention(query, projected, self.v_a.weight, keys, mask)
        if projected is not None:
            raise RuntimeError(f"LuongAttention: the score {self.score} takes no projected keys, got {projected!r:.60}")
        if mask is not None:  # a key that nobody may attend to is not read: it may be NaN
            keys = keys.masked_fill(mask.any(1).logical_not().unsqueeze(-1), 0.0)
        query = self.W_a(query) if self.score == "general" else query
        weights = masked_softmax(matmul(query, keys.transpose(1, 2)), mask)
        return matmul(weights, keys), weights

    def extra_repr(self) -> str:
        text = f"{self.query_size}, key_size={self.key_size}, score={self.score!r}"
        return text + (f", hidden_size={self.hidden_size}" if self.score == "concat" else "")
