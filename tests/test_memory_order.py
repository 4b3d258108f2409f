"""Where results lie in memory, against torch: random numbers are drawn in the order of memory, and .view() asks for it."""

import itertools
import json
import math

import numpy as np
import pytest

import tinyrnn
from tinyrnn.kernels.layouts import order_of

SHAPE = (3, 2, 4)
LAID = {"C": (0, 1, 2), "01": (1, 0, 2), "12": (0, 2, 1), "02": (2, 1, 0), "120": (1, 2, 0), "201": (2, 0, 1)}
SPREAD = ("row", "column", "expanded", "turned", "gaps")


def laid(torch, kind, shape=SHAPE):
    """A tensor of `shape`, or that broadcasts to it, whose axes lie in another order in memory."""
    numbers = (torch.arange(math.prod(shape)) % 7 + 1).float() / 8
    if kind in LAID:
        axes = LAID[kind]
        return numbers.reshape([shape[k] for k in axes]).permute([axes.index(k) for k in range(3)])
    return {
        "row": lambda: numbers[: shape[2]],
        "column": lambda: numbers[:6].reshape(2, 3).t().unsqueeze(-1),
        "expanded": lambda: numbers[:8].reshape(2, 4).expand(SHAPE),
        "turned": lambda: numbers[:12].reshape(4, 3).t().unsqueeze(1).expand(SHAPE),
        "gaps": lambda: torch.cat([numbers, numbers]).reshape(4, 2, 6).permute(2, 1, 0)[::2],
    }[kind]()


def steps(call, *args):
    """The strides of call(*args) along axes that are longer than 1."""
    try:
        out = call(*args)
    except (RuntimeError, IndexError) as error:
        return [-1, len(type(error).__name__)]
    return [step for step, n in zip(out.stride(), out.shape, strict=True) if n > 1]


def agree(oracle, ask):
    """ask(torch), names and strides, as torch has them."""
    recorded = oracle(lambda torch: {"": np.frombuffer(json.dumps(ask(torch)).encode(), np.uint8)})[""]
    expected, found = json.loads(recorded.tobytes()), ask(tinyrnn)
    assert not {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}


def compare(oracle, calls, kinds):
    """Each call of laid-out tensors, torch's strides and ours."""
    cases = list(itertools.product(calls, *kinds))

    def ask(torch):
        return {
            " ".join([name, *given]): steps(calls[name], torch, *[laid(torch, kind) for kind in given])
            for name, *given in cases
        }

    agree(oracle, ask)


ARITHMETIC = {
    "+": lambda torch, a, b: a + b,
    "in two types": lambda torch, a, b: (a * 8).long() + b,
    "<": lambda torch, a, b: a < b,
    "|": lambda torch, a, b: (a > 0.5) | (b > 0.5),
    "atan2": lambda torch, a, b: torch.atan2(a, b),
    "maximum": lambda torch, a, b: torch.maximum(a, b),
    "pow": lambda torch, a, b: a**b,
    "addcmul": lambda torch, a, b: torch.addcmul(a, a, b),
    "where": lambda torch, a, b: torch.where(a > 0.5, a, b),
    "where, turned": lambda torch, a, b: torch.where(b > 0.5, a, 0.0),
    "clamp": lambda torch, a, b: a.clamp(min=b),
    "isclose": lambda torch, a, b: torch.isclose(a, b),
    "from the mean": lambda torch, a, b: a - b.mean(-1, keepdim=True),
}


def test_of_two_tensors(oracle):
    compare(oracle, ARITHMETIC, [(*LAID, *SPREAD)] * 2)


LOSSES = {
    "mse": lambda torch, a, b: torch.nn.functional.mse_loss(a, b, reduction="none"),
    "logits": lambda torch, a, b: torch.nn.functional.binary_cross_entropy_with_logits(a, b, reduction="none"),
    "kl": lambda torch, a, b: torch.nn.functional.kl_div(a, b, reduction="none"),
    "kl of logarithms": lambda torch, a, b: torch.nn.functional.kl_div(a, b, reduction="none", log_target=True),
}


def test_of_losses(oracle):
    compare(oracle, LOSSES, [(*LAID, "gaps")] * 2)


ONE = {
    "tanh": lambda torch, a: a.tanh(),
    "logsigmoid": lambda torch, a: torch.nn.functional.logsigmoid(a),
    "logsigmoid as a row": lambda torch, a: torch.nn.functional.logsigmoid(a).view(-1),
    "dropout1d": lambda torch, a: torch.nn.functional.dropout1d(a, 0.5),
    "normalize": lambda torch, a: torch.nn.functional.normalize(a),
    "index_fill": lambda torch, a: a.index_fill(1, torch.tensor([0]), 0.0),
    "rows": lambda torch, a: a[torch.tensor([1, 0])],
    "inner rows": lambda torch, a: a[:, torch.tensor([1, 0, 1])],
    "columns": lambda torch, a: a[..., torch.tensor([1, 0])],
    "apart": lambda torch, a: a[torch.tensor([0, 1]), :, torch.tensor([1, 0])],
    "a matrix of rows": lambda torch, a: a[torch.tensor([[0, 1], [2, 1]])],
    "turned indices": lambda torch, a: a[:, torch.tensor([[0, 1, 0], [1, 1, 0]]).t()],
    "indices of two kinds": lambda torch, a: a[torch.tensor([[0, 1], [2, 1]]).t(), torch.tensor([0, 1])],
    "into nothing": lambda torch, a: torch.add(a, 1, out=torch.empty(0)),
    "chosen rows": lambda torch, a: a[torch.tensor([True, False, True])],
    "chosen": lambda torch, a: a[a > 0.5],
    "nonzero": lambda torch, a: a.nonzero(),
}


def test_of_one_tensor(oracle):
    compare(oracle, ONE, [(*LAID, "gaps")])


def test_dropout_after_a_sum_draws_as_torch(oracle):
    def ask(torch):
        torch.manual_seed(0)
        x, y = torch.ones(2, 3, 2).transpose(0, 1), torch.ones(3, 2, 2)
        dropped = [torch.nn.functional.dropout(z, 0.5) for z in (x + y, y + x, torch.einsum("btc,oc->bot", y, y[:, 0]))]
        return {"": torch.cat([z.flatten() for z in dropped]).numpy()}

    np.testing.assert_array_equal(ask(tinyrnn)[""], oracle(ask)[""])


SIZE = {"b": 2, "h": 3, "l": 4, "s": 5, "d": 6, "k": 7}
EQUATIONS = [
    "bld,kd->bkl", "bld,dk->blk", "bhld,bhsd->bhls", "bhls,bshd->blhd", "lbhd,sbhd->lsbh", "lsbh,sbhd->lbhd",
    "bld,dk->bdlk", "ld,kd->kl", "bld,ld->bd", "bl,bs->bls", "bld,bd->bl", "l,d->dl", "bld,kd,ls->bks", "bhl,d,lk->khd",
    "blh,ls->sbh", "hlb,bs->sl", "bhl,bhl->bh", "b,bld->dlb", "lbd,sd->slb", "lbd,sd->bsl",
]  # fmt: skip


def test_of_einsum(oracle):
    def ask(torch):
        found = {}
        for equation, turned in itertools.product(EQUATIONS, (False, True)):
            shapes = [[SIZE[c] for c in term] for term in equation.split("->")[0].split(",")]
            given = [
                torch.ones(s[::-1]).permute(list(range(len(s)))[::-1]) if turned else torch.ones(s) for s in shapes
            ]
            found[f"{equation} {turned}"] = steps(torch.einsum, equation, *given)
        return found

    agree(oracle, ask)


@pytest.mark.parametrize("large", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("kinds", [("01", "C"), ("C", "01"), ("12", "02"), ("row", "01"), ("column", "02")], ids=str)
def test_many_elements_lie_as_few_do(kinds, large):
    """Above some number of elements, kernels take over from NumPy."""
    x, y = (laid(tinyrnn, kind, (3, 2, 20_000 if large else 4)) for kind in kinds)
    axes = order_of((x + y).shape, (x.shape, x.stride()), (y.shape, y.stride()))
    out = [x + y, x - y, x * y, x / y, tinyrnn.maximum(x, y), x < y]
    for z in out:
        assert z.permute(axes or (0, 1, 2)).is_contiguous()
    np.testing.assert_array_equal(out[0].numpy(), x.numpy() + y.numpy())
