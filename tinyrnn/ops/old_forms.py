"""How torch's functions were called before 1.5, and still may be: each number before what it multiplies."""

from __future__ import annotations

import sys
from typing import Any

from ..switches import warn_once
from .common import Number, TensorBase

FORMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "sub"), ("input alpha other",)),
    **dict.fromkeys(("addcmul", "addcdiv"), ("input value tensor1 tensor2",)),
}
for call, factors in {
    "addmm": "mat1 mat2",
    "addmv": "mat vec",
    "addr": "vec1 vec2",
    "addbmm": "batch1 batch2",
    "baddbmm": "batch1 batch2",
}.items():  # as functions, and as methods
    starts = "beta input", "beta input alpha", "input beta", "input beta alpha"
    FORMS[call] = tuple(f"{start} {factors}" for start in starts)
NUMBERS = ("beta", "alpha", "value")


def in_old_form(function: Any, *args: Any, **options: Any) -> Any:
    """What `function` gives for `args`, more than it takes by position, in one of its old forms."""
    call = function.__name__
    for name in NUMBERS:
        if options.pop(name, 1) != 1:
            raise TypeError(f"{call}() takes '{name}' as a number before its tensors or by keyword, not in both ways")
    for form in FORMS[call]:
        names = form.split()
        if len(names) == len(args):
            given = dict(zip(names, args, strict=True))
            numbers = {name: given.pop(name) for name in NUMBERS if name in given}
            if all(map(is_number, numbers.values())):
                break
    else:
        tensors = sum(name not in NUMBERS for name in names)
        raise TypeError(f"{call}() takes {tensors} positional arguments but {len(args)} were given")
    in_place = sys._getframe(2).f_code.co_name == "overwrite"  # the function that `inplace` makes
    warn_once("old form", deprecation(call, names, in_place))
    numbers = {name: x.array.item() if isinstance(x, TensorBase) else x for name, x in numbers.items()}
    return function(**given, **numbers, **options)


def is_number(x: Any) -> bool:
    """Whether torch takes `x` for a number: a tensor without dimensions is one too, if it has no gradient."""
    return isinstance(x, Number) or (isinstance(x, TensorBase) and not x.array.ndim and not x.requires_grad)


def deprecation(call: str, names: list[str], in_place: bool) -> str:
    """torch's sentence on the old form of these arguments; without `input`, that of a method."""
    method = in_place or (names[0] == "input" and names[1] == "beta")
    name, out = f"{call}_" if in_place else call, "" if method else ", Tensor out = None"
    names = [each for each in names if each != "input" or not method]
    numbers = [each for each in NUMBERS if each in FORMS[call][-1]]
    old = ", ".join(f"{'Number' if each in NUMBERS else 'Tensor'} {each}" for each in names)
    new = ", ".join(f"Tensor {each}" for each in names if each not in NUMBERS)
    new += ", *, " + ", ".join(f"Number {each} = 1" for each in numbers)
    return (
        f"This overload of {name} is deprecated:\n\t{name}({old}{out and ', *' + out})\n"
        f"Consider using one of the following signatures instead:\n\t{name}({new}{out})"
    )
