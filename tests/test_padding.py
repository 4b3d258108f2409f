"""Padding layers, moving averages and maxima against torch; asked and compared as in test_losses.py."""

import numpy as np
import pytest
from test_losses import ids, reals, same

import tinyrnn

WIDTHS = {1: [2, 0, (1, 2), (0, -1), (-1, 2)], 2: [1, (1, 0, 2, 1), (0, 0, 1, -1)], 3: [1, (1, 0, 0, 1, 1, -1)]}


def padded(kind, *args):
    return lambda torch, x: getattr(torch.nn, kind)(*args)(x)


@pytest.mark.parametrize("dimensions", WIDTHS)
@pytest.mark.parametrize("kind", ["Zero", "Constant", "Reflection", "Replication", "Circular"])
def test_padding_layers(kind, dimensions, oracle):
    name, value = f"{kind}Pad{dimensions}d", (1.5,) if kind == "Constant" else ()
    shapes = [(2, 3, 4, 5, 3)[:n] for n in range(1, 6)]
    same(oracle, {
        **{f"{width} of {shape}": (padded(name, width, *value), reals(*shape))
           for width in WIDTHS[dimensions] for shape in shapes if dimensions < len(shape) < dimensions + 3},
        "printed": (lambda torch: getattr(torch.nn, name)(2, *value),),
        "too few dimensions": (padded(name, 1, *value), reals(*(3,) * (dimensions - 1))),
    })  # fmt: skip


def test_a_token_shift(oracle):
    shift = lambda torch, x: torch.nn.ZeroPad2d((0, 0, 1, -1))(x)
    same(oracle, {"a batch": (shift, reals(2, 5, 3)), "one": (shift, reals(5, 3)), "integers": (shift, ids(9, 2, 3))})


POOLED = [
    (3,), (3, 1), (3, 1, 1), (3, 2, 1, True), (3, 2, 1, True, False), (2, 2, 1, True), ((3,), (2,), (1,)), (7,), (1,),
    (2, 3, 0, True), (2, 5, 1, True), (2, 5, 1, True, False), (3, None, 1), (3, (), 1), (4, 3, 2, True, False), (4, 1, 2),
    (5, 3, 0, True), (2, 9, 1, True, False), (6, 4, 3, True), (6, 4, 3, False, False),
]  # fmt: skip
REFUSED = [(3, 2, 2), (0,), (3, 0), (3, -1), (3, 1, -1), (8,), ([3, 1],), ([],), (2.5,), ("a",)]


def test_average_pooling(oracle):
    call = lambda *args: lambda torch, x: torch.nn.functional.avg_pool1d(x, *args)
    same(oracle, {
        **{f"{args} {shape}": (call(*args), reals(*shape)) for args in POOLED for shape in [(2, 3, 7), (3, 7)]},
        "integers": (call(3, 1, 1), ids(9, 2, 7)), "transposed": (lambda torch, x: call(3)(torch, x.t()), reals(7, 2)),
        "bool": (call(3), np.ones((2, 7), bool)), "int32": (call(3), ids(9, 2, 7).astype(np.int32)),
        "an empty batch": (call(2), reals(0, 2, 7)),
        "a layer": (lambda torch, x: torch.nn.AvgPool1d(3, 1, padding=1, count_include_pad=False)(x), reals(2, 7)),
        "printed": (lambda torch: [torch.nn.AvgPool1d(3, padding=1), torch.nn.AvgPool1d((3,), 1)],),
    })  # fmt: skip


LARGEST = [
    (3,), (3, 1), (3, 1, 1), (3, 2, 1, 1, True), (2, 2, 1, 1, True), ((3,), (2,), (1,), (2,)), (7,), (1,), (2, 3, 0, 3),
    (3, None, 1), (3, (), 1), (4, 1, 2, 2), (5, 3, 0, 1, True), (4, 2, 2, 1), (3, 1, 0, 3),
]  # fmt: skip


def gaps(a):
    """The array with ties, and with windows of -inf only."""
    a = np.round(a)
    a[..., :3] = -np.inf
    return a


def test_max_pooling(oracle):
    call = lambda *args, **how: lambda torch, x: torch.nn.functional.max_pool1d(x, *args, **how)
    places = lambda *args: lambda torch, x: torch.nn.functional.max_pool1d_with_indices(x, *args)[1]
    layer = lambda torch, *args, **how: torch.nn.MaxPool1d(*args, **how)
    same(oracle, {
        **{f"{args} {shape}": (call(*args), reals(*shape)) for args in LARGEST for shape in [(2, 3, 7), (3, 7)]},
        **{f"{args}, places": (places(*args), gaps(reals(2, 3, 7))) for args in LARGEST},
        **{f"{args}, ties": (call(*args), np.round(reals(2, 3, 7))) for args in LARGEST},
        "over time": (lambda torch, x: torch.max_pool1d(x.transpose(1, 2), x.size(1)).squeeze(2), reals(2, 5, 3)),
        "an empty batch": (call(2), reals(0, 2, 7)), "float64": (call(3, 1), reals(2, 7).astype(np.float64)),
        "NaN": (call(3, 1), np.array([[1, np.nan, 2, -np.inf, 0, 3, 4]], np.float32)),
        "a layer": (lambda torch, x: layer(torch, 3, 1, padding=1, dilation=2)(x), reals(2, 7)),
        "its places": (lambda torch, x: layer(torch, 3, return_indices=True, ceil_mode=True)(x)[1], reals(2, 7)),
        "printed": (lambda torch: [layer(torch, 3, padding=1), layer(torch, (3,), (1,), ceil_mode=True)],),
    })  # fmt: skip


def test_adaptive_pooling(oracle):
    mean = lambda n: lambda torch, x: torch.nn.functional.adaptive_avg_pool1d(x, n)
    most = lambda n: lambda torch, x: torch.nn.functional.adaptive_max_pool1d(x, n)
    places = lambda n: lambda torch, x: torch.nn.functional.adaptive_max_pool1d(x, n, return_indices=True)[1]
    layers = lambda torch, n: [torch.nn.AdaptiveAvgPool1d(n), torch.nn.AdaptiveMaxPool1d(n)]
    numbers = [1, 2, 3, 5, 7, 9, (4,)]
    same(oracle, {
        **{f"mean {n} {shape}": (mean(n), reals(*shape)) for n in numbers for shape in [(2, 3, 7), (3, 8), (0, 2, 7)]},
        **{f"most {n} {shape}": (most(n), reals(*shape)) for n in numbers for shape in [(2, 3, 7), (3, 8), (0, 2, 7)]},
        **{f"places {n}": (places(n), gaps(reals(2, 3, 7))) for n in numbers},
        "torch's own": (lambda torch, x: torch.adaptive_max_pool1d(x, 3)[1], reals(2, 3, 7)),
        "infinity stays where it is": (mean(3), np.array([[1, 2, 3, 4, 5, 6, np.inf]], np.float32)),
        "layers": (lambda torch, x: torch.cat([layer(x) for layer in layers(torch, 4)]), reals(2, 3, 9)),
        "printed": (lambda torch: [*layers(torch, 4), *layers(torch, (4,))],),
    })  # fmt: skip


def test_a_window_beyond_the_input_is_refused():
    with pytest.raises(RuntimeError, match="has none of"):  # torch answers with a place outside of the input
        tinyrnn.nn.functional.max_pool1d(tinyrnn.ones(2, 3, 1), 2, 2, 1, 3, ceil_mode=True)


KINDS = ["avg_pool1d", "max_pool1d", "adaptive_max_pool1d"]


@pytest.mark.parametrize("shape", [(1, 7), (7,), (1, 1, 1, 7), (2, 0, 7), (2, 7, 0)], ids=str)
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("args", REFUSED, ids=str)
def test_pooling_refuses(shape, name, args, oracle):
    def kind(torch, args):
        try:
            getattr(torch.nn.functional, name)(torch.ones(shape), *args[: 1 if name.startswith("adaptive") else 3])
        except (RuntimeError, TypeError) as error:
            return type(error).__name__
        return "none"

    ask = lambda torch: {"": [kind(torch, args), "none" if shape == (1, 7) else kind(torch, (2,))]}
    assert ask(tinyrnn)[""] == oracle(ask)[""].tolist()


@pytest.mark.parametrize("name", KINDS)
def test_pooling_says_what_it_wants(name):
    pool = getattr(tinyrnn.nn.functional, name)
    with pytest.raises(RuntimeError, match=rf"{name}: expected an input of 2 or 3 dimensions"):
        pool(tinyrnn.ones(7), 2)
    with pytest.raises(RuntimeError, match="should contain one int"):
        pool(tinyrnn.ones(2, 7), (2, 2))
    with pytest.raises(NotImplementedError, match=f"{name}_cpu"):
        pool(tinyrnn.ones(2, 7, dtype=tinyrnn.int32), 2)
