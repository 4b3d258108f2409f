"""Padding layers and moving averages against torch; asked and compared as in test_losses.py."""

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


@pytest.mark.parametrize("shape", [(1, 7), (7,), (1, 1, 1, 7), (2, 0, 7), (2, 7, 0)], ids=str)
@pytest.mark.parametrize("args", REFUSED, ids=str)
def test_average_pooling_refuses(shape, args, oracle):
    def kind(torch, args):
        try:
            torch.nn.functional.avg_pool1d(torch.ones(shape), *args)
        except (RuntimeError, TypeError) as error:
            return type(error).__name__
        return "none"

    ask = lambda torch: {"": [kind(torch, args), "none" if shape == (1, 7) else kind(torch, (2,))]}
    assert ask(tinyrnn)[""] == oracle(ask)[""].tolist()
    assert "RuntimeError" in ask(tinyrnn)[""] or ask(tinyrnn)[""][0] == "TypeError"
