"""Keeping gradients within bounds (Pascanu et al., 2013: recurrent networks need it)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from types import GeneratorType

import numpy as np

from ... import tape
from ...dtypes import get_default_dtype
from ...kernels import twin
from ...ops.join import stack
from ...tensor import Tensor

kernels = twin("clip")
Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [g for p in _listed(parameters) if (g := p.grad) is not None]


def _alike(tensors: list[Tensor]) -> bool:
    """Whether the kernels can do all at once: contiguous tensors of one floating-point type, free to be written to."""
    dtype, place = tensors[0].array.dtype, type(tensors[0].array)
    for t in tensors:
        a = t.array
        if a.dtype is not dtype or type(a) is not place or not a.flags.carray:
            return False
        if t._edge is not None or t._requires or t._view is not None or t._writes is tape.UNTRACKED:
            return False
    return dtype.kind == "f"


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all tensors taken as one vector, as a 0-d tensor.

    norm_type: 2, inf, or any other order.  error_if_nonfinite: raise RuntimeError if the norm is NaN or infinite.
    foreach: accepted; there is one way of doing it.
    """
    tensors = _listed(tensors)
    return _norm(tensors, float(norm_type), error_if_nonfinite, bool(tensors) and _alike(tensors))


def _norm(tensors: list[Tensor], norm_type: float, error_if_nonfinite: bool, alike: bool) -> Tensor:
    """get_total_norm of tensors of which it is known whether the kernels can do all at once."""
    if not tensors:
        return tape.wrap(np.zeros((), get_default_dtype().numpy))
    if norm_type == 2.0 and alike:
        arrays = [t.array for t in tensors]
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
    _clip(gradients, max_norm, total_norm, bool(gradients) and _alike([total_norm, *gradients]))


def _clip(gradients: list[Tensor], max_norm: float, total_norm: Tensor, alike: bool) -> None:
    """clip_grads_with_norm_ for gradients of which it is known whether the kernels can do all at once."""
    if alike and type(max_norm) in (int, float):
        real = total_norm.array.dtype.type
        factor = real(max_norm) / (total_norm.array[()] + real(1e-6))
        if isinstance(factor, np.floating) and factor >= 1:  # on a GPU the kernel looks, and nobody waits for it
            return
        kernels.scale([grad.array for grad in gradients], factor)
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
    alike = bool(gradients) and _alike(gradients)
    total = _norm(gradients, float(norm_type), error_if_nonfinite, alike)
    _clip(gradients, max_norm, total, alike)
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
