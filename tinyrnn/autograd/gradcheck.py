"""gradcheck: analytic gradients against central differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tape
from ..strides import overlaps
from ..tensor import Tensor


class GradcheckError(RuntimeError):
    """Analytic and numerical gradients differ."""


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compare the gradients of func(*inputs) with (f(x + eps) - f(x - eps)) / 2 eps, for inputs that require one.

    Inputs should be float64.  Returns True, or raises GradcheckError (a RuntimeError) that tells the output, the input
    and both Jacobians, (elements of the input, elements of the output); with raise_exception=False it returns False.
    Checked too: that two backwards agree within `nondet_tol`, and that a zero gradient of the output gives zero.
    Raises ValueError if no input requires a gradient.  fast_mode is accepted: the slow check finds as much, and more;
    so is check_undefined_grad: each output is looked at while the others have no gradient.
    """
    for name, value in (
        ("check_batched_grad", check_batched_grad),
        ("check_batched_forward_grad", check_batched_forward_grad),
        ("check_forward_ad", check_forward_ad),
        ("masked", masked),
    ):
        if value:
            raise NotImplementedError(f"gradcheck(): {name}={value!r} is not supported by tinyrnn")
    if not check_backward_ad:
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = {k: x for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad}
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    for k, x in wanted.items():
        if x.array.dtype != np.float64:
            warnings.warn(
                f"Input #{k} requires gradient and is not a double precision floating point. This check will likely "
                "fail if all the inputs are not of double precision floating point.",
                stacklevel=2,
            )
        if overlaps(x.array):
            raise RuntimeError(
                f"The {k}th input has a dimension with stride 0: gradcheck cannot change one element alone. Call "
                ".contiguous() on the input before passing it to gradcheck."
            )

    def outputs() -> list[Tensor]:
        result = func(*inputs)
        several = [result] if isinstance(result, Tensor) else list(result)
        return [r for r in several if isinstance(r, Tensor) and r.array.dtype.kind == "f"]

    try:
        found = outputs()
        for number, out in enumerate(found):
            for k, x in wanted.items():
                _compare(outputs, number, out, k, x, eps, atol, rtol, nondet_tol)
                if check_grad_dtypes and (g := _gradient([(out, np.ones_like(out.array))], x)) is not None:
                    _expect(g.dtype == x.array.dtype, f"Gradient has dtype {g.dtype}, input {k} has {x.array.dtype}")
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _expect(holds: bool | np.bool_, message: str) -> None:
    if not holds:
        raise GradcheckError(message)


def _gradient(roots: list[tuple[Tensor, np.ndarray]], x: Tensor) -> np.ndarray | None:
    roots = [(out, g) for out, g in roots if out.requires_grad]
    return tape.backward(roots, True, [x])[0] if roots else None


def _compare(outputs: Callable, number: int, out: Tensor, k: int, x: Tensor, eps, atol, rtol, nondet_tol) -> None:
    numerical = _numerical(outputs, number, out.array.size, x, eps)
    analytic, again = (_analytic(out, x) for _ in range(2))
    _expect(
        np.allclose(analytic, numerical, rtol=rtol, atol=atol),
        f"Jacobian mismatch for output {number} with respect to input {k},\nnumerical:{numerical}\n"
        f"analytical:{analytic}\n",
    )
    _expect(
        np.abs(again - analytic).max(initial=0.0) <= nondet_tol,
        "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives "
        f"different values, although analytical gradient matches numerical gradient, for output {number} with respect "
        f"to input {k}. The tolerance for nondeterminism was {nondet_tol}.",
    )
    zero = _gradient([(out, np.zeros_like(out.array))], x)
    _expect(zero is None or not zero.any(), f"backward not multiplied by grad_output (output {number}, input {k})")


def _numerical(outputs: Callable, number: int, size: int, x: Tensor, eps: float) -> np.ndarray:
    """(elements of x, elements of the output)."""
    rows = []
    array = x.array
    with tape.no_grad():
        for place in np.ndindex(array.shape):
            before = array[place].item()
            values = []
            try:
                for moved in (before + eps, before - eps):
                    array[place] = moved
                    values.append(outputs()[number].array.astype(np.float64).ravel())
            finally:
                array[place] = before
            rows.append((values[0] - values[1]) / (2 * eps))
    return np.array(rows).reshape(array.size, size)


def _analytic(out: Tensor, x: Tensor) -> np.ndarray:
    """(elements of x, elements of the output)."""
    columns = []
    for place in np.ndindex(out.array.shape):
        g = np.zeros_like(out.array)
        g[place] = 1
        found = _gradient([(out, g)], x)
        columns.append(np.zeros(x.array.size) if found is None else np.ravel(found))
    return np.array(columns).reshape(out.array.size, x.array.size).T
