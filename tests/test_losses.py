"""Softmax and the losses against torch: values, gradients of everything that has one, warnings, errors.

torch is asked once, in float64; the inputs are multiples of 1/64, exact in float32 too, so the same answer serves for
both types.
"""

import json
import math
import re
import warnings

import numpy as np
import pytest

import tinyrnn
from tinyrnn.autograd import gradcheck

TOLERANCE = {"float64": (1e-12, 1e-10), "float32": (1e-5, 1e-4)}  # of values and of gradients, relative to the largest
INF, NAN = math.inf, math.nan


# ------------------------------------------------------------------------------------------ inputs
def reals(*shape, seed=0):
    """Numbers between -3 and 3, no integers among them."""
    return np.asarray((2 * np.random.default_rng([seed, *shape]).integers(-96, 96, shape) + 1) / 64)


def shares(*shape, seed=0):
    """Numbers between 0 and 1."""
    return np.asarray(np.random.default_rng([seed, *shape]).integers(1, 64, shape) / 64)


def ids(classes, *shape, seed=0):
    """Class numbers."""
    return np.asarray(np.random.default_rng([seed, *shape]).integers(0, classes, shape))


def leaf(torch, value, dtype):
    """Arrays as tensors, those of floating point as leaves that want a gradient; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind != "f":
        return torch.tensor(value.tolist(), dtype=getattr(torch, value.dtype.name)).reshape(value.shape)
    return torch.tensor(value.tolist(), dtype=getattr(torch, dtype)).reshape(value.shape).detach().requires_grad_()


# ------------------------------------------------------------------------------------------ questions and answers
def story(torch, call, inputs, dtype="float64"):
    """What call(torch, *inputs) gives: values and gradients, or the error; and what it warned of."""
    torch.manual_seed(3)
    leaves = [leaf(torch, value, dtype) for value in inputs]
    told = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            out = call(torch, *leaves)
            if isinstance(out, torch.Tensor):
                told = {"type": str(out.dtype).replace(dtype, "same"), "out": out.detach().numpy().tolist()}
                if out.requires_grad:
                    weights = (np.round(64 * np.cos(np.arange(1, out.numel() + 1))) / 64).reshape(tuple(out.shape))
                    out.backward(leaf(torch, weights, str(out.dtype).removeprefix("torch.")).detach())
                    floats = [x for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
                    told["gradients"] = [None if x.grad is None else x.grad.numpy().tolist() for x in floats]
            else:
                told = {"text": repr(out)}
        except (AttributeError, NameError):
            raise  # a mistake in a test, not an answer
        except Exception as error:
            numbers = re.findall(r"\b\d+\b", re.sub(r"pos(ition)? \d", "", str(error)))
            told = {"error": type(error).__name__, "numbers": sorted(set(numbers))}
    told["warnings"] = [f"{w.category.__name__}: {str(w.message)[:50]}" for w in caught]
    return told


def agree(name, got, expected, dtype, gradient):
    """Whether numbers agree within the tolerance of their type, relative to the largest; integers are equal."""
    got, expected = np.asarray(got, float), np.asarray(expected, float)
    assert got.shape == expected.shape, name
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite], name)
    tolerance = TOLERANCE.get(dtype, (0, 0))[gradient] * np.abs(expected[finite]).max(initial=0)
    np.testing.assert_allclose(got[finite], expected[finite], 0, tolerance, err_msg=name)


def same(oracle, cases, dtypes=("float64", "float32")):
    """Ask torch and tinyrnn the same questions; `cases` is name -> (call, inputs...)."""
    ask = lambda torch: json.dumps([story(torch, call, inputs) for call, *inputs in cases.values()])
    answers = json.loads(oracle(lambda torch: {"": np.frombuffer(ask(torch).encode(), np.uint8)})[""].tobytes())
    for (name, (call, *inputs)), expected in zip(cases.items(), answers, strict=True):
        for dtype in dtypes:
            got = story(tinyrnn, call, inputs, dtype)
            assert got.keys() == expected.keys(), f"{name}: torch says {expected}, tinyrnn {got}"
            for what in ("type", "text", "error", "warnings"):
                assert got.get(what) == expected.get(what), name
            assert set(expected.get("numbers", ())) <= set(got.get("numbers", ())), name
            kind = got.get("type", "torch.same").removeprefix("torch.").replace("same", dtype)
            if "out" in expected:
                agree(f"{name} ({dtype})", got["out"], expected["out"], kind, False)
            pairs = zip(got.get("gradients", ()), expected.get("gradients", ()), strict=True)
            for number, (mine, theirs) in enumerate(pairs):
                assert (mine is None) == (theirs is None), name
                if mine is not None:
                    agree(f"gradient {number} of {name} ({dtype})", mine, theirs, kind, True)


def product(calls, inputs):
    """Every call with every list of inputs."""
    return {f"{c} {i}": (call, *values) for c, call in calls.items() for i, values in inputs.items()}


def functional(name, **options):
    return lambda torch, *args: getattr(torch.nn.functional, name)(*args, **options)


# ------------------------------------------------------------------------------------------ softmax
SPECIAL = np.array(
    [[-INF, 1, 2], [-INF, -INF, -INF], [INF, 1, 2], [INF, INF, 0], [NAN, 1, 2], [-INF, -INF, 0], [1, 2, 3]]
)
LARGE = np.array([[1e4, -1e4, 3], [88, 89, 1000], [-(2.0**90), 0, 2.0**90]])
FORMS = {
    "softmax": [
        lambda torch, x, *args, **kwargs: torch.nn.functional.softmax(x, *args, **kwargs),
        lambda torch, x, *args, **kwargs: torch.softmax(x, *args, **kwargs),
        lambda torch, x, *args, **kwargs: x.softmax(*args, **kwargs),
        lambda torch, x, dim=None: torch.nn.Softmax(dim)(x),
    ],
    "log_softmax": [
        lambda torch, x, *args, **kwargs: torch.nn.functional.log_softmax(x, *args, **kwargs),
        lambda torch, x, *args, **kwargs: torch.log_softmax(x, *args, **kwargs),
        lambda torch, x, *args, **kwargs: x.log_softmax(*args, **kwargs),
        lambda torch, x, dim=None: torch.nn.LogSoftmax(dim)(x),
    ],
}


@pytest.mark.parametrize("function", FORMS)
def test_softmax_along_every_dimension(oracle, function):
    cases = {}
    for shape in [(), (1,), (5,), (3, 4), (2, 3, 4), (0, 3), (3, 0), (2, 0, 3)]:
        for dim in range(-len(shape) - 1, len(shape) + 1):
            form = FORMS[function][dim % 4]
            cases[f"{shape} {dim}"] = (lambda torch, x, form=form, dim=dim: form(torch, x, dim), reals(*shape))
    same(oracle, cases)


@pytest.mark.parametrize("function", FORMS)
def test_softmax_of_what_is_not_ordinary(oracle, function):
    form = FORMS[function][0]
    calls = {dim: lambda torch, x, dim=dim: form(torch, x, dim) for dim in (0, 1)}
    same(oracle, {
        **product(calls, {"special": [SPECIAL], "large": [LARGE], "wide": [reals(2, 70) * 16]}),
        "transposed": (lambda torch, x: form(torch, x.t(), 1), reals(3, 5)),
        "with gaps": (lambda torch, x: form(torch, x[:, ::2], 1), reals(3, 5)),
        "integers": (calls[0], ids(3, 4)),
        "booleans": (calls[0], ids(2, 4) > 0),
        "cast to integers": (lambda torch, x: form(torch, x, 0, dtype=torch.int64), reals(4)),
        "text": (lambda torch, x: form(torch, x, "a"), reals(4)),
    })  # fmt: skip
    same(oracle, {
        "integers cast": (lambda torch, x: form(torch, x, 0, dtype=torch.float64), ids(3, 4)),
        "floats cast": (lambda torch, x: form(torch, x.float(), 0, dtype=torch.float64), reals(4)),
    }, ("float64",))  # fmt: skip


@pytest.mark.parametrize("function", FORMS)
def test_the_dimension_of_softmax_should_be_named(oracle, function):
    """The functional form and the module choose one, with a warning; the others refuse."""
    shapes = [(3,), (2, 3), (2, 3, 2), (2, 2, 2, 2)]
    same(oracle, product(dict(enumerate(FORMS[function])), {shape: [reals(*shape)] for shape in shapes}))


# ------------------------------------------------------------------------------------------ class numbers as targets
SHAPES = [(4,), (3, 4), (2, 4, 5), (2, 3, 2, 2), (0, 4), (2, 4, 0), (1, 3)]
CLASSIFY = ["cross_entropy", "nll_loss"]


def classify(function, **options):
    """The loss; class weights, if given, want no gradient."""
    return lambda torch, x, target, *w: getattr(torch.nn.functional, function)(
        x, target, *(v.detach() for v in w), **options
    )


def scores(shape):
    """Scores, targets and class weights for scores of a shape."""
    classes = shape[0] if len(shape) == 1 else shape[1]
    batch = () if len(shape) == 1 else (shape[0], *shape[2:])
    return reals(*shape), ids(classes, *batch), shares(classes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("function", CLASSIFY)
def test_class_numbers(oracle, function, shape):
    """Shapes, reductions, class weights, an ignored class, smoothed labels."""
    x, target, weight = scores(shape)
    smooth = [{}, {"label_smoothing": 0.25}, {"label_smoothing": 1.0}] if function == "cross_entropy" else [{}]
    options = [
        {"reduction": reduction, **ignored, **smoothing}
        for reduction in ("mean", "sum", "none") for ignored in ({}, {"ignore_index": 1}) for smoothing in smooth
    ]  # fmt: skip
    calls = {str(o): classify(function, **o) for o in options}
    same(oracle, product(calls, {"": [x, target], "weighted": [x, target, weight]}))


@pytest.mark.parametrize("function", CLASSIFY)
def test_odd_class_numbers(oracle, function):
    x, target = reals(3, 4), np.array([1, 0, 3])
    loss, each = classify(function), classify(function, reduction="none")
    other = lambda torch, x: torch.ones(4, dtype=torch.float64 if x.dtype == torch.float32 else torch.float32)
    same(oracle, {
        "all ignored": (loss, x, np.array([-100] * 3)),
        "all ignored, summed": (classify(function, reduction="sum"), x, np.array([-100] * 3)),
        "ignored beyond the classes": (classify(function, ignore_index=7), x, np.array([7, 0, 1])),
        "weights of zero": (loss, x, target, np.zeros(4)),
        "one weight of zero": (loss, x, target, np.array([1.0, 0, 1, 0])),
        "a negative weight": (loss, x, target, np.array([1.0, -2, 1, 3])),
        "large": (each, LARGE, np.array([0, 1, 2])),
        "large and wrong": (each, LARGE, np.array([1, 0, 0])),
        "special": (each, SPECIAL, np.array([0, 1, 0, 1, 0, 1, 2])),
        "special, ignored": (classify(function, ignore_index=0), SPECIAL, np.array([0, 1, 0, 1, 0, 0, 2])),
        "transposed": (lambda torch, x, t: loss(torch, x.t(), t), reals(4, 3), target),
        "classes last": (lambda torch, x, t: loss(torch, x.transpose(1, 2), t), reals(2, 3, 4), ids(4, 2, 3)),
        "a column of targets": (lambda torch, x, t: loss(torch, x, t[:, 0]), x, ids(4, 3, 2)),
        "many rows": (loss, reals(65, 4), ids(4, 65)),
        "one of 256": (loss, x, target.astype(np.uint8)),
        "a weight of another type": (lambda torch, x, t: loss(torch, x, t, other(torch, x)), x, target),
        "a weight that wants a gradient": (functional(function), x, target, shares(4)),
    })  # fmt: skip


@pytest.mark.parametrize("function", CLASSIFY)
def test_class_numbers_that_are_refused(oracle, function):
    """By torch's exception, with the numbers that its message has."""
    loss, x = classify(function), reals(3, 4)
    shapes = [((3, 4), (2,)), ((3, 4), (3, 1)), ((3, 4), ()), ((4,), (2,)), ((2, 4, 5), (2, 4)), ((2, 4, 5), (3, 5)),
              ((2, 4, 5), (2,)), ((2, 4, 5, 2), (2, 5, 3)), ((), ()), ((), (1,)), ((3, 0), (3,))]  # fmt: skip
    same(oracle, {
        **{f"{a} {b}": (loss, reals(*a), ids(2, *b)) for a, b in shapes},
        **{name: (loss, x, np.arange(3).astype(name)) for name in ("int32", "bool", "int16", "float64")},
        "too large": (loss, x, np.array([1, 4, 0])),
        "negative": (loss, x, np.array([1, -1, 0])),
        "too large, of many": (loss, reals(65, 4), np.arange(65) // 16),
        "negative, of many": (loss, reals(65, 4), np.arange(65) // 16 - 1),
        "very large": (loss, x, np.array([1, 2**40, 0])),
        "integer scores": (loss, ids(3, 3, 4), np.arange(3)),
        "three weights": (loss, x, np.arange(3), shares(3)),
        "a row of weights": (loss, x, np.arange(3), shares(1, 4)),
        "integer weights": (lambda torch, x, t: loss(torch, x, t, torch.arange(4)), x, np.arange(3)),
        "a list of scores": (lambda torch, t: loss(torch, [1.0], t), np.arange(3)),
        "a list of targets": (lambda torch, x: loss(torch, x, [1, 0, 3]), x),
        "a list of weights": (lambda torch, x, t: functional(function)(torch, x, t, [1.0] * 4), x, np.arange(3)),
        "half a class": (classify(function, ignore_index=0.5), x, np.arange(3)),
        **{str(r): (classify(function, reduction=r), x, np.arange(3)) for r in ("max", "Mean", None, 0)},
        "too smooth": (functional("cross_entropy", label_smoothing=1.5), x, np.arange(3)),
    })  # fmt: skip


@pytest.mark.parametrize("label_smoothing", [-0.1, NAN])
def test_smoothing_below_zero_is_refused(label_smoothing):
    """torch takes it and smooths nothing."""
    with pytest.raises(RuntimeError, match="label_smoothing must be between 0.0 and 1.0"):
        tinyrnn.nn.functional.cross_entropy(
            tinyrnn.ones(2, 3), tinyrnn.zeros(2).long(), label_smoothing=label_smoothing
        )


# ------------------------------------------------------------------------------------------ probabilities as targets
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_probabilities(oracle, shape):
    x, _, weight = scores(shape)
    calls = {
        f"{reduction} {smoothing}": functional("cross_entropy", reduction=reduction, label_smoothing=smoothing)
        for reduction in ("mean", "sum", "none") for smoothing in (0.0, 0.25)
    }  # fmt: skip
    same(oracle, product(calls, {"": [x, shares(*shape)], "weighted": [x, shares(*shape), weight]}))


def test_odd_probabilities(oracle):
    loss, x, p = functional("cross_entropy"), reals(3, 4), shares(3, 4)
    same(oracle, {
        "special": (functional("cross_entropy", reduction="none"), SPECIAL, shares(7, 3)),
        "ignored": (functional("cross_entropy", ignore_index=2), x, p),
        "ignored below zero": (functional("cross_entropy", ignore_index=-1), x, p),
        "of another shape": (loss, x, shares(3, 3)),
        "of integers": (loss, x, ids(2, 3, 4)),
        "integer scores": (loss, ids(3, 3, 4), p),
        "three weights": (loss, x, p, shares(3)),
        "without dimensions": (loss, reals(), shares()),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------ element by element
PAIRS = {
    "mse_loss": [{}],
    "l1_loss": [{}],
    "smooth_l1_loss": [{}, {"beta": 0.25}, {"beta": 0}, {"beta": INF}],
    "huber_loss": [{}, {"delta": 0.25}, {"delta": 2}],
    "binary_cross_entropy": [{}],
    "binary_cross_entropy_with_logits": [{}],
    "kl_div": [{}, {"log_target": True}],
}
MODULES = {
    "mse_loss": "MSELoss", "l1_loss": "L1Loss", "smooth_l1_loss": "SmoothL1Loss", "huber_loss": "HuberLoss",
    "binary_cross_entropy": "BCELoss", "binary_cross_entropy_with_logits": "BCEWithLogitsLoss", "kl_div": "KLDivLoss",
    "cross_entropy": "CrossEntropyLoss", "nll_loss": "NLLLoss",
}  # fmt: skip


def predictions(name):
    return shares if name == "binary_cross_entropy" else reals


def truths(name):
    return shares if name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div") else reals


def pair(name, a, b):
    return [predictions(name)(*a), truths(name)(*b, seed=1)]


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(oracle, name):
    """Shapes, reductions, options; the target has a gradient too."""
    reductions = ["mean", "sum", "none", *(["batchmean"] if name == "kl_div" else [])]
    calls = {f"{r} {o}": functional(name, reduction=r, **o) for r in reductions for o in PAIRS[name]}
    same(oracle, product(calls, {s: pair(name, s, s) for s in [(), (3,), (2, 3), (0, 3)]}))


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_two_shapes(oracle, name):
    """Broadcast with a warning, refused, or (kl_div) just broadcast."""
    shapes = [((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), (3,)), ((2, 3), (2, 4)), ((2, 3), (2,))]
    same(oracle, product({"": functional(name)}, {f"{a} {b}": pair(name, a, b) for a, b in shapes}))


@pytest.mark.parametrize("name", PAIRS)
def test_ties_zeros_and_extremes(oracle, name):
    calls = {str(o): functional(name, reduction="none", **o) for o in PAIRS[name]}
    ties = predictions(name)(6)
    unit = {
        "ends": [np.array([0.0, -0.0, 1, 0, 1, 0.5]), np.array([0.0, 0, 0, 1, 1, 0.5])],
        "near the ends": [np.array([2.0**-100, 1 - 2.0**-20, 2.0**-20]), np.array([1.0, 0, 0.25])],
    }
    wide = {
        "edges": [np.array([0.25, -0.25, 1.0, -1.0, 2.0]), np.zeros(5)],
        "extremes": [np.array([1e4, -1e4, 2.0**40, -(2.0**40), 88, -104, INF, -INF, NAN, 0, -(2.0**-40)]),
                     np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, NAN, 0])],
    }  # fmt: skip
    inputs = {"ties": [ties, ties.copy()], **unit, **({} if name == "binary_cross_entropy" else wide)}
    same(oracle, product(calls, inputs), ("float64",) if name == "binary_cross_entropy" else ("float64", "float32"))


@pytest.mark.parametrize("name", PAIRS)
def test_what_pairs_are_made_of(oracle, name):
    """Strided memory, one side without a gradient, other types."""
    loss = functional(name, reduction="none")
    same(oracle, {
        "transposed": (lambda torch, x, y: loss(torch, x.t(), y), *pair(name, (3, 2), (2, 3))),
        "constant target": (lambda torch, x, y: loss(torch, x, y.detach()), *pair(name, (3,), (3,))),
        "constant input": (lambda torch, x, y: loss(torch, x.detach(), y), *pair(name, (3,), (3,))),
        "integers": (loss, ids(2, 3), ids(2, 3)),
        "integers, mean": (functional(name), ids(2, 3), ids(2, 3)),
        "integer input": (loss, ids(2, 3), truths(name)(3)),
        "reduced by a maximum": (functional(name, reduction="max"), *pair(name, (3,), (3,))),
        "reduced by nothing": (functional(name, reduction=None), *pair(name, (3,), (3,))),
        **({} if name == "huber_loss" else {  # torch's huber_loss has no gradient then, ours has
            "integer target": (loss, predictions(name)(3), ids(2, 3)),
            "boolean target": (loss, predictions(name)(3), ids(2, 3) > 0),
        }),
        "types": (lambda torch, x, y: [str(loss(torch, x.to(a), y.to(b)).dtype)
                                       for a, b in ((torch.float32, torch.float64), (torch.float64, torch.float32))],
                  *pair(name, (3,), (3,))),
    })  # fmt: skip


def test_thresholds_are_positive(oracle):
    pairs = {"": [reals(3), reals(3, seed=1)]}
    same(oracle, product({f"{o}": functional("smooth_l1_loss", **o) for o in ({"beta": -1.0}, {"beta": NAN})}, pairs))
    same(oracle, product({f"{o}": functional("huber_loss", **o) for o in ({"delta": 0}, {"delta": -1.0})}, pairs))


# ------------------------------------------------------------------------------------------ weights
WEIGHTS = [(3,), (2, 3), (1,), (2, 1), (), (2,), (4, 2, 3)]


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights_of_the_inputs_size(oracle, name):
    calls = {r: lambda torch, x, y, w, r=r: getattr(torch.nn.functional, name)(x, y, weight=w, reduction=r)
             for r in ("mean", "sum", "none", "max")}  # fmt: skip
    inputs = {shape: [reals(2, 3), reals(2, 3, seed=1), shares(*shape)] for shape in WEIGHTS}
    same(oracle, product(calls, {**inputs, "broadcast": [reals(2, 3), reals(3, seed=1), shares(2, 3)]}))


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_weights_that_broadcast(oracle, name):
    loss = lambda torch: getattr(torch.nn.functional, name)
    calls = {r: lambda torch, x, y, w, r=r: loss(torch)(x, y, w.detach(), reduction=r) for r in ("mean", "sum", "none")}
    if "logits" in name:
        calls["positive"] = lambda torch, x, y, w: loss(torch)(x, y, pos_weight=w.detach())
        calls["both"] = lambda torch, x, y, w: loss(torch)(x, y, w.detach(), pos_weight=w.detach(), reduction="none")
    x, y = pair(name, (2, 3), (2, 3))
    same(oracle, {
        **product(calls, {shape: [x, y, shares(*shape)] for shape in WEIGHTS}),
        "integer weights": (lambda torch, x, y: loss(torch)(x, y, torch.arange(3)), x, y),
        "a weight that wants a gradient": (functional(name), x, y, shares(3)),
        "types": (lambda torch, x, y: str(loss(torch)(x.float(), y.float(), y.double()).dtype), x, y),
    })  # fmt: skip


def test_odd_binary_targets(oracle):
    bce, logits = functional("binary_cross_entropy"), functional("binary_cross_entropy_with_logits")
    half = np.array([0.5, 0.5])
    same(oracle, {
        **{f"input {v}": (bce, np.array([v, 0.5]), half) for v in (-0.25, 1.25, NAN)},
        **{f"target {v}": (bce, half, np.array([v, 0.5])) for v in (-0.25, 1.25, NAN)},
        "logits take any target": (logits, half, np.array([-2.0, 3.0])),
        "a positive weight that wants a gradient": (
            lambda torch, x, y, w: torch.nn.functional.binary_cross_entropy_with_logits(x, y, pos_weight=w),
            half, half, half),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------ modules, flags
def some(name):
    """Inputs for a loss."""
    return [reals(3, 4), ids(4, 3)] if name in CLASSIFY else pair(name, (3, 4), (3, 4))


@pytest.mark.parametrize("name", MODULES)
def test_modules(oracle, name):
    module = lambda torch, *args, **kwargs: getattr(torch.nn, MODULES[name])(*args, **kwargs)
    weighted = name in CLASSIFY or name.startswith("binary")
    cases = {
        "printed": (lambda torch: module(torch),),
        "called": (lambda torch, x, y: module(torch)(x, y), *some(name)),
        "summed": (lambda torch, x, y: module(torch, reduction="sum")(x, y), *some(name)),
        "of any reduction until it is called": (lambda torch: module(torch, reduction="max").reduction,),
    }
    if weighted:
        cases |= {
            "weighted": (lambda torch, x, y, w: module(torch, w.detach())(x, y), *some(name), shares(4)),
            "saved": (lambda torch: [list(module(torch, w).state_dict()) for w in (None, torch.ones(2))],),
        }
    if name != "huber_loss":
        first = [None] if weighted else []
        cases["by the old flags"] = (lambda torch, x, y: module(torch, *first, False)(x, y), *some(name))
    same(oracle, cases)


def test_options_of_modules(oracle):
    nn = {
        "ignored": (lambda torch, x, t: torch.nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.25)(x, t),
                    reals(3, 4), ids(4, 3)),
        "nll": (lambda torch, x, t: torch.nn.NLLLoss(ignore_index=1)(x, t), reals(3, 4), ids(4, 3)),
        "beta": (lambda torch, x, y: torch.nn.SmoothL1Loss(beta=0.25)(x, y), reals(4), reals(4, seed=1)),
        "delta": (lambda torch, x, y: torch.nn.HuberLoss("sum", 0.25)(x, y), reals(4), reals(4, seed=1)),
        "positive": (lambda torch, x, y, w: torch.nn.BCEWithLogitsLoss(pos_weight=w.detach())(x, y),
                     reals(2, 4), shares(2, 4), shares(4)),
        "saved": (lambda torch: list(torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(2)).state_dict()),),
        "logarithms": (lambda torch, x, y: torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(x, y),
                       reals(2, 3), reals(2, 3, seed=1)),
    }  # fmt: skip
    same(oracle, nn)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "huber_loss"])
def test_old_flags(oracle, name):
    """size_average and reduce, with torch's warning."""
    flags = [{"size_average": False}, {"reduce": False}, {"size_average": True},
             {"size_average": False, "reduce": True}, {"size_average": False, "reduce": False}]  # fmt: skip
    same(oracle, product({str(f): functional(name, **f) for f in flags}, {"": some(name)}), ("float64",))


# ------------------------------------------------------------------------------------------ without an oracle
@pytest.mark.parametrize("name", [*MODULES, *FORMS])
def test_gradients_are_those_of_differences(name):
    F = tinyrnn.nn.functional
    x = tinyrnn.tensor(predictions(name)(3, 4), requires_grad=True)
    if name in FORMS:
        assert gradcheck(lambda x: getattr(F, name)(x, 1), (x,))
    elif name in CLASSIFY:
        target, weight = tinyrnn.tensor(ids(4, 3)), tinyrnn.tensor(shares(4))
        assert gradcheck(lambda x: getattr(F, name)(x, target, weight), (x,))
        if name == "cross_entropy":
            assert gradcheck(lambda x: F.cross_entropy(x, target, weight, label_smoothing=0.25), (x,))
            p = tinyrnn.tensor(shares(3, 4), requires_grad=True)
            assert gradcheck(lambda x, p: F.cross_entropy(x, p, label_smoothing=0.25), (x, p))
    else:
        y = tinyrnn.tensor(truths(name)(3, 4, seed=1), requires_grad=True)
        for options in PAIRS[name]:
            assert gradcheck(lambda x, y, o=options: getattr(F, name)(x, y, reduction="sum", **o), (x, y))


def test_large_scores_keep_their_digits():
    """In float32, gradients at scores around 2 ** 14 are as good as around 0."""
    x, target = reals(20, 7), tinyrnn.tensor(ids(7, 20))
    for shift in (0, 2**14):
        scores = tinyrnn.tensor(x + shift, dtype=tinyrnn.float32, requires_grad=True)
        tinyrnn.nn.functional.cross_entropy(scores, target).backward()
        exact = np.exp(x) / np.exp(x).sum(1, keepdims=True)
        exact[np.arange(20), target.array] -= 1
        np.testing.assert_allclose(scores.grad.array, exact / 20, atol=1e-8)


@pytest.mark.parametrize("name", ["cross_entropy", "l1_loss"])
def test_scores_must_stay_until_the_backward(name):
    """torch keeps something computed from them and lets them be written over; here that is noticed."""
    x, y = (tinyrnn.tensor(value) for value in some(name))
    x.requires_grad_()
    scores = x * 1
    loss = getattr(tinyrnn.nn.functional, name)(scores, y)
    scores.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", [name for name in [*PAIRS, *FORMS] if name != "l1_loss"])
def test_inputs_that_are_written_over_before_the_backward(oracle, name):
    """A backward that needs the old content of the input, or of the result, notices."""
    more = [[1]] if name in FORMS else []

    def body(torch, which, x, *y):
        x = x * 1
        out = getattr(torch.nn.functional, name)(x, *y, *(m[0] for m in more))
        (x if which == "input" else out).add_(1)
        return (out * out).sum()  # the sum of a softmax has no gradient but what rounding leaves

    inputs = [reals(3, 4)] if name in FORMS else some(name)
    whiches = ["input", "result"] if name in FORMS else ["input"]
    same(oracle, {w: (lambda torch, *args, w=w: body(torch, w, *args), *inputs) for w in whiches}, ("float64",))


@pytest.mark.parametrize("which", ["target", "weight"])
def test_targets_and_weights_may_be_written_over(which):
    """The backward is that of what was there; torch refuses."""
    x, target, weight = (
        tinyrnn.tensor(reals(3, 4), requires_grad=True),
        tinyrnn.tensor(ids(4, 3)),
        tinyrnn.tensor(shares(4)),
    )
    positive = tinyrnn.tensor(shares(4))
    F = tinyrnn.nn.functional
    for loss in (lambda: F.cross_entropy(x, target, weight), lambda: F.nll_loss(x, target, weight),
                 lambda: F.binary_cross_entropy_with_logits(x, x.detach() * 0, pos_weight=positive)):  # fmt: skip
        x.grad = None
        loss().backward()
        expected, x.grad = x.grad, None
        late = loss()
        before = target.clone(), weight.clone(), positive.clone()
        (target if which == "target" else weight).fill_(0)
        positive.fill_(7)
        late.backward()
        np.testing.assert_array_equal(x.grad.array, expected.array)
        for t, old in zip((target, weight, positive), before, strict=True):
            t.copy_(old)


def test_a_bad_target_leaves_nothing_behind():
    """No node, no gradient, after an error."""
    x = tinyrnn.ones(2, 3, requires_grad=True)
    with pytest.raises(IndexError, match="Target 3 is out of bounds.*3 classes"):
        tinyrnn.nn.functional.cross_entropy(x, tinyrnn.tensor([0, 3]))
    tinyrnn.nn.functional.cross_entropy(x, tinyrnn.tensor([0, 2])).backward()
    assert x.grad is not None
