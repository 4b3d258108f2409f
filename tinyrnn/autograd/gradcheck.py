"""gradcheck: analytic gradients against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import tape
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
    fast_mode: bool = False,
    **unused: Any,
) -> bool:
    """Compare the gradients of func(*inputs) with (f(x + eps) - f(x - eps)) / 2 eps, for inputs that require one.

    Inputs should be float64.  Returns True, or raises GradcheckError (RuntimeError) naming the output, the input
    and both
    Jacobians; with raise_exception=False it returns False.
    """
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = [(k, x) for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them "
            "have requires_grad=True."
        )

    def outputs() -> list[Tensor]:
        result = func(*inputs)
        chosen = [result] if isinstance(result, Tensor) else [r for r in result if isinstance(r, Tensor)]
        return [r for r in chosen if r.array.dtype.kind == "f"]

    try:
        for number, out in enumerate(outputs()):
            for k, x in wanted:
                numerical, analytic = _numerical(outputs, number, x, eps), _analytic(out, x)
                if not np.allclose(analytic, numerical, rtol=rtol, atol=atol):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {number} with respect to input {k},\nnumerical:{numerical}\n"
                        f"analytical:{analytic}\n"
                    )
                again = _analytic(out, x)
                if np.abs(again - analytic).max(initial=0.0) > nondet_tol:
                    raise GradcheckError(
                        f"Backward is not reentrant: two runs differ for output {number} and input {k}"
                    )
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _numerical(outputs: Callable, number: int, x: Tensor, eps: float) -> np.ndarray:
    """(elements of x, elements of the output)."""
    columns = []
    flat = x.array
    with tape.no_grad():
        for place in np.ndindex(flat.shape):
            before = flat[place].item()
            values = []
            for moved in (before + eps, before - eps):
                flat[place] = moved
                values.append(outputs()[number].array.astype(np.float64).ravel())
            flat[place] = before
            columns.append((values[0] - values[1]) / (2 * eps))
    return np.array(columns).reshape(flat.size, -1)


def _analytic(out: Tensor, x: Tensor) -> np.ndarray:
    rows = []
    for place in np.ndindex(out.array.shape):
        g = np.zeros_like(out.array)
        g[place] = 1
        (found,) = tape.backward([(out, g)], True, [x]) if out.requires_grad else (None,)
        rows.append(np.zeros(x.array.size) if found is None else np.ravel(found))
    return np.array(rows).reshape(-1, x.array.size).T
