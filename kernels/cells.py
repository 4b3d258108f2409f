"""Recurrent cells: one step, written as scalar math.  Everything else is derived from it.

A step function computes one hidden unit at one time step.  Its parameters tell what the cell needs:

* A positional parameter is the pre-activation of a gate of the same name:
      name = W_ih[name] x + b_ih[name] + W_hh[name] h + b_hh[name].
  The pair `x_name`, `h_name` stands for the two halves of that sum, where the step treats them differently.
  The order of the gates in the weights is the order in which they first appear.
* A positional parameter `h` is the hidden state of the step before.
* The first result is the hidden state after the step.  Further results are further states; as they were before the
  step, they are the last positional parameters, in the same order.
* A keyword-only parameter is a learned vector with one element for each hidden unit (a peephole weight, say).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property

from .scalar import Recording, Var, differentiate, record, relu, sigmoid, tanh

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class Cell:
    """A step function, taken apart: its gates, states and learned vectors, and its derivative.

    gates     the gates, in the order of the weights
    inputs    the positional parameters that are not states: (parameter, number of the gate, "x", "h" or "both")
    states    the parameter of each state, or None for a hidden state that the step does not read
    vectors   the keyword-only parameters
    split     the numbers of the gates that come in two halves

    Raises TypeError for a step that cannot be derived, or whose parameters do not follow the rules above.
    """

    def __init__(self, step: Callable):
        self.step = step
        self.recording: Recording = record(step)
        self.name = step.__name__
        names, count = list(self.recording.inputs), len(self.recording.outputs)
        split = len(names) - (count - 1)
        if split < 0 or "h" in names[split:]:
            raise self._error(
                f"it returns {count} states; the first is h, and the other {count - 1} as they were before the step "
                f"must be its last positional parameters, but these are ({', '.join(names)})"
            )
        self.states: list[str | None] = ["h" if "h" in names else None, *names[split:]]
        self.vectors = list(self.recording.keywords)
        for vector in self.vectors:
            if vector in (*WEIGHTS, "h"):
                raise self._error(f"a learned vector (a keyword-only parameter) cannot be called {vector}")
        self.gates: list[str] = []
        self.inputs: list[tuple[str, int, str]] = []
        given = [n for n in names[:split] if n != "h"]
        for name in given:
            gate, part = (name[2:], name[0]) if name.startswith(("x_", "h_")) else (name, "both")
            other = {"x": "h_", "h": "x_"}.get(part, "") + gate
            if other not in given:
                raise self._error(
                    f"parameter {name} stands for the half of a gate that comes from {part}, but the other half, "
                    f"{other}, is missing; a whole gate is a parameter whose name does not begin with x_ or h_"
                )
            if part != "both" and gate in given:
                raise self._error(f"gate {gate} appears twice: whole, and in the halves x_{gate} and h_{gate}")
            if gate not in self.gates:
                self.gates.append(gate)
            self.inputs.append((name, self.gates.index(gate), part))
        if not self.gates:
            raise self._error("it has no gate: a positional parameter that is neither h nor another state")
        self.split = [g for g in range(len(self.gates)) if any(k == g and part == "h" for _, k, part in self.inputs)]

    def _error(self, why: str) -> TypeError:
        code = inspect.unwrap(self.step).__code__
        return TypeError(f"{self.name} is not a cell: {why} ({code.co_filename}:{code.co_firstlineno})")

    def __repr__(self) -> str:
        states = ["h", *self.states[1:]]
        vectors = f"; learned vectors {', '.join(self.vectors)}" if self.vectors else ""
        return f"<cell {self.name}: gates {', '.join(self.gates)}; states {', '.join(map(str, states))}{vectors}>"

    @cached_property
    def source(self) -> str:
        """The step as it was written; its first line, where the text is not to be had (in an interactive session)."""
        try:
            return inspect.getsource(self.step)
        except (OSError, TypeError):
            return f"def {self.name}{inspect.signature(self.step)}: ...\n"

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
