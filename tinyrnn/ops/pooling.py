"""What windows over the last dimension show: their mean (a moving average, where they move by one) or their maximum."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..tape import no_grad
from .arithmetic import div
from .common import expect_tensor, unsupported
from .create import tensor
from .elementwise import where
from .padding import pad
from .reduce import max as largest
from .scatter import gather
from .shape import unfold


def one_int(value: Any, call: str, name: str) -> int:
    """A number, or the only one in a sequence."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise RuntimeError(f"{call}() argument '{name}' should contain one int (got {len(value)})")
        value = value[0]
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{call}(): argument '{name}' must be tuple of ints, not {type(value).__name__}") from None


def checked(input: Any, call: str, kinds: str) -> np.ndarray:
    """The array of a batch of sequences, or of one, which are not empty."""
    x = expect_tensor(input, call).array
    if x.ndim not in (2, 3):
        raise RuntimeError(f"{call}: expected an input of 2 or 3 dimensions, got one of {x.ndim}: {list(x.shape)}")
    if x.dtype.kind != "f" and (x.dtype != np.int64 or "i" not in kinds):
        raise unsupported(call, x.dtype)
    if 0 in x.shape[-2:]:
        raise RuntimeError(f"{call}: only the batch of an input may be empty, got the shape {list(x.shape)}")
    return x


def spaced(
    input: Any, call: str, kinds: str, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[int, int, int, int, int]:
    """Windows of elements `dilation` apart: their size, stride, padding and dilation as numbers, and how many fit."""
    size = one_int(size, call, "kernel_size")
    step = size if stride is None or stride == () or stride == [] else one_int(stride, call, "stride")
    width, apart = one_int(padding, call, "padding"), one_int(dilation, call, "dilation")
    shape = checked(input, call, kinds).shape
    for name, value in (("kernel_size", size), ("stride", step), ("dilation", apart)):
        if value <= 0:
            raise RuntimeError(f"{call}() {name} must be greater than zero, but got {value}")
    if width < 0:
        raise RuntimeError(f"{call}() padding must be non-negative, but got {width}")
    if width > size // 2:
        raise RuntimeError(
            f"{call}() padding should be at most half of kernel size, but got padding={width} and kernel_size={size}"
        )
    n = shape[-1]
    number = (n + 2 * width - apart * (size - 1) - 1 + (step - 1 if ceil_mode else 0)) // step + 1
    if ceil_mode and (number - 1) * step >= n + width:
        number -= 1  # it would begin in the padding at the end
    if number < 1:
        raise RuntimeError(f"{call}: the output of {list(shape)} with windows of {size} is too small (size 0)")
    return size, step, width, apart, number


def windows(input: Any, width: int, reach: int, step: int, number: int, beyond: float) -> Any:
    """So many windows of `reach` elements, the first from `width` before the input on, as a new last dimension.

    There is `beyond` outside of the input.
    """
    after = max((number - 1) * step + reach - width - input.array.shape[-1], 0)
    around = pad(input, (width, after), value=beyond) if width or after else input
    return unfold(around, -1, reach, step)[..., :number, :]


def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The means of windows of `kernel_size` elements along (N, C, L) or (C, L), `stride` apart (default: kernel_size).

    padding: so many zeros at both ends, at most half a window.  count_include_pad: they count in the mean.
    ceil_mode: the last window may reach over the end; what lies beyond the padding does not count.
    """
    size, step, width, _, number = spaced(input, "avg_pool1d", "fi", kernel_size, stride, padding, 1, ceil_mode)
    x, n = input.array, input.array.shape[-1]
    begin = np.arange(number) * step - width
    end = np.minimum(begin + size, n + width)
    count = end - begin if count_include_pad else np.minimum(end, n) - np.maximum(begin, 0)
    sums = windows(input, width, size, step, number, 0).sum(-1)
    count = tensor(np.maximum(count, 1), dtype=input.dtype, device=input.device)
    return div(sums, count, rounding_mode=None if x.dtype.kind == "f" else "trunc")


def max_pool1d_with_indices(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple:
    """max_pool1d, and where each maximum is along the input: the first place of several."""
    how = kernel_size, stride, padding, dilation, ceil_mode
    size, step, width, apart, number = spaced(input, "max_pool1d", "f", *how)
    n, begin = input.array.shape[-1], np.arange(number) * step - width
    first = -(np.minimum(begin, 0) // apart)
    if (begin + first * apart >= n).any():
        raise RuntimeError(f"max_pool1d: a window of {size} elements, {apart} apart, has none of {n}")
    with no_grad():
        shown = windows(input, width, apart * (size - 1) + 1, step, number, -np.inf)[..., ::apart]
        least = tensor(first, device=input.device)  # where all is -inf: not in the padding
        places = largest(shown, -1).indices.maximum(least) * apart + tensor(begin, device=input.device)
    return gather(input, -1, places), places


def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maxima of windows of `kernel_size` elements along (N, C, L) or (C, L), `stride` apart (default: kernel_size).

    padding: so many elements of -inf at both ends, at most half a window.  dilation: the distance of a window's
    elements.  ceil_mode: the last window may reach over the end.  return_indices: a pair, with the places of the
    maxima along the input, int64, as second.
    """
    found = max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return found if return_indices else found[0]


def parts(input: Any, output_size: Any, call: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """`input` cut into so many windows, as equal as they can be: where they begin; which elements each of them takes,
    as a matrix, for each row of which the last is repeated; which of these are none of its own."""
    number = one_int(output_size, call, "output_size")
    x = checked(input, call, "f")
    if number < 0:
        raise RuntimeError(f"{call}: output_size must be greater than or equal to 0, but got {number}")
    n, k = x.shape[-1], np.arange(number)
    begin, end = k * n // max(number, 1), -(-(k + 1) * n // max(number, 1))
    taken = begin[:, None] + np.arange(-(-n // max(number, 1)) + 1)
    return begin, np.minimum(taken, end[:, None] - 1), taken >= end[:, None]


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """The means of `output_size` windows along (N, C, L) or (C, L): the i-th from i L / output_size, rounded down, to
    (i + 1) L / output_size, rounded up."""
    _, taken, strange = parts(input, output_size, "adaptive_avg_pool1d")
    shown = where(tensor(strange, device=input.device), 0.0, input[..., tensor(taken, device=input.device)])
    return shown.sum(-1) / tensor((~strange).sum(1), dtype=input.dtype, device=input.device)


def adaptive_max_pool1d_with_indices(input: Any, output_size: Any, return_indices: bool = False) -> tuple:
    """adaptive_max_pool1d, and where each maximum is along the input: the first place of several."""
    begin, taken, _ = parts(input, output_size, "adaptive_max_pool1d")
    with no_grad():
        shown = input[..., tensor(taken, device=input.device)]
        places = largest(shown, -1).indices + tensor(begin, device=input.device)
    return gather(input, -1, places), places


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of the windows of adaptive_avg_pool1d; with return_indices, a pair, with their places as second."""
    found = adaptive_max_pool1d_with_indices(input, output_size)
    return found if return_indices else found[0]
