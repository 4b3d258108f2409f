"""A module called with other parameters than its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from ...tensor import Tensor
from ..module import Module

__all__ = ["functional_call"]
NOTHING = object()


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """The old place of torch.func.functional_call."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
        "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call_with(module, parameters_and_buffers, args, kwargs, tie_weights, strict)


def call_with(
    module: Module,
    given: dict[str, Tensor],
    args: Any,
    kwargs: dict[str, Any] | None,
    tie_weights: bool,
    strict: bool,
) -> Any:
    """The call of a module while its parameters and buffers are others: see torch.func.functional_call."""
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with exchanged(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def exchanged(module: Module, given: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """A `with` block in which tensors stand in a module's places; what stands there at its end goes into `given`."""
    wanted = tied(module, given) if tie_weights else given
    if strict:
        check_keys(module, wanted)
    places = {name: place(module, name, value) for name, value in wanted.items()}
    before = {name: members.get(key, NOTHING) for name, (members, key) in places.items()}
    try:
        for name, (members, key) in places.items():
            members[key] = wanted[name]
        yield
    finally:
        for name, (members, key) in places.items():
            if name in given and key in members:
                given[name] = members[key]
            members[key] = before[name]
            if before[name] is NOTHING:
                del members[key]


def place(module: Module, name: str, value: Any) -> tuple[dict[str, Any], str]:
    """The dictionary of a module, and the key in it, that hold what goes by a path; an attribute if nothing does."""
    if not isinstance(value, Tensor):
        raise TypeError(f"functional_call: {value!r} given for {name!r} is not an instance of torch.Tensor")
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    members = next((each for each in (owner._parameters, owner._buffers) if key in each), vars(owner))
    there = owner._modules.get(key, members.get(key))
    if there is not None and not isinstance(there, Tensor):
        raise TypeError(f"functional_call: {name!r} is {there!r}, not a parameter or a buffer")
    return members, key


def tied(module: Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """`given`, and the same tensors by all other paths of the parameters that they stand for."""
    paths: dict[int, list[str]] = {}
    named = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    for name, tensor in (pair for pairs in named for pair in pairs):
        paths.setdefault(id(tensor), []).append(name)
    wanted = dict(given)
    for names in paths.values():
        values = [given[name] for name in names if name in given]
        if any(value is not values[0] for value in values):
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. "
                "Consider using tie_weights=False"
            )
        if values:
            wanted.update(dict.fromkeys(names, values[0]))
    return wanted


def check_keys(module: Module, given: dict[str, Tensor]) -> None:
    """RuntimeError unless `given` has a tensor for every path, and for no other."""
    named = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    paths = [name for pairs in named for name, _ in pairs]
    told = [
        f"{word} key(s): {', '.join(map(repr, names))}."
        for word, names in (
            ("Unexpected", [name for name in given if name not in paths]),
            ("Missing", [name for name in paths if name not in given]),
        )
        if names
    ]
    if told:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(told))
