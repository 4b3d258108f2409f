"""Recurrent layers: RNN, GRU, LSTM, and `cell`, which makes a layer of a step function of the user's own.

All are one class, `Recurrent`, with a cell of tinyrnn.kernels.cells.  The built-in ones are in no way special.
"""

from __future__ import annotations

import functools
import math
import numbers
import warnings
from collections.abc import Callable, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, Self

import numpy as np

from .. import random
from ..devices import host, of, put
from ..kernels import cells
from ..kernels.cells import PLAIN, Cell, Noise
from ..ops import create
from ..ops.common import type_of
from ..ops.join import cat
from ..ops.recurrent import run_cell
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

shape_of, dtype_of = attrgetter("array.shape"), attrgetter("array.dtype")


class _Weighted(Module):
    """What layers and single steps share: the parameters of a cell, by name, and their checks."""

    cell: Cell
    hidden_size: int
    bias: bool
    _instead: dict[str, Any] = {}  # what a recurrence takes in the place of parameters

    def _make(
        self,
        suffix: str,
        gates: int,
        inner: int,
        width: int,
        options: dict[str, Any],
        proj: int = 0,
        vectors: Sequence[str] = (),
    ) -> dict[str, tuple[int, ...]]:
        """Make the parameters of one layer and direction, for `width` inputs; returns their names and shapes.

        `inner` of the gates are not of the input alone.
        """
        hidden = self.hidden_size
        parts = {"ih": (gates * hidden, width)}
        if inner:
            parts["hh"] = (inner * hidden, proj or hidden)
        shapes: dict[str, tuple[int, ...]] = {f"weight_{name}{suffix}": shape for name, shape in parts.items()}
        if self.bias:
            shapes |= {f"bias_{name}{suffix}": shape[:1] for name, shape in parts.items()}
        if proj:
            shapes[f"weight_hr{suffix}"] = (proj, hidden)
        shapes |= {f"{vector}{suffix}": (hidden,) for vector in vectors}
        for name, shape in shapes.items():
            setattr(self, name, Parameter(create.empty(shape, **options)))
        return shapes

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _weight(self, name: str) -> Any:
        """A parameter, or what was put in its place: a plain tensor by weight_norm, or by _flat_weights."""
        weight = self._instead[name] if name in self._instead else self._parameters.get(name)
        return getattr(self, name) if weight is None else weight

    def _weights(self, shapes: dict[str, tuple[int, ...]], dtype: Any, proj: int = 0) -> tuple[tuple, tuple]:
        """The five weights that a recurrence takes, and the vectors.  They may have been replaced: all are checked."""
        found: list[Any] = [*map(self._parameters.get, shapes)]
        if self._instead or NoneType in map(type, found):
            found = [self._weight(name) for name in shapes]
            for name, weight in zip(shapes, found, strict=True):
                if not isinstance(weight, Tensor):
                    raise TypeError(f"{type(self).__name__}: {name} must be a Tensor, not {type(weight).__name__}")
        if [*map(shape_of, found)] != [*shapes.values()] or {*map(dtype_of, found)} != {dtype}:
            for (name, shape), weight in zip(shapes.items(), found, strict=True):
                if weight.array.shape != shape or weight.array.dtype != dtype:
                    raise RuntimeError(
                        f"{type(self).__name__}: {name} has shape {list(weight.array.shape)} and dtype {weight.dtype}; "
                        f"expected shape {list(shape)} and the dtype of the input, torch.{dtype}"
                    )
        if not self.cell.inner:
            found.insert(1, None)
            if self.bias:
                found.insert(3, None)
        if not self.bias:
            found[2:2] = [None, None]
        if not proj:
            found.insert(4, None)
        return tuple(found[:5]), tuple(found[5:])

    def _states(self, hx: Any, dtype: Any, too_few: type[Exception]) -> tuple[Tensor, ...]:
        """The states in `hx`: one tensor; or a tuple or list with one for each state of the cell, or these stacked.

        torch looks no further than it needs to, so that of several wrong things in `hx` each has its own exception.
        """
        name, count = type(self).__name__, len(self.cell.states)
        several = count > 1 and isinstance(hx, (tuple, list, Tensor))
        given = (hx,) if not several else hx.unbind()[:count] if isinstance(hx, Tensor) else tuple(hx)
        wrong: type[Exception] | None = None
        if not all(isinstance(h, Tensor) for h in given):
            wrong = AttributeError if count == 1 or hasattr(hx, "__getitem__") else TypeError
        elif len(given) != count:
            wrong = too_few if len(given) < count else RuntimeError
        if wrong is not None:
            got = type(hx).__name__
            if isinstance(hx, (tuple, list)):
                got += f" of ({', '.join(type(h).__name__ for h in hx)})"
            expected = "a tensor" if count == 1 else f"a tuple of {count} tensors"
            raise wrong(f"{name}: hx must be {expected}, got {got}")
        for h in given:
            if h.array.dtype != dtype:
                raise RuntimeError(f"{name}: hx has dtype {h.dtype}, but the input and the weights have torch.{dtype}")
        return given

    def _not_stacked(self, hx: Any) -> None:
        """Several states in one tensor are taken where there is no batch; else the tensor is most likely h alone."""
        count = len(self.cell.states)
        if count > 1 and isinstance(hx, Tensor):
            raise TypeError(f"{type(self).__name__}: hx must be a tuple of {count} tensors, got {type(hx).__name__}")


class Recurrent(_Weighted):
    """A cell over a sequence, in any number of layers and in one or two directions.

    Shapes, with D = 2 directions if bidirectional, else 1, L = num_layers, H = hidden_size, and P = proj_size or, if
    that is 0, P = H:

    input    (T, B, input_size); (B, T, input_size) if batch_first; (T, input_size) unbatched; or a PackedSequence
    hx       None for zeros, or the states before the first step, (L * D, B, H), (L * D, H) unbatched, but with P for H
             in the first of them; a tensor for a cell with one state, a tuple for more
    returns  (output, states): the last layer's hidden state of each step (T, B, D * P), laid out as the input, and
             the states after the last step, in the form of hx

    Parameters, for layer k, with suffix _reverse for the second direction and G gates, of which R have a product with
    the hidden state (all of torch's; not those of a user's cell that are of the input alone):
    weight_ih_lk (G * H, input_size or D * P), weight_hh_lk (R * H, P), bias_ih_lk (G * H,), bias_hh_lk (R * H,),
    weight_hr_lk (P, H) if proj_size > 0, and <vector>_lk (H,) for each learned vector of the cell; all uniform in
    +-1 / sqrt(H) at the start.  If R = 0, there is neither weight_hh_lk nor bias_hh_lk.

    With `proj_size` P > 0, what a step hands to the next one and to the layer above is not its hidden state, but
    weight_hr times that, P numbers (https://arxiv.org/abs/1402.1128): ValueError for a step that reads h.
    `dropout` is applied to the output of every layer but the last, in training.

    Two options besides torch's, by keyword; both are 0 unless given, less than 1, and part of the fused kernels:

    zoneout             the probability that a unit's state stays what it was before the step, drawn for each step, in
                        training; in evaluation, zoneout * (the state before) + (1 - zoneout) * (what the step made).
                        One number for all states, or a tuple with one for each: the hidden state's is the last, so
                        (cell, hidden) for an LSTM.  (Krueger et al. 2017, https://arxiv.org/abs/1606.01305.)
    recurrent_dropout   the probability that a unit of the hidden state is zero where it enters the product with
                        weight_hh, at all steps of a sequence alike; the others are divided by 1 - recurrent_dropout.
                        In training only; ValueError for a cell without weight_hh.  (Gal and Ghahramani 2016,
                        https://arxiv.org/abs/1512.05287.)

    The masks of each layer and direction are drawn after the dropout before it: F.dropout(ones(B, P),
    recurrent_dropout), a row for each sequence, the longest first if packed; then rand(T, B, P) < zoneout of the hidden
    state, rand(T, B, H) < zoneout of each further one, of float32; (rows, P) and (rows, H) if packed.  None for a 0.
    """

    zoneout: float | tuple[float, ...] = 0.0
    recurrent_dropout: float = 0.0
    _shapes: list[dict[str, tuple[int, ...]]]  # of the parameters, by name, for each layer and direction

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
    ):
        super().__init__()
        num_layers = int(num_layers) if isinstance(num_layers, np.integer) else num_layers
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.proj_size = proj_size
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        if not isinstance(dropout, numbers.Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed, "
                f"got {dropout!r}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        for what, value in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
            if not isinstance(value, bool):
                raise TypeError(f"{what} should be of type bool, got: {type(value).__name__}")
        for what, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(value, int):
                raise TypeError(f"{what} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{what} must be greater than zero, got {value}")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if proj_size and self.cell.states[0] is not None:
            raise ValueError(
                f"{type(self).__name__}: proj_size must be 0 for a cell whose step reads h, of which a projection "
                f"leaves no number for each hidden unit, got {proj_size}"
            )
        self.zoneout = self._chances("zoneout", zoneout, len(self.cell.states))
        self.recurrent_dropout = self._chances("recurrent_dropout", recurrent_dropout)
        if self.recurrent_dropout and not self.cell.inner:
            raise ValueError(
                f"{type(self).__name__}: recurrent_dropout must be 0 for a cell whose gates are of the input alone: "
                f"no product with the hidden state is there to drop from, got {recurrent_dropout}"
            )
        directions = ("", "_reverse") if bidirectional else ("",)
        self._shapes = [
            self._make(
                f"_l{layer}{direction}",
                len(self.cell.gates),
                len(self.cell.inner),
                (proj_size or hidden_size) * len(directions) if layer else input_size,
                {"device": device, "dtype": dtype},
                proj_size,
                self.cell.vectors,
            )
            for layer in range(num_layers)
            for direction in directions
        ]
        self.reset_parameters()

    def _chances(self, option: str, given: Any, count: int = 1) -> Any:
        """A probability less than 1, as a float; or, if `count` is more than 1, also a tuple of as many."""
        several = count > 1 and isinstance(given, (tuple, list)) and len(given) == count
        for p in given if several else (given,):
            if not isinstance(p, numbers.Real) or isinstance(p, bool) or not 0 <= float(p) < 1:
                names = ", ".join(str(s or "h") for s in (*self.cell.states[1:], "h"))
                tuples = f", or a tuple of {count} such numbers, of the states {names}" if count > 1 else ""
                raise ValueError(
                    f"{type(self).__name__}: {option} should be a number in range [0, 1){tuples}, got {given!r}"
                )
        return tuple(map(float, given)) if several else float(given)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in shapes] for shapes in self._shapes]

    @property
    def _all_weights(self) -> list[list[str]]:
        return [[*shapes] for shapes in self._shapes]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for shapes in self._shapes for name in shapes]

    @property
    def _flat_weights(self) -> list[Any]:
        """What forward takes: the parameters, unless others were assigned; each until its parameter is, or _apply."""
        return [self._weight(name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: Sequence[Any]) -> None:
        names = self._flat_weights_names
        if len(weights) != len(names):
            raise RuntimeError(f"{type(self).__name__}: _flat_weights needs {len(names)} weights, got {len(weights)}")
        pairs = zip(names, weights, strict=True)
        self._instead = {name: weight for name, weight in pairs if weight is not self._parameters.get(name)}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self._instead:
            self._instead = {other: weight for other, weight in self._instead.items() if other != name}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._instead = {}
        return super()._apply(fn, recurse)

    def flatten_parameters(self) -> None:
        """Accepted and without effect: the kernels take the parameters as they lie in memory."""

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", proj_size={self.proj_size}" if self.proj_size else ""
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += f", bias={self.bias}" if not self.bias else ""
        text += f", batch_first={self.batch_first}" if self.batch_first else ""
        text += f", dropout={self.dropout}" if self.dropout else ""
        text += f", bidirectional={self.bidirectional}" if self.bidirectional else ""
        text += f", zoneout={self.zoneout}" if self.zoneout not in (0.0, (0.0,) * len(self.cell.states)) else ""
        return text + (f", recurrent_dropout={self.recurrent_dropout}" if self.recurrent_dropout else "")

    def _noise(self, rows: int, batch: int, like: np.ndarray) -> Noise:
        """The masks for one layer and direction, for an input of so many rows in so many sequences, on its device."""
        dtype, where = like.dtype, of(like)
        count, hidden = len(self.cell.states), self.hidden_size
        several = isinstance(self.zoneout, tuple)
        zoneout: Any = (self.zoneout[-1], *self.zoneout[:-1]) if several else (self.zoneout,) * count  # type: ignore
        carried = states = drop = None
        width, generator = self.proj_size or hidden, random.default_generator
        if self.training and self.recurrent_dropout:
            share = 1.0 - self.recurrent_dropout
            drop = put(generator.bernoulli((batch, width), share).astype(dtype) / dtype.type(share), where)

        def zone(p: float, width: int) -> np.ndarray:
            if self.training and p:
                return (generator.uniform((rows, width)) < np.float32(p)).astype(dtype)
            return np.full((rows if self.training else 1, width), p, dtype)

        if zoneout[0]:
            carried = put(zone(zoneout[0], width), where)
        if any(zoneout[1:]):
            states = put(np.stack([zone(p, hidden) for p in zoneout[1:]]), where)
        return Noise(tuple(p > 0 for p in zoneout) if any(zoneout) else (), carried, states, drop)

    def forward(self, input: Any, hx: Any = None) -> tuple:
        packed, batched, x = isinstance(input, PackedSequence), True, input
        batch_sizes: Any = None
        sizes: Any = None
        sorted_indices = unsorted_indices = None
        if packed:
            x, batch_sizes, sorted_indices, unsorted_indices = input
        else:
            rank = input.dim()
            if rank not in (2, 3):
                got = f"{rank}D" if isinstance(self, (LSTM, GRU)) else f"{rank}D tensor"  # as torch says it
                raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {got} instead")
            if not (batched := rank == 3):
                x = input.unsqueeze(0 if self.batch_first else 1)
        self.check_input(x, batch_sizes)
        dtype = x.array.dtype
        if packed:
            sizes = _batch_sizes(type(self).__name__, batch_sizes, len(x.array))
        initial = self._initial(x, hx, batched, batch_sizes, sorted_indices)
        batch_first = self.batch_first and not packed
        if x.array.shape[1 if batch_first else 0] == 0:
            raise RuntimeError(
                f"Expected sequence length to be larger than 0 in RNN ({type(self).__name__} got an input of shape "
                f"{list(input.array.shape)})"
            )
        noisy = self.recurrent_dropout or self.zoneout != 0.0
        noise = PLAIN
        directions = 2 if self.bidirectional else 1
        last: list[tuple] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            # Between layers, time is first.
            orders = batch_first and layer == 0, batch_first and directions == 1 and layer == self.num_layers - 1
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                weights, vectors = self._weights(self._shapes[k], dtype, self.proj_size)
                if noisy:
                    rows = x.array.shape[:-1]
                    batch = rows[0 if orders[0] else 1] if sizes is None else sizes[0]
                    noise = self._noise(math.prod(rows), batch, x.array)
                out, states = run_cell(
                    self.cell, x, initial[k], weights, vectors, sizes, k % directions == 1, orders, noise=noise
                )
                outputs.append(out)
                last.append(states)
            x = outputs[0] if directions == 1 else cat(outputs, -1)
        # No view of anything: programs detach_() it.
        if len(last) == 1:
            final = last[0]
        else:
            final = tuple(cat(states) for states in zip(*last, strict=True))
        self._name_as_torch(x, final, batch_first and directions == 1)
        output: Any = x
        if packed:
            if x._node is not None and len(self._shapes) == 1:
                x._node.label = {**dict.fromkeys(range(1, 1 + len(final)), "StackBackward0"), 0: "CatBackward0"}
            output = PackedSequence(x, batch_sizes, sorted_indices, unsorted_indices)
            final = tuple(self.permute_hidden(s, unsorted_indices) for s in final)
            return output, final if len(final) > 1 else final[0]
        if batch_first and directions == 2:
            output = x.transpose(0, 1)
        if not batched:
            output, final = output.squeeze(0 if batch_first else 1), tuple(s.squeeze(1) for s in final)
        return output, final if len(final) > 1 else final[0]

    def _name_as_torch(self, output: Tensor, final: Sequence[Tensor], transposed: bool) -> None:
        """Have grad_fn show what torch's layers end with: a stack of states, and a transposition."""
        if output._edge is None:
            return
        count, node = len(final), output._edge[0]
        if len(self._shapes) == 1:  # one node has made all
            node.label = labels(count, transposed)
            return
        for state in final:
            if state._edge is not None:
                state._edge[0].label = "StackBackward0"
        if transposed:
            node.label = labels(count, True)[0]

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Refuse an input (T, B, input_size), or (rows, input_size) if packed, of another type, rank or width."""
        name, dtype = type(self).__name__, self._weight("weight_ih_l0").array.dtype
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}: expected input to be a Tensor, got {type_of(input)}")
        if input.array.dtype != dtype:
            if batch_sizes is not None and len(self.cell.states) > 1:  # torch's LSTM leaves these to the product
                raise RuntimeError(
                    f"mat1 and mat2 must have the same dtype, but got {input.dtype} and torch.{dtype}: the packed "
                    f"input and the weights of {name}"
                )
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype (torch.{dtype}). Convert input: "
                f"input.to(torch.{dtype}), or convert model: model.to({input.dtype}) (in a call of {name})"
            )
        expected = 3 if batch_sizes is None else 2
        if input.dim() != expected:
            kind = "" if batch_sizes is None else "packed "
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()} (the {kind}input of {name})")
        if input.array.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.array.shape[-1]} "
                f"({name}: the input, with its batch, has shape {list(input.array.shape)})"
            )

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of the first state, for an input with a batch or, given its batch sizes, a packed one."""
        batch = int(batch_sizes[0]) if batch_sizes is not None else input.array.shape[0 if self.batch_first else 1]
        return len(self._shapes), batch, self.proj_size or self.hidden_size

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, ...], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Refuse a state of another shape."""
        if hx.array.shape != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.array.shape)))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Refuse an input or states that do not fit; both have a batch."""
        self.check_input(input, batch_sizes)
        shape = self.get_expected_hidden_size(input, batch_sizes)
        facts = f"({type(self).__name__}: layers times directions, batch, hidden size)"
        if len(self.cell.states) == 1:
            self.check_hidden_size(hidden, shape, f"Expected hidden size {{}}, got {{}} {facts}")
            return
        for k, h in enumerate(hidden):
            self.check_hidden_size(h, shape, f"Expected hidden[{k}] size {{}}, got {{}} {facts}")
            shape = (*shape[:2], self.hidden_size)

    def _initial(self, x: Tensor, hx: Any, batched: bool, batch_sizes: Any, order: Tensor | None) -> list[tuple]:
        """The initial states of each layer and direction, checked; None where they are zero."""
        count, states = len(self._shapes), len(self.cell.states)
        if hx is None:
            return [(None,) * states] * count
        given = self._states(hx, x.array.dtype, IndexError)
        ndim = 3 if batched else 2
        if batch_sizes is None and any(h.array.ndim != ndim for h in given):
            got = ", ".join(f"{h.array.ndim}-D" for h in given)
            what, got = ("hx", f"{got} tensor") if states == 1 else ("hx and cx", f"({got}) tensors")
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, {what if states < 3 else 'all states'} "
                f"should also be {ndim}-D but got {got} ({type(self).__name__})"
            )
        if not batched:
            given = tuple(h.unsqueeze(1) for h in given)
        self.check_forward_args(x, given[0] if states == 1 else given, batch_sizes)
        if batched:
            self._not_stacked(hx)
        given = tuple(self.permute_hidden(h, order) for h in given)
        return [tuple(h[k] for h in given) for k in range(count)]

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The states with their batch in another order."""
        if permutation is None:
            return hx
        if isinstance(hx, Tensor):
            return hx.index_select(1, permutation)
        return tuple(h.index_select(1, permutation) for h in hx)


def _batch_sizes(name: str, batch_sizes: Tensor, rows: int) -> np.ndarray:
    """The batch sizes of a PackedSequence with `rows` rows of data.  They steer loops over memory: they are checked."""
    if batch_sizes.array.dtype != np.int64:
        raise RuntimeError(f"{name}: the batch_sizes of a PackedSequence must be torch.int64, got {batch_sizes.dtype}")
    sizes = np.ascontiguousarray(host(batch_sizes.array))
    if sizes.ndim != 1 or not sizes.size or np.any(np.diff(sizes) > 0) or sizes[-1] < 1 or sizes.sum() != rows:
        raise RuntimeError(
            f"{name}: the batch_sizes of a PackedSequence must be positive, must not increase, and must add up to the "
            f"{rows} rows of its data, got {sizes.tolist()}"
        )
    return sizes


@functools.cache
def labels(count: int, transposed: bool) -> dict[int, str]:
    """What torch calls the results of a layer: the hidden states and `count` last states."""
    names = dict.fromkeys(range(1, 1 + count), "StackBackward0")
    return {0: "TransposeBackward0" if count > 1 else "TransposeBackward1", **names} if transposed else names


MODES = {"RNN_TANH": cells.RNN_TANH, "RNN_RELU": cells.RNN_RELU, "GRU": cells.GRU, "LSTM": cells.LSTM}


class RNNBase(Recurrent):
    """The base class of RNN, GRU and LSTM: `mode` is RNN_TANH, RNN_RELU, GRU or LSTM."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        zoneout: float | tuple[float, ...] = 0.0,
        recurrent_dropout: float = 0.0,
    ):
        if mode not in MODES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        self.mode = mode
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
        )
        if proj_size and mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")

    forward = Module.forward  # type: ignore[assignment]  # what is done with the parameters, derived classes say

    @property
    def cell(self) -> Cell:  # type: ignore[override]
        return MODES[self.mode]


class RNN(RNNBase):
    """RNN(input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None, *, zoneout=0.0, recurrent_dropout=0.0)

    h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990): see Recurrent.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    forward = Recurrent.forward


class GRU(RNNBase):
    """GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    device=None, dtype=None, *, zoneout=0.0, recurrent_dropout=0.0)

    Gated recurrent unit, gates in the order r, z, n (Cho et al. 2014, reset after the product): see Recurrent.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    forward = Recurrent.forward


class LSTM(RNNBase):
    """LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    proj_size=0, device=None, dtype=None, *, zoneout=0.0, recurrent_dropout=0.0)

    Long short-term memory, gates in the order i, f, g, o (Hochreiter and Schmidhuber 1997): see Recurrent.
    With `proj_size` the hidden state is projected to as many numbers (Sak et al. 2014).
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of the second state."""
        return (*self.get_expected_hidden_size(input, batch_sizes)[:2], self.hidden_size)

    forward = Recurrent.forward


def cell(step: Callable) -> type[Recurrent]:
    """Make a recurrent layer of a function that computes one step, written as scalar math.

        @nn.cell
        def mgu(f, x_n, h_n, h):                    # a minimal gated unit, https://arxiv.org/abs/1603.09420
            f = torch.sigmoid(f)
            return (1 - f) * h + f * torch.tanh(x_n + f * h_n)

        layer = mgu(32, 64, num_layers=2, bidirectional=True)
        output, h = layer(x)

    The step is about one hidden unit, and its parameters say what the layer consists of:

    f            a gate: its value is W_ih x + b_ih + W_hh h + b_hh, with weights of its own; any name will do
    x_n, h_n     a gate in two halves, W_ih x + b_ih and W_hh h + b_hh, for a step that treats them differently
    x_n alone    a gate of the input alone, W_ih x + b_ih: it has no rows in weight_hh and bias_hh
    h            the hidden state of the step before
    c, at last   a further state: the step returns (h, c), and takes the old c as its last positional parameter;
                 likewise for more states, in the same order
    *, p         a learned vector (keyword-only): a number for each hidden unit, a peephole weight, say

    The step may use numbers, + - * / **, abs, comparisons, torch.where, and torch's sigmoid, tanh, relu, exp, log, sqrt
    and most other smooth functions of one number (the error for one that it may not use names them all).  It is called
    once, on symbols, when the layer class is made; from what it did to them the fused kernels for forward and backward
    are derived.  So it must not branch on a value (use torch.where), and numbers that it reads from outside are those
    of that moment.  `layer.cell` shows what was found.

    All hidden units meet in one operation, the mean of a value over them, value.mean(-1, keepdim=True), of which a
    layer norm is made (Ba et al. 2016, https://arxiv.org/abs/1607.06450):

        def normal(v, scale, shift):
            v = v - v.mean(-1, keepdim=True)
            return v * torch.rsqrt((v * v).mean(-1, keepdim=True) + 1e-5) * scale + shift

    On a GPU, a layer of a cell that takes means is a product and a launch for each step, not one launch for all.

    The layer takes input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, zoneout, if it has a
    weight_hh recurrent_dropout, and, if the step does not read h, proj_size: see Recurrent.

    Raises TypeError, naming the line, for a step that cannot be derived.
    """
    members = {
        "cell": Cell(step),
        "step": staticmethod(step),
        "__doc__": step.__doc__ or f"The recurrent cell {step.__name__}: see Recurrent.",
        "__module__": step.__module__,
        "__qualname__": step.__qualname__,
    }
    return type(step.__name__, (Recurrent,), members)


class RNNCellBase(_Weighted):
    """The parameters of one step: weight_ih (num_chunks * H, input_size), weight_hh (num_chunks * H, H), two biases.

    The classes derived from it, and those of a user, say what is done with them.
    """

    _ends: tuple[str, ...] = ()  # what torch's step ends with, for each state: the names of grad_fn

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._shapes = self._make("", num_chunks, num_chunks, input_size, {"device": device, "dtype": dtype})
        if not bias:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias is True else f", bias={self.bias}")
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text + ("" if nonlinearity == "tanh" else f", nonlinearity={nonlinearity}")

    def _step(self, input: Any, hx: Any = None) -> Any:
        """One step of `cell`: input (B, input_size) or (input_size,), states (B, H) or (H,), zeros if None."""
        name, states = type(self).__name__, len(self.cell.states)
        if input.dim() not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        if input.array.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.array.shape[-1]} expected {self.input_size} ({name})"
            )
        dtype = self._weight("weight_ih").array.dtype
        if input.array.dtype != dtype:
            raise RuntimeError(
                f"mat1 and mat2 must have the same dtype, but got {input.dtype} and torch.{dtype}: the input and the "
                f"weights of {name}"
            )
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        first: tuple = (None,) * states if hx is None else self._states(hx, dtype, RuntimeError)
        if batched:
            self._not_stacked(hx)
        for k, h in enumerate(first if hx is not None else ()):
            shape, got = (*input.array.shape[:-1], self.hidden_size), h.array.shape
            if got == shape:
                continue
            facts = f"{name} got hx of shape {list(got)}, expected {list(shape)}"
            if len(got) not in (1, 2):
                which = "hidden" if states == 1 else f"hx[{k}]"
                raise ValueError(f"{name}: Expected {which} to be 1D or 2D, got {len(got)}D instead")
            if batched and got[0] != shape[0]:
                raise RuntimeError(f"Input batch size {shape[0]} doesn't match hidden{k} batch size {got[0]} ({facts})")
            raise RuntimeError(
                f"hidden{k} has inconsistent hidden_size: got {got[len(shape) - 1]}, expected {shape[-1]} ({facts})"
            )
        if not batched:
            first = tuple(h if h is None else h.unsqueeze(0) for h in first)
        _, last = run_cell(self.cell, x, first, *self._weights(self._shapes, dtype), layered=False)
        if last[0]._node is not None:
            last[0]._node.label = dict(enumerate(self._ends, 1))
        if not batched:
            last = tuple(h.squeeze(0) for h in last)
        return last if states > 1 else last[0]


class RNNCell(RNNCellBase):
    """One step of an RNN.

    input    (B, input_size), or (input_size,)
    hx       None for zeros, or the hidden state (B, H), or (H,)
    returns  the hidden state after the step

    nonlinearity is tanh or relu; another one raises RuntimeError when the cell is called.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    @property
    def _ends(self) -> tuple[str, ...]:  # type: ignore[override]
        return (f"{self.nonlinearity.title()}Backward0",)

    @property
    def cell(self) -> Cell:  # type: ignore[override]
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}; RNNCell has tanh and relu")
        return MODES[f"RNN_{self.nonlinearity.upper()}"]

    forward = RNNCellBase._step


class GRUCell(RNNCellBase):
    """One step of a GRU.

    input    (B, input_size), or (input_size,)
    hx       None for zeros, or the hidden state (B, H), or (H,)
    returns  the hidden state after the step
    """

    cell = cells.GRU
    _ends = ("AddBackward0",)

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    forward = RNNCellBase._step


class LSTMCell(RNNCellBase):
    """One step of an LSTM.

    input    (B, input_size), or (input_size,)
    hx       None for zeros, or a pair (h, c), each (B, H), or (H,)
    returns  the pair (h, c) after the step
    """

    cell = cells.LSTM
    _ends = ("MulBackward0", "AddBackward0")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    forward = RNNCellBase._step
