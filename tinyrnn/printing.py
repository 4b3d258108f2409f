"""How a tensor prints: torch's rules for widths, notation, line breaks, summaries and suffixes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import numpy as np

from . import dtypes
from .devices import host


@dataclass(frozen=True)
class Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {"default": Options(), "short": Options(precision=2, edgeitems=2), "full": Options(threshold=inf)}

options = PROFILES["default"]


def set_printoptions(precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None):
    """Set how tensors print. What is None stays as it is, except sci_mode, where None means: by the values.

    precision: digits after the point of a float (default 4).
    threshold: a tensor of more elements than this is summarised (default 1000).
    edgeitems: elements shown at either end of a summarised dimension (default 3).
    linewidth: characters in a line before it is broken (default 80).
    profile: "default", "short" or "full": the base of the other settings. As in torch, any other text changes nothing.
    sci_mode: True or False forces scientific or fixed notation.
    """
    global options
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    given = {name: value for name, value in given.items() if value is not None}
    options = replace(PROFILES.get(profile, options), **given, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The current options, as keyword arguments for set_printoptions."""
    return asdict(options)


@contextmanager
def printoptions(**kwargs) -> Iterator[None]:
    """`with printoptions(precision=2): ...` sets options as set_printoptions does, for the block only."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


# ---- one element -----------------------------------------------------------------------------------------------------


def element_format(array: np.ndarray) -> tuple[Callable[[Any], str], int]:
    """How every element of `array` prints, and the width that all of them are padded to."""
    if array.dtype.kind != "f":
        return str, max((len(str(value)) for value in array.ravel().tolist()), default=0)
    # Zeros and non-finite values follow the notation that the other values ask for, and do not widen the column.
    values = array[np.isfinite(array) & (array != 0)]
    if not values.size:
        return float_format(scientific=False, whole=True), 1
    low, high = float(np.abs(values).min()), float(np.abs(values).max())
    whole = bool((values == np.ceil(values)).all())
    scientific = options.sci_mode
    if scientific is None:
        scientific = high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4
    write = float_format(scientific, whole)
    return write, max(len(write(value)) for value in values.tolist())


def float_format(scientific: bool, whole: bool) -> Callable[[float], str]:
    """Scientific, fixed, or (`whole`: all values are integers) an integer with a point to show that it is a float."""
    if scientific:
        return f"{{:.{options.precision}e}}".format
    if not whole:
        return f"{{:.{options.precision}f}}".format
    return lambda value: f"{value:.0f}." if abs(value) < inf else f"{value:.0f}"


# ---- all elements ----------------------------------------------------------------------------------------------------


def contents(array: np.ndarray, indent: int) -> str:
    """The nested brackets; `indent` is the column where the first bracket stands."""
    summarise = array.size > options.threshold
    write, width = element_format(ends(array) if summarise else array)

    def item(value) -> str:
        return write(value).rjust(width)

    def parts(block: np.ndarray, show: Callable[[np.ndarray], list[str]], gap: str) -> list[str]:
        edge = options.edgeitems
        if not summarise or len(block) <= 2 * edge:
            return show(block)
        return [*show(block[:edge]), gap, *(show(block[-edge:]) if edge else [])]

    def brackets(block: np.ndarray, indent: int) -> str:
        newline = "\n" + " " * (indent + 1)
        if block.ndim > 1:
            gap = "," + "\n" * (block.ndim - 2) + newline
            return "[" + gap.join(parts(block, lambda rows: [brackets(row, indent + 1) for row in rows], "...")) + "]"
        gap = " ..." if options.edgeitems else "..."
        items = parts(block, lambda values: [item(value) for value in values.tolist()], gap)
        per_line = max(1, (options.linewidth - indent) // (width + 2))
        lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + ("," + newline).join(lines) + "]"

    return brackets(array, indent) if array.ndim else item(array.item())


def ends(array: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    edge = options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            array = np.take(array, [*range(edge), *range(size - edge, size)], axis)
    return array


# ---- a tensor --------------------------------------------------------------------------------------------------------


def tensor_repr(t, *, tensor_contents: str | None = None) -> str:
    """The printed form of a tensor: `tensor([0., 1.], requires_grad=True)`.

    t: a Tensor of any shape and dtype; a subclass prints under its own name.
    tensor_contents: text to stand in place of the elements.
    """
    from .nn.parameter import Parameter
    from .tape import shown
    from .tensor import Tensor

    prefix = "tensor(" if type(t) in (Tensor, Parameter) else type(t).__name__ + "("
    array = host(t.array)
    empty = array.size == 0
    suffixes = []
    if (array.ndim != 1) if empty else (options.edgeitems == 0):  # the brackets alone do not tell the size
        suffixes.append(f"size={tuple(t.shape)}")
    if array is not t.array:
        suffixes.append(f"device='{t.device}'")
    # Elements on the page show that they are integers or booleans; an empty tensor shows nothing.
    evident = () if empty else (dtypes.int64, dtypes.bool)
    if t.dtype not in (dtypes.get_default_dtype(), *evident):
        suffixes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        suffixes.append(f"grad_fn=<{shown(t.grad_fn, t._slot)}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    if tensor_contents is None:
        tensor_contents = "[]" if empty else contents(array, len(prefix))
    return add_suffixes(prefix + tensor_contents, suffixes, len(prefix))


def add_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append the suffixes and the closing bracket; a suffix that would pass the line's end starts a new line."""
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"
