"""NumPy's functions of arrays of the device, in the simulator, held to NumPy on the host."""

import operator
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing.overrides import get_overridable_numpy_array_functions

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

from simulator import simulated  # noqa: E402

import tinyrnn  # noqa: E402, F401
from tinyrnn.kernels.cuda import answers, protocol  # noqa: E402
from tinyrnn.kernels.cuda.array import Array, download, upload  # noqa: E402

A = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
B = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(np.float32)
S = np.random.default_rng(3).normal(size=(3, 3))
D = np.array([[3.5, np.nan, -np.inf], [np.inf, -0.0, 2.5]])
N = np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]])
V = np.array([2, 0, 1, 2, 2])
M = N > 3


@pytest.fixture(autouse=True)
def simulator():
    with simulated() as device, np.errstate(all="ignore"):
        yield device


def moved(value, change, kind):
    """A result or an argument with its arrays on the other side."""
    if isinstance(value, (list, tuple)):
        return tuple(moved(x, change, kind) for x in value)
    return change(value) if isinstance(value, kind) else value


def check(function, *arrays):
    """A function gives the same of arrays on both sides: elements, shape, type, and what Python gives as its own."""
    host = [a.copy("K") for a in arrays]
    there = [upload(a) for a in arrays]
    expected, result = function(*host), function(*there)
    pairs = zip(*(x if isinstance(x, (list, tuple)) else (x,) for x in (expected, result)), strict=True)
    for want, got in (*pairs, *zip(host, there, strict=True)):
        if isinstance(want, (np.ndarray, np.generic)):
            assert isinstance(got, Array), f"expected an array of the device, got {got!r}"
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(download(got), want, rtol=1e-6, atol=1e-6 * (want.dtype.kind == "f"))
            if isinstance(want, np.ndarray) and want.size > 1:
                order = [name for name in ("C", "F") if want.flags[f"{name}_CONTIGUOUS"]]
                assert not order or [name for name in ("C", "F") if got.flags[f"{name}_CONTIGUOUS"]] == order
        else:
            assert type(got) is type(want) and got == want


def changed(change):
    """A function that changes its first argument, as one that gives it."""

    def function(a, *rest):
        change(a, *rest)
        return a

    return function


ROWS = {
    # views
    "moveaxis": (lambda a: np.moveaxis(a, 0, -1), A),
    "moveaxis several": (lambda a: np.moveaxis(a, (0, 1), (2, 0)), A),
    "transpose": (lambda a: (np.transpose(a), np.transpose(a, (2, 0, 1)), np.swapaxes(a, 0, 1), np.rollaxis(a, 2)), A),
    "expand_dims": (lambda a: (np.expand_dims(a, (0, 2)), np.squeeze(a[:1]), np.squeeze(a[:, :1], 1)), A),
    "atleast": (lambda a: (np.atleast_1d(a[0, 0, 0]), np.atleast_2d(a[0, 0]), *np.atleast_3d(a[0], a)), A),
    "broadcast_to": (lambda a: np.broadcast_to(a[:, :1], (5, 2, 3, 4)), A),
    "broadcast_arrays": (lambda a, b: np.broadcast_arrays(a, b[0]), A, B),
    "broadcast_arrays, one of the host": (
        lambda n: np.ravel_multi_index(np.broadcast_arrays(n[:2], np.arange(2)[:, None]), (10, 2)), N),
    "diagonal": (lambda a: (np.diagonal(a, 1, 1, 2), np.diag(a[0]), np.diag(a[0], -1), a.diagonal()), A),
    "split": (lambda a: (*np.split(a, 2, -1), *np.array_split(a, [1], 1), *np.hsplit(a, 3), *np.vsplit(a, 2)), A),
    "unstack": (lambda a: (*np.unstack(a, axis=1), *np.unstack(a[0, 0])), A),
    "sliding_window_view": (lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, -1), A),
    "share memory": (lambda a, b: (np.may_share_memory(a, a[1]), np.shares_memory(a[0], a[1]), np.shares_memory(a, b)),
                     A, B),
    "of headers": (lambda a: (np.ndim(a), np.shape(a), np.size(a), np.size(a, 1), str(np.result_type(a, 1.0)),
                              np.iscomplexobj(a)), A),
    "ravel": (lambda a: (np.ravel(a), np.ravel(a.T), np.ravel(a, "F"), np.reshape(a, (4, -1)),
                         np.reshape(a, (4, 6), order="F")), A),
    # new arrays
    "zeros, like": (lambda a: (np.zeros((2, 3), np.int32, like=a), np.ones(3, like=a), np.full((2,), 7, like=a),
                               np.full((), np.nan, np.float32, like=a)), A),
    "arange, like": (lambda a: (np.arange(5, like=a), np.arange(2, 9, 3, like=a), np.arange(5, 0, -2, like=a),
                                np.arange(0, 1, 0.25, like=a), np.arange(3, dtype=np.int32, like=a)), A),
    "eye, like": (lambda a: (np.eye(2, 3, like=a), np.identity(2, like=a), np.tri(3, 4, 1, dtype=bool, like=a)), A),
    "zeros_like": (lambda a: (np.zeros_like(a), np.zeros_like(a, bool), np.ones_like(a.T), np.full_like(a, 3, int),
                              np.zeros_like(a, shape=(2,)), np.zeros_like(a.transpose(1, 0, 2))), A),
    "empty_like": (lambda a: np.empty_like(a.transpose(1, 2, 0)).strides, A),
    "asarray, like": (lambda a: (np.asarray([1.5], like=a), np.asarray(a, like=a), np.asarray(a.T, order="C", like=a),
                                 np.asarray(a, np.float64, like=a), np.array(2, like=a), np.array(a.T, like=a),
                                 np.ascontiguousarray(a.T, like=a), np.array([a, a], like=a)), A),
    "copy": (lambda a: (np.copy(a), np.copy(a.T), np.copy(a.T, "C"), np.astype(a, np.int64), a.astype("f8")), A),
    "diag": (lambda a: (np.diag(a[0, 0]), np.diag(a[0, 0], 1), np.diag(a[0, 0], -2)), A),
    # ufuncs
    "add": (lambda a, b: (a + b, a + 1, 2 - a, np.add(a, b[0]), -a, a > b, abs(a), a**2), A, B),
    "mixed": (lambda a, n: (a + n[:, :1].T[0, 0], n / 2, n // 2, n + True, n * np.float32(2), n & 1, ~n), A, N),
    "in place": (changed(lambda a, b: (a.__iadd__(b), np.multiply(a, 2, out=a), np.exp(a, out=a[...]))), A, B),
    "out of another type": (lambda a, b: np.add(a, b, out=b.astype(np.float64)), A, B),
    "where": (lambda a, b: np.add(a, 1, out=b, where=a > 0), A, B),
    "unsafe": (lambda a, n: np.multiply(n[:2, :3], a[0, :2, :3], out=n[:2, :3], casting="unsafe"), A, N),
    "modf": (lambda a: (*np.modf(a), *np.divmod(a, 0.3), *np.frexp(a)), A),
    "outer": (lambda a: (np.add.outer(a[0, 0], a[1]), np.outer(a[0], a[1, 0])), A),
    "reduce": (lambda a: (np.add.reduce(a), np.maximum.reduce(a, axis=(0, 2)), np.multiply.reduce(a, None),
                          np.minimum.reduce(a, -1, keepdims=True), np.logical_and.reduce(a > 0, 1),
                          np.logaddexp.reduce(a, 1), np.add.reduce(a, 0, dtype=np.float64)), A),
    "accumulate": (lambda a, n: (np.add.accumulate(a, 1), np.maximum.accumulate(a, -1), np.minimum.accumulate(n),
                                 np.logical_and.accumulate(n > 1, axis=1), np.logaddexp.accumulate(a, 2)), A, N),
    "reduceat": (lambda n: np.maximum.reduceat(n, np.array([0, 2])), N),
    "at": (changed(lambda n, v: (np.add.at(n, v, 1), np.multiply.at(n, (v, v), 3), np.maximum.at(n, (slice(None), v), 4))),
           N, V),
    "at, of truth values": (changed(lambda n, v: np.add.at(n, v, n[0] > 2)), N, V),
    # reductions
    "sum": (lambda a, n: (np.sum(a), a.sum(1), a.sum((0, -1), keepdims=True), n.sum(), (n > 2).sum(0), np.sum(n, initial=5),
                          np.sum(n, dtype=np.float32)), A, N),
    "prod": (lambda a, n: (np.prod(a, 0), n.prod(), np.prod(n > 0, 1)), A, N),
    "max": (lambda a, n, d: (a.max(), np.min(a, 1), n.max(0, keepdims=True), np.max(d, 1), np.max(n, initial=7), np.amax(n),
                             np.max(n[:0], 0, initial=3)), A, N, D),
    "all": (lambda a, d: (np.all(a > 0), np.any(a > 0, 1), d.any(0), d.all()), A, D),
    "argmax": (lambda a, n, d: (a.argmax(), n.argmax(1), np.argmin(d, 0), np.argmax(n, 0, keepdims=True)), A, N, D),
    "count_nonzero": (lambda n: (np.count_nonzero(n > 2, 0), np.count_nonzero(n - 1, (0, 1), keepdims=True)), N),
    "mean": (lambda a, n: (a.mean(), np.mean(a, (0, 1)), n.mean(0), np.var(a, 1), np.std(a, 0, ddof=1), n.std()), A, N),
    "cumsum": (lambda a, n: (np.cumsum(a), n.cumsum(1), np.cumprod(a, 0), np.cumsum(n > 2)), A, N),
    "trace": (lambda s: (np.trace(s), np.trace(s, 1)), S),
    # putting together
    "concatenate": (lambda a, b: (np.concatenate([a, b]), np.concatenate((a, b[:, :1]), 1), np.concatenate([a, b], None),
                                  np.concatenate([a.T, b.T], -1), np.concatenate([a[0], np.ones((3, 1), like=a)], 1)), A, B),
    "concatenate, types": (lambda a, n: np.concatenate([[0], n[0], a[0, 0]]), A, N),
    "stack": (lambda a, b: (np.stack([a, b]), np.stack([a, b], -1), np.stack(list(a), 1), np.hstack([a[0], b[0]]),
                            np.vstack([a[0, 0], b[0, 0]]), np.append(a, b)), A, B),
    "tile": (lambda n: (np.tile(n, 2), np.tile(n, (2, 1)), np.tile(n, (2, 1, 3)), np.tile(n[0], (2, 0))), N),
    "repeat": (lambda n, v: (np.repeat(n, 2), n.repeat(2, 0), np.repeat(n, [0, 2, 1], 0), np.repeat(n[:, 0], v[:3])), N, V),
    "pad": (lambda n: (np.pad(n, 1), np.pad(n, ((1, 0), (0, 2)), constant_values=7), np.pad(n, ((1, 1), (2, 0)), "reflect"),
                       np.pad(n, 2, "edge"), np.pad(n, ((0, 0), (1, 3)), "wrap")), N),
    "roll": (lambda n: (np.roll(n, 1), np.roll(n, -1, 0), np.roll(n, (1, 2), (0, 1)), np.roll(n, 9, -1)), N),
    "flip": (lambda n: (np.flip(n), np.flip(n, 0), np.flip(n, (0, 1)), np.flip(n, ()), np.flip(n[0, 0])), N),
    # choosing
    "where of three": (lambda a, b, d: (np.where(a > 0, a, b), np.where(a > 0, a, 0), np.where(a[0] > 0, 1, b),
                                        np.where(d > 0, np.float32(1), 2)), A, B, D),
    "nonzero": (lambda n, a: (*np.nonzero(n > 3), *np.where(n > 3), np.flatnonzero(n - 1), np.argwhere(n > 4), *a.nonzero(),
                              *np.nonzero(n > 99)), N, A),
    "copyto": (changed(lambda n: (np.copyto(n, 3, where=n > 4), np.copyto(n[0], n[1]))), N),
    "copyto, unsafe": (changed(lambda n, a: np.copyto(n[0], a[0, 0] * 5, casting="unsafe")), N, A),
    "take": (lambda n, v: (np.take(n, v), n.take(v, 0), np.take(n, [0, -1], 1), np.take(n, 7, mode="clip"),
                           np.take(n, v * 5, 1, mode="wrap"), n.take(range(2), 1)), N, V),
    "take_along_axis": (lambda n: (np.take_along_axis(n, np.argsort(n, 0), 0), np.take_along_axis(n, n[:, :1] % 3, 1)), N),
    "put_along_axis": (changed(lambda n: (np.put_along_axis(n, n[:, :2] % 4, 70, 1), np.put_along_axis(n, n[:2] % 3, n[:2], 0))),
                       N),
    "raveled": (lambda v: (np.ravel_multi_index((v, v[::-1] + 1), (3, 4)), *np.unravel_index(v * 5, (3, 4))), V),
    "ix_": (lambda n, v: n[np.ix_(v, [0, 2])], N, V),
    "fill_diagonal": (changed(lambda n: np.fill_diagonal(n, 0)), N),
    "fill_diagonal, wrapped": (changed(lambda n: np.fill_diagonal(n, -1, True)), np.arange(21).reshape(7, 3)),
    "triu": (lambda a, n: (np.triu(a), np.tril(a, 1), np.triu(n, -1), np.tril(n[0])), A, N),
    "bincount": (lambda v: (np.bincount(v), np.bincount(v, minlength=5), np.bincount(v, v / 2), np.bincount(v[:0])), V),
    # order
    "sort": (lambda n, a, d: (np.sort(n), np.sort(a, 0), np.sort(d, None), np.sort(d, 0)), N, A, D),
    "argsort": (lambda n, d: (np.argsort(n, kind="stable"), np.argsort(n, 0, stable=True), d.argsort(1)), N, D),
    "argpartition": (lambda n: np.take_along_axis(n, np.argpartition(n, 2, -1), -1)[:, 2], N),
    # of several ufuncs
    "clip": (lambda a, n: (np.clip(a, -0.5, 0.5), n.clip(2), np.clip(n, None, 5), np.clip(a, a[0], 1)), A, N),
    "round": (lambda a, d, n: (np.round(a), np.round(a, 2), a.round(1), np.round(d), np.round(n), np.round(n * 9, -1)), A, D, N),
    "isclose": (lambda a, d: (np.isclose(a, a + 1e-9), np.isclose(d, d), np.isclose(d, d, equal_nan=True),
                              np.allclose(a, a), np.allclose(d, d), np.array_equal(a, a), np.array_equal(a, d)), A, D),
    "nan_to_num": (lambda d: (np.nan_to_num(d), np.nan_to_num(d, nan=1, posinf=2, neginf=3)), D),
    "diff": (lambda n: (np.diff(n), np.diff(n, 2, 0), np.diff(n > 3), np.diff(n, prepend=0), np.diff(n, append=[[1]] * 3)), N),
    # products
    "matmul": (lambda a, b, s: (a @ b.transpose(0, 2, 1), a[0] @ b[1, 0], s[0] @ s, s[0] @ s[1], s @ a[0], np.matmul(s, s.T)),
               A, B, S),
    "matmul of integers": (lambda n: (n @ n.T, (n > 3) @ (n.T > 3)), N),
    "dot": (lambda a, b, s: (np.dot(s, s), np.dot(s, 2), np.inner(a, b[0]), np.tensordot(a, b, ([0, 2], [0, 2])), np.vdot(s, s),
                             np.tensordot(s, a[0], 1)), A, B, S),
    "einsum": (lambda a, b, s: (np.einsum("bij,bkj->bik", a, b), np.einsum("ii->i", s), np.einsum("ij->", s),
                                np.einsum("bij,ik,bkj->jb", a, s, b, optimize=True), np.einsum("i,j->ij", s[0], s[1]),
                                np.einsum("ii->", s), np.einsum("aij->ja", a)), A, B, S),
    # on the host
    "unique": (lambda n: (*np.unique(n, return_inverse=True, return_counts=True), np.isin(n, [1, 5])), N),
    "searchsorted": (lambda n, v: (np.searchsorted(v[1:], n), v[1:].searchsorted(3, "right")), N, V),
    "linalg": (lambda s: (np.linalg.inv(s), np.linalg.svd(s).S, np.linalg.det(s)), S),
    "histogram": (lambda a: np.histogram(a, 3), A),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_gives_what_numpy_gives(row):
    function, *arrays = ROWS[row]
    check(function, *arrays)


def test_views_cost_no_launch(simulator, monkeypatch):
    a = upload(A)
    monkeypatch.setattr(simulator, "launch", None)
    for view in (np.moveaxis(a, 0, 1), np.broadcast_to(a, (2, 2, 3, 4)), np.diagonal(a), *np.split(a, 2), a[:, 1:]):
        assert view.block is a.block


def test_what_is_not_known_is_refused_by_name():
    with pytest.raises(TypeError, match=re.escape("numpy.place() is not supported for arrays on the GPU")):
        np.place(upload(N), upload(M), 1)
    with pytest.raises(TypeError, match=re.escape("numpy.subtract.at() is not supported for arrays on the GPU")):
        np.subtract.at(upload(N), 0, 1)


@pytest.mark.parametrize("mix", [lambda a: a + A, lambda a: np.where(A > 0, a, a), lambda a: np.concatenate([a, A])])
def test_host_arrays_do_not_slip_in(mix):
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        mix(upload(A))


@pytest.mark.parametrize("wrong", [
    lambda n: np.concatenate([n, n[0]]), lambda n: np.concatenate([n, n[:, :1]]), lambda n: np.stack([n, n[0]]),
    lambda n: n @ n, lambda n: np.moveaxis(n, 0, 5), lambda n: np.sum(n, 3), lambda n: np.max(n[:0], 0),
    lambda n: np.ravel_multi_index((n[0], n[0]), (2, 99)), lambda n: np.copyto(n, 1.5 + n), lambda n: np.bincount(n),
    lambda n: np.nonzero(n[0, 0]), lambda n: np.split(n, 2), lambda n: np.take(n, 12),
    lambda n: np.add(n, 1.5, out=n), lambda n: np.take_along_axis(n, n[0], 0),
])  # fmt: skip
def test_errors_are_numpys(wrong):
    with pytest.raises(Exception) as expected:  # noqa: B017
        wrong(N.copy())
    kind = next(k for k in type(expected.value).__mro__ if k.__module__ == "builtins")
    with pytest.raises(kind, match=re.escape(str(expected.value)[:40])):
        wrong(upload(N))


def test_no_function_is_in_two_tables():
    functions = set(answers.FUNCTIONS)
    assert not protocol.VIEWS & functions and not protocol.HOST & (functions | protocol.VIEWS)


def test_every_function_that_tinyrnn_calls_is_known():
    """Of those that NumPy lets others answer; ufuncs and types answer by themselves."""
    text = "".join(path.read_text() for path in Path(tinyrnn.__file__).parent.rglob("*.py"))
    names = set(re.findall(r"\bnp\.([a-z_0-9]+(?:\.[a-z_0-9]+)*)\(", text))
    called = {f for name in names if callable(f := operator.attrgetter(name)(np))}
    overridable = get_overridable_numpy_array_functions()
    known = {*answers.FUNCTIONS, *protocol.VIEWS, *protocol.HOST}
    assert len(called & overridable) > 60 and called & overridable <= known


def test_steps_backwards():
    a = np.arange(24.0).reshape(2, 3, 4)
    for index in (np.s_[::-1], np.s_[:, ::-1, ::-1], np.s_[:, 1:0:-1], np.s_[::-1, ::-1, ::-1]):
        check(changed(lambda x, index=index: x.__setitem__(index, x[index] * 2 + 1)), a)
        check(lambda x, index=index: x[index].sum(0) + np.cumsum(x[index], 1), a)
