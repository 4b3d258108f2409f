"""Recurrent cells: one step, written as scalar math.  Everything else is derived from it.

A step function computes one hidden unit at one time step.  Its parameters tell what the cell needs:

* A positional parameter is the pre-activation of a gate of the same name:
      name = W_ih[name] x + b_ih[name] + W_hh[name] h + b_hh[name].
  The pair `x_name`, `h_name` stands for the two halves of that sum, where the step treats them differently; `x_name`
  without `h_name` is a gate of the input alone, which has no rows in W_hh and b_hh.
  The order of the gates in the weights is the order in which they first appear.
* A positional parameter `h` is the hidden state of the step before.
* The first result is the hidden state after the step.  Further results are further states; as they were before the
  step, they are the last positional parameters, in the same order.
* A keyword-only parameter is a learned vector with one element for each hidden unit (a peephole weight, say).

All units meet in a mean, `value.mean(-1, keepdim=True)`, which a layer-normalised cell takes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .scalar import Recording, Tape, Var, differentiate, record, relu, replay, sigmoid, spot, stages, tanh

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


class Noise(NamedTuple):
    """The masks of one call of a cell: which states have zoneout, and the arrays of cell_job.py, or None."""

    zoned: tuple[bool, ...] = ()
    zone_carried: np.ndarray | None = None
    zone_states: np.ndarray | None = None
    drop: np.ndarray | None = None

    @property
    def by_row(self) -> bool:
        """Whether the masks of zoneout have a row for each row of the input, instead of one for all."""
        zones = self.zone_carried if self.zone_carried is not None else self.zone_states
        return zones is not None and zones.shape[-2] > 1


PLAIN = Noise()


class Cell:
    """A step function, taken apart: its gates, states and learned vectors, and its derivative.

    gates     the gates, in the order of the weights
    inputs    the positional parameters that are not states: (parameter, number of the gate, "x", "h" or "both")
    states    the parameter of each state, or None for a hidden state that the step does not read
    vectors   the keyword-only parameters
    split     the numbers of the gates that come in two halves
    outer     the numbers of the gates of the input alone
    inner     the numbers of the others, which have rows in weight_hh
    order     the numbers of the gates as the kernels have them: whole ones, split ones, outer ones; `in_order` if the
              weights have them so, too
    orders    the same as places in weight_ih, and in weight_hh
    zones     for a cell with zoneout (see `zoned`), the input that masks a state, by the state's number

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
            gate, part = (name[2:], name[0]) if name[:2] in ("x_", "h_") and name[2:] else (name, "both")
            if part == "h" and f"x_{gate}" not in given:
                raise self._error(
                    f"parameter {name} stands for the half of a gate that comes from h, but the other half, x_{gate}, "
                    f"is missing; a whole gate is a parameter whose name does not begin with x_ or h_"
                )
            if part != "both" and gate in given:
                raise self._error(f"gate {gate} appears twice: whole, and in the halves x_{gate} and h_{gate}")
            if gate not in self.gates:
                self.gates.append(gate)
            self.inputs.append((name, self.gates.index(gate), part))
        if not self.gates:
            states = f"; it returns {count} states, so {', '.join(names[split:])} are states" if count > 1 else ""
            raise self._error(f"it has no gate, a positional parameter that is neither h nor another state{states}")
        parts = [{part for _, k, part in self.inputs if k == g} for g in range(len(self.gates))]
        self.split = [g for g, part in enumerate(parts) if "h" in part]
        self.outer = [g for g, part in enumerate(parts) if part == {"x"}]
        self.inner = [g for g in range(len(self.gates)) if g not in self.outer]
        self.order = [g for g in self.inner if g not in self.split] + self.split + self.outer
        self.in_order = self.order == sorted(self.order)
        self.orders = self.order, [self.inner.index(g) for g in self.order if g in self.inner]
        self.zones: dict[int, Var] = {}

    def _error(self, why: str) -> TypeError:
        code = inspect.unwrap(self.step).__code__
        return TypeError(f"{self.name} is not a cell: {why} ({spot(code.co_filename, code.co_firstlineno)})")

    def __repr__(self) -> str:
        states = ["h", *self.states[1:]]
        vectors = f"; learned vectors {', '.join(self.vectors)}" if self.vectors else ""
        outer = f" (of the input alone: {', '.join(self.gates[g] for g in self.outer)})" if self.outer else ""
        gates = ", ".join(self.gates) + outer
        return f"<cell {self.name}: gates {gates}; states {', '.join(map(str, states))}{vectors}>"

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

    @cached_property
    def means(self) -> bool:
        """Whether the step takes means over the hidden units."""
        return bool(stages(self.recording.outputs))

    def zoned(self, which: tuple[bool, ...]) -> Cell:
        """The cell with zoneout of the states that `which` tells: Krueger et al. 2017, https://arxiv.org/abs/1606.01305.

        Such a state s becomes zone * s + (1 - zone) * (what the step makes of s).  The zone is one more input of the
        step: 1 where the state stays what it was, else 0; or the probability of a 1, for the expectation.
        """
        made = copy.copy(self)
        made.__dict__.pop("derivative", None)
        made.states = list(self.states)
        tape = Tape()
        r = self.recording
        inputs, keywords = ({n: tape.input(n) for n in named} for named in (r.inputs, r.keywords))
        if which[0] and self.states[0] is None:
            made.states[0] = "h"
            inputs["h"] = tape.input("h")
        outputs = list(replay(r, tape, {**inputs, **keywords}))
        made.zones = {k: tape.input(f"zone_of_{made.states[k]}") for k, zoned in enumerate(which) if zoned}
        for k, zone in made.zones.items():
            outputs[k] = zone * inputs[made.states[k]] + (1.0 - zone) * outputs[k]
        tape.complete = True
        made.recording = Recording(r.name, inputs, keywords, tuple(outputs))
        return made


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
