"""L-BFGS: steps along a direction made of the gradients of the past, with a line search if asked for.

Liu and Nocedal 1989; algorithm and equation numbers are those of Nocedal and Wright, Numerical Optimization, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import tape
from ..ops.join import cat
from .optimizer import Optimizer, as_number, check, learning_rate


class Point(NamedTuple):
    """A place on the line that is searched: how far along the direction, and what is found there."""

    step: Any
    loss: float
    gradient: Any
    slope: Any


def interpolate(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """The step to the minimum of the cubic through both points and their slopes (equation 3.59), within bounds."""
    low, high = bounds or (min(a.step, b.step), max(a.step, b.step))
    bend = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = bend**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    if not a.step <= b.step:
        a, b = b, a
    root = square.sqrt()
    best = b.step - (b.step - a.step) * ((b.slope + root - bend) / (b.slope - a.slope + 2 * root))
    return min(max(best, low), high)


def strong_wolfe(
    evaluate: Callable[[Any], Point],
    start: Point,
    step: Any,
    length: Any,
    tolerance: float,
    most: int,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> tuple[Point, int]:
    """A point with less loss (c1) and less slope (c2) than the start, and how often the loss was evaluated.

    Algorithms 3.5 and 3.6.  `length` is that of the direction: a bracket shorter than `tolerance` is not searched.
    """
    previous, point = start, evaluate(step)
    rounds = 0
    while rounds < most:
        too_high = point.loss > start.loss + c1 * point.step * start.slope
        if too_high or (rounds > 1 and point.loss >= previous.loss):
            bracket = [previous, point]
            break
        if abs(point.slope) <= -c2 * start.slope:
            return point, rounds + 1
        if point.slope >= 0:
            bracket = [previous, point]
            break
        bounds = point.step + 0.01 * (point.step - previous.step), point.step * 10
        step = interpolate(previous, point, bounds)
        previous, point = point, evaluate(step)
        rounds += 1
    else:
        bracket = [start, point]

    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    crawls = False  # the last step came close to an end of the bracket
    while rounds < most:
        a, b = bracket
        if abs(b.step - a.step) * length < tolerance:
            break
        step = interpolate(a, b)
        first, last = min(a.step, b.step), max(a.step, b.step)
        margin = 0.1 * (last - first)
        if min(last - step, step - first) < margin:
            crawls = not (crawls or step >= last or step <= first)
            if not crawls:
                step = last - margin if abs(step - last) < abs(step - first) else first + margin
        else:
            crawls = False
        point = evaluate(step)
        rounds += 1
        if point.loss > start.loss + c1 * step * start.slope or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        found = abs(point.slope) <= -c2 * start.slope
        if not found and point.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
        if found:
            break
    return bracket[low], rounds + 1


class LBFGS(Optimizer):
    """Up to `max_iter` iterations and `max_eval` evaluations of the closure in each step, for one group of parameters.

    It stops where no element of the gradient is above `tolerance_grad`, or neither the parameters nor the loss change
    by more than `tolerance_change`.  `line_search_fn` is 'strong_wolfe', or None for steps of size lr.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups), but got "
                f"{len(self.param_groups)} groups"
            )

    @property
    def _params(self) -> list[Any]:
        return self.param_groups[0]["params"]

    def _gradient(self) -> Any:
        """The gradients of all parameters as one vector; zeros where there is none."""
        return cat([p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._params])

    def _move(self, direction: Any, step: Any) -> None:
        for p, part in zip(self._params, direction.split([p.numel() for p in self._params]), strict=True):
            p.add_(part.view_as(p) * step)

    def _line(self, closure: Callable, direction: Any) -> Callable[[Any], Point]:
        """What is found a step along `direction` from here; the parameters come back to where they are now."""
        here = [p.clone() for p in self._params]

        def evaluate(step: Any) -> Point:
            self._move(direction, step)
            loss, gradient = float(closure()), self._gradient()
            for p, value in zip(self._params, here, strict=True):
                p.copy_(value)
            return Point(step, loss, gradient, gradient.dot(direction))

        return evaluate

    def _remember(self, state: dict[str, Any], gradient: Any, size: int) -> None:
        """Add the last step s and the change y of the gradient to the history, if the loss is curved there."""
        y, s = gradient.sub(state["prev_flat_grad"]), state["d"] * state["t"]
        ys = y.dot(s)
        if ys > 1e-10:
            history = (state["old_dirs"], state["old_stps"], state["ro"])
            for entries, new in zip(history, (y, s, 1.0 / ys), strict=True):
                if len(entries) == size:
                    entries.pop(0)
                entries.append(new)
            state["H_diag"] = ys / y.dot(y)

    def _direction(self, state: dict[str, Any], gradient: Any) -> Any:
        """Minus the approximate inverse Hessian times the gradient: algorithm 7.4."""
        d = gradient.neg()
        pairs = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
        shares = []
        for y, s, ro in reversed(pairs):
            shares.append(s.dot(d) * ro)
            d.sub_(y * shares[-1])
        d = d * state["H_diag"]
        for (y, s, ro), share in zip(pairs, reversed(shares), strict=True):
            d.add_(s * (share - y.dot(d) * ro))
        return d

    @tape.no_grad()
    def step(self, closure: Callable) -> Any:  # type: ignore[override]
        """Minimize the loss that `closure` computes, with its gradients; the loss at the beginning is returned."""
        closure = tape.enable_grad()(closure)
        group = self.param_groups[0]
        lr, change, search = as_number(group["lr"]), group["tolerance_change"], group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, but line_search_fn is {search!r}")
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss, gradient, evaluations = float(first_loss), self._gradient(), 1
        state["func_evals"] += 1
        if gradient.abs().max() <= group["tolerance_grad"]:
            return first_loss

        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                state |= {"d": gradient.neg(), "old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
                state["t"] = min(1.0, 1.0 / gradient.abs().sum()) * lr
            else:
                self._remember(state, gradient, group["history_size"])
                state |= {"d": self._direction(state, gradient), "t": lr}
            state |= {"prev_flat_grad": gradient, "prev_loss": loss}
            d, slope = state["d"], gradient.dot(state["d"])
            if slope > -change:
                break
            new = 0
            if search is not None:
                point, new = strong_wolfe(
                    self._line(closure, d),
                    Point(0, loss, gradient, slope),
                    state["t"],
                    d.abs().max(),
                    change,
                    group["max_eval"] - evaluations,
                )
                state["t"], loss, gradient = point.step, point.loss, point.gradient
                self._move(d, state["t"])
            else:
                self._move(d, state["t"])
                if iteration != group["max_iter"]:  # the last iteration's gradient would not be used
                    loss, gradient, new = float(closure()), self._gradient(), 1
            evaluations += new
            state["func_evals"] += new
            if (
                evaluations >= group["max_eval"]
                or gradient.abs().max() <= group["tolerance_grad"]
                or (d * state["t"]).abs().max() <= change
                or abs(loss - state["prev_loss"]) < change
            ):
                break
        return first_loss
