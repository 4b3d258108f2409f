"""einops on our tensors: its functions and layers as on torch's, whichever is imported first."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("einops")
import einops
from conftest import needs_torch

import tinyrnn


def arrays(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


CALLS = {
    "split heads": ((2, 5, 12), lambda x: einops.rearrange(x, "b t (h d) -> b h t d", h=3)),
    "merge heads": ((2, 3, 5, 4), lambda x: einops.rearrange(x, "b h t d -> b t (h d)")),
    "sum": ((2, 5, 4), lambda x: einops.reduce(x, "b t d -> b d", "sum")),
    "mean of pairs": ((2, 6, 4), lambda x: einops.reduce(x, "b (t two) d -> b t d", "mean", two=2)),
    "max": ((2, 5, 4), lambda x: einops.reduce(x, "b t d -> t 1 d", "max")),
    "product": ((2, 5, 4), lambda x: einops.reduce(x, "b t d -> t", "prod")),
    "repeat": ((2, 5), lambda x: einops.repeat(x, "b t -> b n (t k)", n=3, k=2)),
    "einsum": ((2, 5, 4), lambda x: einops.einsum(x, x, "b i d, b j d -> b i j")),
    "pack": ((2, 5, 4), lambda x: einops.pack([x, x[:, 0]], "b * d")[0]),
    "unpack": ((2, 6), lambda x: sum(p.sum() * (k + 1) for k, p in enumerate(einops.unpack(x, [[2], [4]], "b *")))),
    "a list": ((2, 5, 4), lambda x: einops.rearrange([x, 2 * x], "n b t d -> b (n t) d")),
    "any number of axes": ((2, 3, 4), lambda x: einops.rearrange(x, "... d -> d ...")),
}


@needs_torch
@pytest.mark.parametrize("case", CALLS)
def test_functions_are_those_of_torchs_tensors(case):
    import torch

    shape, call = CALLS[case]
    found = []
    for library in (torch, tinyrnn):
        x = library.tensor(arrays(*shape), requires_grad=True)
        y = call(x)
        (y * y).sum().backward()
        assert type(y) is library.Tensor
        found.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@needs_torch
def test_layers_are_those_of_torch():
    import torch
    from einops.layers import tinyrnn as ours
    from einops.layers import torch as theirs

    found = []
    for library, layers in ((torch, theirs), (tinyrnn, ours)):
        library.manual_seed(0)
        model = library.nn.Sequential(
            layers.Rearrange("b (t two) d -> b t (two d)", two=2),
            library.nn.Linear(8, 6),
            layers.EinMix("b t (h c) -> b t (h k)", weight_shape="h c k", bias_shape="h k", h=2, c=3, k=4),
            layers.Reduce("b t d -> b d", "max"),
        )
        y = model(library.tensor(arrays(2, 6, 4)))
        y.sum().backward()
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        found.append(
            (list(state), [*state.values(), y.detach().numpy(), *(p.grad.numpy() for p in model.parameters())])
        )
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_its_errors_and_other_libraries_arrays():
    with pytest.raises(einops.EinopsError, match="Wrong shape"):
        einops.rearrange(tinyrnn.zeros(2, 3), "a b c -> c b a")
    assert einops.rearrange(np.zeros((2, 3)), "a b -> b a").shape == (3, 2)
    x = tinyrnn.arange(6).reshape(2, 3)  # integers
    assert einops.rearrange(x, "a b -> (b a)").tolist() == [0, 3, 1, 4, 2, 5]


PROGRAM = """
import {first}
import {second}
from einops.layers.{library} import Rearrange
x = {library}.arange(12.0).reshape(2, 6)
print(einops.rearrange(x, "b (h d) -> h b d", h=2).shape, Rearrange("a b -> b a")(x).shape)
print(isinstance(Rearrange("a -> a"), {library}.nn.Module))
"""
PRINTED = "torch.Size([2, 2, 3]) torch.Size([6, 2])\nTrue\n"


@pytest.mark.parametrize("first, second", [("einops", "tinyrnn"), ("tinyrnn", "einops")])
def test_whichever_is_imported_first(first, second, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(first=first, second=second, library="tinyrnn"))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.stdout == PRINTED, done.stderr


def test_a_torch_program_as_it_is(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(first="einops", second="torch", library="torch"))
    done = subprocess.run([sys.executable, "-m", "tinyrnn", "run", program], capture_output=True, text=True)
    assert done.stdout == PRINTED, done.stderr


def test_einops_is_not_imported_by_us():
    code = "import sys, tinyrnn; assert not [m for m in sys.modules if m.startswith('einops')]"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
