"""The innermost loop of every matrix product: a tile of the result that stays in registers.

    C[r, :] = I[r, :] + sum over k of A[r, k] B[k, :]       for r < rows, and a few vectors of columns

The tile holds rows x vectors accumulators.  Each step of k loads a row of B once, a number of A for each row, and does
rows x vectors fused multiply-adds.  The order of the sum is that of k in every tile, so results are the same bits
whichever tiles a matrix is cut into.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .lanes import llvm, suffix
from .simd import (
    BYTES,
    I64,
    VECTORS,
    first_lanes,
    load_aligned_as_numbers,
    load_masked,
    pointer,
    prefetch,
    splatted,
    store_masked,
)

# A tile is as large as the registers allow: 32 of them, or 16 on x86 without AVX-512.
ROWS = 6 if "x86" in cpu_target.target_context.codegen().magic_tuple()[0] and BYTES < 64 else 8
VECTORS_WIDE = 2
LINE = 64  # bytes that a cache fetches at a time
# The heights of tiles of packed matrices: the more rows share a vector of B, the less is loaded.
HEIGHTS = (14, 8, 4) if ROWS == 8 else (6, 4, 2)


def tile(real, rows: int, vectors: int, products: int = 1, masked: bool = False, strips: int = 0,
         late: bool = False, fetch: bool = False):  # fmt: skip
    """A function for Numba: tile(m, n, initial, initial_step, c, c_step, (k, a, a_row, a_step, b, b_step) a product).

    m, n           rows (1 to `rows`) and columns (at least 1) of the tile that are wanted
    initial, c     the tile of I, and of C where it goes; *_step is the distance of their rows.  They may be the same; a
                   step of 0 gives each row of C the same start, a bias say; it is added last if `late`, so that the
                   errors of a long sum, made of many, do not grow with each of its terms
    k, a, b        the length of the sum, the first row of A and of B
    a_row, a_step  from one row of A to the next, and from one k to the next
    b_step         from one row of B to the next; a row is `vectors` vectors, of which no more than n numbers are
                   touched if `masked`; or B is packed in strips of `strips` vectors, k rows each
    ahead          with `fetch` one more for each product: where there are LINE bytes for each k that will be wanted
                   soon, and come into the second cache meanwhile

    Addresses and steps are in bytes.  Rows from m on repeat the last one: they compute the same values and store them
    in the same place, so that one loop does for every number of rows.
    """
    vector = VECTORS[types.float32 if real().itemsize == 4 else types.float64]
    count, kind, each = vector.count, vector.kind, 6 + fetch

    def emit(context, b: ir.IRBuilder, signature, args):
        m, n, initial, initial_step, c, c_step, *operands = args
        last = b.sub(m, I64(1))
        row = [b.select(b.icmp_signed("<", I64(r), last), I64(r), last) if r else I64(0) for r in range(rows)]
        masks = [first_lanes(b, b.sub(n, I64(j * count)), count) for j in range(vectors)]

        def at(base, step, r, j):
            return b.add(b.add(base, b.mul(row[r], step)), I64(j * BYTES))

        cells = [(r, j) for r in range(rows) for j in range(vectors)]

        def start():
            return [load_masked(b, at(initial, initial_step, r, j), masks[j], kind) for r, j in cells]

        sums = [ir.Constant(kind, [0.0] * count)] * len(cells) if late else start()
        for k in range(products):
            offsets = [I64(j * BYTES) for j in range(vectors)]
            if strips:
                offsets = []
                for j in range(vectors):
                    strip, vector_of_strip = divmod(j, strips)
                    size = b.mul(operands[each * k], operands[each * k + 5])
                    there = b.icmp_signed(">", n, I64(strip * strips * count))  # else the first again, unused
                    start = b.select(there, b.mul(I64(strip), size), I64(0))
                    offsets.append(b.add(start, I64(vector_of_strip * BYTES)))
            sums = accumulate(b, sums, masks, row, offsets, operands[each * k : each * k + each])
        if late:
            sums = [b.fadd(x, y) for x, y in zip(start(), sums, strict=True)]
        for (r, j), value in zip(cells, sums, strict=True):
            store_masked(b, at(c, c_step, r, j), value, masks[j])
        return context.get_dummy_value()

    def accumulate(b, sums, masks, row, offsets, operands):
        length, a, a_row, a_step, b_first, b_step, *ahead = operands
        starts = [b.add(a, b.mul(r, a_row)) for r in row]
        before = b.block
        loop, after = b.append_basic_block("sum"), b.append_basic_block("summed")
        b.cbranch(b.icmp_signed(">", length, I64(0)), loop, after)
        b.position_at_end(loop)
        carried = []
        for value in (I64(0), I64(0), b_first, *sums):
            carried.append(b.phi(value.type))
            carried[-1].add_incoming(value, before)
        k, offset, at, *running = carried
        for place in ahead:
            prefetch(b, b.add(place, b.mul(k, I64(LINE))), 2)
        places = [b.add(at, offsets[j]) for j in range(vectors)]
        if masked:
            columns = [load_masked(b, p, mask, kind) for p, mask in zip(places, masks, strict=True)]
        else:
            columns = [load_aligned_as_numbers(b, p, kind) for p in places]
        results = []
        for r in range(rows):
            x = splatted(b, b.load(pointer(b, b.add(starts[r], offset), kind.element)), count)
            for j in range(vectors):
                results.append(llvm(b, f"llvm.fma.{suffix(kind)}", kind, x, columns[j], running[r * vectors + j]))
        following = [b.add(k, I64(1)), b.add(offset, a_step), b.add(at, b_step), *results]
        for phi, value in zip(carried, following, strict=True):
            phi.add_incoming(value, loop)
        b.cbranch(b.icmp_signed("<", following[0], length), loop, after)
        b.position_at_end(after)
        final = []
        for start, result in zip(sums, results, strict=True):
            final.append(b.phi(kind))
            final[-1].add_incoming(start, before)
            final[-1].add_incoming(result, loop)
        return final

    arguments = 6 + each * products
    names = ", ".join(f"a{k}" for k in range(arguments))
    signature = types.void(*(types.intp,) * arguments)
    kinds = f"{'_masked' * masked}{f'_strips_{strips}' * (strips > 0)}{'_late' * late}{'_fetch' * fetch}"
    name = f"tile_{rows}x{vectors}x{products}{kinds}_{vector.name}"
    scope: dict = {"typed": (signature, emit)}
    exec(f"def {name}(context, {names}): return typed", scope)
    return intrinsic(scope[name])


def transposed(real, keep: int):
    """A function for Numba: transpose(m, source, source_step, to, to_step) writes vectors of m rows as columns.

    to[k, r] = source[r, k] for as many k and r as a vector has lanes, but for r < keep; rows from m on repeat the last.
    """
    vector = VECTORS[types.float32 if real().itemsize == 4 else types.float64]
    count, size = vector.count, vector.real.bitwidth // 8

    def emit(context, b: ir.IRBuilder, signature, args):
        m, source, source_step, to, to_step = args
        last = b.sub(m, I64(1))
        parts = []
        for r in range(count):
            row = b.select(b.icmp_signed("<", I64(r), last), I64(r), last) if r else I64(0)
            parts.append([load_aligned_as_numbers(b, b.add(source, b.mul(row, source_step)), vector.kind)])
        # Interleaving row r with row r + half, again and again, ends with all rows interleaved.
        index = ir.VectorType(ir.IntType(32), count)
        orders = [
            ir.Constant(index, [start + k // 2 + count * (k % 2) for k in range(count)]) for start in (0, count // 2)
        ]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [
                [b.shuffle_vector(x, y, order) for x, y in zip(p, q, strict=True) for order in orders]
                for p, q in zip(parts[:half], parts[half:], strict=True)
            ]
        mask = ir.Constant(ir.VectorType(ir.IntType(1), count), [r < keep for r in range(count)])
        for k, value in enumerate(parts[0]):
            at = b.add(to, b.mul(to_step, I64(k)))
            if keep < count:
                store_masked(b, at, value, mask)
            else:
                b.store(value, pointer(b, at, vector.kind)).align = size
        return context.get_dummy_value()

    name = f"transpose_{keep}_{vector.name}"
    scope: dict = {"typed": (types.void(*(types.intp,) * 5), emit)}
    exec(f"def {name}(context, m, source, source_step, to, to_step): return typed", scope)
    return intrinsic(scope[name])
