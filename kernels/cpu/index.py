"""Index: gathering, and adding up where several numbers go to one place, always in the same order.

    gather_rows(table (V, W), ids (n,))               -> (n, W)
    scatter_add_rows(out (V, W), ids (n,), g (n, W))  out[ids[k]] += g[k], k = 0, 1, ...
    scatter_add(out (n,), positions (m,), g (m,))     out[positions[k]] += g[k]
    add_bags(table (V, W), ids (n,), bags (n,), count, weights (n,) or None)
                                                      -> (count, W): the sum of the rows that belong to each bag, times
                                                      their weights; `bags` is sorted

and along an axis, `ids` as long as `a` along all others:

    take_along(a, ids, axis)            -> a[i, ids[i, k, j], j] for axis 1, and so on
    put_along(a, ids, values, axis)     a[i, ids[i, k, j], j] = values[i, k, j], k = 0, 1, ...; values are broadcast
    add_along(out, ids, g, axis)        out[i, ids[i, k, j], j] += g[i, k, j]; `out` may be longer than `ids`

    outside(ids, n)                     the position of the first index that is negative or n or more; -1 if none is

All other indices are checked by the caller; `out` and `g` are contiguous.  Threads divide the rows that are gathered.
Where rows are added up they divide the columns, so that each place is one thread's, which takes all indices in order;
along an axis, they divide the other axes, taken as (outer, inner) with the axis between them, inner ones by WIDTH.
"""

from __future__ import annotations

import functools
import operator
from types import SimpleNamespace

import numpy as np
from numba import int64

from .arrays import data, extent, size, stride
from .copies import contiguous, folded
from .jit import kernel, njit
from .pool import split
from .simd import get, lanes, load_next, put, splat, store_next

LEAST = 20_000  # numbers that are some 10 microseconds of work
WIDTH = 256  # columns
BLOCK = 4_096  # indices
NONE = np.empty(0, np.int64)


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64."""
    L, S = lanes(real), real().itemsize

    @kernel
    def gather(first, last, n, table, step, ids, out):
        for k in range(first, last):
            p, q = table + step * get(int64, ids + 8 * k), out + S * n * k
            for j in range(0, n, L):
                store_next(real, q + S * j, load_next(real, p + S * j, S, n - j), n - j)

    @kernel
    def scatter_columns(first, last, n, count, ids, g, out):
        """Columns `first` to `last` of all rows."""
        for k in range(count):
            p, q = g + S * n * k, out + S * n * get(int64, ids + 8 * k)
            for j in range(first, last, L):
                v = load_next(real, q + S * j, S, last - j) + load_next(real, p + S * j, S, last - j)
                store_next(real, q + S * j, v, last - j)

    @kernel
    def add_rows(first, last, n, table, step, ids, ends, weights, weight_step, out):
        for bag in range(first, last):
            begin, end = get(int64, ends + 8 * bag), get(int64, ends + 8 * bag + 8)
            for j in range(0, n, 2 * L):
                here, next, s, t = n - j, n - j - L, splat(real, real(0.0)), splat(real, real(0.0))
                for k in range(begin, end):
                    p, w = table + step * get(int64, ids + 8 * k) + S * j, get(real, weights + weight_step * k)
                    s = s + load_next(real, p, S, here) * w
                    t = t + load_next(real, p + S * L, S, next) * w
                q = out + S * (n * bag + j)
                store_next(real, q, s, here)
                store_next(real, q + S * L, t, next)

    all_gather, all_columns, all_bags = split(gather), split(scatter_columns), split(add_rows)

    @njit
    def gather_rows(table, ids, out):
        n = extent(table, 1)
        all_gather(size(ids), LEAST // max(n, 1), 1, n, data(table), stride(table, 0), data(ids), data(out))

    @njit
    def scatter_add_rows(out, ids, g):
        n, count = extent(out, 1), size(ids)
        all_columns(n, max(4 * L, LEAST // max(count, 1)), L, n, count, data(ids), data(g), data(out))

    @njit
    def scatter_add(out, positions, g):
        q, at, p = data(out), data(positions), data(g)
        for k in range(size(positions)):
            place = q + S * get(int64, at + 8 * k)
            put(real, place, get(real, place) + get(real, p + S * k))

    @njit
    def add_bags(table, ids, ends, weights, out):
        n, bags = extent(table, 1), extent(out, 0)
        all_bags(
            bags, LEAST * bags // max(size(ids) * n, 1), 1, n, data(table), stride(table, 0), data(ids), data(ends),
            data(weights), stride(weights, 0), data(out),
        )  # fmt: skip

    return SimpleNamespace(
        gather_rows=gather_rows, scatter_add_rows=scatter_add_rows, scatter_add=scatter_add, add_bags=add_bags
    )


@functools.cache
def kernels_along(real, what: str) -> SimpleNamespace:
    """The kernel that takes, puts or adds numbers as large as numpy.float32 or numpy.float64."""

    @njit
    def move(here, there):
        if what == "take":
            put(real, there, get(real, here))
        elif what == "put":
            put(real, here, get(real, there))
        else:
            put(real, here, get(real, here) + get(real, there))

    @kernel
    def blocks(
        first, last, m, inner, a, a_outer, a_step, a_inner, ids, ids_outer, ids_step, ids_inner, other, outer_step,
        step, inner_step,
    ):  # fmt: skip
        across = (inner + WIDTH - 1) // WIDTH
        for unit in range(first, last):
            outer, left = unit // across, unit % across * WIDTH
            right = min(inner, left + WIDTH)
            at, p, q = ids + ids_outer * outer, a + a_outer * outer, other + outer_step * outer
            if inner == 1:
                for k in range(m):
                    move(p + a_step * get(int64, at + ids_step * k), q + step * k)
            else:
                for k in range(m):
                    for j in range(left, right):
                        i = get(int64, at + ids_step * k + ids_inner * j)
                        move(p + a_step * i + a_inner * j, q + step * k + inner_step * j)

    all_blocks = split(blocks)

    @njit
    def along(a, ids, other):
        """For arrays of three axes."""
        outer, m, inner = extent(ids, 0), extent(ids, 1), extent(ids, 2)
        all_blocks(
            outer * ((inner + WIDTH - 1) // WIDTH), LEAST // max(m * min(inner, WIDTH), 1), 1, m, inner,
            data(a), stride(a, 0), stride(a, 1), stride(a, 2),
            data(ids), stride(ids, 0), stride(ids, 1), stride(ids, 2),
            data(other), stride(other, 0), stride(other, 1), stride(other, 2),
        )  # fmt: skip

    return SimpleNamespace(along=along)


@njit
def sign(start, end, n, ids):
    """A number that is negative if one of some indices is outside."""
    found = 0
    for k in range(start, end):
        i = get(int64, ids + 8 * k)
        found |= i | (n - 1 - i)
    return found


@kernel
def check(first, last, count, n, ids, signs):
    for block in range(first, last):
        put(int64, signs + 8 * block, sign(block * BLOCK, min(count, (block + 1) * BLOCK), n, ids))


all_checked = split(check)


@njit
def first_outside(ids, n, signs):
    """`signs`: a number for each block; empty where there is but one."""
    count, blocks = size(ids), size(signs)
    if blocks:
        all_checked(blocks, LEAST // BLOCK, 1, count, n, data(ids), data(signs))
        wrong = 0
        for block in range(blocks):
            wrong |= get(int64, data(signs) + 8 * block)
    else:
        wrong = sign(0, count, n, data(ids))
    if wrong < 0:
        for k in range(count):
            i = get(int64, data(ids) + 8 * k)
            if i < 0 or i >= n:
                return k
    return -1


def gather_rows(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if table.dtype.kind != "f" or table.strides[1] != table.itemsize:
        return table.take(ids, axis=0)
    ids = np.asarray(ids, np.int64, order="C")
    out = np.empty((*ids.shape, table.shape[1]), table.dtype)
    kernels(table.dtype.type).gather_rows(id(table), id(ids), id(out))
    return out


def scatter_add_rows(out: np.ndarray, ids: np.ndarray, g: np.ndarray) -> None:
    if out.dtype.kind != "f":
        np.add.at(out, ids, g)
        return
    ids = np.asarray(ids, np.int64, order="C")
    kernels(out.dtype.type).scatter_add_rows(id(out), id(ids), id(g))


def add_bags(
    table: np.ndarray, ids: np.ndarray, bags: np.ndarray, count: int, weights: np.ndarray | None
) -> np.ndarray:
    out = np.zeros((count, table.shape[1]), table.dtype)
    if table.dtype.kind != "f":
        np.add.at(out, bags, table[ids] if weights is None else table[ids] * weights[:, None])
        return out
    if table.strides[1] != table.itemsize:
        table = contiguous(table)
    ids, ends = np.asarray(ids, np.int64, order="C"), np.searchsorted(bags, np.arange(count + 1))
    if weights is None:
        weights = np.broadcast_to(np.ones(1, table.dtype), ids.shape)
    kernels(table.dtype.type).add_bags(id(table), id(ids), id(ends), id(weights), id(out))
    return out


def scatter_add(out: np.ndarray, positions: np.ndarray, g: np.ndarray) -> None:
    if out.dtype.kind != "f":
        np.add.at(out, positions, g)
        return
    positions = np.asarray(positions, np.int64, order="C")
    kernels(out.dtype.type).scatter_add(id(out), id(positions), id(g))


# ------------------------------------------------------------------------------------------ along an axis
def slices(ids: np.ndarray, axis: int) -> np.ndarray | None:
    """The vector of indices, if they are the same wherever one looks along `axis`."""
    if ids.ndim == 1:
        return ids
    if 0 not in ids.strides and 1 not in ids.shape:  # as they are for the most part
        return None
    same = all(s == 0 or n == 1 for d, (s, n) in enumerate(zip(ids.strides, ids.shape, strict=True)) if d != axis)
    return ids[tuple([slice(None) if d == axis else 0 for d in range(ids.ndim)])] if same and ids.size else None


def along(what: str, a: np.ndarray, ids: np.ndarray, other: np.ndarray, axis: int) -> bool:
    """Whether the kernel could be used: it can for numbers of 4 or 8 bytes, of one type, that lie in a simple way."""
    if a.itemsize not in (4, 8) or a.dtype != other.dtype:
        return False
    x, y, i = folded(a, axis), folded(other, axis), folded(ids.astype(np.int64, copy=False), axis)
    if x is None and what == "take":
        x = folded(contiguous(a), axis)
    if x is None or y is None:
        return False
    if i is None:
        i = folded(contiguous(ids.astype(np.int64, copy=False)), axis)
    if i is None or not i.shape == y.shape == (x.shape[0], y.shape[1], x.shape[2]):
        return False  # NumPy's function says what is wrong
    kernels_along(np.float32 if a.itemsize == 4 else np.float64, what).along(id(x), id(i), id(y))
    return True


def take_along(a: np.ndarray, ids: np.ndarray, axis: int) -> np.ndarray:
    axis %= a.ndim
    if axis == 0 and ids.size and a.flags.c_contiguous and a.dtype.kind == "f" and (rows := slices(ids, 0)) is not None:
        return gather_rows(a.reshape(len(a), -1), rows).reshape(ids.shape)
    out = np.empty(ids.shape, a.dtype)
    if not along("take", a, ids, out, axis):
        out[...] = np.take_along_axis(a, ids, axis)
    return out


def put_along(a: np.ndarray, ids: np.ndarray, values: np.ndarray, axis: int) -> None:
    values, axis = np.asarray(values, a.dtype), axis % a.ndim
    if not values.ndim:
        values = np.ndarray(ids.shape, a.dtype, values, 0, (0,) * ids.ndim)
    elif values.shape != ids.shape:
        values = np.broadcast_to(values, ids.shape)
    if not along("put", a, ids, values, axis):
        np.put_along_axis(a, ids, values, axis)


def add_along(out: np.ndarray, ids: np.ndarray, g: np.ndarray, axis: int) -> None:
    if not ids.size:
        return
    g = g if g.shape == ids.shape else np.broadcast_to(g, ids.shape)
    if axis == 0 and ids.shape[1:] == out.shape[1:] and (rows := slices(ids, 0)) is not None:
        scatter_add_rows(out.reshape(len(out), -1), rows, contiguous(g).reshape(len(rows), -1))
        return
    cut = out[tuple([slice(None) if d == axis else slice(n) for d, n in enumerate(ids.shape)])]
    if out.dtype.kind == "f" and along("add", cut, ids, g, axis):
        return
    lines = np.ogrid[tuple([slice(n) for n in ids.shape])]
    places = [ids if d == axis else line for d, line in enumerate(lines)]
    steps = [s // out.itemsize for s in out.strides]
    positions = functools.reduce(operator.add, [i * step for i, step in zip(places, steps, strict=True)])
    scatter_add(out.reshape(-1), positions.reshape(-1), contiguous(g).reshape(-1))


def outside(ids: np.ndarray, n: int) -> int:
    ids = np.asarray(ids, np.int64, order="C")
    signs = np.empty(-(-ids.size // BLOCK), np.int64) if ids.size > BLOCK else NONE
    return first_outside(id(ids), n, id(signs))
