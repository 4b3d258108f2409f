"""The rows of structure.py; and what a row cannot ask of these ops: order among equals, views, memory."""

import pickle
import warnings

import numpy as np
import pytest
from conftest import needs_torch
from stories import as_torch
from structure import OPS, ROWS
from table import Row, check, gradients_check, torchs_answer

import tinyrnn
from tinyrnn.kernels.cpu import unstable
from tinyrnn.ops import order

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_as_torch(row: Row, oracle):
    check(row, torchs_answer(row, oracle))


SMOOTH = [row for row in OPS if not row.rough]


@pytest.mark.parametrize("row", SMOOTH, ids=[row.name for row in SMOOTH])
def test_gradcheck(row: Row):
    assert gradients_check(row), f"no call of {row.name} can be differentiated"


# ------------------------------------------------------------------------------------------ which of equal elements
def keys(kind: str, n: int, different: int, seed: int = 0) -> np.ndarray:
    """Three rows of numbers of which few are different; of floating-point numbers some are NaN."""
    rng = np.random.default_rng([seed, n, different])
    x = rng.integers(0, different, (3, n)).astype(kind)
    if x.dtype.kind == "f":
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def orders(library, x: np.ndarray) -> dict[str, np.ndarray]:
    """The positions that everything which sorts or selects gives for a matrix, along both dimensions."""
    found, t = {}, library.from_numpy(x)
    n = x.shape[1]
    for descending in (False, True):
        found[f"sort {descending}"] = library.sort(t, descending=descending)[1]
        found[f"sort {descending} 0"] = library.sort(t.t(), 0, descending)[1]
        for k in {1, 2, n // 2, n // 70, n} - {0}:
            for sorted in (True, False):
                found[f"topk {descending} {k} {sorted}"] = library.topk(t, k, -1, descending, sorted)[1]
    for k in {1, 2, n // 2, n} - {0}:
        found[f"kthvalue {k}"] = library.kthvalue(t, k)[1]
    found["mode"] = library.mode(t)[1] if not np.isnan(x).any() else library.zeros(1)
    found["median"], found["nanmedian"] = library.median(t, -1)[1], library.nanmedian(t, -1)[1]
    return {name: y.numpy() for name, y in found.items()}


@pytest.mark.parametrize("kind", ["int64", "float32", "uint8"])
def test_equal_elements_come_in_torchs_order(kind, oracle):
    cases = [(n, different) for n in (3, 17, 70) for different in (2, 9)]

    def ask(library):
        found = {}
        for n, different in cases:
            for name, positions in orders(library, keys(kind, n, different)).items():
                found[f"{n} {different} {name}"] = positions.astype(np.uint8)
        return {"": np.concatenate([found[name].ravel() for name in sorted(found)])}

    np.testing.assert_array_equal(ask(tinyrnn)[""], oracle(ask)[""])


@needs_torch
@pytest.mark.parametrize("n", [1000, 5000, 40000])
def test_equal_elements_of_long_rows_come_in_torchs_order(n):
    import torch

    for kind, different in (("int64", 50), ("float32", 300), ("float64", 2), ("uint8", 4), ("bool", 2)):
        x = keys("int64" if kind == "bool" else kind, n, different)[0].astype(kind)
        for descending in (False, True):
            mine = tinyrnn.from_numpy(x).sort(descending=descending)[1].numpy()
            np.testing.assert_array_equal(mine, torch.from_numpy(x).sort(descending=descending)[1].numpy())
        if kind != "bool":
            for k in (1, 5, n // 100, n // 2):
                mine = tinyrnn.from_numpy(x).topk(k)[1].numpy()
                np.testing.assert_array_equal(mine, torch.from_numpy(x).topk(k)[1].numpy())


@needs_torch
def test_a_sort_that_gets_nowhere_becomes_a_heap_sort():
    """A row that makes the median of three a bad pivot each time, so that the depth runs out."""
    import torch

    n = 400
    x = np.zeros(n, np.int64)
    for i in range(n // 2):  # Musser's killer sequence, with equal pairs
        x[2 * i], x[2 * i + 1] = (i + 1, n // 2 + i + 1) if i % 2 == 0 else (n // 2 + i + 1, i + 1)
    x //= 2
    np.testing.assert_array_equal(tinyrnn.from_numpy(x).sort()[1].numpy(), torch.from_numpy(x).sort()[1].numpy())


def test_a_sort_that_is_only_stable_is_caught(monkeypatch):
    x = keys("int64", 150, 2)
    right = orders(tinyrnn, x)["sort False"]
    monkeypatch.setattr(order, "SMALL", 10**6)
    assert (orders(tinyrnn, x)["sort False"] != right).any()


def test_every_kernel_sorts():
    """The kernels' orders are orders: a permutation, the smallest in front."""
    for n in (1, 2, 17, 300):
        x = keys("int64", n, 40)
        at = unstable.sorted_rows(x)
        np.testing.assert_array_equal(np.take_along_axis(x, at, 1), np.sort(x, 1))
        np.testing.assert_array_equal(np.sort(at, 1), np.tile(np.arange(n), (3, 1)))
        for k in {1, n // 3, n} - {0}:
            at = unstable.top_rows(x, k, True)
            np.testing.assert_array_equal(np.take_along_axis(x, at[:, :k], 1), np.sort(x, 1)[:, :k])


# ------------------------------------------------------------------------------------------ named results
NAMED = {
    "max": lambda t, x: t.max(x, 1), "min": lambda t, x: x.min(1), "sort": lambda t, x: x.sort(),
    "topk": lambda t, x: t.topk(x, 2), "cummax": lambda t, x: x.cummax(0), "cummin": lambda t, x: t.cummin(x, 0),
    "median": lambda t, x: x.median(0), "nanmedian": lambda t, x: x.nanmedian(0), "mode": lambda t, x: x.mode(0),
    "kthvalue": lambda t, x: x.kthvalue(1), "aminmax": lambda t, x: x.aminmax(dim=0),
}  # fmt: skip


def test_named_results_print_as_torchs(oracle):
    def ask(library):
        x = library.tensor([[1.5, -2.0, 0.25], [3.0, 0.0, 7.0]])
        return {name: repr(call(library, x)) for name, call in NAMED.items()}

    assert ask(tinyrnn) == {name: str(text) for name, text in oracle(ask).items()}


@pytest.mark.parametrize("name", NAMED)
def test_named_results_are_tuples_with_names(name):
    x = tinyrnn.tensor([[1.5, -2.0, 0.25], [3.0, 0.0, 7.0]])
    found = NAMED[name](tinyrnn, x)
    assert type(found) is getattr(tinyrnn.return_types, name) and isinstance(found, tuple)
    first, second = found
    names = ("min", "max") if name == "aminmax" else ("values", "indices")
    assert getattr(found, names[0]) is first and getattr(found, names[1]) is second
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is type(found) and again[0].equal(first)


# ------------------------------------------------------------------------------------------ views and writes
VIEWS = {
    "diagonal": lambda x: x.diagonal(1), "diagonal of the last": lambda x: x.diagonal(0, -2, -1),
    "as_strided": lambda x: x.as_strided((2, 3), (4, 1), 1),
    "as_strided, overlapping": lambda x: x.as_strided((3, 3), (1, 1)),
    "unfold": lambda x: x.unfold(1, 2, 2), "tensor_split": lambda x: x.tensor_split(2)[1],
    "hsplit": lambda x: x.hsplit(2)[0], "swapdims": lambda x: x.swapdims(0, 1), "ravel": lambda x: x.ravel(),
    "broadcast_to": lambda x: x.broadcast_to((2, 3, 4)), "unfold, overlapping": lambda x: x.unfold(1, 3, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory_and_history(name, oracle):
    """A view is read after its base was written to, and (where it has each element once) written to itself."""
    view = VIEWS[name]

    def ask(library):
        leaf = (library.arange(12.0, dtype=library.float64) / 16).reshape(3, 4).requires_grad_()
        base = leaf * 1
        seen = view(base)
        base[1] = leaf[0] * 3
        result = (seen * 3).exp().sum()
        if "overlapping" not in name and name != "broadcast_to":
            seen.mul_(2)
            result = result + (base * base).sum()
        result.backward()
        return {"value": result.detach().numpy(), "gradient": leaf.grad.numpy(), "seen": seen.detach().numpy()}

    mine, theirs = ask(tinyrnn), oracle(ask)
    for part, value in theirs.items():
        np.testing.assert_allclose(mine[part], value, rtol=1e-12, err_msg=part)


IN_PLACE_VIEWS = {
    "t_": (), "transpose_": (0, 1), "swapaxes_": (0, 1), "swapdims_": (1, 0), "unsqueeze_": (1,), "squeeze_": (-1,),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE_VIEWS)
def test_shapes_change_in_place(name, oracle):
    def ask(library):
        leaf = library.arange(6.0, dtype=library.float64).reshape(3, 2).requires_grad_()
        x = leaf * 2
        assert getattr(x, name)(*IN_PLACE_VIEWS[name]) is x
        (x * x).sum().backward()
        return {
            "shape": list(x.shape),
            "strides": x.stride(),
            "value": x.detach().numpy(),
            "gradient": leaf.grad.numpy(),
        }

    mine, theirs = ask(tinyrnn), oracle(ask)
    for part, value in theirs.items():
        np.testing.assert_allclose(mine[part], value, rtol=1e-12, err_msg=part)


# ------------------------------------------------------------------------------------------ random numbers in memory
@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "uint8"])
def test_random_numbers_go_into_memory_in_torchs_order(kind, oracle):
    """Transposed tensors, tensors with gaps and empty ones; and the stream goes on where torch's goes on."""
    makes = [
        lambda t, d: t.zeros(5, 7, dtype=d).t(), lambda t, d: t.zeros(4, 6, dtype=d)[:, ::2],
        lambda t, d: t.zeros(2, 3, 4, dtype=d).permute(2, 0, 1), lambda t, d: t.zeros((), dtype=d),
        lambda t, d: t.zeros(40, dtype=d)[::2], lambda t, d: t.zeros(0, dtype=d),
    ]  # fmt: skip
    calls = [
        lambda x: x.uniform_(-1, 2), lambda x: x.normal_(1, 2), lambda x: x.exponential_(1.5),
        lambda x: x.geometric_(0.3), lambda x: x.cauchy_(1.0, 2.0), lambda x: x.log_normal_(0.5, 1.0),
        lambda x: x.bernoulli_(0.4), lambda x: x.random_(), lambda x: x.random_(7),
    ]  # fmt: skip

    def ask(library):
        found = []
        for call in calls:
            for make in makes:
                library.manual_seed(5)
                try:
                    numbers = call(make(library, getattr(library, kind))).numpy().ravel().astype(np.float64)
                except (RuntimeError, NotImplementedError) as error:
                    found.append([float(sum(map(ord, type(error).__name__)))])
                    continue
                found += [numbers, [float(library.rand(1, dtype=library.float64))]]
        return {"": np.concatenate(found)}

    np.testing.assert_array_equal(ask(tinyrnn)[""], oracle(ask)[""])


# ------------------------------------------------------------------------------------------ what is refused
def test_storages_are_not_exchanged():
    with pytest.raises(NotImplementedError, match="set_"):
        tinyrnn.ones(2).set_(object())


def test_a_view_beyond_the_memory_is_refused():
    with pytest.raises(RuntimeError, match=r"\[3, 3\].*out of bounds for storage of size 4"):
        tinyrnn.ones(4).as_strided((3, 3), (3, 1))


# ------------------------------------------------------------------------------------------ torch's larger samples
REFERENCE = """
    aminmax arange argsort cat cummax cummin cumprod cumsum diag diag_embed diagonal diff dstack eye flip gather
    hstack index_add index_copy index_fill index_select kthvalue linspace logcumsumexp logspace logsumexp
    masked_fill max mean median min movedim narrow permute prod quantile ravel repeat reshape roll rot90 scatter
    select slice_scatter softmax sort split squeeze std sum tensor_split tile topk trace transpose tril triu unbind
    unfold unsqueeze var view vstack
"""


@needs_torch
@pytest.mark.parametrize("name", REFERENCE.split())
def test_torchs_reference_samples(name):
    import test_operators as operators

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in [key for key, info in operators.operators().items() if info.name == name]:
            info = operators.operators()[key]
            for dtype in ("float64", "int64"):
                for parts, _ in operators.samples(key, dtype, "reference_inputs", grad=False):
                    with operators.Where(key, parts):
                        operators.check(info.op, operators.counterpart(info.op, info.name), parts, info.name)


# ------------------------------------------------------------------------------------------ what grad_fn is called
CALLS = """
    x.masked_fill(x > 0, 1.0); x.masked_fill(x > 0, x[0, 0]); x.masked_select(x > 0); x.t().reshape(-1); x.reshape(-1)
    x.repeat_interleave(2); x.repeat_interleave(t.tensor([1, 2]), dim=0); x.split([1, 1])[1]; x.split(1)[0]
    x.take(t.tensor([0])); x.index_add(0, i, x[:1]); x.index_copy(0, i, x[:1]); x.index_fill(0, i, 1.0)
    x.masked_scatter(x > 0, x); x.put(t.tensor([0]), x[0, :1]); x.index_put((i,), x[0]); x.sum(); x.sum((0, 1)); v.sum(0)
    x.nansum(); x[:, :2].trace(); x.dist(x * 2); x.renorm(2, 0, 1.0); x.quantile(0.5); x.nanmedian(0)[0]; x.squeeze((0,))
    t.einsum("ij,kj->ik", x, x); t.einsum("i,j->ij", v, v); t.lerp(x, x, x); t.lerp(x, x, 0.5); t.addcdiv(x, x, x)
    t.kron(x, x); t.addmv(v[:2], x, v); t.clamp_min(x, 0); x.clamp_max(1); x.clamp(x, x); x.clamp(0, 1)
    t.div(x, 2, rounding_mode="floor"); t.block_diag(x, x); t.cdist(x, x); nn.functional.glu(x[:, :2])
    nn.functional.pairwise_distance(x, x * 2); nn.functional.cross_entropy(x, x.detach().softmax(1))
    nn.BatchNorm1d(3)(x); nn.GroupNorm(1, 3)(x); nn.EmbeddingBag(3, 2)(t.tensor([[1, 2]])); nn.GRUCell(3, 2)(x)
    nn.LSTMCell(3, 2)(x)[0]; nn.LSTMCell(3, 2)(x)[1]; nn.RNNCell(3, 2, nonlinearity="relu")(x)
    nn.LSTM(3, 2)(x)[1][0]; nn.GRU(3, 2)(nn.utils.rnn.pack_sequence([x]))[0].data; nn.utils.rnn.pad_sequence([x, x[:1]])
    nn.utils.rnn.pack_sequence([x]).data; put(x * 1, i, 1.0); put(x * 1, 0, 1.0)
    x // x; x // 2; 7 // x; x % x; x % 2; 2 % x; x.fmod(2); x.fmod(x); t.var_mean(x, 1)[1]; t.std_mean(x)[0]
    t.rot90(x); t.rot90(x, 2); t.rot90(x, 0); t.rot90(x, 3); nn.functional.soft_margin_loss(x, x.detach().sign())
    nn.functional.multi_margin_loss(x, t.tensor([0, 1])); nn.functional.multilabel_margin_loss(x, t.zeros(2, 3).long())
    nn.functional.margin_ranking_loss(v, v, v.detach(), reduction="none"); nn.functional.gelu(x, approximate="tanh")
    nn.functional.ctc_loss(x[:, None].log_softmax(2), t.tensor([[1]]), [2], [1], reduction="none"); x.rad2deg()
    nn.functional.rrelu(x, training=True); nn.functional.embedding_bag(i, x, i, mode="max")
"""


def test_calls_are_printed_by_torchs_names(oracle):
    def put(t, index, value):
        t[index] = value
        return t

    def ask(library):
        x = library.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        scope = {"t": library, "nn": library.nn, "x": x, "v": x[0], "i": library.tensor([0]), "put": put}
        calls = [call.strip() for line in CALLS.strip().splitlines() for call in line.split(";")]
        return {"": np.array([f"{call}: {repr(eval(call, scope)).rpartition('grad_fn=')[2]}" for call in calls])}

    assert ask(tinyrnn)[""].tolist() == oracle(ask)[""].tolist()


def test_calls_are_of_classes_with_torchs_names(oracle):
    def ask(library):
        x = library.ones(2, 3, requires_grad=True)
        y = (x * 2).exp()
        leaf = x.exp().grad_fn.next_functions[0][0]

        class Twice(library.autograd.Function):
            forward = staticmethod(lambda ctx, x: x * 2)
            backward = staticmethod(lambda ctx, g: g * 2)

        nodes = [y.grad_fn, y.grad_fn.next_functions[0][0], y.sum().grad_fn, leaf, Twice.apply(x).grad_fn]
        z = x * 3
        same = [y.grad_fn is y.grad_fn, z.exp().grad_fn.next_functions[0][0] is z.grad_fn, leaf.variable is x]
        once = leaf == x.sin().grad_fn.next_functions[0][0], len({leaf, x.sin().grad_fn.next_functions[0][0]}) == 1
        return {"names": np.array([type(node).__name__ for node in nodes]), "same": np.array([*same, *once])}

    ours, theirs = ask(tinyrnn), oracle(ask)
    assert ours["names"].tolist() == theirs["names"].tolist()
    assert ours["same"].all() and theirs["same"].all()


# ------------------------------------------------------------------------------------------ numbers, ranges, places
PLACES = """
    a.movedim(0, 1); a.movedim(2, 0); a.permute(2, 1, 0); a.transpose(1, 2); a[:, :1]; a[:1]; a[None]; a[..., None]
    a.unsqueeze(2); a.expand(5, 2, 1, 3); a[::2]; a.mT; b.t(); b.T; b[:, :1].t(); b.t()[:1]; b.movedim(1, 0)
    b.narrow(1, 2, 1); b.select(0, 1); b[::3]; b.clone(); b[:, :1].clone(); b.t().contiguous(); b.sum(1, keepdim=True)
"""


def test_steps_in_memory_along_dimensions_of_one(oracle):
    def ask(library):
        scope = {"a": library.zeros(2, 1, 3), "b": library.zeros(4, 5)}
        calls = [call.strip() for line in PLACES.strip().splitlines() for call in line.split(";")]
        return {"": np.array([f"{call}: {tuple(eval(call, scope).stride())}" for call in calls])}

    assert ask(tinyrnn)[""].tolist() == oracle(ask)[""].tolist()


NUMBERS = """
    t.add(2, 3); t.add(2.5, 3); t.add(True, 2); t.sub(3, 1); t.mul(2.0, 3); t.div(1, 2); t.floor_divide(7, 2)
    t.add(2, 3, alpha=2); t.add("2", 3); t.remainder(5, 3); t.fmod(5, 3); t.maximum(1, 2); t.true_divide(1, 4)
    t.range(0, 3); t.range(1, 2, 0.5); t.range(3, 0, -1); t.range(0, 2.9, 1, dtype=t.int64); t.range(0, 3, 0)
    t.range(3, 0); t.range(0, float("inf")); t.range(5); t.range(t.tensor(0), t.tensor(2)); t.range(0, 3, dtype=t.bool)
    t.range(0, 3, out=t.empty(0)); t.unravel_index(t.tensor([5, 7]), (3, 4)); t.unravel_index(t.tensor(5), 4)
    t.unravel_index(t.tensor([-1, 50]), (3, 4)); t.unravel_index(t.tensor([5.0]), (3, 4)); t.unravel_index(3, (3, 4))
    t.unravel_index(t.tensor([1]), (3, -4)); t.unravel_index(t.tensor([1]), (3, 4.0)); t.unravel_index(t.tensor([1]), ())
    t.unravel_index(t.tensor([1]), (2, 0)); t.unravel_index(t.zeros(0).long(), (2, 3)); t.unravel_index(i, (2, 3))
    t.special.gammaln(t.tensor([2.5])); t.special.psi(t.tensor([2.5])); (2 % t.ones(2, requires_grad=True)).sum().backward()
    t.zeros(3).set_(t.eye(2)); t.zeros(3).set_(t.arange(2)); t.nn.Parameter(t.ones(2)).set_(t.eye(2)); t.zeros(3).set_()
    t.zeros(1).set_(t.eye(2), 1, (2,)); t.zeros(1).set_(t.eye(2), 0, (2, 1), (1, 1)); t.nn.Parameter(t.ones(2)).data.set_(t.eye(2))
"""


@pytest.mark.filterwarnings("ignore")
def test_numbers_ranges_and_places(oracle):
    def ask(library):
        scope = {"t": library, "i": library.tensor([1], dtype=library.int32)}
        found = []
        for call in [call.strip() for line in NUMBERS.strip().splitlines() for call in line.split(";")]:
            try:
                answer = repr(eval(call, scope))
            except Exception as error:
                answer = type(error).__name__
            found.append(f"{call}: {answer}")
        return {"": np.array(found)}

    ours, theirs = ask(tinyrnn)[""].tolist(), oracle(ask)[""].tolist()
    theirs = [line.replace("AttributeError", "TypeError") for line in theirs]  # of unravel_index(3, ...)
    assert ours == theirs


def test_broadcast_to_takes_separate_numbers():
    x = tinyrnn.tensor([[1], [2]])
    assert x.broadcast_to(2, 3).tolist() == [[1, 1, 1], [2, 2, 2]]
    assert x.broadcast_to(4, -1, 3).shape == (4, 2, 3) and tinyrnn.tensor(1.0).broadcast_to(3).shape == (3,)
    with pytest.raises(TypeError, match="missing 1 required"):
        x.broadcast_to()


def test_a_tensor_that_was_set_shares_memory():
    source = tinyrnn.eye(2)
    x = tinyrnn.zeros(3).set_(source)
    source[0, 1] = 5
    assert x.tolist() == [[1, 5], [0, 1]] and x.data_ptr() == source.data_ptr()


@pytest.mark.parametrize("use", [lambda x, m: x[m], lambda x, m: tinyrnn.where(m, x, x)], ids=["index", "where"])
def test_masks_of_bytes_are_warned_of(use):
    with pytest.warns(UserWarning, match="uint8"):
        assert use(tinyrnn.ones(2), tinyrnn.ones(2).byte()).tolist() == [1, 1]


@pytest.mark.parametrize("value", [1j, [1.0, 2j]])
def test_complex_numbers_are_refused_by_name(value):
    with pytest.raises(NotImplementedError, match="complex"):
        tinyrnn.tensor(value)


# ------------------------------------------------------------------------------------------ unusual arguments
UNUSUAL = {
    "bins beyond all numbers": lambda t: t.bincount(t.tensor([2**63 - 1]), minlength=3),
    "weighted bins beyond all numbers": lambda t: t.bincount(t.tensor([2**63 - 1]), t.ones(1)),
    "deviations whose squares have no room": lambda t: (
        t.tensor([[-1e25, 1e25, 3.0], [2e-30, 1e-30, 4e-30], [1.0, 1.0, 1.0]]).std(1).log10(), t.tensor([1.0, 1e30]).std()
    ),
    "norms of single numbers": lambda t: (
        t.tensor([1e30]).norm(), t.tensor([[1e30, -1e-30]]).norm(dim=0, keepdim=True), t.tensor(-1e30).norm()
    ),
    "the gradient of such a norm": lambda t: grad_of(t, lambda x: x.norm(dim=1).sum(), [[-1e30], [1e-30]]),
    "clamp by a number and a tensor": lambda t: (
        t.arange(4.0).clamp(t.tensor(1.5), 2.5), t.clip(t.arange(4.0), min=1.0, max=t.tensor(2.0)), t.arange(4).clamp(1, t.tensor(2.5))
    ),
    "clamp by a number and a tensor with a gradient": lambda t: t.arange(4.0).clamp(t.ones((), requires_grad=True), 2.5),
    "clamp by a number and a vector": lambda t: t.arange(4.0).clamp(t.ones(1), 2.5),
    "amax over None": lambda t: (t.arange(6.0).view(2, 3).amax(None), t.ones(2, 3).amin(dim=None, keepdim=True)),
    "tensordot that sums integers": lambda t: t.tensordot(t.ones(3, 5, dtype=t.int32), t.ones(1, 2, dtype=t.int32), 1),
    "einsum: a product of two types": lambda t: t.einsum("ij,jk->ik", t.ones(2, 2), t.ones(2, 2).double()),
    "einsum: no sum of two types": lambda t: t.einsum("i,j->ij", t.ones(2), t.ones(2).double()),
    "einsum: a sum of one": lambda t: t.einsum("ij,ij->i", t.ones(3, 3), t.ones(3, 1).double()),
    "einsum: of three types, one after the other": lambda t: t.einsum("i,j,j->i", t.ones(2), t.ones(2).double(), t.ones(2)),
    "einsum: which fit one after the other": lambda t: t.einsum("i,j,j->i", t.ones(2), t.ones(2).double(), t.ones(2).double()),
    "bytes beyond 255": lambda t: t.randint(0, 300, (3,), dtype=t.uint8),
    "negative bytes": lambda t: t.randint(-5, 3, (3,), dtype=t.uint8),
    "a third truth value": lambda t: t.randint_like(t.ones(3, dtype=t.bool), 3),
    "sizes in a tensor": lambda t: t.zeros(t.tensor([2, 3])),
    "dropout of channels without channels": lambda t: t.nn.Dropout2d(0.5)(t.ones(5)),
    "bilinear without features": lambda t: t.nn.functional.bilinear(t.ones(2, 3), t.ones(2, 4), t.zeros(0, 3, 4)).shape,
    "the end of the last bag": lambda t: [
        t.nn.functional.embedding_bag(t.arange(4), t.arange(5.0)[:, None], t.tensor(ends), mode="sum", include_last_offset=True)
        for ends in ([0, 1, 3], [0, 1, 1], [0, 4])
    ],
    "several draws in one piece": lambda t: t.ones(4, 5).multinomial(2).is_contiguous(),
    "a normal distribution that is cut, transposed": lambda t: [
        t.manual_seed(3) and None, t.nn.init.trunc_normal_(t.empty(40, 50).t(), 0, 1, -1, 1)[0, :5],
        t.nn.init.trunc_normal_(t.empty(4, 5).t(), 0, 1, 2, 2.2),
    ],
}  # fmt: skip


def grad_of(torch, function, values):
    x = torch.tensor(values, requires_grad=True)
    function(x).backward()
    return x.grad


@pytest.mark.parametrize("name", UNUSUAL)
@as_torch(raises=Exception)
def test_unusual_arguments(torch, name):
    return UNUSUAL[name](torch)
