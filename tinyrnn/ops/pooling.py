"""The mean of what a window over the last dimension shows: a moving average, where the window moves by one."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .arithmetic import div
from .common import expect_tensor, unsupported
from .create import tensor
from .padding import pad
from .shape import unfold


def one_int(value: Any, name: str) -> int:
    """A number, or the only one in a sequence."""
    if isinstance(value, (tuple, list)):
        if len(value) != 1:
            raise RuntimeError(f"avg_pool1d() argument '{name}' should contain one int (got {len(value)})")
        value = value[0]
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"avg_pool1d(): argument '{name}' must be tuple of ints, not {type(value).__name__}") from None


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
    x = expect_tensor(input, "avg_pool1d", "input").array
    size = one_int(kernel_size, "kernel_size")
    step = size if stride is None or stride == () or stride == [] else one_int(stride, "stride")
    width = one_int(padding, "padding")
    if x.ndim not in (2, 3):
        raise RuntimeError(f"avg_pool1d: expected an input of 2 or 3 dimensions, got one of {x.ndim}: {list(x.shape)}")
    if x.dtype.kind != "f" and x.dtype != np.int64:
        raise unsupported("avg_pool1d", x.dtype)
    if size <= 0 or step <= 0:
        raise RuntimeError(
            f"avg_pool1d: kernel_size and stride should be greater than zero, but got {size} and {step} "
            "(stride should not be zero)"
        )
    if width < 0:
        raise RuntimeError(f"pad must be non-negative, but got pad: {width}")
    if width > size // 2:
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={width}, kernel_size={size} and "
            "dilation=1"
        )
    n = x.shape[-1]
    if 0 in x.shape[-2:]:
        raise RuntimeError(f"avg_pool1d: only the batch of an input may be empty, got the shape {list(x.shape)}")
    number = (n + 2 * width - size + (step - 1 if ceil_mode else 0)) // step + 1
    if ceil_mode and (number - 1) * step >= n + width:
        number -= 1  # it would begin in the padding at the end
    if number < 1:
        raise RuntimeError(f"avg_pool1d: the output of {list(x.shape)} with windows of {size} is too small (size 0)")
    begin = np.arange(number) * step - width
    end = np.minimum(begin + size, n + width)
    count = end - begin if count_include_pad else np.minimum(end, n) - np.maximum(begin, 0)
    beyond = max(begin[-1] + size - n, 0)
    windows = unfold(pad(input, (width, int(beyond))), -1, size, step)[..., :number, :]
    count = tensor(np.maximum(count, 1), dtype=input.dtype, device=input.device)
    return div(windows.sum(-1), count, rounding_mode=None if x.dtype.kind == "f" else "trunc")
