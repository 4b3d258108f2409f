"""torch.func's call of a module with other parameters. (Its transforms are not here: the tape does their work.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .nn.module import Module
from .nn.utils.stateless import call_with
from .tensor import Tensor

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """module(*args, **kwargs), while tensors given by path stand in the places of its parameters and buffers.

    Gradients flow to the tensors given.  What the call puts into such a place (a counter that is increased) is found in
    the dictionary afterwards, and not in the module.  args: a tuple, or one argument.
    tie_weights: a tensor stands for a shared parameter in all its places.  strict: every place must be given.
    """
    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        if not isinstance(given, Sequence):
            raise ValueError(
                f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(given)}"
            )
        if not all(isinstance(each, dict) for each in given):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        keys = [key for each in given for key in each]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {key: value for each in given for key, value in each.items()}
    return call_with(module, given, args, kwargs, tie_weights, strict)
