"""The ops as methods, and their in-place forms: `from .methods import exp, exp_` gives the function exp, and the one
that writes its result into the first argument.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .common import inplace

NAMES = (
    "arithmetic elementwise binary ternary linear reduce cumulative order shape join rearrange diagonal index scatter "
)
NAMES += "statistics draw gamma"
OPS = [importlib.import_module(f".{name}", __package__) for name in NAMES.split()]  # an op may be called as its module


def __getattr__(name: str) -> Any:
    return found(name)


@functools.cache
def found(name: str) -> Any:
    """The function of that name, or for `name_` the one that writes the result of `name` into its argument."""
    op = name.removesuffix("_")
    for module in OPS:
        function = vars(module).get(name) or vars(module).get(op)
        if op[:1] != "_" and callable(function) and function.__module__.startswith(__package__):
            return function if op == name or name in vars(module) else inplace(function)
    raise AttributeError(f"there is no op {op}")
