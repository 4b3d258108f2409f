"""Recurrent cells: one step, written as scalar math.  Everything else is derived from it.

The parameters of a step function tell what the cell needs; H is the hidden size.

* A positional parameter is the pre-activation of a gate of the same name:
      name = W_i[name] x + b_i[name] + W_h[name] h + b_h[name].
  The pair `x_name`, `h_name` stands for the two halves of that sum, where the step treats them differently.
  The order of the gates in the weights is the order in which they first appear.
* The first result is the hidden state.  Further results are further states; they come in again as the last
  parameters, in the same order.  A parameter `h` is the hidden state of the step before.
* A keyword-only parameter is a learned vector with one element for each hidden unit (a peephole weight, say).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property

from .scalar import Recording, Var, differentiate, record, relu, sigmoid, tanh


class Cell:
    """A step function, taken apart: its gates, states and learned vectors, and its derivative.

    gates     the gates, in the order of the weights
    inputs    the positional parameters that are not states: (parameter, number of the gate, "x", "h" or "both")
    states    the parameter of each state, or None for a hidden state that the step does not read
    vectors   the keyword-only parameters
    """

    def __init__(self, step: Callable):
        self.step = step
        self.name = step.__name__
        self.recording: Recording = record(step)
        count = len(self.recording.outputs)
        names = list(self.recording.inputs)
        split = len(names) - (count - 1)
        if split < 0 or any(n == "h" for n in names[split:]):
            raise self._error(
                f"it returns {count} states; the {count - 1} after the hidden state must be its last parameters"
            )
        self.states: list[str | None] = ["h" if "h" in names[:split] else None, *names[split:]]
        self.vectors = list(self.recording.keywords)
        self.gates: list[str] = []
        self.inputs: list[tuple[str, int, str]] = []
        given = [n for n in names[:split] if n != "h"]
        for name in given:
            gate, part = (name[2:], name[0]) if name[:2] in ("x_", "h_") else (name, "both")
            other = {"x": "h_", "h": "x_"}.get(part)
            if other and other + gate not in given:
                raise self._error(
                    f"parameter {name} has no counterpart {other}{gate}; a gate is either {gate}, or the pair "
                    f"x_{gate} and h_{gate}"
                )
            if gate not in self.gates:
                self.gates.append(gate)
            elif part == "both" or (gate in given):
                raise self._error(f"gate {gate} appears twice")
            self.inputs.append((name, self.gates.index(gate), part))
        if not self.gates:
            raise self._error(
                "it has no gate: a step needs at least one parameter that is neither a state nor keyword-only"
            )
        self.split = [g for g in range(len(self.gates)) if any(k == g and part == "h" for _, k, part in self.inputs)]

    def _error(self, why: str) -> TypeError:
        code = inspect.unwrap(self.step).__code__
        return TypeError(f"{self.name} ({code.co_filename}:{code.co_firstlineno}) is not a cell: {why}")

    def __repr__(self) -> str:
        return (
            f"<cell {self.name}: gates {', '.join(self.gates)}; {len(self.states)} state{'s'[: len(self.states) > 1]}>"
        )

    @cached_property
    def source(self) -> str:
        """The step as it was written."""
        return inspect.getsource(self.step)

    @cached_property
    def derivative(self) -> tuple[list[Var], list[Var]]:
        """(seeds, gradients): of each state after the step; of every parameter, in the order of the signature."""
        r = self.recording
        return differentiate(r, (*r.inputs.values(), *r.keywords.values()))


# Elman 1990; torch.nn.RNN.
def rnn_tanh(a):
    return tanh(a)


def rnn_relu(a):
    return relu(a)


# Cho et al. 2014, https://arxiv.org/abs/1406.1078, with the reset after the product, as torch and cuDNN have it.
def gru(r, z, x_n, h_n, h):
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(x_n + r * h_n)
    return (1.0 - z) * n + z * h


# Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
def lstm(i, f, g, o, c):
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


RNN_TANH, RNN_RELU, GRU, LSTM = Cell(rnn_tanh), Cell(rnn_relu), Cell(gru), Cell(lstm)
