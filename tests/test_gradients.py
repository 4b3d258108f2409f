"""Gradients of weights that are used again and again, step by step: what they are collected on changes no result.

Each program runs twice: with the leaves, and with a copy of each for each use, whose gradients go the plain way.
"""

import gc

import numpy as np
import pytest

import tinyrnn as torch
from tinyrnn import gradients, nn
from tinyrnn.nn import functional as F


def randn(*shape):
    return torch.randn(*shape).requires_grad_()


def both(program, weights):
    """The gradients of `weights` by program(use), where use(w) is w itself or a copy; and how many piles there were."""
    made = []

    class Counted(gradients.Pile):
        __slots__ = ()

        def __init__(self, arrival, leaves):
            super().__init__(arrival, leaves)
            made.append(self)

    found = []
    for use in (lambda w: w, lambda w: w.clone()):
        for w in weights:
            w.grad = None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tinyrnn.tape.Pile", Counted)
            program(use).backward()
        assert all(w.grad.dtype is w.dtype for w in weights)
        found.append([w.grad.numpy() for w in weights])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * np.abs(b).max())
    return len(made)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("inner", "outer", "rows", "steps"), [(5, 3, 1, 4), (64, 96, 8, 90), (40, 200, 70, 5)])
def test_a_linear_layer_at_each_step(inner, outer, rows, steps, dtype):
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        w, b, back, x = randn(outer, inner), randn(outer), randn(inner, outer), randn(steps, rows, inner)
    finally:
        torch.set_default_dtype(torch.float32)

    def program(use):
        h = x[0]
        for t in range(steps):
            y = torch.tanh(F.linear(h, use(w), use(b)) / inner)
            h = x[t] + F.linear(y, use(back)) / outer
        return (h * h).sum() + y.sum()

    assert both(program, [w, b, back, x]) == 3  # x has none: a step is a part of it


def test_products_with_a_matrix_on_either_side_and_with_vectors():
    torch.manual_seed(0)
    a, b, c, d, v = randn(30, 40), randn(40, 30), randn(40), randn(30), randn(5, 40)

    def program(use):
        h, row, column, cube = v, v[0], v[1], v.expand(2, 5, 40)
        for _ in range(6):
            h = torch.tanh((h @ use(b) + use(d)) @ use(a) / 30 + use(c))
            row = torch.tanh(row @ use(b) @ use(a) / 30)
            column = torch.tanh(use(b) @ (use(a) @ column) / 30)
            cube = torch.tanh(cube @ use(b) @ use(a) / 30 + use(c))
            wide = use(a) @ (h[:, :40].T * 1) + use(d)[:, None]
        return h.sum() + row.sum() + (column * column).sum() + (cube * cube).mean() + wide.sum()

    assert both(program, [a, b, c, d, v]) >= 4


@pytest.mark.parametrize("shape", [(4,), (1,), ()])
def test_a_bias_that_is_added_to_rows(shape):
    torch.manual_seed(0)
    b, w, x = randn(*shape), randn(4, 4), randn(3, 4)

    def program(use):
        h = x
        for _ in range(5):
            h = torch.tanh(F.linear(h, use(w), use(b)) + use(b))
        return h.sum()

    both(program, [b, w, x])


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True}])
def test_rows_of_a_table_at_each_step(options):
    torch.manual_seed(0)
    table, ids = randn(11, 6), torch.randint(0, 11, (7, 3, 2))

    def program(use):
        read = [F.embedding(ids[t].to(torch.int32 if t % 2 else torch.int64), use(table), **options) for t in range(7)]
        return sum((t + 1) * (e * e * e).sum() for t, e in enumerate(read)) + F.linear(read[0], use(table)).sum()

    both(program, [table])
    if "padding_idx" in options:
        table.grad = None
        sum(F.embedding(ids[t], table, **options).sum() for t in range(7)).backward()
        assert (ids == 2).any() and not table.grad[2].any()


@pytest.mark.parametrize("others", ["across", "across and ours", "of two"])
def test_a_table_whose_first_gradient_is_not_ours_or_lies_across(others):
    table, more = randn(6, 4), randn(6, 4)
    g = torch.randn(4, 6)

    def program(use):
        first = F.embedding(torch.tensor([0, 5, 0]), use(table))
        second = F.embedding(torch.tensor([1]), use(table))
        total = (first * first).sum() + second.sum()
        if others == "of two":
            return total + (use(table) + use(more)).tanh().sum()
        total = total + (use(table).T * g).sum() + use(more).sum()
        return total + (use(table).T * g).sum() if "ours" in others else total

    both(program, [table, more])


def test_a_bias_of_another_type_than_the_rows():
    torch.manual_seed(0)
    b, x = randn(4), torch.randn(3, 4, dtype=torch.float64)
    both(lambda use: sum(((x * k + use(b)) ** 2).sum() for k in range(5)), [b])


@pytest.mark.parametrize("room", [1, 700, 5000])
def test_piles_that_grow_and_are_full(room, monkeypatch):
    monkeypatch.setattr(gradients.Pile, "ROOM", room)
    torch.manual_seed(0)
    w, b, x = randn(9, 9), randn(9), torch.randn(2, 9)

    def program(use):
        h = x
        for _ in range(50):
            h = torch.tanh(F.linear(h, use(w), use(b)))
            h = h + 0.1 * F.linear(x.repeat(2, 1), use(w), use(b))[1:3]
        return h.sum()

    both(program, [w, b])


def test_weights_and_rows_without_numbers():
    w, x, b = torch.zeros(0, 0).requires_grad_(), torch.zeros(3, 0), torch.zeros(0).requires_grad_()
    h = x
    for _ in range(4):
        h = F.linear(h, w, b) @ w + b
    h.sum().backward()
    wide = torch.zeros(0, 3).requires_grad_()
    many = torch.ones(300_000, 3)
    sum(F.linear(many, wide, b).sum() for _ in range(3)).backward()
    assert w.grad.shape == (0, 0) and b.grad.shape == (0,) and wide.grad.shape == (0, 3)


@pytest.mark.parametrize(
    "use", [lambda w: F.embedding(torch.tensor([0, 1, 2]), w), lambda w: w @ w, lambda w: F.linear(w, w)]
)
def test_calls_whose_inputs_are_views_made_inside_no_grad(use):
    w, x = randn(3, 3), randn(3, 3)
    with torch.no_grad():
        view = w[:]
    (use(view) + x).sum().backward()
    assert w.grad is None and x.grad.tolist() == torch.ones(3, 3).tolist()


def test_no_pile_outlives_the_walk():
    w, b, x = randn(5, 5), randn(5), torch.randn(2, 5)

    def alive():
        return sum(type(o) is gradients.Pile for o in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        h = x
        for _ in range(6):
            h = F.linear(h, w, b)
        h.sum().backward()
        assert alive() == 0
    finally:
        gc.enable()


def split_first(x_n, h_n, f, h):
    """A step whose gates the kernels have in another order: whole ones first."""
    f = torch.sigmoid(f)
    return (1 - f) * h + f * torch.tanh(x_n + f * h_n)


CELLS = {
    "RNNCell": lambda: nn.RNNCell(200, 500),
    "GRUCell": lambda: nn.GRUCell(160, 200),
    "LSTMCell": lambda: nn.LSTMCell(100, 160),
    "without biases": lambda: nn.GRUCell(160, 200, bias=False),
    "GRU": lambda: nn.GRU(160, 200),
    "LSTM, batch first, projected": lambda: nn.LSTM(100, 192, batch_first=True, proj_size=90),
    "recurrent dropout": lambda: nn.LSTM(100, 160, recurrent_dropout=0.5),
    "own": lambda: nn.cell(split_first)(160, 250),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_large_cell_at_each_step(kind):
    torch.manual_seed(0)
    cell = CELLS[kind]()
    frozen = next(iter(cell.parameters()))
    x = randn(7, 9, getattr(cell, "input_size", 160))

    def program(use):
        torch.manual_seed(1)
        weights = {name: use(p) for name, p in cell.named_parameters()}
        state, total = None, 0
        for t in range(7):
            if isinstance(cell, nn.RNNCellBase):
                state = torch.func.functional_call(cell, weights, (x[t], state))
                out = state[0] if isinstance(state, tuple) else state
            else:
                rows = x[t][:, None] if cell.batch_first else x[t][None]
                out, state = torch.func.functional_call(cell, weights, (rows, state))
            total = total + (out * out).sum() + out.sum()
        return total

    parameters = list(cell.parameters())
    assert both(program, [*parameters, x]) == len(parameters)
    frozen.requires_grad_(False)
    assert both(program, [*parameters[1:], x]) == len(parameters) - 1


def test_a_small_cell_and_many_rows_go_the_plain_way():
    torch.manual_seed(0)
    cell, w, x = nn.LSTMCell(8, 8), randn(4, 30), torch.randn(300, 30)

    def program(use):
        h = c = torch.zeros(300, 8)
        for _ in range(3):
            h, c = cell(x[:, :8], (h, c))
        return h.sum() + sum((F.linear(x + k, use(w)) ** 2).sum() for k in range(3))

    assert both(program, [w]) == 1


def test_rows_that_are_written_over_during_the_walk():
    rows, w = torch.ones(1, 3), randn(4, 3)

    class Clears(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            rows.zero_()  # no call that is still to be walked needs it
            return g

    oldest = Clears.apply(w.sum() * 0)
    (sum(F.linear(rows, w) for _ in range(4)) + oldest).sum().backward()
    assert not rows.any() and w.grad.tolist() == [[4.0] * 3] * 4


def test_hooks_and_calls_for_gradients_see_what_is_complete():
    torch.manual_seed(0)
    w, b, x = randn(6, 6), randn(6), torch.randn(3, 6)

    def loss(w, b):
        h = x
        for _ in range(4):
            h = torch.tanh(F.linear(h, w, b))
        return h.sum()

    expected = torch.autograd.grad(loss(w.clone(), b.clone()), (w, b))
    for found, wanted in zip(torch.autograd.grad(loss(w, b), (w, b)), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    seen = []
    w.register_hook(lambda g: seen.append(g) or g * 2)
    b.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.clone()))
    total = loss(w, b)
    total.backward(retain_graph=True)
    total.backward()
    torch.testing.assert_close(w.grad, 4 * expected[0])
    torch.testing.assert_close(b.grad, 2 * expected[1])
    assert len(seen) == 4
    for g in seen[:2]:
        torch.testing.assert_close(g, expected[0] if g.dim() == 2 else expected[1])


def test_anomaly_mode_looks_at_each_step():
    w = torch.ones(2, 2, requires_grad=True)
    x = torch.tensor([[1.0, float("nan")]])  # of the step that is walked last
    with (
        pytest.raises(RuntimeError, match="returned nan values"),
        pytest.warns(UserWarning, match="Error detected"),
        torch.autograd.detect_anomaly(),
    ):
        (F.linear(x, w) + F.linear(torch.ones(1, 2), w)).sum().backward()


def test_the_same_bits_for_any_number_of_threads():
    def gradients_of():
        torch.manual_seed(0)
        cell, fc = nn.LSTMCell(100, 200), nn.Linear(200, 300)
        h = c = torch.zeros(10, 200)
        for _ in range(40):
            h, c = cell(torch.randn(10, 100), (h, c))
            fc(h).square().mean().backward(retain_graph=True)
        return [p.grad.numpy().tobytes() for p in (*cell.parameters(), *fc.parameters())]

    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.append(gradients_of())
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
