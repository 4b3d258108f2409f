"""Keeping gradients within bounds (Pascanu et al., 2013: recurrent networks need it)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from operator import attrgetter
from types import GeneratorType

import numpy as np

from ... import tape
from ...dtypes import get_default_dtype
from ...kernels import twin
from ...ops.join import stack
from ...tensor import Tensor

kernels = twin("clip")
dtype_of, is_carray = attrgetter("dtype"), attrgetter("flags.carray")
Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [g for p in _listed(parameters) if (g := p._grad if p._edge is None else p.grad) is not None]


def _arrays(tensors: Sequence[Tensor]) -> list | None:
    """The arrays of the tensors if the kernels can do all at once: contiguous ones of one floating-point type."""
    arrays = [t.array for t in tensors]
    alike = len({*map(type, arrays)}) == len({*map(dtype_of, arrays)}) == 1 and all(map(is_carray, arrays))
    return arrays if alike and arrays[0].dtype.kind == "f" else None


def _free(t: Tensor) -> bool:
    """Whether a tensor can be written to without a word to the tape but the count."""
    return t._edge is None and not t._requires and t._view is None and t._writes is not tape.UNTRACKED


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all tensors taken as one vector, as a 0-d tensor.

    norm_type: 2, inf, or any other order.  error_if_nonfinite: raise RuntimeError if the norm is NaN or infinite.
    foreach: accepted; there is one way of doing it.
    """
    tensors = _listed(tensors)
    return _norm(tensors, _arrays(tensors), float(norm_type), error_if_nonfinite)


def _norm(tensors: list[Tensor], arrays: list | None, norm_type: float, error_if_nonfinite: bool) -> Tensor:
    """get_total_norm; `arrays` are those of the tensors, or None."""
    if not tensors:
        return tape.wrap(np.zeros((), get_default_dtype().numpy))
    if norm_type == 2.0 and arrays:
        total = tape.wrap(np.asarray(kernels.norm(arrays), arrays[0].dtype, like=arrays[0]))
    else:
        with tape.no_grad():
            total = stack([t.norm(norm_type).to(tensors[0].device) for t in tensors]).norm(norm_type)
    if error_if_nonfinite and not total.isfinite():
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite norm "
            "anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, whose norm is `total_norm`, down to the norm `max_norm`, in place; never up."""
    gradients = _gradients(parameters)
    arrays = _arrays([total_norm, *gradients])
    _clip(gradients, arrays and arrays[1:], max_norm, total_norm)


def _clip(gradients: list[Tensor], arrays: list | None, max_norm: float, total_norm: Tensor) -> None:
    """clip_grads_with_norm_; `arrays` are those of the gradients, or None."""
    if arrays and type(max_norm) in (int, float):
        real = total_norm.array.dtype.type
        factor = real(max_norm) / (total_norm.array[()] + real(1e-6))
        if isinstance(factor, np.floating) and factor >= 1:  # on a GPU the kernel looks, and nobody waits for it
            return
        if all(map(_free, gradients)):
            kernels.scale(arrays, factor)
            tape.wrote(gradients)
            return
    with tape.no_grad():
        scale = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        if scale != 1:
            for grad in gradients:
                grad.mul_(scale.to(grad.device))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients down, in place, so that their norm as one vector is at most `max_norm`.

    Returns the norm that they had, a 0-d tensor.  Arguments: see get_total_norm.
    """
    if isinstance(parameters, GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    gradients = _gradients(parameters)
    arrays = _arrays(gradients)
    total = _norm(gradients, arrays, float(norm_type), error_if_nonfinite)
    _clip(gradients, arrays, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of clip_grad_norm_."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@tape.no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Move each element of the gradients into [-clip_value, clip_value], in place."""
    clip_value = float(clip_value)
    for grad in _gradients(parameters):
        grad.clamp_(-clip_value, clip_value)
