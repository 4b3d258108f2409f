"""Reduce: sums, products, extrema, truth and logsumexp along axes, always in the same order.

    sum(a, axes)                     -> a without `axes`; this and the next three as in kernels.cpu.reduce
    squares(a, axes)                 -> the sum of a * a
    extreme(a, axis, max)            -> (values, indices) without `axis`; the first NaN wins
    logsumexp(a, axes)               -> a without `axes`
    along(name, a, axis, keepdims)   NumPy's sum, prod, max, min, any, all, argmax, argmin
    cumulative(name, a, axis)        NumPy's cumsum and cumprod, and their like (`scan`)

An array is walked where it lies: along the axes that are kept, of which neighbours that lie in order count as one, up
to three; along those that are reduced, up to two.  Only what has more is copied first.  Where the reduced numbers are
closest to one another ("rows") a team of threads takes a row; elsewhere ("columns") a block of threads takes some
neighbouring columns, each thread every `members`-th number of one of them.  What is long, if there is not much of it,
is cut into chunks, and a second launch puts together what was found in each.  How the work is divided depends on the
shape of the array alone.

A thread takes four numbers at a time, whose reads do not wait for one another.  Sums and products are kept in float64,
or in int64, and rounded once.

    firsts, seconds   (results, chunks)   the state (see `team`) of each chunk
"""

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from .. import lazy
from . import scan
from .array import Array, empty
from .driver import driver
from .jit import Kernel, device, float64, int32, int64, kernel, pointer, several
from .team import LARGEST, WARP, block, blocks, together, up_to

elementwise = lazy("cuda.elementwise")
cumulative = scan.cumulative

BATCH = 4  # numbers that a thread reads at a time
CHUNK, CHUNKS = 8192, 1024  # numbers of a row that are worth a block of threads; blocks that fill any GPU
MANY, LONG = 2048, 8192  # so many rows, shorter than that, have a warp each; if there are fewer, a block


# ------------------------------------------------------------------------------------------ operations
class Operation(NamedTuple):
    """How states grow.  `first` and `second` are the types of a state (a, b); (start, since) is that of nothing."""

    first: Any
    second: Any
    pair: bool  # whether b counts
    start: Any
    since: Any
    read: Any  # the number in memory -> a
    merge: Any  # (a, b, c, d) -> (a, b)
    four: Any  # (a, b, four numbers, the place of the first, the distance of their places) -> (a, b)
    result: Any  # (out, places, r, a, b): write the r-th result


def four_of(merge: Any) -> Any:
    @device
    def four(a, b, v0, v1, v2, v3, k, step):
        c, d = merge(v0, k, v1, k + step)
        e, f = merge(v2, k + 2 * step, v3, k + 3 * step)
        c, d = merge(c, d, e, f)
        return merge(a, b, c, d)

    return four


def plain(first: Any, start: Any, merge: Any, target: Any, read: Any = None) -> Operation:
    """An operation whose state is one number, the result but for its type."""
    number = pointer(target).dtype

    @device
    def converted(value):
        return first(value)

    @device
    def result(out, places, r, a, b):
        out[r] = number(a)

    return Operation(first, int64, False, first(start), np.int64(0), read or converted, merge, four_of(merge), result)


def adding(source: Any, target: Any) -> Operation:
    @device
    def add(a, b, c, d):
        return a + c, b

    return plain(exact(target), 0, add, target)


def multiplying(source: Any, target: Any) -> Operation:
    @device
    def multiply(a, b, c, d):
        return a * c, b

    return plain(exact(target), 1, multiply, target)


def exact(target: Any) -> Any:
    """The type of sums that become numbers of type `target`."""
    return float64 if np.dtype(target).kind == "f" else int64


@device
def truth(value):
    """1 or 0."""
    return int32(value != 0)


def some(source: Any, target: Any) -> Operation:
    @device
    def either(a, b, c, d):
        return int32(a | c), b

    return plain(int32, 0, either, target, truth)


def every(source: Any, target: Any) -> Operation:
    @device
    def both(a, b, c, d):
        return int32(a & c), b

    return plain(int32, 1, both, target, truth)


def extremum(largest: bool) -> Callable:
    """The operation whose state is a number and its place, the first of equals; a NaN is beyond all others."""

    def operation(source: Any, target: Any) -> Operation:
        whole = np.dtype(source).kind != "f"
        first, number = int64 if whole else pointer(source).dtype, pointer(target).dtype
        limits = np.iinfo(np.int64) if whole else SimpleNamespace(min=-np.inf, max=np.inf)

        @device
        def better(a, b, c, d):
            if a == c or (a != a and c != c):
                return a, min(b, d)
            if a != a or (c == c and (a > c if largest else a < c)):
                return a, b
            return c, d

        @device
        def converted(value):
            return first(value)

        @device
        def result(out, places, r, a, b):
            out[r] = number(a)
            places[r] = b

        start = first(limits.min if largest else limits.max)
        return Operation(first, int64, True, start, np.int64(2**62), converted, better, four_of(better), result)

    return operation


def exponentials(real: Any) -> SimpleNamespace:
    """States of (m, s): the largest number, NaN aside, and the sum of exp(x - m), which is NaN if a number is.

    A number that is m counts as 1, also an infinite one: log of s, added to m, is right for infinities.
    """
    one = real(1)

    @device
    def term(v, m):
        e = math.exp(v - m)
        return one if v == m else e

    @device
    def add_terms(a, b, c, d):
        if c > a:
            a, b, c, d = c, d, a, b
        return a, b + d * float64(term(c, a))

    @device
    def four_terms(a, b, v0, v1, v2, v3, k, step):
        m = a
        m = v0 if v0 > m else m
        m = v1 if v1 > m else m
        m = v2 if v2 > m else m
        m = v3 if v3 > m else m
        s = (float64(term(v0, m)) + float64(term(v1, m))) + (float64(term(v2, m)) + float64(term(v3, m)))
        if m > a:
            b *= float64(math.exp(a - m))
        return m, b + s

    return SimpleNamespace(merge=add_terms, four=four_terms)


def log_of_exponentials(source: Any, target: Any) -> Operation:
    real = pointer(source).dtype
    states = exponentials(real)

    @device
    def converted(value):
        return real(value)

    @device
    def log_result(out, places, r, a, b):
        out[r] = real(float64(a) + math.log(b))

    start, four = real(-np.inf), states.four
    return Operation(real, float64, True, start, np.float64(0), converted, states.merge, four, log_result)


OPERATIONS = {
    "sum": adding,
    "prod": multiplying,
    "any": some,
    "all": every,
    "max": extremum(True),
    "min": extremum(False),
    "logsumexp": log_of_exponentials,
}


# ------------------------------------------------------------------------------------------ kernels
@device
def place(i, sizes):
    """Where the i-th of the kept positions is: sizes and steps of three axes, the first one's size aside; an axis that
    is not there, from the last on, has size 1.
    """
    n1, n2, s0, s1, s2 = sizes
    at = 0
    if n2 > 1:
        rest = i // n2
        at = (i - rest * n2) * s2
        i = rest
    if n1 > 1:
        rest = i // n1
        at += (i - rest * n1) * s1
        i = rest
    return at + i * s0


@device
def onward(j, at, across, ahead, m, back):
    """From the j-th number along an inner axis of size m, which is at `at`, to one further on, or of the next."""
    j, at = j + across, at + ahead
    if j >= m:
        j, at = j - m, at + back
    return j, at


@functools.cache
def kernels(name: str, source: str, target: str) -> SimpleNamespace:
    """The kernels of an operation from arrays of one NumPy type to those of another."""
    first, second, pair, start, since, read, merge, four, result = OPERATIONS[name](source, target)
    merged = together(merge, first, second, pair)
    bound = 512 if second == float64 else LARGEST  # threads of a block: exponentials need more registers

    @device
    def gather(x, at, k, step, stop, m, outer_step, inner_step):
        """The state of the numbers k, k + step, ... before `stop` of a row that begins at `at`.  It lies along an outer
        axis and an inner one of size m.
        """
        j, across, ahead = k, step, step * inner_step
        if k >= m:
            outer = k // m
            j = k - outer * m
            at += outer * outer_step
        at += j * inner_step
        if step >= m:
            outer = step // m
            across = step - outer * m
            ahead = outer * outer_step + across * inner_step
        back = outer_step - m * inner_step
        a, b = start, since
        while k < stop:
            v0, v1, v2, v3 = read(x[at]), start, start, start
            j, at = onward(j, at, across, ahead, m, back)
            if k + step < stop:
                v1 = read(x[at])
            j, at = onward(j, at, across, ahead, m, back)
            if k + 2 * step < stop:
                v2 = read(x[at])
            j, at = onward(j, at, across, ahead, m, back)
            if k + 3 * step < stop:
                v3 = read(x[at])
            j, at = onward(j, at, across, ahead, m, back)
            a, b = four(a, b, v0, v1, v2, v3, k, step)
            k += 4 * step
        return a, b

    @device
    def keep(r, chunk, chunks, a, b, out, places, firsts, seconds):
        """Write a result, or the state of a chunk of it."""
        if chunks == 1:
            result(out, places, r, a, b)
        else:
            firsts[r * chunks + chunk] = a
            if pair:
                seconds[r * chunks + chunk] = b

    @kernel(limit=bound)
    def reduce_rows(
        x: pointer(source),
        count: int64,
        kept: several(int64, 5),
        n: int64,
        reduced: several(int64, 3),
        chunks: int64,
        length: int64,
        out: pointer(target),
        places: pointer(int64),
        firsts: pointer(first),
        seconds: pointer(second),
    ):
        """A team a chunk of a row."""
        m, outer_step, inner_step = reduced
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < count * chunks:
            unit = begin + cuda.threadIdx.y
            r, chunk = unit, 0
            if chunks > 1:
                r = unit // chunks
                chunk = unit - r * chunks
            a, b = start, since
            if r < count:
                k, stop = chunk * length + cuda.threadIdx.x, min(n, (chunk + 1) * length)
                a, b = gather(x, place(r, kept), k, cuda.blockDim.x, stop, m, outer_step, inner_step)
            a, b = merged(a, b)
            if r < count and cuda.threadIdx.x == 0:
                keep(r, chunk, chunks, a, b, out, places, firsts, seconds)
            begin += cuda.gridDim.x * teams

    @kernel(limit=bound)
    def reduce_columns(
        x: pointer(source),
        count: int64,
        kept: several(int64, 5),
        n: int64,
        reduced: several(int64, 3),
        chunks: int64,
        length: int64,
        out: pointer(target),
        places: pointer(int64),
        firsts: pointer(first),
        seconds: pointer(second),
    ):
        """A block a chunk of as many columns as it is wide; its threads' states are merged pair by pair."""
        m, outer_step, inner_step = reduced
        width, members, member = cuda.blockDim.x, cuda.blockDim.y, cuda.threadIdx.y
        tiles = (count + width - 1) // width
        found, more = cuda.shared.array(LARGEST, first), cuda.shared.array(LARGEST, second)
        mine = member * width + cuda.threadIdx.x
        unit = cuda.blockIdx.x
        while unit < tiles * chunks:
            chunk = unit // tiles
            r = (unit - chunk * tiles) * width + cuda.threadIdx.x
            a, b = start, since
            if r < count:
                k, stop = chunk * length + member, min(n, (chunk + 1) * length)
                a, b = gather(x, place(r, kept), k, members, stop, m, outer_step, inner_step)
            found[mine] = a
            if pair:
                more[mine] = b
            half = members // 2
            while half > 0:
                cuda.syncthreads()
                if member < half:
                    other = mine + half * width
                    a, b = merge(a, b, found[other], more[other] if pair else b)
                    found[mine] = a
                    if pair:
                        more[mine] = b
                half //= 2
            if r < count and member == 0:
                keep(r, chunk, chunks, a, b, out, places, firsts, seconds)
            cuda.syncthreads()  # the states have been read
            unit += cuda.gridDim.x

    @kernel(limit=bound)
    def merge_chunks(
        count: int64,
        chunks: int64,
        firsts: pointer(first),
        seconds: pointer(second),
        out: pointer(target),
        places: pointer(int64),
    ):
        """A team a result."""
        teams = cuda.blockDim.y
        begin = cuda.blockIdx.x * teams
        while begin < count:
            r = begin + cuda.threadIdx.y
            a, b = start, since
            if r < count:
                k = r * chunks + cuda.threadIdx.x
                while k < (r + 1) * chunks:
                    a, b = merge(a, b, firsts[k], seconds[k] if pair else b)
                    k += cuda.blockDim.x
            a, b = merged(a, b)
            if r < count and cuda.threadIdx.x == 0:
                result(out, places, r, a, b)
            begin += cuda.gridDim.x * teams

    return SimpleNamespace(
        first=np.dtype(first.name), second=np.dtype(second.name), pair=pair,
        rows=reduce_rows, columns=reduce_columns, chunks=merge_chunks,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ dividing the work
class Plan(NamedTuple):
    """How an array is walked and who walks it; steps are in elements."""

    kept: tuple[int, ...]  # as `place` takes them
    reduced: tuple[int, ...]  # the size of the inner axes, the steps of the outer and of the inner ones
    columns: bool
    shape: tuple[int, int]  # of a block
    chunks: int
    length: int  # of a chunk


def collapsed(axes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(size, step) of axes, with those that lie in order as one, and none of size 1."""
    out: list[tuple[int, int]] = []
    for n, step in axes:
        if n == 1:
            continue
        if out and out[-1][1] == n * step:
            out[-1] = out[-1][0] * n, step
        else:
            out.append((n, step))
    return out


@functools.lru_cache(1 << 12)
def plan(kept: tuple[tuple[int, int], ...], reduced: tuple[tuple[int, int], ...], threads: int) -> Plan | None:
    """For (size, step) of the axes that are kept and of those that are reduced; None if they are too many."""
    count, n = math.prod(m for m, _ in kept), math.prod(m for m, _ in reduced)
    outer, inner = collapsed(list(kept)), collapsed(list(reduced))
    if len(outer) > 3 or len(inner) > 2:
        return None
    columns = bool(outer) and bool(inner) and 0 < outer[-1][1] < inner[-1][1]
    if columns:
        width = up_to(count, WARP)
        shape, units = (width, threads // width), -(-count // width)
        shortest = 4 * BATCH * shape[1]
    else:
        many = count >= MANY and n <= LONG
        team = up_to(-(-n // BATCH), WARP if many or n <= CHUNK // 8 else threads)
        shape, units, shortest = block(team), count, CHUNK
    chunks = max(1, min(n // shortest, CHUNKS // max(units, 1)))
    length = -(-n // chunks)
    sizes, steps = zip(*outer, *[(1, 0)] * (3 - len(outer)), strict=True)
    (_, outer_step), (m, inner_step) = ([(1, 0)] * 2 + inner)[-2:]
    walk = max(m, 1), outer_step, inner_step
    return Plan((*sizes[1:], *steps), walk, columns, shape, -(-n // length) if n else 1, length)


def reduce(name: str, a: Array, axes: tuple[int, ...], target: Any, ordered: bool = False) -> tuple[Array, Array]:
    """The results of an operation along `axes` (sorted, not negative), and the places of extrema, counted as if the
    axes were one if they are `ordered`.
    """
    target, size = np.dtype(target), a.itemsize
    pairs = [(n, step // size) for n, step in zip(a.shape, a.strides, strict=True)]
    outer, inner = tuple(p for i, p in enumerate(pairs) if i not in axes), tuple(pairs[i] for i in axes)
    shape = tuple(n for n, _ in outer)
    if not ordered:
        inner = tuple(sorted(inner, key=lambda pair: -pair[1] or -math.inf))  # the closest last, the repeated first
    count, n = math.prod(shape), math.prod(m for m, _ in inner)
    out = empty(shape, target)
    family = kernels(name, a.dtype.name, target.name)
    places = empty(shape, np.int64) if name in ("max", "min") else out
    if count == 0:
        return out, places
    how = plan(outer, inner, driver().threads)
    if how is None:
        kept = [i for i in range(a.ndim) if i not in axes]
        a = elementwise.copy(a.transpose(*kept, *axes), "C", a.dtype)
        how = plan(((count, n),), ((n, 1),), driver().threads)
    cut = how.chunks > 1
    firsts = empty((count, how.chunks), family.first) if cut else out
    seconds = empty((count, how.chunks), family.second) if cut and family.pair else out
    units = -(-count // how.shape[0]) * how.shape[1] if how.columns else count
    (family.columns if how.columns else family.rows).launch(
        blocks(units * how.chunks, how.shape), how.shape, a, count, how.kept, n, how.reduced, how.chunks, how.length,
        out, places, firsts, seconds,
    )  # fmt: skip
    if cut:
        shape = block(up_to(how.chunks, WARP if count >= MANY else driver().threads))
        family.chunks.launch(blocks(count, shape), shape, count, how.chunks, firsts, seconds, out, places)
    return out, places


# ------------------------------------------------------------------------------------------ twins of kernels.cpu.reduce
def sum(a: Array, axes: tuple[int, ...]) -> Array:
    """The sum over `axes` (sorted, not negative); integers and booleans add up to int64."""
    if a.dtype.kind == "f" and not axes:
        return elementwise.copy(a, "K", a.dtype)
    return reduce("sum", a, axes, a.dtype if a.dtype.kind == "f" else np.int64)[0]


def squares(a: Array, axes: tuple[int, ...]) -> Array:
    """The sum of the squares over `axes` of floating-point numbers."""
    return sum(a * a, axes)


def extreme(a: Array, axis: int, largest: bool) -> tuple[Array, Array]:
    """The largest or smallest elements along `axis`, and where they are (the first of equals)."""
    return reduce("max" if largest else "min", a, (axis,), a.dtype)


def logsumexp(a: Array, axes: tuple[int, ...]) -> Array:
    """log of the sum of exponentials over `axes`, with no overflow."""
    return reduce("logsumexp", a, axes, a.dtype)[0]


# ------------------------------------------------------------------------------------------ NumPy's reductions
@functools.cache
def result_type(name: str, source: Any) -> np.dtype:
    """The type that NumPy's function of this name makes of a type."""
    return getattr(np, name)(np.ones(1, source)).dtype


def along(name: str, a: Array, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """What np.sum, prod, max, min, any, all, argmax or argmin (`name`) makes of an array, in C order.

    `axis` is None for all axes, one, or several; argmax and argmin take one at most.  Sums of floating-point numbers as
    integers add up what is left of each without its fraction.  Raises NumPy's errors.
    """
    place_of = {"argmax": "max", "argmin": "min"}.get(name)
    if axis is None:
        axes = tuple(range(a.ndim))
    elif place_of:
        axes = (np.lib.array_utils.normalize_axis_index(axis, a.ndim),)
    else:
        axes = tuple(sorted(np.lib.array_utils.normalize_axis_tuple(axis, a.ndim, allow_duplicate=True)))
        if len(set(axes)) < len(axes):
            raise ValueError("duplicate value in 'axis'")
    if math.prod(a.shape[i] for i in axes) == 0 and (place_of or name in ("max", "min")):
        getattr(np, name)(np.empty(a.shape, a.dtype), axis)  # raises, unless there are no results either
    target = np.dtype(dtype) if dtype is not None else result_type(name, a.dtype)
    if target.kind == "b":
        name = {"sum": "any", "prod": "all"}.get(name, name)
    if place_of:
        out = reduce(place_of, a, axes, a.dtype, ordered=True)[1]
    else:
        out = reduce(name, a, axes, target)[0]
    return out.reshape([1 if i in axes else n for i, n in enumerate(a.shape)]) if keepdims else out


def examples() -> list[Kernel]:
    """A kernel of each kind, in the usual types."""
    kinds = [(name, real, real) for name in ("sum", "max", "logsumexp") for real in ("float32", "float64")]
    kinds += [("prod", "float32", "float32"), ("sum", "bool", "int64")]
    kinds += [("min", "int64", "int64"), ("any", "bool", "bool")]
    families = [kernels(*kind) for kind in kinds]
    return [k for family in families for k in (family.rows, family.columns, family.chunks)]
