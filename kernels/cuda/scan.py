"""Running sums and their like along an axis, always in the same order.

    cumulative(name, a, axis, dtype)   NumPy's cumsum and cumprod; and the running max, min and logaddexp
    extremes(a, axis, largest)         the largest or smallest elements so far, and where they are: the last of equals,
                                       or the last NaN

A team of threads takes a row piece by piece, one number a thread: a prefix scan of each warp (Hillis and Steele 1986,
"Data parallel algorithms"), then the warps before, then the pieces before.  Where there are many rows whose numbers are
not neighbours, a thread takes a row.  Sums, products and logarithms are kept in float64, or in int64.
"""

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda

from .array import Array, empty
from .driver import driver
from .jit import Kernel, device, float64, int64, kernel, pointer
from .team import EVERYONE, WARP, WARPS, block, blocks, up_to

ENOUGH = 256  # rows for a thread each
BOUND = 768  # threads; so that three blocks share a multiprocessor


def adding(real: Any) -> tuple:
    @device
    def running_sum(a, c):
        return a + c

    return running_sum, 0


def multiplying(real: Any) -> tuple:
    @device
    def running_product(a, c):
        return a * c

    return running_product, 1


def extremum(largest: bool) -> Any:
    def operation(real: Any) -> tuple:
        @device
        def running_extremum(a, c):
            return a if a != a or (c == c and (a >= c if largest else a <= c)) else c

        limits = np.iinfo(np.int64) if real == int64 else SimpleNamespace(min=-np.inf, max=np.inf)
        return running_extremum, limits.min if largest else limits.max

    return operation


def adding_exponentials(real: Any) -> tuple:
    @device
    def running_logaddexp(a, c):
        if c > a:
            a, c = c, a
        return a + math.log1p(math.exp(c - a)) if a != c else a + math.log(real(2))

    return running_logaddexp, -np.inf


OPERATIONS = {
    "cumsum": adding,
    "cumprod": multiplying,
    "cummax": extremum(True),
    "cummin": extremum(False),
    "logaddexp": adding_exponentials,
}


@functools.cache
def kernels(name: str, source: str, target: str) -> SimpleNamespace:
    """The kernels of an operation from arrays of one NumPy type to those of another."""
    number = pointer(target).dtype
    real = float64 if np.dtype(target).kind == "f" else int64
    merge, start = OPERATIONS[name](real)
    start = real(start)

    @device
    def before(a):
        """The numbers of the threads of a team before this one, merged; and those of all."""
        size, warp = min(cuda.blockDim.x, WARP), cuda.threadIdx.x // WARP
        lane = cuda.threadIdx.x & (size - 1)
        distance = 1
        while distance < size:
            other = cuda.shfl_up_sync(EVERYONE, a, distance)
            if lane >= distance:
                a = merge(other, a)
            distance *= 2
        last = cuda.shfl_sync(EVERYONE, a, cuda.laneid | (size - 1))
        earlier = start
        if cuda.blockDim.x > WARP:
            found = cuda.shared.array(WARPS, real)
            cuda.syncthreads()  # all have read those of the piece before
            if lane == WARP - 1:
                found[warp] = a
            cuda.syncthreads()
            last = start
            for w in range(cuda.blockDim.x // WARP):
                if w == warp:
                    earlier = last
                last = merge(last, found[w])
        return merge(earlier, a), last

    @device
    def row(r, inner, n, outer_step, inner_step):
        """Where a row begins, and where in the result."""
        outer, j = r, 0
        if inner > 1:
            outer = r // inner
            j = r - outer * inner
        return outer * outer_step + j * inner_step, outer * n * inner + j

    @kernel(limit=BOUND)
    def scan_rows(
        x: pointer(source), count: int64, inner: int64, n: int64, outer_step: int64, step: int64, inner_step: int64,
        out: pointer(target),
    ):  # fmt: skip
        """A team a row; x is (outer, n, inner) with any steps, `out` without gaps."""
        teams, size = cuda.blockDim.y, cuda.blockDim.x
        begin = cuda.blockIdx.x * teams
        while begin < count:
            r = begin + cuda.threadIdx.y
            at, to = row(r, inner, n, outer_step, inner_step)
            carry = start
            first = 0
            while first < n:
                k = first + cuda.threadIdx.x
                here = r < count and k < n
                a, whole = before(real(x[at + k * step]) if here else start)
                if here:
                    out[to + k * inner] = number(merge(carry, a))
                carry = merge(carry, whole)
                first += size
            begin += cuda.gridDim.x * teams

    @kernel(limit=BOUND)
    def scan_columns(
        x: pointer(source), count: int64, inner: int64, n: int64, outer_step: int64, step: int64, inner_step: int64,
        out: pointer(target),
    ):  # fmt: skip
        """A thread a row."""
        r = cuda.grid(1)
        while r < count:
            at, to = row(r, inner, n, outer_step, inner_step)
            a = start
            for _ in range(n):
                a = merge(a, real(x[at]))
                out[to] = number(a)
                at, to = at + step, to + inner
            r += cuda.gridsize(1)

    return SimpleNamespace(rows=scan_rows, columns=scan_columns)


def cumulative(name: str, a: Array, axis: Any = None, dtype: Any = None) -> Array:
    """What np.cumsum or cumprod makes of an array, or accumulate of np.maximum ("cummax"), np.minimum ("cummin") or
    np.logaddexp, in C order.  `axis` None is the array as one row.
    """
    if axis is None:
        a, axis = a.reshape(-1), 0
    axis = np.lib.array_utils.normalize_axis_index(axis, a.ndim)
    target = np.dtype(dtype) if dtype is not None else result_type(name, a.dtype)
    out = empty(a.shape, target)
    if not out.size:
        return out
    folded = fold(a, axis)
    outer, n, inner = folded.shape
    steps = [s // a.itemsize for s in folded.strides]
    family, count = kernels(name, a.dtype.name, target.name), outer * inner
    arguments = folded, count, inner, n, *steps, out
    if inner > 1 and count >= ENOUGH and steps[2] < steps[1]:
        threads = driver().threads
        family.columns.launch(driver().blocks(count, threads), threads, *arguments)
    else:
        shape = block(up_to(n, WARP if count >= ENOUGH else driver().threads))
        family.rows.launch(blocks(count, shape), shape, *arguments)
    return out


def extremes(a: Array, axis: int, largest: bool) -> tuple[Array, Array]:
    values = cumulative("cummax" if largest else "cummin", a, axis)
    places = np.arange(a.shape[axis], like=a).reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    return values, cumulative("cummax", np.where((a == values) | (a != a), places, 0), axis)


def fold(a: Array, axis: int) -> Array:
    """`a` as (outer, axis, inner): a view, or a copy where there is none."""
    sizes = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
    return a.reshape(int(np.prod(sizes[0])), sizes[1], int(np.prod(sizes[2])))


@functools.cache
def result_type(name: str, source: Any) -> np.dtype:
    """The type of NumPy's running sums and products of a type; extrema have that of the array."""
    return getattr(np, name)(np.ones(1, source)).dtype if name in ("cumsum", "cumprod") else np.dtype(source)


def examples() -> list[Kernel]:
    """A kernel of each kind, in the usual types."""
    families = [kernels(name, "float32", "float32") for name in OPERATIONS] + [kernels("cumsum", "int64", "int64")]
    return [k for family in families for k in (family.rows, family.columns)]
