"""The decoder of an encoder-decoder model: teacher forcing in training, greedy and beam search afterwards."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

from .. import dtypes
from ..grad_mode import no_grad
from ..ops.common import expect_tensor
from ..ops.create import arange
from ..ops.elementwise import where
from ..ops.join import cat, stack
from ..ops.rows import log_softmax
from ..tensor import Tensor
from . import functional as F
from .alignment import SCORES, BahdanauAttention, LuongAttention, expect_size
from .layers import Embedding, Linear
from .module import Module
from .recurrent import GRU, LSTM


class Decoded(NamedTuple):
    """What a search found.  With K = beam_width, sizes are (B, T) from `greedy` and (B, K, T) from `beam_search`.

    sequences  (B, T) or (B, K, T) int64: the tokens after `start`, with `end` at the end and in all places after it
    lengths    (B) or (B, K) int64: how many tokens each has, with `end`; T if the search was cut off before one
    scores     (B) or (B, K): log-probabilities, in `beam_search` divided by length ** length_penalty; best first
    weights    (B, T, S) or (B, K, T, S): what each token was chosen by looking at, zero after the end; None without
               attention
    """

    sequences: Tensor
    lengths: Tensor
    scores: Tensor
    weights: Tensor | None


class AttentionDecoder(Module):
    """A recurrent decoder with attention over an encoder's states, its memory.

    With attention "bahdanau" the state before a step is the query, and the context goes into the step (Bahdanau et al.
    2015, https://arxiv.org/abs/1409.0473, section 3.1):

        context_t = attention(h_{t-1}, memory),   h_t = rnn([embedding(y_t); context_t], h_{t-1})

    with "luong" the state after it is, and the context goes into the output only (Luong et al. 2015,
    https://arxiv.org/abs/1508.04025, section 3, without input feeding), so that all steps of a known target are one
    call of the recurrent layer and one of the attention:

        h_t = rnn(embedding(y_t), h_{t-1}),   context_t = attention(h_t, memory)

    and with None there is no context: what the decoder knows is in its initial state (Cho et al. 2014,
    https://arxiv.org/abs/1406.1078).  In the first two cases the output is Luong's, equations (5) and (6):

        logits_t = out(tanh(combine([context_t; h_t])))      without attention: out(h_t)

    Constructor: num_embeddings V, the number of tokens; embedding_dim; hidden_size H; memory_size M, H if it is not
    given; attention, "bahdanau", "luong" or None; score of the latter, "dot", "general" or "concat"; cell, "GRU" or
    "LSTM"; num_layers; dropout, applied in training to the embedded tokens, between layers and before `out`;
    padding_idx of the embedding.  Modules, initialised as torch's in this order: embedding, rnn, attention, combine,
    out.

    target   (B, T) int64: the tokens that are read, the first of which is the start token
    memory   (B, S, M): the states of the encoder; not read without attention, and may be None then
    hx       the state before the first step, as nn.GRU or nn.LSTM takes it: (num_layers, B, H), or a pair of such;
             None for zeros
    mask     bool (B, S): True where the memory may be attended to; None if all of it may be
    returns  (logits, hx, weights): (B, T, V), what is said to follow each token read; the state after the last step;
             and (B, T, S), or None without attention

    Raises ValueError for an attention, score or cell of another name, RuntimeError for shapes that do not fit, and
    TypeError for what is no tensor.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        hidden_size: int,
        memory_size: int | None = None,
        attention: str | None = "bahdanau",
        score: str = "general",
        cell: str = "GRU",
        num_layers: int = 1,
        dropout: float = 0.0,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        if attention not in ("bahdanau", "luong", None):
            raise ValueError(f"AttentionDecoder: expected attention 'bahdanau', 'luong' or None, got {attention!r}")
        if score not in SCORES:
            raise ValueError(f"AttentionDecoder: expected a score of {', '.join(SCORES)}, got {score!r}")
        if cell not in ("GRU", "LSTM"):
            raise ValueError(f"AttentionDecoder: expected the cell 'GRU' or 'LSTM', got {cell!r}")
        sizes = {"num_embeddings": num_embeddings, "embedding_dim": embedding_dim, "hidden_size": hidden_size}
        for what, size in sizes.items():
            expect_size(size, what, self)
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"AttentionDecoder: expected dropout to be a number from 0 to 1, got {dropout!r}")
        memory_size = hidden_size if memory_size is None else memory_size
        expect_size(memory_size, "memory_size", self)
        self.num_embeddings, self.hidden_size, self.memory_size = num_embeddings, hidden_size, memory_size
        self.dropout, self.early = dropout, attention == "bahdanau"
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        width = embedding_dim + (memory_size if self.early else 0)
        self.embedding = Embedding(num_embeddings, embedding_dim, padding_idx, **options)
        self.rnn = {"GRU": GRU, "LSTM": LSTM}[cell](
            width, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0, **options
        )
        self.attention: Any = None
        if attention == "bahdanau":
            self.attention = BahdanauAttention(hidden_size, memory_size, **options)
        elif attention == "luong":
            self.attention = LuongAttention(hidden_size, memory_size, score, **options)
        self.combine = Linear(memory_size + hidden_size, hidden_size, **options) if attention else None
        self.out = Linear(hidden_size, num_embeddings, **options)

    def forward(self, target: Any, memory: Any, hx: Any = None, mask: Any = None) -> tuple[Any, Any, Any]:
        if expect_tensor(target, "AttentionDecoder", "target").dim() != 2 or target.shape[1] == 0:
            raise RuntimeError(f"AttentionDecoder: expected a target of shape (B, T), T > 0, got {list(target.shape)}")
        self._check(memory, target.shape[0], hx)
        return self._steps(target, memory, hx, mask, self.project(memory))

    def _check(self, memory: Any, batch: int, hx: Any) -> None:
        if memory is not None or self.attention is not None:
            shape = tuple(expect_tensor(memory, "AttentionDecoder", "memory").shape)
            if len(shape) != 3 or shape[::2] != (batch, self.memory_size):
                raise RuntimeError(
                    f"AttentionDecoder: expected memory of shape ({batch}, S, {self.memory_size}), got {list(shape)}"
                )
        wanted = self.rnn.num_layers, batch, self.hidden_size
        for name, h in self._states(hx).items():
            if expect_tensor(h, "AttentionDecoder", name).shape != wanted:
                raise RuntimeError(f"AttentionDecoder: expected {name} of shape {wanted}, got {list(h.shape)}")

    def _states(self, hx: Any) -> dict[str, Any]:
        """The tensors of a state by their names; TypeError if they are not as many as the cell has."""
        if hx is None:
            return {}
        if not isinstance(self.rnn, LSTM):
            return {"hx": hx}
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            got = f"{len(hx)} of them" if isinstance(hx, (tuple, list)) else type(hx).__name__
            raise TypeError(f"AttentionDecoder: expected hx to be a pair of tensors (h, c), for an LSTM, got {got}")
        return {"hx[0]": hx[0], "hx[1]": hx[1]}

    def project(self, memory: Any) -> Any:
        """What the attention computes once for all steps."""
        return self.attention.project_keys(memory) if self.attention is not None else None

    def _steps(self, target: Any, memory: Any, hx: Any, mask: Any, projected: Any) -> tuple[Any, Any, Any]:
        """forward, with the memory projected already."""
        embedded = F.dropout(self.embedding(target), self.dropout, self.training)
        context = weights = None
        if self.early:
            states, hx, context, weights = self._one_by_one(embedded, memory, hx, mask, projected)
        else:
            states, hx = self.rnn(embedded, hx)
            if self.attention is not None:
                context, weights = self.attention(states, memory, mask, projected)
        if self.combine is not None:
            states = self.combine(cat([context, states], -1)).tanh()
        return self.out(F.dropout(states, self.dropout, self.training)), hx, weights

    def _one_by_one(self, embedded: Any, memory: Any, hx: Any, mask: Any, projected: Any) -> tuple[Any, Any, Any, Any]:
        """The steps of a decoder whose context goes into the step: (states, hx, contexts, weights)."""
        query = embedded.new_zeros(len(embedded), self.hidden_size) if hx is None else first_of(hx)[-1]
        found = []
        for x in embedded.split(1, 1):
            context, weights = self.attention(query, memory, mask, projected)
            state, hx = self.rnn(cat([x, context.unsqueeze(1)], -1), hx)
            query = state[:, 0]
            found.append((query, context, weights))
        states, contexts, weights = (stack(parts, 1) for parts in zip(*found, strict=True))
        return states, hx, contexts, weights

    def _begin(self, memory: Any, hx: Any, mask: Any, **given: Any) -> tuple[int, Any, list[int]]:
        """What a search starts from, checked: the batch, the mask as (B, 1, S) or None, and its numbers as ints."""
        numbers = []
        for what, value in given.items():
            try:
                numbers.append(operator.index(value))
            except TypeError:
                raise TypeError(f"AttentionDecoder: expected {what} to be an int, got {value!r}") from None
            if what in ("start", "end") and not 0 <= numbers[-1] < self.num_embeddings:
                raise ValueError(
                    f"AttentionDecoder: expected {what} to be a token from 0 to {self.num_embeddings - 1}, got {value}"
                )
            if what not in ("start", "end") and numbers[-1] < 1:
                raise ValueError(f"AttentionDecoder: {what} must be at least 1, got {value}")
        if memory is None and hx is None:
            raise TypeError("AttentionDecoder: a search needs memory or hx, to know the size of the batch")
        known = memory if memory is not None else next(iter(self._states(hx).values()))
        shape = expect_tensor(known, "AttentionDecoder", "memory" if memory is not None else "hx").shape
        batch = shape[int(memory is None)] if len(shape) == 3 else 1  # else _check refuses it
        self._check(memory, batch, hx)
        if mask is not None and self.attention is not None:
            mask = self.attention.full_mask(mask, (batch, 1, memory.shape[1]))
        return batch, mask, numbers

    @no_grad()
    def greedy(
        self, memory: Any, hx: Any = None, mask: Any = None, *, start: int, end: int, max_length: int
    ) -> Decoded:
        """The most likely token at each step, from `start` until `end`, or until there are max_length of them.

        memory, hx and mask as in `forward`.  No gradient is recorded; dropout acts unless `eval()` was called.
        """
        batch, mask, numbers = self._begin(memory, hx, mask, start=start, end=end, max_length=max_length)
        start, end, max_length = numbers
        like, projected = self.out.weight, self.project(memory)
        token = like.new_full((batch, 1), start, dtype=dtypes.int64)
        ended, scores = like.new_zeros(batch, dtype=dtypes.bool), like.new_zeros(batch)
        lengths = like.new_zeros(batch, dtype=dtypes.int64)
        found: list[tuple] = []
        while not found or not (len(found) == max_length or ended.all()):
            logits, hx, weights = self._steps(token, memory, hx, mask, projected)
            best, choice = log_softmax(logits[:, 0], -1).max(-1)
            choice = where(ended, end, choice)
            scores, lengths = scores + where(ended, 0.0, best), lengths + ended.logical_not()
            ended = ended | (choice == end)
            token = choice.unsqueeze(1)
            found.append((choice, None if weights is None else weights[:, 0]))
        tokens, looks = zip(*found, strict=True)
        return Decoded(stack(tokens, -1), lengths, scores, seen(looks, lengths))

    @no_grad()
    def beam_search(
        self,
        memory: Any,
        hx: Any = None,
        mask: Any = None,
        *,
        start: int,
        end: int,
        max_length: int,
        beam_width: int = 4,
        length_penalty: float = 1.0,
    ) -> Decoded:
        """The beam_width best sequences that are found by keeping, after each step, the beam_width best beginnings.

        Beginnings and sequences are compared by log-probability / length ** length_penalty: of short ones, which are
        more likely, the larger the penalty the fewer are preferred.  One that has ended keeps its score and its place
        until better ones take it.  The search is over when all have ended, or have max_length tokens.  Where there are
        fewer sequences than places, the score of the places left over is -inf.

        memory, hx and mask as in `forward`.  No gradient is recorded; dropout acts unless `eval()` was called.
        """
        numbers = {"start": start, "end": end, "max_length": max_length, "beam_width": beam_width}
        batch, mask, (start, end, max_length, wide) = self._begin(memory, hx, mask, **numbers)
        try:
            length_penalty = float(length_penalty)
        except (TypeError, ValueError):
            raise TypeError(
                f"AttentionDecoder: expected length_penalty to be a finite number, got {length_penalty!r}"
            ) from None
        if not math.isfinite(length_penalty):
            raise ValueError(f"AttentionDecoder: expected length_penalty to be a finite number, got {length_penalty}")
        like, infinity = self.out.weight, math.inf
        memory = None if memory is None else memory.repeat_interleave(wide, 0)
        mask = None if mask is None else mask.repeat_interleave(wide, 0)
        hx = each(hx, lambda h: h.repeat_interleave(wide, 1))
        projected = self.project(memory)
        token = like.new_full((batch, wide), start, dtype=dtypes.int64)
        total = like.new_full((batch, wide), -infinity)
        total[:, 0] = 0.0  # all places begin alike: only one of them counts
        ended, lengths = (like.new_zeros(batch, wide, dtype=kind) for kind in (dtypes.bool, dtypes.int64))
        rows = wide * arange(batch, device=like.device).unsqueeze(1)
        found: list[tuple] = []
        while not found or not (len(found) == max_length or ended.all()):
            logits, hx, weights = self._steps(token.reshape(-1, 1), memory, hx, mask, projected)
            logs = log_softmax(logits[:, 0], -1).reshape(batch, wide, self.num_embeddings)
            logs = logs.masked_fill(ended.unsqueeze(-1), -infinity)
            logs[..., end] = where(ended, 0.0, logs[..., end])
            totals, longer = total.unsqueeze(-1) + logs, lengths + ended.logical_not()
            ranks = totals / (longer.to(totals.dtype) ** length_penalty).unsqueeze(-1)
            choice = ranks.flatten(1).topk(wide)[1]
            source, token = choice // self.num_embeddings, choice % self.num_embeddings
            total, lengths = totals.flatten(1).gather(1, choice), longer.gather(1, source)
            ended = ended.gather(1, source) | (token == end) | (total == -infinity)
            order = (rows + source).flatten()
            hx = each(hx, lambda h, order=order: h.index_select(1, order))
            found.append((token, source, None if weights is None else weights.reshape(batch, wide, weights.shape[-1])))
        scores = total / lengths.to(total.dtype) ** length_penalty
        tokens, looks = zip(*backwards(found), strict=True)
        return Decoded(stack(tokens, -1), lengths, scores, seen(looks, lengths))


def first_of(hx: Any) -> Any:
    """The hidden state h of h or (h, c)."""
    return hx[0] if isinstance(hx, (tuple, list)) else hx


def each(hx: Any, change: Any) -> Any:
    """The state None, h or (h, c), changed."""
    return tuple(map(change, hx)) if isinstance(hx, (tuple, list)) else None if hx is None else change(hx)


def backwards(found: list) -> list:
    """The steps of each sequence that is in the last beam: (token (B, K), weights (B, K, S) or None) for each.

    A step has the tokens that it chose, the place in the beam before it that each follows, and the weights of those.
    """
    last = found[-1][0]
    places, steps = arange(last.shape[1], device=last.device).expand_as(last), []
    for token, source, weights in reversed(found):
        token, places = token.gather(1, places), source.gather(1, places)
        if weights is not None:
            weights = weights.take_along_dim(places.unsqueeze(-1), 1)
        steps.append((token, weights))
    return steps[::-1]


def seen(looks: Any, lengths: Any) -> Any:
    """The weights of each step (..., S) as (..., T, S), zero after the end."""
    if looks[0] is None:
        return None
    over = arange(len(looks), device=lengths.device) >= lengths.unsqueeze(-1)
    return stack(looks, -2).masked_fill(over.unsqueeze(-1), 0.0)
