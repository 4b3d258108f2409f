"""Views and copies that only move elements: NumPy's, under torch's names and rules."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import of, put
from ..strides import address, at, places, reshaped, restrided, span
from ..tape import entitled
from .common import (
    Op,
    axes,
    axis,
    check_broadcast,
    expect_tensor,
    numpy_names,
    record,
    run,
    sizes,
    wrap,
)


class View(Op):
    """The same memory in another shape."""

    view = bare = True

    @staticmethod
    def forward(a, *, shape):
        return reshaped(a, shape), (a.shape,)

    @staticmethod
    def backward(saved, needs, g):
        return reshaped(g, saved[0])


def resolve(shape: Sequence[int], a: np.ndarray) -> tuple[int, ...]:
    """`shape` with its -1 filled in; torch's RuntimeError if it does not fit."""
    if -1 not in shape and math.prod(shape) == a.size and (not shape or min(shape) >= 0):
        return tuple(shape)
    count = -math.prod(shape)
    if count > 0 and a.size % count == 0 and min(shape) == -1 and shape.count(-1) == 1:
        return tuple([a.size // count if n == -1 else n for n in shape])
    known = math.prod(n for n in shape if n != -1)
    unknown = sum(n == -1 for n in shape)
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {next(n for n in shape if n < -1)}")
    if unknown and known == 0 and a.size == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
            "can be any value and is ambiguous"
        )
    if a.size % known if unknown and known else a.size != known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {a.size}")
    return tuple(a.size // known if n == -1 else n for n in shape)


def view(input: Any, *size: Any, **named: Any) -> Any:
    """The same memory in another shape; RuntimeError if only a copy could have it.  view(dtype) reinterprets the
    bytes.
    """
    a = input.array
    dtype = named["dtype"] if not size and set(named) == {"dtype"} else size[0] if len(size) == 1 else None
    if isinstance(dtype, dtypes.dtype):
        return as_bytes(input, dtype)
    size = resolve(sizes(size, "view", named), a)
    if not a.flags.c_contiguous:
        try:
            np.reshape(a, size, copy=False)
        except ValueError:
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
                "two contiguous subspaces). Use .reshape(...) instead."
            ) from None
    return record(View, (input,), View.forward(a, shape=size))


def as_bytes(input: Any, dtype: dtypes.dtype) -> Any:
    """The same memory as elements of another type, at multiples of their size; no gradient flows."""
    a, size = input.array, dtype.numpy.itemsize
    if size != a.itemsize:
        for holds, wanted in fits(input, size // a.itemsize):
            if not holds:
                from .create import TYPED

                names = " as ".join(TYPED[t].removesuffix("Tensor") for t in (input.dtype, dtype))
                must, but, got = wanted.partition(", but")
                raise RuntimeError(f"self.{must} to view {names} (different element sizes){but}{got}")
    if type(a) is not np.ndarray and a.size and address(a) % size:  # memory of another library, from some element on
        raise RuntimeError(
            f"self.storage_offset() must be divisible by {size // a.itemsize} to view {dtypes.word(a.dtype)} as "
            f"{dtypes.word(dtype.numpy)} (different element sizes), but the address is {address(a):#x}"
        )
    alias = input.detach()
    if a.size or not a.ndim:
        alias.array = a.view(dtype.numpy)
    else:  # NumPy's steps between no elements are nought
        alias.array = np.empty((*a.shape[:-1], a.shape[-1] * a.itemsize // size), dtype.numpy, like=a)
    return alias


def fits(input: Any, ratio: int) -> Iterator[tuple[bool, str]]:
    """What must hold for a view as elements of `ratio` times the size (0 if they are smaller), in torch's words."""
    steps = input.stride()
    yield bool(steps), "dim() cannot be 0"
    if ratio:
        for name, n in (("size(-1)", input.array.shape[-1]), ("storage_offset()", input.storage_offset())):
            yield n % ratio == 0, f"{name} must be divisible by {ratio}, but got {n}"
    yield steps[-1] == 1, f"stride(-1) must be 1, but got {steps[-1]}"
    if ratio:
        for k, step in enumerate(steps[:-1]):
            yield step % ratio == 0, f"stride({k}) must be divisible by {ratio}, but got {step}"


def reshape(input: Any, *shape: Any, **named: Any) -> Any:
    """The same elements in another shape: a view if possible, else a copy."""
    a = expect_tensor(input, "reshape").array
    found = record(View, (input,), View.forward(a, shape=resolve(sizes(shape, "reshape", named, "shape"), a)))
    copied = not a.flags.c_contiguous and not np.may_share_memory(found.array, a)
    return entitled(found, "UnsafeViewBackward0") if copied else found


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions start_dim to end_dim as one."""
    shape = expect_tensor(input, "flatten").array.shape
    start, end = axis(start_dim, len(shape)), axis(end_dim, len(shape))
    if not shape:
        return reshape(input, 1)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@numpy_names
def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Dimension `dim` as several."""
    shape = expect_tensor(input, "unflatten").array.shape
    at = axis(dim, len(shape))
    if not shape:
        raise RuntimeError("unflatten(): the tensor has no dimensions")
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    known = math.prod(n for n in sizes if n != -1)
    if -1 not in sizes and known != shape[at]:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {at} ({shape[at]}) in the "
            "input tensor"
        )
    parts = resolve(tuple(sizes), np.empty(shape[at], bool))
    return reshape(input, (*shape[:at], *parts, *shape[at + 1 :]))


class Permute(Op):
    view = bare = True

    @staticmethod
    def forward(a, *, order):
        return a.transpose(order), (order,)

    @staticmethod
    def backward(saved, needs, g):
        (order,) = saved
        return g.transpose([order.index(k) for k in range(len(order))])


Transpose, MatrixTranspose = Permute.called("TransposeBackward0"), Permute.called("TBackward0")
Unsqueeze = View.called("UnsqueezeBackward0")
SqueezeAll, Squeeze = View.called("SqueezeBackward0"), View.called("SqueezeBackward1")
SqueezeSeveral = View.called("SqueezeBackward2")


def permute(input: Any, *dims: Any, **named: Any) -> Any:
    """The dimensions in another order."""
    ndim = expect_tensor(input, "permute").array.ndim
    order = sizes(dims, "permute", named, "dims")
    if len(order) != ndim:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    order = tuple(axis(d, ndim) for d in order)
    if len(set(order)) != ndim:
        raise RuntimeError(f"permute(): duplicate dims are not allowed. Got {list(dims)}")
    return record(Permute, (input,), Permute.forward(input.array, order=order))


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Dimensions dim0 and dim1 swapped."""
    ndim = expect_tensor(input, "transpose").array.ndim
    i, j = axis(dim0, ndim), axis(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[i], order[j] = j, i
    return record(Transpose, (input,), Transpose.forward(input.array, order=tuple(order)))


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """Dimensions axis0 and axis1 swapped."""
    return transpose(input, axis0, axis1)


def t(input: Any) -> Any:
    """The transpose of a matrix; a vector as it is."""
    ndim = expect_tensor(input, "t").array.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    order = (1, 0) if ndim == 2 else tuple(range(ndim))
    return record(MatrixTranspose, (input,), MatrixTranspose.forward(input.array, order=order))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimension `source` moved to `destination`, or several of them."""
    ndim = expect_tensor(input, "movedim").array.ndim
    moves = [x if isinstance(x, (tuple, list)) else (x,) for x in (source, destination)]
    if len(moves[0]) != len(moves[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(moves[0])} dims) should contain the same "
            f"number of dims as destination ({list(moves[1])} dims)"
        )
    origin, target = ([axis(d, ndim) for d in x] for x in moves)
    for name, x in (("source", origin), ("destination", target)):
        if len(set(x)) != len(x):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({x})")
    order = [i for i in range(ndim) if i not in origin]
    for there, here in sorted(zip(target, origin, strict=True)):
        order.insert(there, here)
    return permute(input, order[:ndim])


@numpy_names
def unsqueeze(input: Any, dim: int) -> Any:
    """A dimension of size one more, at `dim`."""
    shape = expect_tensor(input, "unsqueeze").array.shape
    at = axis(dim, len(shape) + 1)
    return record(Unsqueeze, (input,), Unsqueeze.forward(input.array, shape=(*shape[:at], 1, *shape[at:])))


@numpy_names
def squeeze(input: Any, dim: Any = None) -> Any:
    """Without its dimensions of size one, or without those in `dim` that have size one."""
    shape = expect_tensor(input, "squeeze").array.shape
    chosen = axes(dim, len(shape)) if dim is None or not isinstance(dim, (tuple, list)) or dim else ()
    op = SqueezeAll if dim is None else SqueezeSeveral if isinstance(dim, (tuple, list)) else Squeeze
    left = tuple([n for i, n in enumerate(shape) if n != 1 or i not in chosen])
    return record(op, (input,), op.forward(input.array, shape=left))


class Expand(Op):
    view = bare = True

    @staticmethod
    def forward(a, *, shape):
        # Not by np.broadcast_to, which marks its result read-only: check_writable refuses writes, with torch's error.
        new = len(shape) - a.ndim
        steps = [s if n == m else 0 for n, m, s in zip(a.shape, shape[new:], a.strides, strict=True)]
        strides = (*(0,) * new, *steps)
        if type(a) is np.ndarray and a.flags.c_contiguous and a.size:
            return np.ndarray(shape, a.dtype, a, 0, strides), ()
        return restrided(a, shape, strides), ()

    @staticmethod
    def backward(saved, needs, g):
        return g  # the tape sums it to the input's shape


def expand(input: Any, *size: Any, **named: Any) -> Any:
    """A view with dimensions of size one repeated, and new dimensions in front; -1 keeps a size."""
    a = expect_tensor(input, "expand").array
    size = sizes(size, "expand", named)
    if len(size) < a.ndim:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(size)}) must be greater or equal to the "
            "number of dimensions in "
            f"the tensor ({a.ndim})"
        )
    offset = len(size) - a.ndim
    target = []
    for i, n in enumerate(size):
        have = a.shape[i - offset] if i >= offset else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = have
        elif have not in (None, 1, n):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                "non-singleton dimension "
                f"{i}.  Target sizes: {list(size)}.  Tensor sizes: {list(a.shape)}"
            )
        target.append(n)
    if target and min(target) < 0:
        raise RuntimeError(f"expand: a size must not be negative, but for -1, which keeps a size: got {list(size)}")
    return record(Expand, (input,), Expand.forward(a, shape=tuple(target)))


def expand_as(input: Any, other: Any) -> Any:
    """input, expanded to the shape of `other`."""
    return expand(input, other.array.shape)


# ------------------------------------------------------------------------------------------ more views
def view_as(input: Any, other: Any) -> Any:
    """The same memory in the shape of another tensor."""
    return view(input, expect_tensor(other, "view_as", "other").array.shape)


def reshape_as(input: Any, other: Any) -> Any:
    """The same elements in the shape of another tensor."""
    return reshape(input, expect_tensor(other, "reshape_as", "other").array.shape)


def ravel(input: Any) -> Any:
    """All elements as a contiguous vector."""
    flat = reshape(input, -1)
    return flat if flat.array.flags.c_contiguous else flat.contiguous()


def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """Dimensions dim0 and dim1 swapped."""
    return transpose(input, dim0, dim1)


moveaxis = movedim


def broadcast_to(input: Any, *size: Any, **named: Any) -> Any:
    """A view with dimensions of size one repeated, and new dimensions in front."""
    return expand(expect_tensor(input, "broadcast_to"), sizes(size, "broadcast_to", named))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that tensors of the given shapes have together: a torch.Size."""
    every = [(s,) if isinstance(s, int) else tuple(operator.index(n) for n in s) for s in shapes]
    for shape in every:
        if any(n < 0 for n in shape):
            raise ValueError(f"broadcast_shapes(): negative dimensions are not allowed, got {list(shape)}")
    try:
        found = np.broadcast_shapes(*every)
    except ValueError:
        listed = ", ".join(str(list(s)) for s in every)
        raise RuntimeError(
            f"Shape mismatch: objects cannot be broadcast to a single shape, broadcast_shapes() got {listed}"
        ) from None
    return wrap(np.empty(found, bool)).shape


def broadcast_tensors(*tensors: Any) -> tuple:
    """Tensors expanded to the shape that they have together."""
    several = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    shape = (
        check_broadcast(*(expect_tensor(t, "broadcast_tensors", "tensors").array for t in several)) if several else ()
    )
    return tuple(t if t.array.shape == shape else expand(t, shape) for t in several)


def atleast(dims: int) -> Any:
    """atleast_1d, atleast_2d or atleast_3d."""
    name = f"atleast_{dims}d"

    def one(input: Any) -> Any:
        shape = expect_tensor(input, name).array.shape
        if len(shape) >= dims:
            return input
        if dims == 3 and len(shape) == 2:
            return unsqueeze(input, -1)
        if dims == 3 and len(shape) == 1:
            return unsqueeze(unsqueeze(input, 0), -1)
        return unsqueeze(input, 0) if shape else reshape(input, (1,) * dims)

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
            return one(tensors[0])
        return tuple(one(t) for t in (tensors[0] if len(tensors) == 1 else tensors))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The tensor, or each of several, with {dims} dimension{'s' * (dims > 1)} at least."
    return function


atleast_1d, atleast_2d, atleast_3d = map(atleast, (1, 2, 3))


class Unfold(Op):
    """Windows of an axis as a new last axis."""

    view = bare = True

    @staticmethod
    def forward(a, *, axis, size, step):
        if not a.ndim:
            return restrided(a, (size,), (a.itemsize,)), (a.shape, axis, size, step)
        count = (a.shape[axis] - size) // step + 1
        shape = (*a.shape[:axis], count, *a.shape[axis + 1 :], size)
        strides = (*a.strides[:axis], step * a.strides[axis], *a.strides[axis + 1 :], a.strides[axis])
        return restrided(a, shape, strides), (a.shape, axis, size, step)

    @staticmethod
    def backward(saved, needs, g):
        shape, axis, size, step = saved
        if not shape:
            return g.sum()
        out = np.zeros(shape, g.dtype, like=g)
        along = np.moveaxis(out, axis, 0)
        windows = np.moveaxis(g, axis, 0)
        for k in range(size):
            along[k : k + (len(windows) - 1) * step + 1 : step] += windows[..., k]
        return out


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """All windows of `size` elements along a dimension, `step` apart, as a new last dimension: a view."""
    shape = expect_tensor(input, "unfold", "self").array.shape
    over, size, step = axis(dimension, len(shape)), operator.index(size), operator.index(step)
    n = shape[over] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {over} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return run(Unfold, (input,), (input.array,), axis=over, size=size, step=step)


class AsStrided(Op):
    """Elements anywhere in the memory of a tensor."""

    view = bare = True

    @staticmethod
    def forward(a, *, memory, shape, strides, offset):
        view = at(memory, shape, strides, offset)
        here = a.shape, address(a) - address(memory), a.strides
        return view, (here, memory.size, (shape, offset, strides))

    @staticmethod
    def backward(saved, needs, g):
        here, size, there = saved
        flat = np.zeros(size, g.dtype, like=g)
        np.add.at(flat, put(places(*there, g.itemsize), of(g)), g)
        inside = places(*here, g.itemsize)
        if size == 0:
            return np.zeros(inside.shape, g.dtype, like=g)
        shown = np.bincount(inside.reshape(-1), minlength=size)  # how often the tensor itself shows an element
        often = np.asarray(shown[inside], g.dtype)
        return np.asarray(flat[put(inside, of(g))] / put(often, of(g)), like=g)


def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A view of the tensor's memory by shape, steps (in elements) and the place of the first element."""
    a = expect_tensor(input, "as_strided").array
    shape, steps = sizes((size,), "as_strided"), sizes((stride,), "as_strided")
    if len(shape) != len(steps):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(steps)} and {list(shape)}")
    if any(n < 0 for n in (*shape, *steps)):
        raise RuntimeError(
            f"as_strided: Negative sizes and strides are not supported, got {list(shape)} and {list(steps)}"
        )
    whole = input._view.base.array if input._view is not None else a
    memory = flat_memory(whole)
    here = (address(a) - address(memory)) // a.itemsize
    offset = here if storage_offset is None else operator.index(storage_offset)
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    need = 0 if 0 in shape else offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) + 1
    if need > memory.size:
        raise RuntimeError(
            f"as_strided(): sizes {list(shape)}, strides {list(steps)} and storage offset {offset} need {need} "
            f"elements and "
            f"are out of bounds for storage of size {memory.size}"
        )
    strides = tuple(s * a.itemsize for s in steps)
    return run(AsStrided, (input,), (a,), memory=memory, shape=shape, strides=strides, offset=offset * a.itemsize)


def flat_memory(a: np.ndarray) -> np.ndarray:
    """The memory of an array, gaps included, as a vector that shares it."""
    if a.flags.c_contiguous:
        return a.reshape(-1)
    low, first, high = span(a)
    size = (high - low) // a.itemsize if a.size else 0
    if first != low:
        a = a[tuple(slice(-1, None, -1) if s < 0 else slice(None) for s in a.strides)]
    return restrided(a, (size,), (a.itemsize,))
