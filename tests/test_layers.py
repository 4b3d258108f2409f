"""The plain layers and the activations against torch: values, gradients, first parameters, random masks, printed forms.

Asked and compared as in test_losses.py.
"""

import math
import warnings

import numpy as np
import pytest
from test_losses import functional, ids, leaf, product, reals, same, shares

import tinyrnn
from tinyrnn.autograd import gradcheck

INF, NAN = math.inf, math.nan


# ------------------------------------------------------------------------------------------ layer norm
def normed(*shape, **options):
    """layer_norm over the last dimensions of these sizes; weight and bias are None where not given."""
    return lambda torch, x, weight=None, bias=None: torch.nn.functional.layer_norm(x, shape, weight, bias, **options)


@pytest.mark.parametrize("shape, over", [
    ((4,), (4,)), ((3, 4), (4,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((2, 3, 4), (2, 3, 4)), ((1, 4), (4,)),
    ((0, 4), (4,)), ((2, 0, 4), (4,)), ((3, 0), (0,)), ((3, 4), (3, 4)), ((1, 4), (1, 4)), ((0, 4), (0, 4)),
    ((2, 1, 2, 3), (1, 2, 3)),
])  # fmt: skip
def test_layer_norm(oracle, shape, over):
    x, weight, bias = reals(*shape), reals(*over, seed=1), reals(*over, seed=2)
    call = normed(*over)
    same(oracle, {
        "plain": (call, x),
        "weight": (normed(*over, eps=0.125), x, weight),
        "bias": (lambda torch, x, b: call(torch, x, None, b), x, bias),
        "both": (call, x, weight, bias),
        "constant input": (lambda torch, x, w, b: call(torch, x.detach(), w, b), x, weight, bias),
        "module": (lambda torch, x: torch.nn.LayerNorm(over, eps=0.125, dtype=x.dtype)(x), x),
        "module without parameters": (lambda torch, x: torch.nn.LayerNorm(list(over), elementwise_affine=False)(x), x),
        "module without bias": (lambda torch, x: torch.nn.LayerNorm(over, bias=False, dtype=x.dtype)(x), x),
    })  # fmt: skip


def test_odd_layer_norms(oracle):
    x = reals(2, 3)
    other = lambda torch, x: torch.ones(3, dtype=torch.float64 if x.dtype == torch.float32 else torch.float32)
    same(oracle, {
        "transposed": (lambda torch, x, w: normed(5)(torch, x.t(), w), reals(5, 3), reals(5, seed=1)),
        "with gaps": (lambda torch, x, w: normed(3)(torch, x[:, ::2], w), reals(3, 5), reals(3, seed=1)),
        "a constant row": (normed(3), np.array([[0.5, 0.5, 0.5], [1, 2, 4]])),
        "nan and infinity": (normed(3), np.array([[INF, 1, 2], [NAN, 1, 2], [1, 2, 4]])),
        "one of four": (normed(4), x), "one of two": (normed(2), x), "too many": (normed(2, 2, 3), x),
        "none": (normed(), x), "of nothing": (normed(1), reals()),
        "a weight of four": (normed(3), x, reals(4)), "a row of weights": (normed(3), x, reals(1, 3)),
        "a bias of four": (normed(3), x, reals(3), reals(4)),
        "a size": (lambda torch, x: torch.nn.functional.layer_norm(x, 3), x),
        "half a size": (normed(3.0), x),
        "integers": (normed(3), ids(3, 2, 3)),
        "a weight of another type": (lambda torch, x: normed(3)(torch, x, other(torch, x)), x),
    })  # fmt: skip


def test_layer_norm_far_from_zero():
    """The mean does not cost the digits of what is left."""
    x = reals(4, 15)
    far = tinyrnn.tensor(x + 2**14, dtype=tinyrnn.float32, requires_grad=True)
    near = tinyrnn.tensor(x, requires_grad=True)
    for t in (far, near):
        y = tinyrnn.nn.functional.layer_norm(t, (15,))
        (y**3).sum().backward()
    np.testing.assert_allclose(far.grad.array, near.grad.array, atol=1e-5)


# ------------------------------------------------------------------------------------------ embedding
def looked_up(**options):
    return lambda torch, index, weight: torch.nn.functional.embedding(index, weight, **options)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2), (0,), (2, 0)], ids=str)
def test_embedding(oracle, shape):
    index, weight = ids(5, *shape), reals(5, 4)
    paddings = {f"padding {p}": (looked_up(padding_idx=p), index, weight) for p in (0, 2, -1, -5)}
    same(
        oracle,
        {"plain": (looked_up(), index, weight), "int32": (looked_up(), index.astype(np.int32), weight), **paddings},
    )


def test_odd_embeddings(oracle):
    weight = reals(5, 4)
    same(oracle, {
        "often the same": (looked_up(), np.array([1] * 50 + [0] * 3), weight),
        "transposed": (lambda torch, i, w: looked_up()(torch, i.t(), w.t()), ids(4, 2, 3), weight),
        **{f"index {i}": (looked_up(), np.array(i), weight) for i in ([5], [-1], [0, 7])},
        **{f"padding {p}": (looked_up(padding_idx=p), ids(5, 3), weight) for p in (5, -6)},
        **{name: (looked_up(), np.array([0, 1]).astype(name), weight) for name in ("float64", "bool", "int16")},
        "a list": (lambda torch, w: torch.nn.functional.embedding([0, 1], w), weight),
        "a vector": (looked_up(), np.array([0, 1]), reals(5)),
        "an empty table": (looked_up(), np.zeros(0, int), reals(0, 3)),
    })  # fmt: skip


def test_embedding_modules(oracle):
    def given(torch):
        """A pretrained table is shared, and trained only if asked for; its padding row is kept."""
        weight = torch.ones(4, 2)
        frozen = torch.nn.Embedding.from_pretrained(weight, padding_idx=1)
        trained = torch.nn.Embedding.from_pretrained(weight, freeze=False)
        weight.fill_(3.0)
        return [frozen.weight.tolist(), frozen.weight.requires_grad, trained.weight.requires_grad, frozen.padding_idx]

    def shortened(torch, i):
        table = torch.nn.Embedding(5, 3, max_norm=0.5, dtype=torch.float64)
        table(i).square().sum().backward()
        return [table.weight.detach(), table.weight.grad]

    make = lambda *args, **kwargs: (lambda torch: torch.nn.Embedding(*args, **kwargs),)
    same(oracle, {
        "rows made shorter": (shortened, ids(5, 4)),
        "called": (lambda torch, i: torch.nn.Embedding(5, 3, padding_idx=-4, dtype=torch.float64)(i), ids(5, 4)),
        "given": (given,),
        "frozen": (lambda torch: torch.nn.Embedding(3, 2, _freeze=True).weight.requires_grad,),
        **{f"printed {a} {k}": make(*a, **k) for a, k in [
            ((5, 3), {}), ((5, 3, 1), {}), ((5, 3, -1), {}), ((5, 3), {"scale_grad_by_freq": True}),
            ((5, 3), {"max_norm": 1.0, "norm_type": 1.0})]},
        "padding beyond": make(5, 3, 5), "padding before": make(5, 3, -6), "of a negative size": make(-1, 3),
        "a table of another shape": (lambda torch: torch.nn.Embedding(5, 3, _weight=torch.ones(4, 3)),),
        "a pretrained vector": (lambda torch: torch.nn.Embedding.from_pretrained(torch.ones(4)),),
    }, ("float64",))  # fmt: skip


# ------------------------------------------------------------------------------------------ linear
@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4), (2, 1, 3, 4), (0, 4), (2, 0, 4)], ids=str)
def test_linear(oracle, shape):
    x, weight, bias = reals(*shape), reals(3, 4, seed=1), reals(3, seed=2)
    linear = functional("linear")
    same(oracle, {
        "with bias": (linear, x, weight, bias),
        "without": (linear, x, weight),
        "constant": (lambda torch, x, w, b: linear(torch, x.detach(), w, b), x, weight, bias),
    })  # fmt: skip
    same(oracle, {
        "module": (lambda torch, x: torch.nn.Linear(4, 3, dtype=x.dtype)(x), x),
        "module without bias": (lambda torch, x: torch.nn.Linear(4, 3, bias=False, dtype=x.dtype)(x), x),
    }, ("float64",))  # fmt: skip


def test_odd_linear_layers(oracle):
    linear = functional("linear")
    shapes = [((), (3, 4)), ((5,), (3, 4)), ((2, 5), (3, 4)), ((2, 3, 5), (3, 4), (3,)), ((2, 4), (2, 3, 4))]
    other = lambda torch, t: t.to(torch.float64 if t.dtype == torch.float32 else torch.float32)
    same(oracle, {
        "transposed": (lambda torch, x, w, b: linear(torch, x.t(), w.t(), b), reals(4, 2), reals(4, 3), reals(3)),
        **{" ".join(map(str, s)): (linear, *(reals(*shape) for shape in s)) for s in shapes},
        "another type": (lambda torch, x, w: linear(torch, x, other(torch, w)), reals(2, 4), reals(3, 4)),
        "a bias of another type": (lambda torch, x, w, b: linear(torch, x, w, other(torch, b)),
                                   reals(2, 4), reals(3, 4), reals(3)),
        "integer input": (linear, ids(3, 2, 4), reals(3, 4)),
        "a list": (lambda torch, w: linear(torch, [1.0], w), reals(3, 4)),
        "printed": (lambda torch: [torch.nn.Linear(4, 3), torch.nn.Linear(4, 3, bias=False)],),
        "of a negative size": (lambda torch: torch.nn.Linear(-1, 3),),
        "of half a size": (lambda torch: torch.nn.Linear(1.5, 3),),
    })  # fmt: skip


@pytest.mark.parametrize("shape, bias", [((2, 4), 4), ((4,), 2), ((2, 3, 4), 2)])
def test_a_bias_of_the_wrong_size(shape, bias):
    with pytest.raises(RuntimeError, match=rf"linear.*{bias}.*3"):
        tinyrnn.nn.functional.linear(tinyrnn.ones(shape), tinyrnn.ones(3, 4), tinyrnn.ones(bias))


# ------------------------------------------------------------------------------------------ initial parameters
LAYERS = {
    "linear": lambda torch, **how: torch.nn.Linear(7, 5, **how),
    "wide": lambda torch, **how: torch.nn.Linear(40, 3, **how),
    "single": lambda torch, **how: torch.nn.Linear(1, 1, **how),
    "no bias": lambda torch, **how: torch.nn.Linear(3, 2, bias=False, **how),
    "embedding": lambda torch, **how: torch.nn.Embedding(7, 5, **how),
    "small embedding": lambda torch, **how: torch.nn.Embedding(2, 3, **how),
    "padded": lambda torch, **how: torch.nn.Embedding(7, 5, padding_idx=2, **how),
    "layer norm": lambda torch, **how: torch.nn.LayerNorm((2, 3), **how),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_parameters_are_torchs_bit_for_bit(oracle, dtype):
    """One after the other from one stream, which also goes on in the same way."""

    def made(torch):
        torch.manual_seed(11)
        layers = [make(torch, dtype=getattr(torch, dtype)) for make in LAYERS.values()]
        values = [p.detach().numpy().ravel() for layer in layers for p in layer.parameters()]
        layers[0].reset_parameters()
        return {"": np.concatenate([*values, layers[0].weight.detach().numpy().ravel(), torch.rand(1).numpy()])}

    np.testing.assert_array_equal(made(tinyrnn)[""], oracle(made)[""])


# ------------------------------------------------------------------------------------------ dropout
def dropped(**options):
    return lambda torch, x: torch.nn.functional.dropout(x, **options)


VIEWS = {
    "contiguous": lambda x: x,
    "permuted": lambda x: x.permute(2, 0, 1),
    "transposed": lambda x: x.transpose(0, 1),
    "with gaps": lambda x: x[:, ::2],
    "beginning": lambda x: x[:, :2],
    "later": lambda x: x[1:],
    "transposed, cut": lambda x: x.transpose(0, 2)[:, 1:3],
    "a column": lambda x: x[:, :, 0],
    "unsqueezed": lambda x: x.unsqueeze(1).transpose(0, 2),
    "expanded": lambda x: x[:, :1].expand(3, 4, 5),
    "expanded inside": lambda x: x[:, :, :1].expand(3, 4, 5).transpose(0, 1),
    "expanded in front": lambda x: x[0, 0].expand(3, 5),
    "flipped": lambda x: x.flip(0),
}


@pytest.mark.parametrize("p", [0.5, 0.1, 0.0, 1.0, 0, 1])
def test_dropout_draws_torchs_mask(oracle, p):
    """Also where the stream changes its way, at 16 numbers."""
    same(oracle, product({"": dropped(p=p)}, {s: [reals(*s)] for s in [(), (5,), (15,), (16,), (40,), (3, 4), (0, 3)]}))


def test_dropout_draws_in_the_order_of_memory(oracle):
    over = dropped(p=0.4, inplace=True)

    def strides(torch, x, view):
        return [view(x).shape, torch.nn.functional.dropout(view(x), 0.4).is_contiguous()]

    same(oracle, {
        **{n: (lambda torch, x, v=view: dropped(p=0.4)(torch, v(x)), reals(3, 4, 5)) for n, view in VIEWS.items()},
        **{f"layout: {n}": (lambda torch, x, v=VIEWS[n]: strides(torch, x, v), reals(3, 4, 5))
           for n in ("permuted", "with gaps", "expanded")},
        **{f"in place: {n}": (lambda torch, x, v=VIEWS[n]: over(torch, v(x * 1)), reals(3, 4, 5))
           for n in ("contiguous", "permuted", "with gaps", "later")},
    })  # fmt: skip


def test_odd_dropouts(oracle):
    def after(torch, x, p, training=True):
        """What the stream gives next."""
        torch.nn.functional.dropout(x.detach(), p, training)
        return torch.rand(3).tolist()

    def itself(torch, x):
        y = x * 1
        drop = torch.nn.functional.dropout
        return [drop(y, 0.5, inplace=True) is y, drop(y, 0.5, False) is y, drop(y, 0.0) is y, drop(y, 0.5) is y]

    x = reals(3, 4)
    same(oracle, {
        **{f"stream after {p} {t}": (lambda torch, x, p=p, t=t: after(torch, x, p, t), x)
           for p, t in [(0.5, True), (0.0, True), (1.0, True), (0.5, False)]},
        "itself": (itself, x),
        "not training": (dropped(training=False), x),
        "a leaf in place": (dropped(inplace=True), x),
        "all, in place": (lambda torch, x: dropped(p=1.0, inplace=True)(torch, x * 1), x),
        "special": (dropped(), np.array([NAN, INF, -INF, 1] * 5)),
        **{f"p {p}": (dropped(p=p), x) for p in (-0.25, 1.25, "a", None)},
        "integers": (dropped(), ids(3, 4)), "integers, none": (dropped(p=0.0), ids(3, 4)),
        "integers, all": (dropped(p=1.0), ids(3, 4)), "integers, not training": (dropped(training=False), ids(3, 4)),
        "a list": (lambda torch: torch.nn.functional.dropout([1.0]),),
    })  # fmt: skip


def test_dropout_modules(oracle):
    make = lambda *args: (lambda torch: torch.nn.Dropout(*args),)
    same(oracle, {
        "training": (lambda torch, x: torch.nn.Dropout(0.25)(x), reals(3, 4)),
        "evaluating": (lambda torch, x: torch.nn.Dropout(0.25).eval()(x), reals(3, 4)),
        **{f"printed {args}": make(*args) for args in [(), (0.1, True), (1,)]},
        **{f"p {p}": make(p) for p in (-0.25, 1.25)},
    })  # fmt: skip


# ------------------------------------------------------------------------------------------ activations
ACTIVATIONS = {
    "tanh": [{}], "sigmoid": [{}], "logsigmoid": [{}], "relu": [{}], "silu": [{}],
    "gelu": [{}, {"approximate": "tanh"}],
    "leaky_relu": [{}, {"negative_slope": 0.25}, {"negative_slope": 0}, {"negative_slope": -1.0}],
    "elu": [{}, {"alpha": 0.5}, {"alpha": -1.0}],
    "softplus": [{}, {"beta": 2}, {"beta": 2, "threshold": 1}, {"beta": -1.0}],
}  # fmt: skip
IN_PLACE = ["relu", "leaky_relu", "elu", "silu"]
MODULES = {
    "Tanh": [()], "Sigmoid": [()], "LogSigmoid": [()], "ReLU": [(), (True,)], "LeakyReLU": [(), (0.2,), (0.2, True)],
    "ELU": [(), (0.5,), (0.5, True)], "GELU": [(), ("tanh",)], "SiLU": [(), (True,)], "Softplus": [(), (2,), (2, 0.5)],
    "Softmax": [(-1,)], "LogSoftmax": [(-1,)],
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(oracle, name):
    calls = {str(o): functional(name, **o) for o in ACTIVATIONS[name]}
    edges = np.array([0.0, -0.0, 0.5, -0.5, 1, -1, 20, 20.25, -20, 88, -104, 1e4, -1e4, 2.0**-90, -(2.0**-90)])
    inputs = {s: [reals(*s)] for s in [(), (3, 4), (0, 2)]}
    infinite = [] if name == "gelu" else [INF]  # torch's gelu has nan there
    same(oracle, {
        **product(calls, {**inputs, "edges": [edges], "infinite": [np.array([1.0, *infinite])]}),
        "strided": (lambda torch, x: functional(name)(torch, x.t()[:, ::2]), reals(4, 3)),
        "nan": (lambda torch, x: functional(name)(torch, x.detach()), np.array([NAN, 1.0])),
    })  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_activations_in_place(oracle, name):
    """The derivative is that of the old content; views write into what they look at; leaves refuse."""
    call = functional(name, inplace=True)

    def column(torch, x):
        y = x * 2
        call(torch, y[:, 1])
        return y

    def itself(torch, x):
        y = x.detach()
        return call(torch, y) is y

    x = reals(3, 4)
    same(oracle, {"": (lambda torch, x: call(torch, x * 2), x), "column": (column, x), "leaf": (call, x),
                  "itself": (itself, x), "saved": (lambda torch, x: call(torch, x.exp()), x)})  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_activation_modules(oracle, name):
    make = lambda args: lambda torch: getattr(torch.nn, name)(*args)
    called = lambda args: lambda torch, x: getattr(torch.nn, name)(*args)(x * 1)
    attributes = lambda torch: {k: v for k, v in vars(getattr(torch.nn, name)()).items() if not k.startswith("_")}
    same(oracle, {
        **{f"printed {args}": (make(args),) for args in MODULES[name]},
        **{f"called {args}": (called(args), reals(3, 4)) for args in MODULES[name]},
        "attributes": (attributes,),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------ what only moves things
def test_shapes_and_norms(oracle):
    normalize = lambda *args, **kwargs: lambda torch, x: torch.nn.functional.normalize(x, *args, **kwargs)
    same(oracle, {
        "flatten": (lambda torch, x: torch.nn.Flatten()(x), reals(2, 3, 4)),
        "flatten the first": (lambda torch, x: torch.nn.Flatten(0, -2)(x), reals(2, 3, 4)),
        "flatten a vector": (lambda torch, x: torch.nn.Flatten()(x), reals(2)),
        "identity": (lambda torch, x: torch.nn.Identity(3, unused=4)(x), reals(2, 3)),
        "printed": (lambda torch: [torch.nn.Flatten(0, -2), torch.nn.Identity(54, unused=2), torch.nn.LayerNorm(3),
                                   torch.nn.LayerNorm([2, 3], 1e-3, False), torch.nn.LayerNorm(3, bias=False)],),
        **{f"normalize {p} {d}": (normalize(p, d), reals(2, 3)) for p in (1.0, 2.0, 3.0, INF) for d in (0, 1, -1)},
        "normalize nothing": (normalize(), np.zeros((2, 3))),
        "normalize by eps": (normalize(eps=8.0), reals(2, 3)),
        "normalize a vector": (normalize(), reals(3)),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------ without an oracle
def test_gradients_are_those_of_differences():
    F = tinyrnn.nn.functional
    x, weight, bias = (leaf(tinyrnn, a, "float64") for a in (reals(3, 4), reals(4, seed=1), reals(4, seed=2)))
    for name, options in ACTIVATIONS.items():
        for o in options:
            assert gradcheck(lambda x, name=name, o=o: getattr(F, name)(x, **o), (x,)), name
    assert gradcheck(lambda x, w, b: F.layer_norm(x, (4,), w, b), (x, weight, bias))
    assert gradcheck(lambda x, w, b: F.linear(x, w, b), (x, leaf(tinyrnn, reals(2, 4), "float64"), bias[:2].detach()))
    assert gradcheck(lambda w: F.embedding(tinyrnn.tensor([[1, 0], [1, 2]]), w), (x,))
    assert gradcheck(lambda x: F.normalize(x), (x,))

    def drop(x):
        tinyrnn.manual_seed(1)
        return F.dropout(x, 0.4)

    assert gradcheck(drop, (x,))


def test_a_layer_is_warned_of_nothing_it_did_not_do():
    """The layers themselves raise no warning, of NumPy or else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = leaf(tinyrnn, np.array([[NAN, INF, 1, 2]]), "float32")
        for layer in (tinyrnn.nn.Linear(4, 2), tinyrnn.nn.LayerNorm(4), tinyrnn.nn.Dropout(), tinyrnn.nn.ELU()):
            layer(x).sum().backward()
        tinyrnn.nn.functional.binary_cross_entropy(leaf(tinyrnn, shares(3), "float32"), tinyrnn.zeros(3)).backward()
