"""The kernels of index, and how they are launched.

They walk up to four axes: blocks and their threads divide the last one (x of the threads, y of the blocks) and all
others (y and x).  Wherever an array is said to have steps, these are counted in elements.
"""

import functools
import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from . import radix
from .array import Array
from .driver import driver
from .jit import Kernel, device, int64, kernel, pointer, several

AXES = 4  # that a kernel walks

Four = several(int64, AXES)


# ------------------------------------------------------------------------------------------ kernels
@functools.cache
def movers(size: int) -> SimpleNamespace:
    """The kernels that move elements of so many bytes, whatever they mean."""
    item = np.dtype(f"u{size}")

    @kernel
    def gather(
        a: pointer(item), start: int64, ids: pointer(int64), n: int64, step: int64,
        shape: Four, s: Four, t: Four, out: pointer(item), wrong: pointer(int64),
    ):  # fmt: skip
        """out[i] = a[start + s.i + step * ids[t.i]]; an index that is no element of an axis of n sets `wrong`."""
        rows = shape[0] * shape[1] * shape[2]
        for row in range(cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, rows, cuda.gridDim.x * cuda.blockDim.y):
            upper = row // shape[2]
            i, j, k = upper // shape[1], upper % shape[1], row % shape[2]
            p, q = start + s[0] * i + s[1] * j + s[2] * k, t[0] * i + t[1] * j + t[2] * k
            for m in range(
                cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, shape[3], cuda.gridDim.y * cuda.blockDim.x
            ):
                at = ids[q + t[3] * m]
                if at < 0:
                    at += n
                if at < 0 or at >= n:
                    wrong[0] = 1
                else:
                    out[row * shape[3] + m] = a[p + s[3] * m + step * at]

    @kernel
    def scatter(
        a: pointer(item), start: int64, keys: pointer(int64), step: int64, kept: pointer(bool), choosy: int64,
        shape: Four, s: Four, t: Four, u: Four, value: pointer(item),
    ):  # fmt: skip
        """a[start + s.i + step * keys[t.i]] = value[u.i], if it is choosy only where kept[t.i]."""
        rows = shape[0] * shape[1] * shape[2]
        for row in range(cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, rows, cuda.gridDim.x * cuda.blockDim.y):
            upper = row // shape[2]
            i, j, k = upper // shape[1], upper % shape[1], row % shape[2]
            p, q = start + s[0] * i + s[1] * j + s[2] * k, t[0] * i + t[1] * j + t[2] * k
            r = u[0] * i + u[1] * j + u[2] * k
            for m in range(
                cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, shape[3], cuda.gridDim.y * cuda.blockDim.x
            ):
                b = q + t[3] * m
                keep = True
                if choosy != 0:
                    keep = kept[b] != 0
                if keep:
                    a[p + s[3] * m + step * keys[b]] = value[r + u[3] * m]

    return SimpleNamespace(gather=gather, scatter=scatter)


@kernel
def locate(
    ids: pointer(int64), n: int64, step: int64, around: int64, first: int64,
    shape: Four, t: Four, out: pointer(int64), wrong: pointer(int64),
):  # fmt: skip
    """out[i] (+)= step * ids[t.i], negative ones counted from the end if `around`; see `gather`."""
    rows = shape[0] * shape[1] * shape[2]
    for row in range(cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y, rows, cuda.gridDim.x * cuda.blockDim.y):
        upper = row // shape[2]
        q = t[0] * (upper // shape[1]) + t[1] * (upper % shape[1]) + t[2] * (row % shape[2])
        for m in range(
            cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x, shape[3], cuda.gridDim.y * cuda.blockDim.x
        ):
            at = ids[q + t[3] * m]
            if around != 0 and at < 0:
                at += n
            if at < 0 or at >= n:
                wrong[0] = 1
                at = 0
            i = row * shape[3] + m
            out[i] = step * at if first != 0 else out[i] + step * at


@kernel
def last_of_equal(keys: pointer(int64), order: pointer(int64), n: int64, out: pointer(bool)):
    """out[order[i]]: whether no equal key follows."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[order[i]] = 1 if i + 1 == n or keys[i + 1] != keys[i] else 0


@kernel
def coordinate(flat: pointer(int64), n: int64, below: int64, size: int64, out: pointer(int64)):
    """Which element of an axis of a size positions lie in, if those after it have `below` elements."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = flat[i] // below % size


@kernel
def count_up(n: int64, start: int64, step: int64, out: pointer(int64)):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = start + step * i


@device
def add(x, y):
    return x + y


@device
def multiply(x, y):
    return x * y


@device
def maximum(x, y):
    return x if x >= y or x != x else y


@device
def minimum(x, y):
    return x if x <= y or x != x else y


COMBINE = {"add": add, "multiply": multiply, "maximum": maximum, "minimum": minimum}


@functools.cache
def combiners(name: str, dtype: np.dtype) -> SimpleNamespace:
    """The kernels of ufunc.at for a ufunc and a type of numbers."""
    combine = COMBINE[name]

    @kernel
    def within(
        keys: pointer(int64), step: int64, order: pointer(int64), n: int64, long: int64, width: int64,
        value: pointer(dtype), a: pointer(dtype), start: int64, shape: Four, s: Four, seams: pointer(dtype),
    ):  # fmt: skip
        """Combine the values (n, width) that go to one place; `long` of them, in the order of their keys, are a piece.

        The place is a[start + step * key] and what `shape` and `s` say is behind it.  What goes to a place that no
        other piece names is written to it.  seams[piece, 0] is for the place that the piece before has begun with,
        seams[piece, 1] for the one that the next piece goes on with.
        """
        for i in range(cuda.grid(1), (n + long - 1) // long * width, cuda.gridsize(1)):
            piece, column = i // width, i % width
            first, last = piece * long, min(n, (piece + 1) * long)
            begun = first > 0 and keys[first - 1] == keys[first]
            upper = column // shape[3]
            p = start + s[3] * (column % shape[3]) + s[2] * (upper % shape[2])
            upper //= shape[2]
            p += s[1] * (upper % shape[1]) + s[0] * (upper // shape[1])
            total = value[order[first] * width + column]
            for k in range(first, last):
                ends = k + 1 == n or keys[k + 1] != keys[k]
                if ends and begun:
                    seams[2 * piece * width + column] = total
                    begun = False
                elif ends:
                    to = p + step * keys[k]
                    a[to] = combine(a[to], total)
                if k + 1 < last:
                    here = value[order[k + 1] * width + column]
                    total = here if ends else combine(total, here)
                elif not ends:
                    seams[(2 * piece + (0 if begun else 1)) * width + column] = total

    @kernel
    def across(
        keys: pointer(int64), step: int64, n: int64, long: int64, width: int64,
        a: pointer(dtype), start: int64, shape: Four, s: Four, seams: pointer(dtype),
    ):  # fmt: skip
        """Combine what several pieces say of one place; see `within`."""
        for i in range(cuda.grid(1), (n - 1) // long * width, cuda.gridsize(1)):
            piece, column = i // width, i % width
            last = (piece + 1) * long  # of the next piece the first
            key = keys[last - 1]
            begun = piece > 0 and keys[last - long - 1] == key
            if last < n and keys[last] == key and not begun:
                total = seams[(2 * piece + 1) * width + column]
                while last < n and keys[last] == key:
                    piece += 1
                    total = combine(total, seams[2 * piece * width + column])
                    last += long
                upper = column // shape[3]
                to = start + s[3] * (column % shape[3]) + s[2] * (upper % shape[2])
                upper //= shape[2]
                to += s[1] * (upper % shape[1]) + s[0] * (upper // shape[1]) + step * key
                a[to] = combine(a[to], total)

    return SimpleNamespace(within=within, across=across)


@functools.cache
def encoder(dtype: np.dtype) -> Kernel:
    """The kernel that makes keys of numbers: in their order when they are read as bits, NaN last."""
    bits = 8 * dtype.itemsize
    sign, every = (-(2**63), -1) if bits == 64 else (1 << (bits - 1), (1 << bits) - 1)
    infinite = {32: 0x7F800000, 64: 0x7FF0000000000000}.get(bits, 0)
    real, signed = dtype.kind == "f", dtype.kind == "i"
    magnitude = every ^ sign

    @kernel
    def encode(a: pointer(np.dtype(f"i{dtype.itemsize}")), n: int64, out: pointer(int64)):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            key = int64(a[i]) & every
            if real:
                if key & magnitude > infinite:
                    key = every
                elif key & sign == 0:
                    key |= sign
                elif key & magnitude == 0:  # zeros are equal
                    key = sign
                else:
                    key ^= every
            elif signed:
                key ^= sign
            out[i] = key

    return encode


def examples() -> list[Kernel]:
    """All kernels, those with types for some."""
    made = [k for size in (1, 4, 8) for k in vars(movers(size)).values()]
    for name, dtype in itertools.product(COMBINE, (np.float32, np.float64, np.int64)):
        made += vars(combiners(name, np.dtype(dtype))).values()
    made += [encoder(np.dtype(dtype)) for dtype in (np.float32, np.float64, np.int64, np.int32, np.uint8)]
    return [*made, locate, last_of_equal, coordinate, count_up, *radix.KERNELS]


# ------------------------------------------------------------------------------------------ launches
def walked(shape: tuple[int, ...], *steps: tuple[int, ...]) -> tuple | None:
    """A shape and the steps of some arrays along its axes with as few axes as possible; None if four do not do."""
    axes: list[list[int]] = []
    for n, *step in zip(shape, *steps, strict=True):
        if n == 1:
            continue
        if axes and all(upper == n * lower for upper, lower in zip(axes[-1][1:], step, strict=True)):
            axes[-1] = [axes[-1][0] * n, *step]
        else:
            axes.append([n, *step])
    if len(axes) > AXES:
        return None
    axes = [[1] + [0] * len(steps)] * (AXES - len(axes)) + axes
    return tuple(zip(*axes, strict=True))


def steps_of(a: Array, shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """The strides in elements, of `a` or of what broadcasting makes of it."""
    header = a.header if shape is None else np.broadcast_to(a.header, shape)
    return tuple([stride // a.itemsize for stride in header.strides])


def lowest(a: Array) -> tuple[int, int]:
    """The address of the element that is first in memory, and how many elements behind it a[0, 0, ...] is."""
    behind = sum(-(n - 1) * step for n, step in zip(a.shape, a.strides, strict=True) if step < 0)
    return a.address - behind, behind // a.itemsize


def plan(shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The blocks and threads for a walk over four axes."""
    here = driver()
    rows, inner = math.prod(shape[:-1]), shape[-1]
    across = min(here.threads, 1 << max(inner - 1, 0).bit_length())
    down = here.threads // across
    most = here.blocks(rows * inner, here.threads)
    columns = max(1, min(-(-inner // across), most, 65535))
    return (max(1, min(-(-rows // down), most // columns)), columns), (across, down)


def each(made: Kernel, n: int, *arguments: Any) -> None:
    """Launch a kernel with one loop over n elements."""
    if n:
        here = driver()
        made.launch(here.blocks(n, here.threads), here.threads, *arguments)
