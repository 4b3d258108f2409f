"""Gemm: matrix products, in parallel, for arrays of one floating-point type and of any strides.

    matmul(a, b)                 (..., M, K) @ (..., K, N) -> (..., M, N), batch axes broadcast
    linear(x, w, bias=None)      x (..., K) @ w.T + bias for w (N, K), bias (N,) -> (..., N)

A result is cut into strips of WIDE columns (two vectors) and these into tiles of HIGH rows or less, which stay in
registers (tile.py).  B is copied ("packed") strip by strip, DEPTH rows and COLUMNS columns at a time, so that a strip
is contiguous, and passes by from the second cache for HIGH rows of A, which stay in the first.  Rows of A are packed
where a tile would otherwise touch too many pages.  A small B whose rows are contiguous is used as it lies, 2 * DEPTH
rows at a time, in higher tiles of one vector where that is as wide as the result; so is a transposed B where A has few
rows: then A is packed, and the result comes out transposed.  A result of one column is computed as a row.  Sums run
over k in order whatever the shape, but for one or two rows times a transposed matrix, or one column, which are dot
products where both run along k in memory.

    scratch: packed B, COLUMNS / WIDE strips of (DEPTH, WIDE); then packed A, BLOCK / HIGH strips of (DEPTH, HIGH)
             or packed A of few rows, FEW / WIDE strips of (LONG, WIDE); then a transposed block, (BLOCK, FEW)

Threads divide the columns of the result, or its rows if there are more of them, or the matrices of a batch.
"""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np

from .arrays import axes, data, extent, size, step, stride
from .jit import deferred, inlined, kernel, njit
from .pool import split
from .scratch import SIZE, address_of, borrow, give_back
from .simd import BYTES, fetch, fma, get, lanes, load, load_first, put, splat, store, store_first, total
from .tile import HEIGHTS, LINE, ROWS, VECTORS_WIDE, tile, transposed

HIGH, MIDDLE, LOW = HEIGHTS
DEPTH, BLOCK = 256, 224 // HIGH * HIGH
NEAR = 1 << 20  # bytes of a B that is read as it lies several times; of a quarter of them, many times
FEW, LONG = 64, 2048  # rows, up to which length, that are too few to pack a whole matrix for
AHEAD = 8  # rows that are fetched before they are packed
SMALL = 1_000_000  # multiplications, some 10 microseconds, that are not worth waking a second thread
FINER = 4  # how many times fewer are worth dividing with one that is awake
ONCE = 8  # multiplications that take as long as to read a number of B, or to write one of the result


@inlined
def fetch_row(at, size):
    """Have `size` bytes brought into the first cache: rows that lie apart are not foreseen by the processor."""
    for line in range(0, size, LINE):
        fetch(at + line)


@functools.cache
def packing(real):
    """A kernel: pack_b(n, k, b, b_row, b_column, wide, to) copies b (k, n) into strips of `wide` columns, some vectors:
    to[strip, i, j]."""
    L, S = lanes(real), real().itemsize
    transpose = transposed(real, L)

    @kernel
    def pack_columns(n, k, b, b_row, wide, to):
        """The numbers of a row are neighbours: rows as long as can be."""
        for i in range(k):
            fetch_row(b + (i + AHEAD) * b_row, S * n)
            for j in range(0, n, wide):
                for v in range(0, wide, L):
                    store(
                        real, to + S * (j * k + i * wide + v), load_first(real, b + i * b_row + S * (j + v), n - j - v)
                    )

    # What fills up a strip is never used, but it is multiplied: zeros, since leftovers may be denormal, which is slow.

    @kernel
    def pack_any(n, first, k, b, b_row, b_column, wide, to):
        """to[i, j] = b[i, j] for j < n <= wide and i from `first` on, an element at a time."""
        for i in range(first, k):
            for j in range(wide):
                put(real, to + S * (i * wide + j), get(real, b + i * b_row + j * b_column) if j < n else real(0))

    @kernel
    def pack_rows(n, k, b, b_column, wide, to):
        """to[i, j] = b[i, j] for j < n <= wide, the numbers of a column being neighbours."""
        whole = k - k % L
        for j in range(0, wide, L):
            for i in range(0, whole, L):
                if j < n:
                    transpose(n - j, b + j * b_column + S * i, b_column, to + S * (i * wide + j), S * wide)
                else:
                    for row in range(i, i + L):
                        store(real, to + S * (row * wide + j), splat(real, 0.0))
        pack_any(n, whole, k, b, S, b_column, wide, to)

    @kernel
    def pack_b(n, k, b, b_row, b_column, wide, to):
        if b_column == S:
            pack_columns(n, k, b, b_row, wide, to)
            return
        for j in range(0, n, wide):
            strip, width = to + S * j * k, min(n - j, wide)
            if b_row == S:
                pack_rows(width, k, b + j * b_column, b_column, wide, strip)
            else:
                pack_any(width, 0, k, b + j * b_column, b_row, b_column, wide, strip)

    return pack_b


@functools.cache
def kernels(real) -> SimpleNamespace:
    """The kernels for numpy.float32 or numpy.float64.  Addresses and strides are in bytes."""
    L, S = lanes(real), real().itemsize
    WIDE = VECTORS_WIDE * L
    COLUMNS = 1024 * 4 // S
    high, middle, low = (tile(real, height, VECTORS_WIDE) for height in HEIGHTS)
    narrow, slim = tile(real, HIGH, 1), tile(real, MIDDLE, 1)  # where a vector of a strip is all that is wanted
    high_masked, low_masked = (tile(real, height, VECTORS_WIDE, masked=True) for height in (ROWS, ROWS // 2))
    row_masked, tower_masked = tile(real, 1, 8, masked=True), tile(real, 2 * ROWS, 1, masked=True)
    pack_b = packing(real)
    transpose, transpose_rest = transposed(real, L), transposed(real, HIGH % L or L)

    @deferred
    def turn(source, source_step, to, to_step):
        """A square of vectors, transposed."""
        transpose(L, source, source_step, to, to_step)

    @kernel
    def pack_a(m, k, a, a_row, a_column, to):
        """Strips of a (m, k): to[strip, i, r]."""
        if a_row == S:
            for i in range(k):
                fetch_row(a + (i + AHEAD) * a_column, S * m)
                for r in range(0, m, HIGH):
                    for q in range(0, HIGH, L):  # a vector may be shorter than a strip is high
                        part = load_first(real, a + i * a_column + S * (r + q), m - r - q)
                        store_first(real, to + S * (r * k + i * HIGH + q), part, HIGH - q)
            return
        whole = k - k % L if a_column == S else 0
        for r in range(0, m, HIGH):
            strip, height, first = to + S * r * k, min(m - r, HIGH), a + r * a_row
            for i in range(0, whole, L):
                for q in range(0, height, L):
                    rows, at = first + q * a_row + S * i, strip + S * (i * HIGH + q)
                    if q + L <= HIGH:
                        transpose(height - q, rows, a_row, at, S * HIGH)
                    else:
                        transpose_rest(height - q, rows, a_row, at, S * HIGH)
            for i in range(whole, k):
                for q in range(height):
                    put(real, strip + S * (i * HIGH + q), get(real, first + q * a_row + i * a_column))

    @deferred
    def dots(n, k, a, b, b_column, initial, c):
        """c[j] = initial[j] + the sum of a[i] b[i, j], where a and the columns of b are contiguous."""
        whole = k - k % L
        zero = splat(real, 0.0)
        for j in range(0, n, 4):
            j1, j2, j3 = min(j + 1, n - 1), min(j + 2, n - 1), min(j + 3, n - 1)  # the last ones again: same results
            b0, b1, b2, b3 = b + j * b_column, b + j1 * b_column, b + j2 * b_column, b + j3 * b_column
            s0, s1, s2, s3 = zero, zero, zero, zero
            for i in range(0, S * whole, BYTES):
                v = load(real, a + i)
                s0, s1 = fma(v, load(real, b0 + i), s0), fma(v, load(real, b1 + i), s1)
                s2, s3 = fma(v, load(real, b2 + i), s2), fma(v, load(real, b3 + i), s3)
            if whole < k:
                i, rest = S * whole, k - whole
                v = load_first(real, a + i, rest)
                s0, s1 = fma(v, load_first(real, b0 + i, rest), s0), fma(v, load_first(real, b1 + i, rest), s1)
                s2, s3 = fma(v, load_first(real, b2 + i, rest), s2), fma(v, load_first(real, b3 + i, rest), s3)
            t0, t1 = get(real, initial + S * j) + total(s0), get(real, initial + S * j1) + total(s1)
            t2, t3 = get(real, initial + S * j2) + total(s2), get(real, initial + S * j3) + total(s3)
            put(real, c + S * j, t0)
            put(real, c + S * j1, t1)
            put(real, c + S * j2, t2)
            put(real, c + S * j3, t3)

    @deferred
    def blocked(m, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step):
        """c = initial + a @ b with packing."""
        room = borrow()
        packed_b = address_of(room)
        packed_a = packed_b + S * DEPTH * COLUMNS
        many = m > HIGH and n >= 4 * WIDE
        packs_a = (many and (a_column != S or a_row % 4096 == 0)) or (a_row != S and a_column != S)
        for j0 in range(0, n, COLUMNS):
            width = min(n - j0, COLUMNS)
            for k0 in range(0, k, DEPTH):
                depth = min(k - k0, DEPTH)
                pack_b(width, depth, b + k0 * b_row + j0 * b_column, b_row, b_column, WIDE, packed_b)
                for i0 in range(0, m, BLOCK):
                    height = min(m - i0, BLOCK)
                    rows = a + i0 * a_row + k0 * a_column
                    if packs_a:
                        pack_a(height, depth, rows, a_row, a_column, packed_a)
                    for i in range(0, height, HIGH):
                        tall = min(height - i, HIGH)
                        first, row, step_a = rows + i * a_row, a_row, a_column
                        if packs_a:
                            first, row, step_a = packed_a + S * i * depth, S, S * HIGH
                        for j in range(0, width, WIDE):
                            to = c + (i0 + i) * c_step + S * (j0 + j)
                            start, step = to, c_step
                            if k0 == 0:
                                start, step = initial + (i0 + i) * initial_step + S * (j0 + j), initial_step
                            strip, right = packed_b + S * j * depth, width - j
                            # fmt: off
                            if right <= L:
                                narrow(tall, right, start, step, to, c_step, depth, first, row, step_a, strip, S * WIDE)
                            elif tall > MIDDLE:
                                high(tall, right, start, step, to, c_step, depth, first, row, step_a, strip, S * WIDE)
                            elif tall > LOW:
                                middle(tall, right, start, step, to, c_step, depth, first, row, step_a, strip, S * WIDE)
                            else:
                                low(tall, right, start, step, to, c_step, depth, first, row, step_a, strip, S * WIDE)
                            # fmt: on
        give_back(room)

    @deferred
    def sideways(m, n, k, a, a_row, b, b_column, initial, initial_step, c, c_step):
        """c = initial + a @ b, where the numbers of a row of a and of a column of b are neighbours.

        The columns of b are read as they lie, in c transposed = b transposed @ a transposed; the rows of a are packed.
        """
        room = borrow()
        packed, across = address_of(room), (m + WIDE - 1) // WIDE * WIDE
        turned = packed + S * across * k  # (BLOCK, across)
        pack_b(m, k, a, S, a_row, WIDE, packed)
        for j0 in range(0, n, BLOCK):
            height = min(n - j0, BLOCK)
            for j in range(height):
                start, to = initial + S * (j0 + j), turned + S * j * across
                for i in range(0, across, L):
                    store(real, to + S * i, splat(real, get(real, start)))
                if initial_step != 0:
                    for i in range(1, m):
                        put(real, to + S * i, get(real, start + i * initial_step))
            for k0 in range(0, k, DEPTH):
                depth, rows = min(k - k0, DEPTH), b + j0 * b_column + S * k0
                for j in range(0, height, MIDDLE):
                    tall, first = min(height - j, MIDDLE), rows + j * b_column
                    for i in range(0, m, WIDE):
                        to, strip = turned + S * (j * across + i), packed + S * (i * k + k0 * WIDE)
                        if m - i <= L:
                            slim(tall, L, to, S * across, to, S * across, depth, first, b_column, S, strip, S * WIDE)
                        else:
                            middle(
                                tall, WIDE, to, S * across, to, S * across, depth, first, b_column, S, strip, S * WIDE
                            )
            for j in range(0, height, L):
                for i in range(0, m, L):
                    if j + L <= height and i + L <= m:
                        turn(turned + S * (j * across + i), S * across, c + i * c_step + S * (j0 + j), c_step)
                    else:
                        for q in range(j, min(j + L, height)):
                            for r in range(i, min(i + L, m)):
                                put(real, c + r * c_step + S * (j0 + q), get(real, turned + S * (q * across + r)))
        give_back(room)

    @deferred
    def direct(m, n, k, a, a_row, a_column, b, b_row, initial, initial_step, c, c_step):
        """c = initial + a @ b, where the numbers of a row of b are neighbours, with b as it lies."""
        if m == 1:
            for j in range(0, n, 8 * L):
                row_masked(1, n - j, initial + S * j, 0, c + S * j, 0, k, a, 0, a_column, b + S * j, b_row)
            return
        for k0 in range(0, k, 2 * DEPTH):
            depth, first, top = min(k - k0, 2 * DEPTH), a + k0 * a_column, b + k0 * b_row
            for j in range(0, n, WIDE):
                i, right, start, step = 0, n - j, c + S * j, c_step
                if k0 == 0:
                    start, step = initial + S * j, initial_step
                while i < m:
                    rows, at, tall = first + i * a_row, start + i * step, m - i
                    to = c + i * c_step + S * j
                    columns = top + S * j
                    # fmt: off
                    if right <= L and tall > ROWS:
                        tall = min(tall, 2 * ROWS)
                        tower_masked(tall, right, at, step, to, c_step, depth, rows, a_row, a_column, columns, b_row)
                    elif tall > ROWS // 2:
                        tall = min(tall, ROWS)
                        high_masked(tall, right, at, step, to, c_step, depth, rows, a_row, a_column, columns, b_row)
                    else:
                        low_masked(tall, right, at, step, to, c_step, depth, rows, a_row, a_column, columns, b_row)
                    # fmt: on
                    i += tall

    @kernel
    def serial(how, m, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step):
        """c = initial + a @ b on this thread; `how` is what `method` found for the whole product."""
        if k == 0:
            for i in range(m):
                for j in range(n):
                    put(real, c + i * c_step + S * j, get(real, initial + i * initial_step + S * j))
        elif how == 0:
            for i in range(m):
                dots(n, k, a + i * a_row, b, b_column, initial + i * initial_step, c + i * c_step)
        elif how == 1:
            direct(m, n, k, a, a_row, a_column, b, b_row, initial, initial_step, c, c_step)
        elif how == 3:
            sideways(m, n, k, a, a_row, b, b_column, initial, initial_step, c, c_step)
        else:
            blocked(m, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step)

    @njit
    def method(m, k, a_column, b_row, b_column):
        """0 for dot products, 1 for b as it lies, 2 for a packed b, 3 for the columns of b as they lie."""
        if b_row == S and a_column == S and b_column != S:
            if m <= 2:
                return 0
            if m <= FEW and 2 * m <= k <= LONG:
                return 3
        rows = 32 * ROWS if k * b_row <= NEAR // 4 else 12 * ROWS if k * b_row <= NEAR else 2 * ROWS
        near = k <= 2 * DEPTH or k * b_row <= NEAR
        return 1 if b_column == S and (m == 1 or (m <= rows and near)) else 2

    @kernel
    def some_columns(first, last, how, m, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step):
        serial(
            how, m, last - first, k, a, a_row, a_column, b + first * b_column, b_row, b_column,
            initial + S * first, initial_step, c + S * first, c_step,
        )  # fmt: skip

    @kernel
    def some_rows(first, last, how, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step):
        serial(
            how, last - first, n, k, a + first * a_row, a_row, a_column, b, b_row, b_column,
            initial + first * initial_step, initial_step, c + first * c_step, c_step,
        )  # fmt: skip

    all_columns, all_rows = split(some_columns, FINER), split(some_rows, FINER)

    @kernel
    def product(m, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step):
        """c = initial + a @ b on all threads."""
        if m == 0 or n == 0:
            return
        if n == 1 and m > 1 and c_step == S:  # a column: as a row, it fills whole vectors
            for i in range(m):
                put(real, c + S * i, get(real, initial + i * initial_step))
            how, least = method(n, k, b_row, a_column, a_row), max(WIDE, SMALL // (ONCE * max(k, ONCE)))
            all_columns(m, least, WIDE, how, n, k, b, 0, b_row, a, a_column, a_row, c, 0, c, 0)
            return
        how = method(m, k, a_column, b_row, b_column)
        if n > m:
            least = max(WIDE, SMALL // (max(m, ONCE) * max(k, ONCE)))
            all_columns(
                n, least, WIDE, how, m, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step
            )
        else:
            least, tall = SMALL // (max(n, WIDE) * max(k, ONCE)), ROWS if n > L else 2 * ROWS
            all_rows(
                m, least, tall, how, n, k, a, a_row, a_column, b, b_row, b_column, initial, initial_step, c, c_step
            )

    @kernel
    def some_matrices(first, last, m, n, k, inner, a, a_outer, a_inner, a_row, a_column,
                      b, b_outer, b_inner, b_row, b_column, zeros, c):  # fmt: skip
        if n == 1 and m * k > 0:  # columns: as rows, as in `product`; there are n zeros, and no more
            how = method(n, k, b_row, a_column, a_row)
            for g in range(first, last):
                o, i, row = g // inner, g % inner, c + S * g * m
                for j in range(m):
                    put(real, row + S * j, real(0))
                serial(
                    how, 1, m, k, b + o * b_outer + i * b_inner, 0, b_row,
                    a + o * a_outer + i * a_inner, a_column, a_row, row, 0, row, 0,
                )  # fmt: skip
            return
        how = method(m, k, a_column, b_row, b_column)
        for g in range(first, last):
            o, i = g // inner, g % inner
            serial(
                how, m, n, k, a + o * a_outer + i * a_inner, a_row, a_column,
                b + o * b_outer + i * b_inner, b_row, b_column, zeros, 0, c + S * g * m * n, S * n,
            )  # fmt: skip

    all_matrices = split(some_matrices, FINER)

    @njit
    def matrix(c, a, b, initial):
        """c = initial + a @ b for arrays of two axes; initial is a row (N,)."""
        m, n, k = extent(c, 0), extent(c, 1), extent(a, 1)
        product(
            m, n, k, data(a), stride(a, 0), stride(a, 1), data(b), stride(b, 0), stride(b, 1),
            data(initial), 0, data(c), stride(c, 0),
        )  # fmt: skip

    @njit
    def linear(c, x, w, initial):
        """c = initial + x @ w.T for x (..., K), which is contiguous or has two axes, and w (N, K)."""
        n, k = extent(w, 0), extent(w, 1)
        product(
            size(c) // max(n, 1), n, k, data(x), stride(x, 0) if axes(x) == 2 else S * k, stride(x, axes(x) - 1),
            data(w), stride(w, 1), stride(w, 0), data(initial), 0, data(c), S * n,
        )  # fmt: skip

    @njit
    def batch(c, a, b, zeros):
        """c = a @ b for arrays of three or four axes, (outer, inner, rows, columns); c contiguous."""
        last, x, y = axes(c) - 1, axes(a) - 1, axes(b) - 1
        inner, m, n, k = extent(c, last - 2), extent(c, last - 1), extent(c, last), extent(a, x)
        outer = extent(c, 0) if last == 3 else 1
        if m * n > 0:
            all_matrices(
                outer * inner, max(1, SMALL // (max(m, ONCE) * max(n, 1) * max(k, ONCE))), 1, m, n, k, inner,
                data(a), step(a, last - 3, c), step(a, last - 2, c), stride(a, x - 1), stride(a, x),
                data(b), step(b, last - 3, c), step(b, last - 2, c), stride(b, y - 1), stride(b, y),
                data(zeros), data(c),
            )  # fmt: skip

    assert S * DEPTH * (COLUMNS + BLOCK) <= SIZE and S * FEW * (LONG + BLOCK) <= SIZE
    return SimpleNamespace(matrix=matrix, linear=linear, batch=batch, product=product)


_zeros = np.zeros(512)


def row_of_zeros(n: int) -> np.ndarray:
    """At least n zeros of either type, in memory that lasts."""
    global _zeros
    zeros = _zeros
    if zeros.size < n:
        zeros = _zeros = np.zeros(2 * n)
    return zeros


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., M, K) @ (..., K, N) -> (..., M, N); batch axes broadcast as in NumPy."""
    family, zeros = kernels(a.dtype.type), _zeros
    m, n = a.shape[-2], b.shape[-1]
    if n > zeros.size:
        zeros = row_of_zeros(n)
    if a.ndim == b.ndim == 2:
        out = np.empty((m, n), a.dtype)
        family.matrix(id(out), id(a), id(b), id(zeros))
        return out
    shape = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = np.empty((*shape, m, n), a.dtype)
    count = math.prod(shape)
    if b.ndim == 2 and a.flags.c_contiguous:  # one product of all rows
        flat, a = out.reshape(count * m, n), a.reshape(count * m, a.shape[-1])
        family.matrix(id(flat), id(a), id(b), id(zeros))
        return out
    whole = out
    if len(shape) > 2:
        folded = (math.prod(shape[:-1]), shape[-1])
        a, b = (np.broadcast_to(x, (*shape, *x.shape[-2:])).reshape(*folded, *x.shape[-2:]) for x in (a, b))
        whole = out.reshape(*folded, m, n)
    family.batch(id(whole), id(a), id(b), id(zeros))
    return out


def linear(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """x (..., K) @ w.T + bias for w (N, K), bias (N,) -> (..., N)."""
    n, k = w.shape
    out = np.empty((*x.shape[:-1], n), x.dtype)
    if x.ndim != 2 and not x.flags.c_contiguous:
        x = x.reshape(math.prod(x.shape[:-1]), k)
    if bias is None:
        bias = row_of_zeros(n)
    elif bias.shape != (n,) or not bias.flags.c_contiguous:
        bias = np.ascontiguousarray(np.broadcast_to(bias, (n,)))
    kernels(out.dtype.type).linear(id(out), id(x), id(w), id(bias))
    return out
