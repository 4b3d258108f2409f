"""torch.linalg and torch.special, as far as they are there."""

import math

import pytest
from conftest import needs_torch
from table import Row, check, gradients_check, torchs_answer

import tinyrnn
from tinyrnn import facade

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of much that is right

ORDERS = [
    "None",
    "'fro'",
    "'nuc'",
    *(sign + order for sign in ("", "-") for order in ("2", "1", "inf", "3")),
    "0",
    "'max'",
]
MATRICES = "2,3; 3,2; 2,2,3; 3,3,2:i; 0,3; 3,0; 3; -; 4,4"
# fmt: off
ROWS = [
    Row("vector_norm", "2,3; 3; -; 2,3,2; 0; 0,3; 3:i; 6:t; 8:s",
        *[f"t.linalg.vector_norm(x, {order})" for order in ("2", "1", "inf", "-inf", "0", "3.5", "'fro'")],
        "t.linalg.vector_norm(x, ord=3, dim=-1, keepdim=True)", "t.linalg.vector_norm(x, dim=(0, 1))",
        "t.linalg.vector_norm(x, dim=())", "t.linalg.vector_norm(x, dtype=t.float64)",
        "t.linalg.vector_norm(x, dtype=t.int64)", "t.linalg.vector_norm(x, dim=3)"),
    Row("matrix_norm", MATRICES,
        *[f"t.linalg.matrix_norm(x, {order})" for order in ORDERS[1:]], "t.linalg.matrix_norm(x, dtype=t.float64)",
        *[f"t.linalg.matrix_norm(x, {order}, dim=(1, 0), keepdim=True)" for order in ("1", "inf", "2", "'nuc'")],
        "t.linalg.matrix_norm(x, dim=(0, 0))", "t.linalg.matrix_norm(x, dim=(0,))"),
    Row("norm", MATRICES,
        *[f"t.linalg.norm(x, {order})" for order in ORDERS], "t.linalg.norm(x, 2, 0)", "t.linalg.norm(x, 2, (0,))",
        "t.linalg.norm(x, dim=(0, 1))", "t.linalg.norm(x, 3, dim=(0, 1))", "t.linalg.norm(x, 1, (0, -1), True)",
        "t.linalg.norm(x, 'nuc', dim=1)", "t.linalg.norm(x, dim=(0, 1, 1))", "t.linalg.norm(x, keepdim=True)"),
    Row("norm", "2,3; 3; 2,2,3", "t.norm(x, 'nuc')", "t.norm(x, p='nuc', dim=(0, 1))", "t.norm(x, 'nuc', (1, 0), True)"),
    Row("multi_dot", "2,3 3,4 4,2; 3 3,4 4; 3 3,4 4,2; 2,3 3 3,2; 2,3 2,3 2,3; 2,2:i 2,2:i 2,2:i; 2,2 2,2:i 2,2",
        "t.linalg.multi_dot([x, y, z])", "t.linalg.multi_dot((x, y))", "t.linalg.multi_dot([x])"),
    Row("vecdot", "2,3 2,3; 2,3 3; 3 3; - -; 2:i 2:i; 2,3 2",
        "t.linalg.vecdot(x, y)", "t.linalg.vecdot(x, y, dim=0)"),
    Row("matmul", "2,3 3,2; 3 3", "t.linalg.matmul(x, y)"),
    Row("special", "2,3:u; 2:i",
        *[f"t.special.{name}(x)" for name in ("erf", "erfc", "erfinv", "exp2", "expit", "expm1", "log1p", "logit", "sinc")],
        "t.special.softmax(x, 0)", "t.special.log_softmax(x, dim=-1)", "t.special.logsumexp(x, 0)",
        "t.special.xlogy(x, 2)", rough=True),
    Row("special", "2,3", "t.special.round(x)", "t.special.round(x, decimals=1)", rough=True),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_as_torch(row, oracle):
    check(row, torchs_answer(row, oracle))


@pytest.mark.parametrize("row", [row for row in ROWS if not row.rough], ids=lambda row: row.name)
def test_gradcheck(row):
    assert gradients_check(row)


def test_out_is_written_to():
    x, y = tinyrnn.randn(3, 4), tinyrnn.empty(0)
    assert tinyrnn.linalg.norm(x, out=y) is y and y.item() == pytest.approx(math.sqrt((x * x).sum().item()), rel=1e-6)
    assert tinyrnn.linalg.matrix_norm(x, 1, out=y) is y and tinyrnn.linalg.vector_norm(x, out=y) is y


@pytest.mark.parametrize("name", ["linalg.solve", "linalg.svd", "special.bessel_j0"])
def test_what_is_not_there_is_refused_by_name(name):
    with pytest.raises(AttributeError, match=f"torch.{name} is not in tinyrnn"):
        facade.resolve(f"torch.{name}")


@needs_torch
def test_every_name_is_torchs():
    import torch

    for namespace in ("linalg", "special"):
        assert not [n for n in getattr(tinyrnn, namespace).__all__ if not hasattr(getattr(torch, namespace), n)]


@pytest.mark.parametrize(
    "x, y, words",
    [
        ((3,), (4,), "inconsistent tensor size, expected tensor [3] and src [4] to have the same number of elements"),
        ((2, 4), (3,), "size mismatch, got input (2), mat (2x4), vec (3)"),
        ((2, 3, 4), (3,), "size mismatch, got input (6), mat (6x4), vec (3)"),
        ((3,), (4, 5), "mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)"),
        ((2, 3, 4), (3, 5), "mat1 and mat2 shapes cannot be multiplied (6x4 and 3x5)"),
        ((2, 3, 4), (1, 3, 5), "first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3]."),
        ((7, 2, 3, 4), (2, 3, 5), "first two dimensions of batch2 tensor to be: [14, 4] but got: [14, 3]."),
    ],
)
def test_products_of_sizes_that_differ_are_refused_in_torchs_words(x, y, words):
    with pytest.raises(RuntimeError) as caught:
        tinyrnn.ones(x) @ tinyrnn.ones(y)
    assert words in str(caught.value)
    assert max(len(x), len(y)) < 3 or f"(the shapes are {list(x)} and {list(y)})" in str(caught.value)
