"""Padding: constant, or with what the edges show."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..strides import copyto
from .common import Op, expect_tensor, run, unsupported
from .index import narrow


class Pad(Op):
    label = "ConstantPadNdBackward0"

    @staticmethod
    def forward(a, *, widths, value):
        shape = [before + n + after for (before, after), n in zip(widths, a.shape, strict=True)]
        out, inside = np.empty(shape, a.dtype, like=a), ()
        for (before, _), n in zip(widths, a.shape, strict=True):
            out[(*inside, slice(before))] = value
            out[(*inside, slice(before + n, None))] = value
            inside += (slice(before, before + n),)
        copyto(out[inside] if inside else out, a)
        return out, (a.shape, widths)

    @staticmethod
    def backward(saved, needs, g):
        shape, widths = saved
        return g[tuple(slice(before, before + n) for (before, _), n in zip(widths, shape, strict=True))]


class EdgePad(Op):
    """Padding with elements of the tensor itself: along each axis those that `places` lists."""

    @staticmethod
    def forward(a, *, places):
        return a[np.ix_(*places)], (a.shape, places)

    @staticmethod
    def backward(saved, needs, g):
        shape, places = saved
        for axis, at in enumerate(places):
            if len(at) != shape[axis] or (at != np.arange(shape[axis])).any():
                out = np.zeros((*g.shape[:axis], shape[axis], *g.shape[axis + 1 :]), g.dtype, like=g)
                np.add.at(np.moveaxis(out, axis, 0), at, np.moveaxis(g, axis, 0))
                g = out
        return g


EDGES = {  # which element stands at place k of an axis with n elements; k from -before to n + after - 1
    "reflect": lambda k, n: np.where(k < 0, -k, np.where(k >= n, 2 * (n - 1) - k, k)),
    "replicate": lambda k, n: np.clip(k, 0, n - 1),
}


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Padding by pairs (before, after) from the last dimension on; negative widths cut off.

    mode 'constant' pads with `value` (0 unless given); 'reflect', 'replicate' and 'circular' with the elements at the
    edges, the last one, two or three dimensions of an input of 2-3, 3-4 or 4-5 dimensions.
    """
    shape = expect_tensor(input, "pad").array.shape
    widths = [operator.index(w) for w in pad]
    if len(widths) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(widths)}")
    if len(widths) > 2 * len(shape):
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(widths)} and input of dimension {len(shape)}"
        )
    unpadded = len(shape) - len(widths) // 2
    pairs = [(0, 0)] * unpadded + [tuple(widths[i : i + 2]) for i in range(len(widths) - 2, -1, -2)]
    if mode != "constant":
        return edge_padded(input, pairs, unpadded, mode, value)
    for d, (before, after) in enumerate(pairs):
        if before < 0 or after < 0:
            size = shape[d] - max(-before, 0) - max(-after, 0)
            if size < 0:
                raise RuntimeError(
                    f"The input size {shape[d]} of dimension {d}, plus negative padding {before} and {after}, is "
                    f"negative: "
                    f"{size}"
                )
            input = narrow(input, d, max(-before, 0), size)
    grow = tuple((max(before, 0), max(after, 0)) for before, after in pairs)
    return run(Pad, (input,), (input.array,), widths=grow, value=0 if value is None else value)


def edge_padded(input: Any, pairs: list, unpadded: int, mode: str, value: Any) -> Any:
    a = input.array
    if value not in (None, 0):
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in (*EDGES, "circular"):
        raise NotImplementedError(
            f"Unrecognised padding mode {mode}: expected constant, reflect, replicate or circular"
        )
    if unpadded not in (1, 2) or a.ndim not in (2, 3, 4, 5):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: got an input of shape "
            f"{list(a.shape)} and padding for {len(pairs) - unpadded} dimensions"
        )
    places = []
    for d, (before, after) in enumerate(pairs):
        n = a.shape[d]
        if mode == "reflect" and not (before < n and after < n) and d >= unpadded:
            raise RuntimeError(
                f"Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({before}, {after}) at dimension {d} of input {list(a.shape)}"
            )
        if mode == "circular" and not (before <= n and after <= n):
            raise RuntimeError(
                f"Padding value causes wrapping around more than once: ({before}, {after}) at dimension {d} of size {n}"
            )
        if n + before + after < (d >= unpadded) or (d >= unpadded and n == 0):
            raise RuntimeError(
                f"pad(): padding ({before}, {after}) of dimension {d} of input {list(a.shape)} leaves nothing, or has "
                "nothing to start from"
            )
        kept = np.arange(n)
        if d < unpadded:
            places.append(kept)
        elif mode == "circular":  # around what negative widths leave
            kept = kept[max(-before, 0) : n - max(-after, 0)]
            places.append(kept[np.arange(-max(before, 0), len(kept) + max(after, 0)) % len(kept)])
        else:
            places.append(EDGES[mode](np.arange(-before, n + after), n))
    if a.dtype.kind == "b" and mode != "circular":
        raise unsupported(f"{mode}_padding", a.dtype)
    return run(EdgePad, (input,), (a,), places=places)
