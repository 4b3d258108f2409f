"""Sorting, selecting and counting: what depends on which element is larger or equal."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..devices import check_same, host, of, put
from ..kernels import lazy, twin
from ..strides import contiguous, overlaps
from ..tape import entitled
from .common import Op, TensorBase, axis, expect_tensor, into, number, numpy_names, run, unsupported, wrap
from .join import stack
from .reduce import Extremum, Pick, all_into, check_not_empty
from .shape import reshape

kernels, sorting, unstable, search = twin("index"), lazy("cpu.order"), lazy("cpu.unstable"), lazy("cpu.search")
SMALL = 16  # torch's sort is stable up to here
RADIX = 32768  # and from here on for integers, which it sorts by their digits


def last(a: np.ndarray, over: int) -> np.ndarray:
    """A view with an axis last."""
    return a if over == a.ndim - 1 else np.moveaxis(a, over, -1)


def back(a: np.ndarray, over: int) -> np.ndarray:
    """The inverse of `last`."""
    return a if over == a.ndim - 1 else np.moveaxis(a, -1, over)


def in_order(a: np.ndarray, over: int, descending: bool, stable: bool = True) -> np.ndarray:
    """The order of the elements along an axis; NaN counts as the largest.  Equal elements stay in order if it is
    stable, else they come as torch's sort leaves them.
    """
    n = a.shape[over]
    whole = a.ndim == 1 and a.dtype.kind in "iu" and not descending
    as_torch = not stable and n > SMALL and not (whole and n >= RADIX)
    if type(a) is np.ndarray:
        moved = last(a, over)
        rows = contiguous(moved).reshape(a.size // max(n, 1), n)
        order, equals = sorting.argsort(rows, descending)
        if as_torch and equals is not None:
            order[equals] = unstable.sorted_rows(sorting.keys(rows[equals], descending))
        return back(order.reshape(moved.shape), over)
    if descending and a.size:
        order = a.shape[over] - 1 - np.flip(np.argsort(np.flip(a, over), over, kind="stable"), over)
    else:
        order = np.argsort(a, over, kind="stable")
    if as_torch and with_equals(kernels.take_along(a, order, over), over):
        return by_kernel("sorted_rows", a, over, descending=descending)
    return order


def with_equals(a: np.ndarray, over: int) -> bool:
    """Whether neighbours along an axis of a sorted array are equal."""
    rows = np.moveaxis(a, over, -1)
    here, there = rows[..., 1:], rows[..., :-1]
    return bool(np.any((here == there) | ((here != here) & (there != there))))


def as_keys(a: np.ndarray, descending: bool) -> np.ndarray:
    """Integers (int64) in the order of the elements, or in the opposite one; equal for equal elements, and for NaN."""
    if type(a) is np.ndarray:
        return sorting.keys(a, descending)
    if a.dtype.kind == "f":
        whole = np.dtype(f"i{a.itemsize}")
        bits = (a + a.dtype.type(0)).view(whole)  # and no zero is negative
        keys = np.where(bits < 0, bits ^ np.iinfo(whole).max, bits).astype(np.int64)
        keys[np.isnan(a)] = np.iinfo(np.int64).max
    else:
        keys = a.astype(np.int64)
    return ~keys if descending else keys


def by_kernel(name: str, a: np.ndarray, over: int, *how: Any, descending: bool = False) -> np.ndarray:
    """The positions of the elements along an axis in the order that a kernel puts them in."""
    moved = last(a, over)
    keys = as_keys(contiguous(moved).reshape(-1, a.shape[over]), descending)
    return back(put(getattr(unstable, name)(host(keys), *how), of(a)).reshape(moved.shape), over)


def picked(
    input: Any, indices: np.ndarray, over: int, kind: Any, call: str, keepdim: bool | None = None, out: Any = None
) -> Any:
    """The named pair of the elements at `indices` along an axis, and the indices; `keepdim` is None if it is no
    reduction.
    """
    a = input.array
    if a.ndim == 0:
        return all_into(out, kind(input.clone(), wrap(np.zeros((), np.int64, like=input.array))), call)
    values = kernels.take_along(a, indices, over)
    if not indices.flags.c_contiguous:  # the values lie in memory as they do
        values, found = np.empty_like(indices, a.dtype), values
        values[...] = found
    if keepdim is False:
        values, indices = values.squeeze(over), indices.squeeze(over)
    if call != "sort" or a.flags.c_contiguous or overlaps(a):
        values, indices = (np.asarray(x, order="C", like=input.array) for x in (values, indices))
    chosen, how = wrap(indices), {"axis": over, "keepdim": keepdim is not False}
    found = run(Pick, (input,), (a,), (chosen,), values=values, indices=indices, **how)
    entitled(found, f"{call.capitalize()}Backward{int(call in ('median', 'nanmedian'))}")
    return all_into(out, kind(found, chosen), call, apart=() if keepdim is None else (input,))


@numpy_names
def sort(
    input: Any, dim: int = -1, descending: bool = False, stable: bool | None = False, *, out: Any = None
) -> return_types.sort:
    """(values, indices) in ascending or descending order along `dim`; equal elements keep their order if `stable`."""
    order, over = order_along(input, dim, descending, stable, "sort")
    return picked(input, order, over, return_types.sort, "sort", out=out)


def order_along(input: Any, dim: int, descending: bool, stable: bool | None, call: str) -> tuple[np.ndarray, int]:
    """Indices that sort along a dimension, and which axis that is."""
    a = expect_tensor(input, call).array
    over = axis(dim, a.ndim)
    if a.ndim and a.flags.c_contiguous:
        return contiguous(in_order(a, over, bool(descending), bool(stable))), over
    order = np.zeros_like(a, np.int64)  # in memory as the input is
    if a.ndim:
        order[...] = in_order(a, over, bool(descending), bool(stable))
    return order, over


@numpy_names
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Any = None) -> Any:
    """The indices that sort along `dim`."""
    order, _ = order_along(input, dim, descending, stable, "argsort")
    return into(out, wrap(contiguous(order) if overlaps(input.array) else order), "argsort")


def msort(input: Any, *, out: Any = None) -> Any:
    """Sorted along the first dimension."""
    return into(out, sort(input, 0).values, "msort")


@numpy_names
def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Any = None
) -> return_types.topk:
    """(values, indices) of the `k` largest or smallest elements along `dim`, in order; of equal ones torch's."""
    a = expect_tensor(input, "topk").array
    if a.dtype.kind == "b":
        raise RuntimeError("topk does not support bool dtypes on CPU")
    over, k = axis(dim, a.ndim), operator.index(k)
    n = a.shape[over] if a.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range (topk(): k={k}, but dimension {over} has size {n})")
    order = np.asarray(foremost(a, over, k, bool(largest), bool(sorted)), order="C", like=a) if a.ndim else a
    return picked(input, order, over, return_types.topk, "topk", out=out)


def foremost(a: np.ndarray, over: int, k: int, largest: bool, sorted: bool) -> np.ndarray:
    """Where the first k elements in ascending or descending order are; which of equal ones only torch's way tells."""
    n = a.shape[over]
    if k == 0 or a.size == 0:
        return np.empty((*a.shape[:over], k, *a.shape[over + 1 :]), np.int64, like=a)
    # torch sorts few of many whether it is asked to or not.
    if type(a) is np.ndarray and (sorted or k * 64 <= n):
        moved = last(a, over)
        rows = contiguous(moved).reshape(a.size // n, n)
        order, equals = sorting.foremost(rows, k, largest)
        if equals is not None:
            order[equals] = unstable.top_rows(sorting.keys(rows[equals], largest), k, sorted)[:, :k]
        return back(order.reshape(*moved.shape[:-1], k), over)
    if sorted or k * 64 <= n:  # on a GPU
        keys = as_keys(np.moveaxis(a, over, -1), largest)
        front = np.argsort(keys, -1)[..., : k + 1]
        if not with_equals(kernels.take_along(keys, front, -1), -1):
            return np.moveaxis(front[..., :k], -1, over)
    order = by_kernel("top_rows", a, over, k, sorted, descending=largest)
    return order[(*[slice(None)] * over, slice(k))]


@numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> return_types.kthvalue:
    """(values, indices) of the k-th smallest element along `dim`, counted from 1."""
    a, k = expect_tensor(input, "kthvalue").array, operator.index(k)
    over = axis(dim, a.ndim)
    check_not_empty(a, (over,), "kthvalue")
    n = a.shape[over] if a.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {over} (k={k}, size {n})")
    if a.dtype.kind == "b":
        raise unsupported("kthvalue", a.dtype)
    place = kth(a, over, k - 1) if a.ndim else a
    return picked(input, place, over, return_types.kthvalue, "kthvalue", keepdim, out)


def kth(a: np.ndarray, over: int, k: int) -> np.ndarray:
    """Where the k-th smallest element along an axis is, counted from 0; which of equal ones only torch's way tells."""
    n = a.shape[over]
    if type(a) is not np.ndarray:
        return by_kernel("kth_rows", a, over, k).take([k], over)
    moved = last(a, over)
    rows = contiguous(moved).reshape(a.size // n, n)
    order = sorting.argsort(rows, False)[0]
    place, beside = order[:, k : k + 1].copy(), order[:, max(k - 1, 0) : k + 2]
    value, near = np.take_along_axis(rows, place, 1), np.take_along_axis(rows, beside, 1)
    equals = np.count_nonzero((near == value) | ((near != near) & (value != value)), 1) > 1
    if equals.any():
        place[equals] = unstable.kth_rows(sorting.keys(rows[equals], False), k)[:, k : k + 1]
    return back(place.reshape(*moved.shape[:-1], 1), over)


class Median(Extremum):
    """The lower of the two middle elements; equal elements share the gradient."""

    @staticmethod
    def forward(a, *, place):
        flat = a.reshape(-1)
        out = flat[place(flat, 0)[0]] if flat.size else np.full((), np.nan, a.dtype, like=a)
        return out, (a, out)


class NanMedian(Median):
    """The median of what is not NaN."""


def middle(a: np.ndarray, over: int) -> np.ndarray:
    """Where the median along an axis is: the first NaN, if there is one."""
    place = in_order(a, over, False).take([(a.shape[over] - 1) // 2], over)
    if a.dtype.kind != "f":
        return place
    absent = np.isnan(a)
    return np.where(absent.any(over, keepdims=True), absent.argmax(over, keepdims=True), place)


def middle_of_numbers(a: np.ndarray, over: int) -> np.ndarray:
    """Where the median along an axis is, NaN left out."""
    order = in_order(a, over, False)
    known = np.count_nonzero(a == a, over, keepdims=True)
    return kernels.take_along(order, np.maximum(known - 1, 0) // 2, over)


def medians(name: str, op: type[Op], place: Any) -> Any:
    kind = getattr(return_types, name)

    @numpy_names
    def function(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
        a = expect_tensor(input, name).array
        over = axis(0 if dim is None else dim, a.ndim)
        if a.dtype.kind == "b":
            raise unsupported("median", a.dtype)
        if dim is None:
            return into(out, run(op, (input,), (a,), place=place), name)
        check_not_empty(a, (over,), name)
        return picked(input, place(a, over) if a.ndim else a, over, kind, name, keepdim, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The median{', NaN left out' * (name != 'median')}: the lower one, if there are two; with `dim`, a pair "
        "(values, indices) along it."
    )
    return function


median, nanmedian = medians("median", Median, middle), medians("nanmedian", NanMedian, middle_of_numbers)


@numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> return_types.mode:
    """(values, indices) of the most frequent element along `dim`; of equally frequent ones the smallest."""
    a = expect_tensor(input, "mode").array
    over = axis(dim, a.ndim)
    check_not_empty(a, (over,), "mode")
    return picked(
        input, put(most_frequent(host(a), over), of(a)) if a.ndim else a, over, return_types.mode, "mode", keepdim, out
    )


def most_frequent(a: np.ndarray, over: int) -> np.ndarray:
    order = np.moveaxis(in_order(a, over, False, stable=False), over, -1)
    values = kernels.take_along(np.moveaxis(a, over, -1), order, -1)
    at = np.arange(values.shape[-1])
    last = np.concatenate([values[..., 1:] != values[..., :-1], np.ones((*values.shape[:-1], 1), bool)], -1)
    ends = np.maximum.accumulate(np.where(last, at, -1), -1)  # where the last group ended
    begun = np.concatenate([np.full((*values.shape[:-1], 1), -1), ends[..., :-1]], -1)
    best = np.where(last, at - begun, 0).argmax(-1, keepdims=True)
    return np.moveaxis(kernels.take_along(order, best, -1), -1, over)


# ------------------------------------------------------------------------------------------ different elements
class Unique2(Op):
    """The different elements of a tensor; torch has no derivative of that."""

    name = "_unique2"

    @classmethod
    def forward(cls, a, *, values):
        return values, (cls.name,)

    @staticmethod
    def backward(saved, needs, g):
        raise NotImplementedError(f"the derivative for '{saved[0]}' is not implemented.")


class UniqueDim(Unique2):
    """The different slices along a dimension."""

    name = "unique_dim"


class UniqueConsecutive(Unique2):
    """The elements, or slices, that differ from the one before."""

    name = "unique_consecutive"


@numpy_names
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The different elements (or slices along `dim`) in ascending order; with inverse indices and counts on demand."""
    a = expect_tensor(input, "unique").array
    if dim is not None:
        dim = slices_along(a, dim, "unique")
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = inverse.reshape(a.shape if dim is None else -1)
    distinct = run(Unique2 if dim is None else UniqueDim, (input,), (a,), values=values)
    return with_counts(distinct, inverse, counts, return_inverse, return_counts)


def slices_along(a: np.ndarray, dim: int, call: str) -> int:
    """The dimension whose slices are compared, checked."""
    if a.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    over = axis(dim, a.ndim)
    if a.size == 0 and a.shape[over]:
        raise RuntimeError(
            f"There are 0 sized dimensions, and they aren't selected, so {call} cannot be applied (shape "
            f"{list(a.shape)}, dim {over})"
        )
    if a.shape.count(0) > 1:
        raise RuntimeError(
            f"Number of zero sized dimensions is more than one, so {call} cannot be applied (shape {list(a.shape)})"
        )
    return over


def with_counts(values: Any, inverse: np.ndarray, counts: np.ndarray, *wanted: bool) -> Any:
    extra = [wrap(x.astype(np.int64)) for x, want in zip((inverse, counts), wanted, strict=True) if want]
    return (values, *extra) if extra else values


@numpy_names
def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) that differ from the one before; with inverse indices and counts on
    demand.
    """
    a = expect_tensor(input, "unique_consecutive").array
    if dim is None:
        rows, over = a.reshape(-1), 0
    else:
        over = slices_along(a, dim, "unique_consecutive")
        rows = np.moveaxis(a, over, 0)
    n = rows.shape[0]
    new = np.ones(n, bool, like=a)
    new[1:] = (rows[1:] != rows[:-1]).reshape(max(n - 1, 0), -1).any(1) if n > 1 else new[1:]
    inverse = np.cumsum(new) - 1
    values = rows[new] if dim is None else np.moveaxis(rows[new], 0, over)
    counts = np.bincount(inverse, minlength=0) if n else np.empty(0, like=a)
    inverse = inverse.reshape(a.shape) if dim is None else inverse
    distinct = run(UniqueConsecutive, (input,), (a,), values=contiguous(values))
    return with_counts(distinct, inverse, counts, return_inverse, return_counts)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False, out: Any = None
) -> Any:
    """Which elements are among the test elements: booleans of the shape of `elements`."""
    if not isinstance(elements, TensorBase) and not isinstance(test_elements, TensorBase):
        raise TypeError("isin(): expected a tensor as elements or as test_elements")
    a, b = (
        x.array if isinstance(x, TensorBase) else np.asarray(number(x, "isin", name))
        for x, name in ((elements, "elements"), (test_elements, "test_elements"))
    )
    if "b" in (a.dtype.kind, b.dtype.kind):
        raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    if a.ndim and b.ndim:
        check_same(a, b)
    dtype = dtypes.promote(a, b)
    return into(out, wrap(np.isin(a.astype(dtype), b.astype(dtype), assume_unique, invert)), "isin")


# ------------------------------------------------------------------------------------------ bins
def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    out: Any = None,
    sorter: Any = None,
) -> Any:
    """Where each element belongs in a sorted sequence (or in its row of several): before equal elements, or behind
    them with side='right'.
    """
    edges = expect_tensor(sorted_sequence, "searchsorted", "sorted_sequence").array
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    if isinstance(input, TensorBase):
        values = input.array
        check_same(edges, values)
    else:
        scalar = number(input, "searchsorted", "input")
        values = np.asarray(scalar, dtypes.promote(edges, scalar))
    if edges.ndim == 0:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if sorter is not None:
        edges = sorted_by(edges, expect_tensor(sorter, "searchsorted", "sorter").array)
    if edges.ndim != 1 and (edges.ndim != values.ndim or edges.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(edges.shape)} and input "
            f"value tensor {list(values.shape)}"
        )
    if edges.dtype != values.dtype:
        dtype = dtypes.promote(edges, values)
        edges, values = edges.astype(dtype), values.astype(dtype)
    if edges.shape[-1] > np.iinfo(np.int32).max and out_int32:
        raise RuntimeError(
            f"torch.searchsorted(): the size of boundaries' last dimension ({edges.shape[-1]}) is too large for int32"
        )
    whole = np.int32 if out_int32 else np.int64
    if out is not None and expect_tensor(out, "searchsorted", "out").array.dtype != whole:
        raise RuntimeError(
            f"torch.searchsorted(): out must be int64, or int32 if out_int32 is True; it is {out.dtype}, and "
            f"out_int32 is "
            f"{out_int32}"
        )
    kind = edges.dtype if edges.dtype.kind == "f" else np.dtype(np.int64)
    several = math.prod(edges.shape[:-1])
    rows, numbers = (
        np.ascontiguousarray(host(x), kind).reshape(several, x.size // max(several, 1)) for x in (edges, values)
    )
    places = search.places(rows, numbers, right or side == "right").reshape(values.shape)
    return into(out, wrap(put(places.astype(whole, copy=False), of(edges))), "searchsorted")


def sorted_by(edges: np.ndarray, order: np.ndarray) -> np.ndarray:
    if order.shape != edges.shape:
        raise RuntimeError(
            "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
            f"{list(edges.shape)} and got sorter tensor {list(order.shape)}"
        )
    if order.dtype != np.int64:
        raise RuntimeError(
            f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {dtypes.of(order.dtype)}"
        )
    if order.size and not 0 <= order.min() <= order.max() < edges.shape[-1]:
        raise RuntimeError("torch.searchsorted(): sorter index out of range")
    return kernels.take_along(edges, order, -1)


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False, out: Any = None) -> Any:
    """Between which of the sorted boundaries each element lies: an index."""
    edges = expect_tensor(boundaries, "bucketize", "boundaries").array
    if edges.ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({edges.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


# ------------------------------------------------------------------------------------------ choices
def cartesian_prod(*tensors: Any) -> Any:
    """All tuples of one element of each vector: (n, number of vectors); a single vector as it is."""
    from .create import meshgrid

    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for v in vectors:
        if expect_tensor(v, "cartesian_prod", "tensors").array.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(v.array.shape)}")
    if len(vectors) == 1:
        return vectors[0]
    return stack([reshape(grid, -1) for grid in meshgrid(*vectors, indexing="ij")], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All ways to choose `r` elements of a vector: (n, r)."""
    a = expect_tensor(input, "combinations").array
    if a.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(a.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return wrap(np.empty(0, a.dtype, like=a))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(a.size), r)), np.int64).reshape(-1, r)
    return input[wrap(put(places, of(a)))]
