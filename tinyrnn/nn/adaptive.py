"""The adaptive softmax (https://arxiv.org/abs/1609.04309): frequent classes in a head, rare ones in clusters.

log P(class) = log softmax(head)[class] for a class of the head, and log softmax(head)[cluster] +
log softmax(tail of the cluster)[class] for the others.  Class numbers are ordered by frequency.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..ops.join import cat
from ..ops.rows import log_softmax
from .containers import ModuleList, Sequential
from .layers import Linear
from .module import Module

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """layer(input, target): (output, loss), the log-probability of each target and the mean of their negatives.

    input (N, in_features) with target (N), or (in_features) with (); output as target.  `cutoffs` are the first classes
    of the clusters; the projection of cluster k has in_features / div_value ** (k + 1) features.  Raises ValueError if
    the cutoffs do not rise between 1 and n_classes - 1, RuntimeError for targets that are no classes.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        cutoffs = list(cutoffs)
        whole = all(int(c) == c for c in cutoffs)
        if not cutoffs or not whole or any(a >= b for a, b in pairwise([0, *cutoffs, n_classes])):
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs should be integers between 1 and n_classes - 1 = {n_classes - 1}"
                f", each larger than the one before, but they are {cutoffs}"
            )
        self.in_features, self.n_classes, self.div_value, self.head_bias = in_features, n_classes, div_value, head_bias
        self.cutoffs = [*cutoffs, n_classes]
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        options = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for k, (first, end) in enumerate(pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (k + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **options),
                    Linear(hidden, end - first, bias=False, **options),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for projection, scores in self.tail:
            projection.reset_parameters()
            scores.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> Any:
        if target_.dim() > 1:
            raise RuntimeError(f"AdaptiveLogSoftmaxWithLoss: target must have 0 or 1 dimensions, not {target_.dim()}")
        if input_.dim() != target_.dim() + 1 or input_.shape[:-1] != target_.shape:
            raise RuntimeError(
                f"AdaptiveLogSoftmaxWithLoss: a target of shape {list(target_.shape)} asks for an input of shape "
                f"{[*target_.shape, self.in_features]}, but it has {list(input_.shape)}"
            )
        input, target = input_.reshape(-1, input_.size(-1)), target_.reshape(-1)
        if ((target < 0) | (target >= self.n_classes)).any():
            raise RuntimeError(
                f"AdaptiveLogSoftmaxWithLoss: targets must be in [0, {self.n_classes - 1}], but they are in "
                f"[{target.min().item()}, {target.max().item()}]"
            )
        head = log_softmax(self.head(input), 1)
        chosen = target.clone()  # of the head: the class, or its cluster
        within = input.new_zeros(target.size(0))
        for k, (first, end) in enumerate(pairwise(self.cutoffs)):
            rows = ((target >= first) & (target < end)).nonzero().reshape(-1)
            if rows.numel():
                chosen.index_fill_(0, rows, self.shortlist_size + k)
                tail = log_softmax(self.tail[k](input.index_select(0, rows)), 1)
                within.index_copy_(0, rows, tail.gather(1, (target[rows] - first).unsqueeze(1)).squeeze(1))
        output = within + head.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return _ASMoutput(output if target_.dim() else output.squeeze(0), (-output).mean())

    def log_prob(self, input: Any) -> Any:
        """The log-probabilities of all classes: input (N, in_features), result (N, n_classes)."""
        head = log_softmax(self.head(input), 1)
        clusters = [
            log_softmax(tail(input), 1) + head[:, self.shortlist_size + k].unsqueeze(1)
            for k, tail in enumerate(self.tail)
        ]
        return cat([head[:, : self.shortlist_size], *clusters], 1)

    def predict(self, input: Any) -> Any:
        """The most likely class of each row: input (N, in_features), result (N)."""
        best = self.head(input).argmax(1)
        rows = (best >= self.shortlist_size).nonzero().reshape(-1)  # the others need no cluster
        if rows.numel():
            best[rows] = self.log_prob(input[rows]).argmax(1)
        return best


__all__ = ["AdaptiveLogSoftmaxWithLoss"]
