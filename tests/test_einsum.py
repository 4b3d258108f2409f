"""einsum beyond what the rows of test_ops.py and the random equations of test_properties.py hold against torch."""

import numpy as np
import pytest

import tinyrnn as torch

EQUATIONS = {  # equation -> shapes
    "a layer": ("bti,oi->bto", (3, 5, 7), (4, 7)),
    "heads": ("bqhd,bkhd->bhqk", (2, 5, 3, 4), (2, 6, 3, 4)),
    "heads and values": ("bhqk,bkhd->bqhd", (2, 3, 5, 6), (2, 6, 3, 4)),
    "two batches apart": ("ahbi,bjah->jbhai", (2, 3, 4, 5), (4, 6, 2, 3)),
    "rows of several axes": ("abcd,de->abce", (2, 3, 4, 5), (5, 6)),
    "several axes summed": ("abcd,ebd->eac", (2, 3, 4, 5), (6, 3, 5)),
    "elements": ("bi,bi->ib", (3, 5), (3, 5)),
    "an outer product": ("bi,bj->bji", (3, 5), (3, 4)),
    "axes of one alone": ("abi,ji->j", (2, 3, 5), (4, 5)),
    "a number": ("bi,bi->", (3, 5), (3, 5)),
    "bilinear": ("bi,oij,bj->bo", (3, 4), (2, 4, 5), (3, 5)),
    "four": ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 5), (5, 6)),
    "gated": ("bhn,bhd,bh->bhnd", (2, 3, 4), (2, 3, 5), (2, 3)),
    "empty": ("ij,jk->ik", (2, 0), (0, 3)),
}


def operands(name, dtype="float64"):
    equation, *shapes = EQUATIONS[name]
    numbers = np.random.default_rng(1)
    return equation, [torch.tensor(numbers.standard_normal(s), dtype=getattr(torch, dtype)) for s in shapes]


@pytest.mark.parametrize("name", EQUATIONS)
def test_values_and_gradients(name):
    """As NumPy's loops; the contraction is linear in each operand, and so is each gradient the contraction of the rest."""
    equation, tensors = operands(name)
    out = torch.einsum(equation, *[t.requires_grad_() for t in tensors])
    arrays = [t.detach().numpy() for t in tensors]
    np.testing.assert_allclose(out.detach().numpy(), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12)
    weights = np.random.default_rng(2).standard_normal(tuple(out.shape))
    out.backward(torch.from_numpy(weights))
    left, result = equation.split("->")
    terms = left.split(",")
    for k, t in enumerate(tensors):
        rest = [*terms[:k], *terms[k + 1 :], result]
        term = "".join(c for c in terms[k] if any(c in other for other in rest))
        lost = tuple(i for i, c in enumerate(terms[k]) if c not in term)
        slope = np.einsum(f"{','.join(rest)}->{term}", *arrays[:k], *arrays[k + 1 :], weights)
        expected = np.broadcast_to(np.expand_dims(slope, lost), t.shape)
        np.testing.assert_allclose(t.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EQUATIONS)
def test_products_are_those_of_our_own_kernels(name, monkeypatch):
    def other(*args, **kwargs):
        raise AssertionError("a product of NumPy's")

    for function in ("einsum", "matmul", "tensordot", "dot"):
        monkeypatch.setattr(np, function, other)
    equation, tensors = operands(name)
    torch.einsum(equation, *[t.requires_grad_() for t in tensors]).sum().backward()


@pytest.mark.parametrize("name", ["heads", "bilinear", "elements", "axes of one alone"])
def test_the_same_bits_for_any_number_of_threads(name):
    equation, tensors = operands(name, "float32")
    tensors = [t.repeat(*[8] * t.dim()) for t in tensors]
    found, threads = [], torch.get_num_threads()
    for n in (1, 2):
        torch.set_num_threads(n)
        leaves = [t.clone().requires_grad_() for t in tensors]
        out = torch.einsum(equation, *leaves)
        out.square().sum().backward()
        found.append([out.detach().numpy().tobytes(), *(t.grad.numpy().tobytes() for t in leaves)])
    torch.set_num_threads(threads)
    assert found[0] == found[1]
