"""Recurrent layers: RNN, GRU, LSTM, and `cell`, which makes a layer of a step function of the user's own.

All are one class, `Recurrent`, with a cell of tinyrnn.kernels.cells.  The built-in ones are in no way special.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ..kernels import cells
from ..kernels.cells import Cell
from ..ops import create
from ..ops.recurrent import recurrence
from ..ops.shape import cat, stack
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, pack_steps, unpack_steps


class Recurrent(Module):
    """A cell over a sequence, in any number of layers and in one or two directions.

    Shapes, with D = 2 directions if bidirectional, else 1, L = num_layers and H = hidden_size:

    input    (T, B, input_size); (B, T, input_size) if batch_first; (T, input_size) unbatched; or a PackedSequence
    hx       None for zeros, or the states before the first step, each (L * D, B, H), (L * D, H) unbatched; a tensor for
             a cell with one state, a tuple for more
    returns  (output, states): the last layer's hidden state of each step (T, B, D * H), laid out as the input, and
             the states after the last step, in the form of hx

    Parameters, for layer k, with suffix _reverse for the second direction and G gates:
    weight_ih_lk (G * H, input_size or D * H), weight_hh_lk (G * H, H), bias_ih_lk, bias_hh_lk (G * H,), and
    <vector>_lk (H,) for each learned vector of the cell; all uniform in +-1 / sqrt(H) at the start.

    `dropout` is applied to the output of every layer but the last, in training.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__()
        name = type(self).__name__
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
                "expects num_layers greater "
                f"than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for what, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(value, int):
                raise TypeError(f"{what} should be of type int, got: {type(value).__name__} ({name})")
            if value <= 0:
                raise ValueError(f"{what} must be greater than zero")
        self.cell = cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        rows, options = len(cell.gates) * hidden_size, {"device": device, "dtype": dtype}
        self._names: list[list[str]] = []  # for each layer and direction: the weights, then the vectors
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
            for suffix in ("", "_reverse") if bidirectional else ("",):
                shapes = {
                    "weight_ih": (rows, width),
                    "weight_hh": (rows, hidden_size),
                    "bias_ih": (rows,),
                    "bias_hh": (rows,),
                }
                shapes |= dict.fromkeys(cell.vectors, (hidden_size,))
                names = [f"{n}_l{layer}{suffix}" for n in shapes]
                for n, (kind, shape) in zip(names, shapes.items(), strict=True):
                    if bias or not kind.startswith("bias_"):
                        setattr(self, n, Parameter(create.empty(shape, **options)))
                self._names.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, n) for n in names if hasattr(self, n)] for names in self._names]

    def flatten_parameters(self) -> None:
        """Accepted and without effect: the kernels take the parameters as they lie in memory."""

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += f", bias={self.bias}" if not self.bias else ""
        text += f", batch_first={self.batch_first}" if self.batch_first else ""
        text += f", dropout={self.dropout}" if self.dropout else ""
        return text + (f", bidirectional={self.bidirectional}" if self.bidirectional else "")

    def forward(self, input: Any, hx: Any = None) -> tuple:
        sizes: Any = None
        output: Any
        sorted_indices = unsorted_indices = None
        if packed := isinstance(input, PackedSequence):
            data, batch_sizes, sorted_indices, unsorted_indices = input
            sizes = batch_sizes.array
            self._check_type(data)
            self._check_width(data)
            x, batch, batched = unpack_steps(data, sizes), int(sizes[0]), True
        else:
            ndim = input.dim()
            if ndim not in (2, 3):
                raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {ndim}D tensor instead")
            self._check_type(input)
            self._check_width(input)
            batched = ndim == 3
            x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
            steps, batch = x.array.shape[:2]
            if steps == 0:
                raise RuntimeError(
                    f"Expected sequence length to be larger than 0 in RNN ({type(self).__name__} got an input of shape "
                    f"{list(input.array.shape)})"
                )
        first = self._initial(hx, batch, batched, sorted_indices)
        last: list[tuple] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            outputs = []
            for k in range(layer * directions, (layer + 1) * directions):
                weights = [
                    self._parameters.get(n) if n in self._parameters else getattr(self, n, None) for n in self._names[k]
                ]
                out, states = recurrence(
                    self.cell, x, first[k], tuple(weights[:4]), tuple(weights[4:]), sizes, k % directions == 1
                )
                outputs.append(out)
                last.append(states)
            x = outputs[0] if directions == 1 else cat(outputs, 2)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        final = tuple(s[0].unsqueeze(0) if len(s) == 1 else stack(s) for s in zip(*last, strict=True))
        if packed:
            output = PackedSequence(pack_steps(x, sizes), batch_sizes, sorted_indices, unsorted_indices)
            if unsorted_indices is not None:
                final = tuple(s.index_select(1, unsorted_indices) for s in final)
        elif batched:
            output = x.transpose(0, 1) if self.batch_first else x
        else:
            output, final = x.squeeze(1), tuple(s.squeeze(1) for s in final)
        return output, final if len(final) > 1 else final[0]

    def _check_type(self, input: Tensor) -> None:
        weight = getattr(self, self._names[0][0])
        if input.array.dtype != weight.array.dtype:
            raise ValueError(
                f"{type(self).__name__} input dtype ({input.dtype}) does not match weight dtype "
                f"({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )

    def _check_width(self, input: Tensor) -> None:
        if input.array.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.array.shape[-1]} "
                f"({type(self).__name__} got an input of shape {list(input.array.shape)})"
            )

    def _initial(self, hx: Any, batch: int, batched: bool, order: Tensor | None) -> list[tuple]:
        """The initial states of each layer and direction, checked; None where they are zero."""
        name, count, states = type(self).__name__, len(self._names), len(self.cell.states)
        if hx is None:
            return [(None,) * states] * count
        given = (hx,) if states == 1 else tuple(hx) if isinstance(hx, (tuple, list)) else None
        if given is None or len(given) != states or not all(isinstance(h, Tensor) for h in given):
            got = type(hx).__name__ + (
                f" of {', '.join(type(h).__name__ for h in hx)}" if isinstance(hx, (tuple, list)) else ""
            )
            raise TypeError(
                f"{name}: hx must be {'a tensor' if states == 1 else f'a tuple of {states} tensors'}, got {got}"
            )
        ndim, shape = (3, (count, batch, self.hidden_size)) if batched else (2, (count, self.hidden_size))
        for k, h in enumerate(given):
            if h.array.ndim != ndim:
                kind = f"For {'batched 3-D' if batched else 'unbatched 2-D'} input"
                raise RuntimeError(
                    f"{kind}, hx should also be {ndim}-D but got {h.array.ndim}-D tensor"
                    if states == 1
                    else f"{kind}, hx and cx should also be {ndim}-D but got "
                    f"({', '.join(f'{s.array.ndim}-D' for s in given)}) tensors"
                )
            if h.array.shape != shape:
                which = "hidden" if states == 1 else f"hidden[{k}]"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(h.array.shape)}")
            if h.array.dtype != getattr(self, self._names[0][0]).array.dtype:
                raise RuntimeError(
                    f"{name}: hx has dtype {h.dtype}, but the weights have {getattr(self, self._names[0][0]).dtype}"
                )
        if not batched:
            given = tuple(h.unsqueeze(1) for h in given)
        if order is not None:
            given = tuple(h.index_select(1, order) for h in given)
        return [tuple(h[k] for h in given) for k in range(count)]

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The states with their batch in another order."""
        if permutation is None:
            return hx
        return (
            hx.index_select(1, permutation)
            if isinstance(hx, Tensor)
            else tuple(h.index_select(1, permutation) for h in hx)
        )


MODES = {"RNN_TANH": cells.RNN_TANH, "RNN_RELU": cells.RNN_RELU, "GRU": cells.GRU, "LSTM": cells.LSTM}


class RNNBase(Recurrent):
    """torch's base class of RNN, GRU and LSTM: `mode` is RNN_TANH, RNN_RELU, GRU or LSTM."""

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
    ):
        if mode not in MODES:
            raise ValueError("Unrecognized RNN mode: " + str(mode))
        if proj_size:
            raise NotImplementedError(
                f"{type(self).__name__}(proj_size={proj_size}): projections of the hidden state are not supported"
            )
        super().__init__(
            MODES[mode], input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )
        self.mode, self.proj_size = mode, proj_size


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (Elman 1990): see Recurrent."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class GRU(RNNBase):
    """Gated recurrent unit, gates in the order r, z, n (Cho et al. 2014, reset after the product): see Recurrent."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )


class LSTM(RNNBase):
    """Long short-term memory, gates in the order i, f, g, o (Hochreiter and Schmidhuber 1997): see Recurrent."""

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
    ):
        super().__init__(
            "LSTM",
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
        )


def cell(step: Callable) -> type[Recurrent]:
    """Make a recurrent layer of a function that computes one step, written as scalar math.

        @nn.cell
        def mgu(f, x_n, h_n, h):                    # a minimal gated unit, https://arxiv.org/abs/1603.09420
            f = torch.sigmoid(f)
            return (1 - f) * h + f * torch.tanh(x_n + f * h_n)

        layer = mgu(32, 64, num_layers=2, bidirectional=True)

    A positional parameter is the pre-activation of a gate, W_ih x + b_ih + W_hh h + b_hh; a pair x_name, h_name
    stands for the
    two halves of that sum.  The first result is the hidden state; further results are further states, which come in
    as the
    last parameters; a parameter h is the hidden state of the step before.  Keyword-only parameters are learned
    vectors, one
    element for each hidden unit.  The fused forward and backward kernels are derived from the function when the
    layer first runs.

    The layer takes input_size, hidden_size, num_layers, bias, batch_first, dropout and bidirectional: see Recurrent.

    Raises TypeError, naming the line, for a step that cannot be derived: one that branches on a value, or calls
    something else than arithmetic and the functions of the table (tinyrnn.kernels.scalar).
    """
    derived = Cell(step)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ):
        Recurrent.__init__(
            self, derived, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )

    members = {
        "__init__": __init__,
        "__doc__": step.__doc__ or f"The recurrent cell {step.__name__}: see Recurrent.",
        "__module__": step.__module__,
        "__qualname__": step.__qualname__,
        "step": staticmethod(step),
    }
    return type(step.__name__, (Recurrent,), members)


class RecurrentCell(Module):
    """One step of a cell: input (B, input_size) or (input_size,), states (B, H) or (H,), zeros if None."""

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ):
        super().__init__()
        self.cell, self.input_size, self.hidden_size, self.bias = cell, input_size, hidden_size, bias
        rows, options = len(cell.gates) * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(create.empty(rows, input_size, **options))
        self.weight_hh = Parameter(create.empty(rows, hidden_size, **options))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(create.empty(rows, **options)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")

    def forward(self, input: Any, hx: Any = None) -> Any:
        name, ndim, states = type(self).__name__, input.dim(), len(self.cell.states)
        if ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {ndim}D instead")
        if input.array.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.array.shape[-1]} expected {self.input_size} ({name})"
            )
        given = (None,) * states if hx is None else (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if len(given) != states:
            raise TypeError(
                f"{name}: hx must be {'a tensor' if states == 1 else f'a tuple of {states} tensors'}, got {len(given)}"
            )
        for h in given:
            if h is not None and h.array.shape != (*input.array.shape[:-1], self.hidden_size):
                raise RuntimeError(
                    f"{name}: expected hx of shape {[*input.array.shape[:-1], self.hidden_size]}, got "
                    f"{list(h.array.shape)}"
                )
            if h is not None and h.array.dtype != self.weight_hh.array.dtype:
                raise RuntimeError(f"{name}: hx has dtype {h.dtype}, but the weights have {self.weight_hh.dtype}")
        if input.array.dtype != self.weight_ih.array.dtype:
            raise RuntimeError(
                f"mat1 and mat2 must have the same dtype, but got {input.dtype} and {self.weight_ih.dtype} ({name})"
            )
        x = input.unsqueeze(0) if ndim == 2 else input.unsqueeze(0).unsqueeze(0)
        first = tuple(h if h is None or ndim == 2 else h.unsqueeze(0) for h in given)
        _, last = recurrence(self.cell, x, first, (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh))
        if ndim == 1:
            last = tuple(h.squeeze(0) for h in last)
        return last if states > 1 else last[0]


class RNNCell(RecurrentCell):
    """One step of an RNN: see RecurrentCell."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {nonlinearity}")
        super().__init__(MODES[f"RNN_{nonlinearity.upper()}"], input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(RecurrentCell):
    """One step of a GRU: see RecurrentCell."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(cells.GRU, input_size, hidden_size, bias, device, dtype)


class LSTMCell(RecurrentCell):
    """One step of an LSTM: hx and the result are pairs (h, c); see RecurrentCell."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(cells.LSTM, input_size, hidden_size, bias, device, dtype)
