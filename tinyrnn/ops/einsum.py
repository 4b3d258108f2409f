"""Einstein's summation convention: two operands at a time, each time as products of matrices."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..kernels import twin
from ..kernels.layouts import Layout, order_of
from ..strides import contiguous
from ..tape import entitled
from .arithmetic import plain
from .common import Op, TensorBase, cast, expect_tensor, run
from .diagonal import diagonal
from .linear import product
from .reduce import sum
from .rows import kind
from .shape import expand

reduce = twin("reduce")


class Einsum(Op):
    """The contraction of several operands; no index is repeated within one, and one index has one size in all."""

    @staticmethod
    def forward(*arrays, terms, result, given):
        letters = lying(given, terms, result)
        out = contracted(terms, arrays, letters)
        back = tuple([letters.index(c) for c in result])
        return contiguous(out).transpose(back), (*arrays, terms, result)

    @staticmethod
    def backward(saved, needs, g):
        *arrays, terms, result = saved
        gradients: list[Any] = []
        for k, (a, term) in enumerate(zip(arrays, terms, strict=True)):
            if not needs[k]:
                gradients.append(None)
                continue
            others = (result, *terms[:k], *terms[k + 1 :])
            kept = "".join(c for c in term if any(c in other for other in others))
            d = contracted(others, (g, *arrays[:k], *arrays[k + 1 :]), kept)
            lost = tuple(i for i, c in enumerate(term) if c not in kept)  # what was added up before all else
            gradients.append(np.array(np.broadcast_to(np.expand_dims(d, lost), a.shape), like=a) if lost else d)
        return tuple(gradients)


def contracted(terms: tuple[str, ...], arrays: tuple, result: str) -> Any:
    """The sums of products of arrays whose axes letters name, with the axes `result`."""
    left = list(zip(terms, arrays, strict=True))
    for places in pairs(terms, tuple([a.shape for a in arrays]), result):
        taken = [left.pop(k) for k in sorted(places, reverse=True)]
        while len(taken) > 1:
            (x, a), (y, b) = taken.pop(), taken.pop()
            if result[-1:] in x and result[-1:] not in y:  # columns are neighbours in the product, as in the result
                (x, a), (y, b) = (y, b), (x, a)
            needed = set(result).union(*(term for term, _ in (*left, *taken)))
            taken.append(joined(x, a, y, b, needed, result))
        left += taken
    term, a = summed(*left[0], set(result))
    return a.transpose([term.index(c) for c in result])


@functools.lru_cache(256)
def pairs(terms: tuple[str, ...], shapes: tuple[tuple[int, ...], ...], result: str) -> Sequence[tuple[int, ...]]:
    """Which operands to contract in turn, by their places among those that are left; a result comes last."""
    if len(terms) <= 2:
        return [(0, 1)] if len(terms) == 2 else []
    number = np.empty(())
    path, _ = np.einsum_path(f"{','.join(terms)}->{result}", *[np.broadcast_to(number, s) for s in shapes])
    return path[1:]


@functools.lru_cache(256)
def lying(given: tuple[Layout, ...], terms: tuple[str, ...], result: str) -> str:
    """The axes of the result as torch's lies in memory, the farthest first.

    torch takes the operands from left to right.  What has something to be summed up is a product of matrices: batches,
    then what only the left one has, then what only the right one has, each in the order of the result; of no more
    than two operands the right one's come first, if all of them do in the result.  What has not is a product of
    elements.  An operand that is summed up alone, before that, is in order then.
    """
    axes = [*result, *sorted(set("".join(terms)) - set(result))]
    steps: dict[str, int] = {}  # of the product so far, along axes that are longer than 1
    for k, (term, (shape, strides)) in enumerate(zip(terms, given, strict=True)):
        new = {c: step for c, n, step in zip(term, shape, strides, strict=True) if n > 1}
        if k == 0:
            steps = new
            continue
        later = {*result, *"".join(terms[k + 1 :])}
        both = [c for c in axes if c in steps and c in new]
        lost = {c for c in {*steps, *new} - later if c not in both}
        for own in (steps, new):
            alone = lost & own.keys()
            if alone:
                own |= {c: len(axes) - i for i, c in enumerate(axes) if c in own}
                for c in alone:
                    del own[c]
        if any(c not in later for c in both):
            rows, columns = ([c for c in axes if c in d and c in later and c not in both] for d in (steps, new))
            if len(terms) == 2 and not lost and rows and columns and axes.index(columns[-1]) < axes.index(rows[0]):
                rows, columns = columns, rows
            near = dict.fromkeys([*(c for c in both if c in later), *rows, *columns])
        else:
            along = [c for c in axes if c in steps or c in new]
            layouts = [((2,) * len(along), tuple([d.get(c, 0) for c in along])) for d in (steps, new)]
            order = order_of((2,) * len(along), *layouts) or range(len(along))
            near = dict.fromkeys([along[i] for i in order if along[i] in later])
        steps = {c: len(near) - i for i, c in enumerate(near)}
    return "".join([*steps, *(c for c in result if c not in steps)])


def summed(term: str, a: Any, needed: set[str]) -> tuple[str, Any]:
    """Without the axes that nothing needs: their sums."""
    lost = tuple([k for k, c in enumerate(term) if c not in needed])
    if lost:
        a = reduce.sum(a, lost) if a.dtype.kind == "f" else np.asarray(a.sum(lost, dtype=a.dtype), like=a)
        term = "".join([c for c in term if c in needed])
    return term, a


def joined(x: str, a: Any, y: str, b: Any, needed: set[str], result: str) -> tuple[str, Any]:
    """Two terms as one: batches of what both have and something needs, sums over what both have and nothing needs.

    Axes of one kind come as in `result`.
    """
    (x, a), (y, b) = summed(x, a, needed | set(y)), summed(y, b, needed | set(x))
    size = dict(zip(x + y, a.shape + b.shape, strict=True))
    both = [c for c in x if c in y]
    batch, inner = [c for c in both if c in needed], [c for c in both if c not in needed]
    rows, columns = [c for c in x if c not in y], [c for c in y if c not in x]
    for group in (batch, rows, columns):
        group.sort(key=result.find)
    letters = [*batch, *rows, *columns]
    a = a.transpose([x.index(c) for c in (*batch, *rows, *inner)])
    b = b.transpose([y.index(c) for c in (*batch, *inner, *columns)])
    count = [size[c] for c in batch]
    if inner or (rows and columns and a.dtype.kind == "f"):  # an outer product is one with inner axes of length 1
        m, n, k = (math.prod([size[c] for c in group]) for group in (rows, columns, inner))
        out = product(a.reshape(*count, m, k), b.reshape(*count, k, n)).reshape([size[c] for c in letters])
    else:
        a = a.reshape([*a.shape, *[1] * len(columns)])
        b = b.reshape([*count, *[1] * len(rows), *b.shape[len(count) :]])
        with np.errstate(all="ignore"):
            out = np.asarray(plain(np.multiply, a, b), like=a)
    return "".join(letters), out


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def as_equation(operands: tuple) -> tuple[str, tuple]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) as an equation and tensors."""

    def spelled(places: Any) -> str:
        return "".join("..." if i is Ellipsis else LETTERS[i] for i in places)

    pairs = len(operands) // 2 * 2
    terms = ",".join(spelled(places) for places in operands[1:pairs:2])
    return terms + (f"->{spelled(operands[-1])}" if len(operands) > pairs else ""), operands[:pairs:2]


@functools.lru_cache(256)
def split_equation(equation: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """The indices of each operand and of the result, with letters for "..."; torch's errors for what does not fit."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} has {len(terms)} operands, but {len(ndims)} tensors were given"
        )
    for term in (*terms, result):
        if wrong := set(term.replace("...", "", 1)) - set(LETTERS):
            raise RuntimeError(
                f"einsum(): invalid subscript {min(wrong)!r} in the equation {equation!r}; they must be in [a-zA-Z]"
            )
    missing = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims, strict=True)]
    for k, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        if missing[k] < 0 or (missing[k] and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in {term!r} does not match the number of dimensions "
                f"({ndim}) for operand {k}"
            )
    widest = max((n for n, term in zip(missing, terms, strict=True) if "..." in term), default=0)
    dots = "".join([c for c in LETTERS if c not in equation][:widest])
    if not arrow:
        result = "..." * ("..." in left) + "".join(sorted(c for c in set(left) - set(",.") if left.count(c) == 1))
    terms = [term.replace("...", dots[widest - n :]) for term, n in zip(terms, missing, strict=True)]
    result = result.replace("...", dots)
    for c in result:
        if result.count(c) > 1 or not any(c in term for term in terms):
            fault = "appears more than once in the output" if result.count(c) > 1 else "does not appear in any operand"
            raise RuntimeError(f"einsum(): output subscript {c} {fault} of the equation {equation!r}")
    return tuple(terms), result


def check_types(tensors: Sequence, terms: Sequence[str], result: str) -> None:
    """torch's error where two of different types are multiplied and summed up in one step, from left to right; only a
    product of elements promotes."""
    if len({t.array.dtype for t in tensors}) == 1:
        return
    known, first = dict(zip(terms[0], tensors[0].array.shape, strict=True)), tensors[0]
    for k, (t, term) in enumerate(zip(tensors[1:], terms[1:], strict=True), 1):
        rest = {*result, *"".join(terms[k + 1 :])}
        here = dict(zip(term, t.array.shape, strict=True))
        if any(known[c] != 1 != here[c] for c in here.keys() & known.keys() - rest) and t.dtype != first.dtype:
            raise RuntimeError(f"expected scalar type {kind(first)} but found {kind(t)} (einsum(): operand {k})")
        first = t if dtypes.promote(first.array, t.array) == t.array.dtype else first
        known = {c: n for c, n in (known | here).items() if c in rest}


def einsum(equation: Any, *operands: Any) -> Any:
    """Sums of products by Einstein's convention, e.g. einsum("bij,bjk->bik", a, b)."""
    if isinstance(equation, TensorBase):
        equation, operands = as_equation((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    tensors = [expect_tensor(x, "einsum", "operands") for x in operands]
    found, result = split_equation(equation, tuple([x.array.ndim for x in tensors]))
    terms = list(found)
    for k, term in enumerate(terms):
        if len(set(term)) == len(term):
            continue
        for c in sorted(set(term)):
            while term.count(c) > 1:  # a repeated index takes the diagonal
                i, j = term.index(c), term.rindex(c)
                m, n = tensors[k].array.shape[i], tensors[k].array.shape[j]
                if m != n:
                    raise RuntimeError(
                        f"einsum(): subscript {c} is repeated for operand {k} but the sizes don't match, {n} != {m}"
                    )
                tensors[k] = diagonal(tensors[k], 0, i, j)
                term = term[:i] + term[i + 1 : j] + term[j + 1 :] + c
        terms[k] = term
    if len(tensors) == 1:
        (x,), (term,) = tensors, terms
        lost = [i for i, c in enumerate(term) if c not in result]
        x = x.permute([term.index(c) for c in result] + lost)
        return sum(x, tuple(range(len(result), len(term)))) if lost else x
    extent: dict[str, int] = {}
    for k, (x, term) in enumerate(zip(tensors, terms, strict=True)):
        for c, n in zip(term, x.array.shape, strict=True):
            if extent.setdefault(c, n) != n and 1 not in (n, extent[c]):
                raise RuntimeError(
                    f"einsum(): subscript {c} has size {n} for operand {k} which does not broadcast with previously "
                    f"seen size {extent[c]}"
                )
            extent[c] = n if extent[c] == 1 else extent[c]
    check_types(tensors, terms, result)
    dtype = dtypes.promote(*(x.array for x in tensors))
    given = tuple([(x.array.shape, x.array.strides) for x in tensors])
    for k, (x, term) in enumerate(zip(tensors, terms, strict=True)):
        shape = tuple([extent[c] for c in term])
        tensors[k] = cast(x if x.array.shape == shape else expand(x, shape), dtype)
    out = run(Einsum, tensors, [x.array for x in tensors], terms=tuple(terms), result=result, given=given)
    return entitled(out, "ViewBackward0" if set(extent) - set(result) else "MulBackward0")
