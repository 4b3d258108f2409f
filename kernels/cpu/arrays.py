"""NumPy arrays in compiled code by nothing but their identity: one machine code for arrays of every rank and layout.

Passing an array to a Numba function compiles the function anew for each combination of types, ranks and layouts, and
takes 50 ns an array.  `id(array)` is an integer, takes half of that, and leads to all there is to know: NumPy's C
structure begins with Python's object header, the address of the data, the number of axes, the addresses of shape
and strides, and two objects and the flags; NumPy's own macros compile these offsets into every extension module, so
they are part of its binary
interface.

    @njit
    def entry(x):                 # called as entry(id(array))
        n, step, p = extent(x, 0), stride(x, 0), data(x)

Several arrays come as the identity of a tuple of them: its identities lie in a row, where the macros of Python itself
find them, and its length behind the header.

The caller keeps arrays and tuples alive during the call.
"""

import ctypes

import numpy as np
from numba import int32, int64
from numba.core import types

from .jit import inlined, kernel
from .pool import instruction
from .simd import I64, get, pointer, put

HEADER = object.__basicsize__
AXES, SHAPE, STRIDES, TYPE, FLAGS = HEADER + 8, HEADER + 16, HEADER + 24, HEADER + 40, HEADER + 48
KIND = HEADER + 8  # in a type: a word of its kind, byte order and number
ITEMS = tuple.__basicsize__


def _word(b, at):
    return b.load(pointer(b, at, I64))


def _along(table: int):
    """The entry for an axis in the table whose address is kept at offset `table`."""
    return lambda b, array, axis: _word(b, b.add(_word(b, b.add(array, I64(table))), b.mul(I64(8), axis)))


# The address of the first element; the length of an axis, and the bytes between neighbours along it (axis >= 0).
data = instruction(types.intp(types.intp), lambda b, array: _word(b, b.add(array, I64(HEADER))))
extent = instruction(types.intp(types.intp, types.intp), _along(SHAPE))
stride = instruction(types.intp(types.intp, types.intp), _along(STRIDES))
# The identity of an object in a tuple, and how many there are.
item = instruction(
    types.intp(types.intp, types.intp),
    lambda b, objects, k: _word(b, b.add(b.add(objects, I64(ITEMS)), b.mul(I64(8), k))),
)
length = instruction(types.intp(types.intp), lambda b, objects: _word(b, b.add(objects, I64(HEADER))))


@inlined
def axes(array):
    """The number of axes."""
    return int64(get(int32, array + AXES))


@inlined
def size(array):
    """The number of elements."""
    n = 1
    for axis in range(axes(array)):
        n *= extent(array, axis)
    return n


@inlined
def fits(array, other):
    """Whether an array is contiguous, the last axis innermost, and of the shape of another."""
    if get(int32, array + FLAGS) & 1 == 0 or axes(array) != axes(other):
        return False
    for axis in range(axes(array)):
        if extent(array, axis) != extent(other, axis):
            return False
    return True


@inlined
def alike(array, other):
    """Whether an array is contiguous, and of the shape and type of another."""
    return fits(array, other) and get(int64, get(int64, array + TYPE) + KIND) == get(
        int64, get(int64, other + TYPE) + KIND
    )


@inlined
def step(array, axis, shaped):
    """The bytes between neighbours along an axis of another array that this one is broadcast to."""
    axis += axes(array) - axes(shaped)
    return 0 if axis < 0 or extent(array, axis) == 1 else stride(array, axis)


@kernel
def place(arrays, out, itemsize, places):
    """Where the numbers of several arrays lie for `out`, contiguous, taken as planes of rows of columns.

    Writes the number of columns, and that of a plane's rows; then for each array its address, and the bytes from plane
    to plane, from row to row and from column to column, the last `itemsize` or 0.  The number of columns is -1 if there
    is no such way to see them all.
    """
    inner, columns, middle, rows, outer, planes = -1, 1, -1, 1, -1, 1
    put(int64, places, -1)
    for axis in range(axes(out) - 1, -1, -1):
        n = extent(out, axis)
        if n == 1:
            continue
        if inner < 0:
            inner, columns = axis, n
            continue
        last, count = (inner, columns) if middle < 0 else (middle, rows) if outer < 0 else (outer, planes)
        goes_on = True
        for k in range(length(arrays)):
            array = item(arrays, k)
            if step(array, axis, out) != count * step(array, last, out):
                goes_on = False
        if middle < 0:
            if goes_on:
                columns *= n
            else:
                middle, rows = axis, n
        elif outer < 0:
            if goes_on:
                rows *= n
            else:
                outer, planes = axis, n
        elif goes_on:
            planes *= n
        else:
            return
    for k in range(length(arrays)):
        array, to = item(arrays, k), places + 32 * k + 16
        across = 0 if inner < 0 else step(array, inner, out)
        if across != 0 and across != itemsize:
            return
        put(int64, to, data(array))
        put(int64, to + 8, 0 if outer < 0 else step(array, outer, out))
        put(int64, to + 16, 0 if middle < 0 else step(array, middle, out))
        put(int64, to + 24, across)
    put(int64, places, columns)
    put(int64, places + 8, rows)


def _check() -> None:
    probe = np.empty((3, 5), np.float32).T
    words = (ctypes.c_int64 * 4).from_address(id(probe) + HEADER)
    shape, strides = ((ctypes.c_int64 * 2).from_address(words[k])[:] for k in (2, 3))
    axes, flags, other = (
        (ctypes.c_int32).from_address(id(a) + k).value for a, k in ((probe, AXES), (probe, FLAGS), (probe.T, FLAGS))
    )
    if (words[0], axes, shape, strides) != (
        probe.ctypes.data,
        2,
        list(probe.shape),
        list(probe.strides),
    ) or flags & 1 >= other & 1:
        raise ImportError(f"NumPy {np.__version__} lays out its arrays in a way that tinyrnn's kernels do not know")
    kept = ctypes.c_int64.from_address(id(probe) + TYPE).value
    number = ctypes.c_int32.from_address(kept + KIND + 4).value
    if kept != id(probe.dtype) or number != probe.dtype.num:
        raise ImportError(f"NumPy {np.__version__} keeps an array's type where tinyrnn's kernels do not look for it")
    several = probe, probe.T
    count = ctypes.c_int64.from_address(id(several) + HEADER).value
    if [count, *(ctypes.c_int64 * 2).from_address(id(several) + ITEMS)] != [2, *map(id, several)]:
        raise ImportError("this Python lays out its tuples in a way that tinyrnn's kernels do not know")


_check()
