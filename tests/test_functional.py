"""The functions of nn.functional, row by row against torch (see table.py); others stand in test_losses.py."""

import math
import re

import numpy as np
import pytest
from conftest import needs_torch
from table import Row, check, gradients_check, torchs_answer

import tinyrnn

F = tinyrnn.nn.functional
ANY = "2,3; 4:s; -; 0,3; 2,0; 5:t; 3:i"


def row(name: str, cases: str, *calls: str) -> Row:
    """A row whose _ is the function of nn.functional, also where the library has another of that name."""
    return Row(name, cases, *(re.sub(r"\b_\(", f"F.{name}(", call) for call in calls))


# fmt: off
ROWS = [
    *[row(name, ANY, "_(x)", "_(x.clone(), inplace=True)", "_(x, inplace=1)")
      for name in ("selu", "silu", "mish", "hardsigmoid", "hardswish")],
    row("relu6", f"{ANY}; 3:y", "_(x)", "_(x * 8 - 3)", "_(x.clone(), inplace=True)"),
    row("celu", ANY, "_(x)", "_(x, 0.5)", "_(x.clone(), alpha=2, inplace=True)", "_(x, 0)", "_(x, '1')"),
    row("elu", ANY, "_(x)", "_(x, 0.5, inplace=False)", "_(x.clone(), alpha=2, inplace=True)"),
    row("leaky_relu", ANY, "_(x)", "_(x.clone(), 0.2, True)"),
    row("hardtanh", f"{ANY}; 3:y", "_(x)", "_(x, 0, 0.5)", "_(x.clone(), max_val=0.25, inplace=True)", "_(x, 1, -1)"),
    row("threshold", f"{ANY}; 3:b", "_(x, 0.5, 2)", "_(x.clone(), 0, value=-1, inplace=True)", "_(x)"),
    *[row(name, ANY.replace("4:s", "4:s" if name == "hardshrink" else "4"),
          "_(x)", "_(x, 0.25)", "_(x, lambd=0)", "_(x, -1)") for name in ("hardshrink", "softshrink")],
    *[row(name, f"{ANY}; 3:b", "_(x)") for name in ("softsign", "tanhshrink")],
    row("softmin", "2,3; 4:s; 2,0; 3:i", "_(x, -1)", "_(x, dim=0, dtype=t.float64)", "_(x, 3)"),
    row("glu", "2,4; 4,3,2; 2,0; 4:i; -; 3,3", "_(x)", "_(x, 0)", "_(x, dim=5)"),
    row("prelu", "2,3 1; 2,3 3; 2,3,4 3; 3 1; 3 3; - -; 2,3 -; 4:s 1; 0,3 3; 2,3 2; 2,3 1,3; 3:i 1",
        "_(x, y)", "_(x, 0.1)"),
    row("rrelu", "2,3; 4:s; -; 3:i",
        "_(x)", "_(x, 0.1, 0.5)", "seeded(t).nn.functional.rrelu(x, training=True)", "_(x, 0.5, 0.1)"),
    row("gumbel_softmax", "2,3; 4; 0,3",
        "seeded(t).nn.functional.gumbel_softmax(x)",
        "seeded(t).nn.functional.gumbel_softmax(x, 0.5, hard=True, dim=0)"),
    *[row(f"{name}_", "2,3; 4:s; -", f"F.{name}_(x.clone(){more})", f"F.{name}_(x{more})") for name, more in
      {"relu": "", "leaky_relu": ", 0.2", "elu": "", "selu": "", "celu": ", 2.0", "hardtanh": ", -0.5, 0.5",
       "threshold": ", 0.1, 3", "rrelu": ""}.items()],
    row("dropout1d", "2,3,4; 3,4; 5; 2,0,3",
        "seeded(t).nn.functional.dropout1d(x, 0.4)", "_(x, 1.0)", "_(x, 0.5, False)", "_(x, 2)",
        "seeded(t).nn.functional.dropout1d(x.clone(), inplace=True)"),
    row("dropout2d", "2,3,4; 2,3,2,2; 2,3",
        "seeded(t).nn.functional.dropout2d(x, 0.4)", "_(x, 0.0)", "_(x, -1)"),
    row("alpha_dropout", "2,3; -; 0,2",
        "seeded(t).nn.functional.alpha_dropout(x, 0.4, True)", "_(x, 1.0, True)", "_(x)", "_(x, 2)",
        "seeded(t).nn.functional.alpha_dropout(x.clone(), 0.2, True, True)"),
    row("cosine_similarity", "2,3 2,3; 2,2,1,3 2,2,2,3; 3 3; 2,0 2,0; 2,3:i 2,3; 2,3:i 2,3:i; 2,3 2,4",
        "_(x, y)", "_(x, y, dim=0)", "_(x, y, -1, eps=0.5)", "_(x, y, dim=3)", "_(x, 2)", "_(x * 0, y, -1)"),
    row("pairwise_distance", "2,3 2,3; 2,3 3; 3 3; 2,0 2,0; 2,3 2,4",
        "_(x, y)", "_(x, y, p=1)", "_(x, y, 3.0, 0.1, True)", "_(x, y, p=inf)", "_(x, 2)", "_(x, x)"),
    row("bilinear", "2,3 2,4 5,3,4; 3 4 2,3,4; 2,2,3 2,2,4 1,3,4; 0,3 0,4 2,3,4; 2,3 2,4 5,4,3; 2,3 3,4 5,3,4",
        "_(x, y, z)", "_(x, y, z, z[:, 0, 0])", "_(x, y, z, z[0, 0])"),
    row("group_norm", "2,4,3; 3,8; 1,8; 2,12; 0,4,2; 4; 2,4,3,2",
        "_(x, 2)", "_(x, 2, x[0].reshape(4, -1)[:, 0])", "_(x, 1, eps=0.1)", "_(x, 3)",
        "_(x, 2, t.ones(3))", "_(x, 0)"),
    row("poisson_nll_loss", "2,3 2,3:p; 3 2,3:p; -  -:p; 3 3:k; 0 0",
        "_(x, y)", "_(x, y, full=True, reduction='sum')", "_(x.abs() + 1, y, log_input=False, reduction='none')",
        "_(x, y, reduction='x')"),
    row("gaussian_nll_loss", "2,3 2,3 2,3:p; 2,3 2,3 2:p; 2,3 2,3 2,1:p; 2,3 3 2,3:p; 2,3 2,3 2,3; 2,3 2,3 3:p",
        "_(x, y, z)", "_(x, y, z, full=True, eps=1.0, reduction='sum')", "_(x, y, 0.5, reduction='none')",
        "_(x, y, z, reduction='x')", "_(x, y, -0.5)"),
    row("hinge_embedding_loss", "2,3 2,3:n; 3 2,3:n; -  -:n; 5 5:t; 0 0",
        "_(x, y.sign())", "_(x, y.sign(), margin=0.25, reduction='none')", "_(x, y.sign(), reduction='sum')",
        "_(x, 1)"),
    row("margin_ranking_loss", "3 3 3:n; 2,3 2,3 2,3:t; 2,3 2,1 1,3:t; 3 3 2,3:t; 0 0 0",
        "_(x, y, z)", "_(x, y, z, 0.5, reduction='none')", "_(x, y, z, reduction='sum')"),
    row("cosine_embedding_loss", "2,3 2,3 2:n; 3 3 -:t; 2,3 2,3 1:t; 2,3 2,3 2,3:t; 2,3 2,3 -:t; 0,3 0,3 0",
        "_(x, y, z.sign())", "_(x, y, z.sign(), margin=0.5, reduction='none')", "_(x, y, z.sign(), reduction='sum')"),
    row("soft_margin_loss", "2,3 2,3:t; -  -:t; 0 0; 2,3 2,3:n; 2,3 2,4",
        "_(x, y)", "_(x, y, reduction='none')", "_(x * 9, y, reduction='sum')", "_(x, y, reduction='x')"),
    row("multi_margin_loss", "3,4 4:p; 4 4:p",
        *[f"_(x, t.tensor({'[0, 3, 1]'})[:len(x)] if x.ndim == 2 else t.tensor(2){more})"
          for more in ("", ", p=2, reduction='none'", ", margin=0.25, weight=y.detach(), reduction='sum'", ", p=3")],
        "_(x, t.tensor([0, 4, 1]))", "_(x, t.tensor([0]))", "_(x, x)"),
    row("multilabel_margin_loss", "2,4; 4",
        *[f"_(x, t.tensor([[3, 0, -1, 1], [-1, 1, 2, 3]]) if x.ndim == 2 else t.tensor([1, 2, 0, -1]){more})"
          for more in ("", ", reduction='none'", ", reduction='sum'")],
        "_(x, t.tensor([4, 0, 0, 0]))", "_(x, x)"),
    row("multilabel_soft_margin_loss", "2,3 2,3:b 3; 3 3:b 3; 2,2,3 2,2,3:b 3; 2,0 2,0 0",
        "_(x, y * 1.0)", "_(x, y * 1.0, z, reduction='none')", "_(x, y * 1.0, reduction='sum')",
        "_(x, y * 1.0, reduction='x')"),
    row("triplet_margin_loss", "2,3 2,3 2,3; 3 3 3; 2,3 1,3 2,1; 0,3 0,3 0,3; 2,3 3 3",
        "_(x, y, z)", "_(x, y, z, 0.25, p=1, swap=True, reduction='none')", "_(x, y, z, reduction='sum')",
        "_(x, y, z, 0)"),
    row("triplet_margin_with_distance_loss", "2,3 2,3 2,3; 2,3 3 3",
        "_(x, y, z)", "_(x, y, z, distance_function=lambda a, b: (a - b).abs().sum(-1), swap=True, reduction='none')",
        "_(x, y, z, reduction='x')"),
    row("ctc_loss", "6,2,4; 0,2,4",
        "_(x.log_softmax(2), t.tensor([[1, 2, 2], [3, 1, 0]]), t.tensor([6, 5]), t.tensor([3, 2]))",
        "_(x.log_softmax(2), t.tensor([1, 2, 2, 3, 1]), (6, 5), (3, 2), reduction='none')",
        "_(x.log_softmax(2), t.tensor([1, 1, 1, 3]), (3, 6), (3, 1), reduction='none', zero_infinity=True)",
        "_(x.log_softmax(2), t.tensor([0, 1, 1, 2]), t.tensor([6, 4]), t.tensor([4, 0]), blank=3, reduction='sum')",
        "_(x[:, 0].log_softmax(1), t.tensor([1, 2]), t.tensor(6), t.tensor(2))",
        "_(x, t.tensor([1, 2]), (6, 7), (1, 1))", "_(x, t.tensor([1]), (6, 6), (1, 1))",
        "_(x, t.tensor([1]), (6,), (1,))"),
    row("embedding", "5,3",
        "_(t.tensor([1, 0, 1, 4]), x)", "_(t.tensor([[1], [-2]]).abs(), x, padding_idx=-4)", "_(t.tensor(2), x)",
        "_(t.tensor([1, 1, 2]), x, scale_grad_by_freq=True)", "_(t.tensor([1, 1, 2]), x.clone(), max_norm=0.5)",
        "_(t.tensor([0, 3]), x.clone(), None, 0.75, norm_type=1.0)", "_(t.tensor([5]), x)", "_(t.tensor([-1]), x)",
        "_(t.tensor([1.0]), x)", "_(t.tensor([1]), x, padding_idx=5)", "_(t.tensor([1]), x[0])",
        "_(t.zeros(0, dtype=t.int64), x)", "_(t.tensor([1], dtype=t.int32), x)",
        "[F.embedding(t.tensor([0, 0]), x.detach() * 9, max_norm=1.0), x]"),
    *[row("embedding_bag", "5,3 6; 5,3 6:t",
          f"_(t.tensor([1, 0, 1, 4, 3, 2]), x, t.tensor([0, 2, 2, 5]), mode='{mode}')",
          f"_(t.tensor([[1, 0, 1], [4, 3, 3]]), x, mode='{mode}', padding_idx=1)",
          f"_(t.tensor([1, 0, 1]), x, t.tensor([0, 2, 3]), mode='{mode}', include_last_offset=True)",
          f"_(t.tensor([[1, 1, 0]]), x.clone(), mode='{mode}', max_norm=0.5)",
          f"_(t.tensor([1, 1, 0]), x, t.tensor([0]), mode='{mode}', scale_grad_by_freq=True)",
          f"_(t.tensor([1, 0, 1, 4, 3, 2]), x, t.tensor([0, 3]), mode='{mode}', per_sample_weights=y)",
          f"_(t.zeros(0, dtype=t.int64), x, t.tensor([0, 0]), mode='{mode}')",
          f"_(t.tensor([1]), x, mode='{mode}')", f"_(t.tensor([1]), x, t.tensor([1]), mode='{mode}')",
          f"_(t.tensor([9]), x, t.tensor([0]), mode='{mode}')", f"_(t.tensor([1]), x, t.tensor([0, 2]), mode='{mode}')")
      for mode in ("sum", "mean", "max", "typo")],
]
# fmt: on
PLACED = [pytest.param(row, id=f"{row.name}-{k}") for k, row in enumerate(ROWS)]


@pytest.mark.parametrize("row", PLACED)
def test_as_torch(row, oracle):
    check(row, torchs_answer(row, oracle))


# Not smooth where the rows ask, random, or with a gradient that is not the derivative (scale_grad_by_freq, max_norm).
ROUGH = {
    *("prelu", "hardshrink", "rrelu", "rrelu_", "gumbel_softmax", "dropout1d", "dropout2d", "alpha_dropout"),
    *("ctc_loss", "embedding", "embedding_bag", "multi_margin_loss", "gaussian_nll_loss"),
}


@pytest.mark.parametrize("row", [p for p in PLACED if p.values[0].name not in ROUGH])
def test_gradcheck(row):
    assert gradients_check(row)


@needs_torch
def test_every_function_is_torchs():
    import torch

    assert not [name for name in F.__all__ if not hasattr(torch.nn.functional, name)]


TOP = """bilinear celu celu_ cosine_similarity group_norm hardshrink layer_norm pairwise_distance prelu rms_norm rrelu
    rrelu_ selu selu_ threshold threshold_"""


@pytest.mark.parametrize("name", TOP.split())
def test_names_at_the_top_are_these_functions(name):
    assert getattr(tinyrnn, name) is getattr(F, name)


FAR_BELOW_ZERO = {  # function, and its gradient
    "elu": (lambda x: F.elu(x, 0.5), lambda x: 0.5 * math.exp(x)),
    "celu": (lambda x: F.celu(x, 2.0), lambda x: math.exp(x / 2)),
    "selu": (F.selu, lambda x: 1.7580993408473766 * math.exp(x)),
    "silu": (F.silu, lambda x: (1 + x) * math.exp(x)),
    "softplus": (F.softplus, math.exp),
    "logits": (lambda x: F.binary_cross_entropy_with_logits(x, x.detach() * 0, reduction="none"), math.exp),
    "weighted logits": (
        lambda x: F.binary_cross_entropy_with_logits(
            x, x.detach() * 0, pos_weight=tinyrnn.tensor(3.0, dtype=x.dtype), reduction="none"
        ),
        math.exp,
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAR_BELOW_ZERO)
def test_small_gradients_far_below_zero_are_right(name, dtype):
    """They are small, not nothing: a confident negative goes on learning."""
    function, expected = FAR_BELOW_ZERO[name]
    points = [-40.0, -60.0, -80.0]  # where 1 + exp(x) is 1
    x = tinyrnn.tensor(points, dtype=getattr(tinyrnn, dtype), requires_grad=True)
    function(x).sum().backward()
    wanted = [expected(p) for p in points]
    assert x.grad.tolist() == pytest.approx(wanted, rel=1e-5 if dtype == "float32" else 1e-13, abs=0)


@pytest.mark.parametrize("left", [1e-3, 1e-6, 1e-9, 1e-12, 2.0**-50])
def test_erfinv_where_little_is_left_to_one(left):
    y = 1 - left
    x = tinyrnn.tensor([y, -y], dtype=tinyrnn.float64).erfinv().tolist()
    assert x[1] == -x[0]
    slope = 2 / math.sqrt(math.pi) * math.exp(-x[0] * x[0])  # of erf: how far x is from the root
    assert abs(math.erfc(x[0]) - (1 - y)) / slope < 4e-16 * x[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ctc_loss_takes_classes_as_floats(dtype):
    x = (tinyrnn.arange(48.0).reshape(6, 2, 4) % 5).log_softmax(2).requires_grad_()
    results = []
    whole, parts = tinyrnn.tensor([[1, 3], [2, 0]]), tinyrnn.tensor([[1.75, 3], [2, 0]], dtype=getattr(tinyrnn, dtype))
    for targets in (whole, parts):
        loss = tinyrnn.nn.CTCLoss()(x, targets, (6, 6), (2, 1))
        results.append((loss.item(), tinyrnn.autograd.grad(loss, x)[0].tolist()))
    assert results[0] == results[1]
    with pytest.raises(IndexError, match="not one of the 4 classes"):
        tinyrnn.nn.functional.ctc_loss(x, tinyrnn.tensor([float("nan"), 1]), (6, 6), (1, 1))


def test_sparse_gradients_are_refused_by_name():
    with pytest.raises(NotImplementedError, match=r"embedding\(\): sparse=True"):
        F.embedding(tinyrnn.tensor([0]), tinyrnn.ones(2, 2), sparse=True)
    with pytest.raises(NotImplementedError, match=r"embedding_bag\(\): sparse=True"):
        F.embedding_bag(tinyrnn.tensor([[0]]), tinyrnn.ones(2, 2), sparse=True)
    with pytest.raises(NotImplementedError, match="EmbeddingBag: sparse=True"):
        tinyrnn.nn.EmbeddingBag(2, 2, sparse=True)


@pytest.mark.parametrize("name", ["Conv1d", "MaxPool2d", "LazyConv1d", "AvgPool2d", "LinearCrossEntropyLoss"])
def test_other_layers_are_refused_by_name(name):
    with pytest.raises(AttributeError, match=f"torch.nn.{name} is not in tinyrnn"):
        getattr(tinyrnn.nn, name)


def alignments(logs, labels, blank):
    """-log of the probability of labels, a step after the other, by tensors that are differentiated."""
    states = [blank, *(v for label in labels for v in (label, blank))]
    nothing = logs.new_full((), -math.inf)
    row = [logs[0, c] if s < 2 else nothing for s, c in enumerate(states)]
    for t in range(1, len(logs)):
        before, row = row, []
        for s, c in enumerate(states):
            ways = [before[s], *before[s - 1 : s]] if s else [before[0]]
            if s > 1 and c != blank and c != states[s - 2]:
                ways.append(before[s - 2])
            ways = [w for w in ways if w.item() > -math.inf]
            row.append(tinyrnn.stack(ways).logsumexp(0) + logs[t, c] if ways else nothing)
    return -tinyrnn.stack(row[-2:]).logsumexp(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_is_the_sum_over_all_alignments(blank, dtype):
    """Of sequences of several lengths, with labels that repeat, and more of them than a vector has lanes."""
    random = np.random.default_rng(blank)
    lengths, steps, classes = [0, 1, 5, 13, 9], [4, 1, 12, 24, 30], 5
    texts = [[v + (v >= blank) for v in random.integers(0, classes - 1, n).tolist()] for n in lengths]
    texts[4][:3] = [texts[4][0]] * 3
    scores = 3 * random.normal(size=(30, len(texts), classes))
    weights = random.normal(size=len(texts))
    x = tinyrnn.tensor(scores, requires_grad=True)
    logs = x.log_softmax(2)
    expected = tinyrnn.stack([alignments(logs[:t, n], texts[n], blank) for n, t in enumerate(steps)])
    (expected * tinyrnn.tensor(weights)).sum().backward()
    before = tinyrnn.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        tinyrnn.set_num_threads(threads)
        y = tinyrnn.tensor(scores, dtype=getattr(tinyrnn, dtype), requires_grad=True)
        targets = tinyrnn.tensor([v for text in texts for v in text])
        loss = tinyrnn.nn.functional.ctc_loss(y.log_softmax(2), targets, steps, lengths, blank, "none")
        (loss * tinyrnn.tensor(weights, dtype=y.dtype)).sum().backward()
        found.append((loss.detach().numpy(), y.grad.numpy()))
    tinyrnn.set_num_threads(before)
    assert all((a == b).all() for others in found[1:] for a, b in zip(found[0], others, strict=True))
    tolerance = {"rtol": 1e-5, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(found[0][0], expected.detach().numpy(), **tolerance)
    np.testing.assert_allclose(found[0][1], x.grad.numpy(), **tolerance)


def test_ctc_of_what_cannot_be():
    """Too few steps: infinite and NaN, or nothing if that is asked for; certain to the end; and no steps at all."""
    logs = tinyrnn.full((3, 2, 4), math.log(0.25), requires_grad=True)
    for zero in (False, True):
        logs.grad = None
        loss = tinyrnn.nn.functional.ctc_loss(
            logs, tinyrnn.tensor([[1, 1, 2], [2, 2, 0]]), [3, 3], [3, 2], reduction="none", zero_infinity=zero
        )
        assert loss.tolist()[0] == (0.0 if zero else math.inf) and loss.tolist()[1] == pytest.approx(3 * math.log(4))
        loss.sum().backward()
        assert logs.grad[:, 0].isnan().all() if not zero else (logs.grad[:, 0] == 0).all()
        assert logs.grad[:, 1].isfinite().all()
    far = tinyrnn.tensor([[[-2000.0, 0.0], [0.0, -3000.0]], [[0.0, -9.0], [-2000.0, 0.0]]], requires_grad=True)
    loss = tinyrnn.nn.functional.ctc_loss(far, tinyrnn.tensor([[1], [1]]), [2, 2], [1, 1], reduction="none")
    np.testing.assert_allclose(loss.detach().numpy(), [0.0, 0.0], atol=1e-3)
    none = tinyrnn.nn.functional.ctc_loss(far, tinyrnn.tensor([[1], [1]]), [0, 0], [0, 1], reduction="none")
    assert none.tolist() == [0.0, math.inf]
    for shape in ((0, 2, 3), (4, 0, 3), (4, 2, 0)):
        with pytest.raises(RuntimeError, match="log_probs tensor must not be empty"):
            tinyrnn.nn.functional.ctc_loss(
                tinyrnn.zeros(shape), tinyrnn.ones(shape[1], 1), [0] * shape[1], [0] * shape[1]
            )
