"""nn.utils: clipping gradients, parameters as one vector."""

import math

import numpy as np
import pytest

import tinyrnn


def parameters(torch, *gradients, dtype="float32"):
    """Parameters with given gradients; None for one that has none."""
    made = []
    for gradient in gradients:
        p = torch.nn.Parameter(torch.zeros(1 if gradient is None else np.shape(gradient), dtype=getattr(torch, dtype)))
        p.grad = None if gradient is None else torch.tensor(gradient, dtype=p.dtype)
        made.append(p)
    return made


def gradients(params):
    return {f"gradient {i}": "None" if p.grad is None else p.grad.numpy() for i, p in enumerate(params)}


def same(oracle, body, rtol=1e-6):
    expected = oracle(body)
    got = {name: np.asarray(value) for name, value in body(tinyrnn).items()}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == value.dtype, name
        assert got[name].shape == value.shape, name
        if value.dtype.kind == "f":
            np.testing.assert_allclose(got[name], value, rtol=rtol, err_msg=name)
        else:
            assert got[name].tolist() == value.tolist()


def told(call):
    try:
        return repr(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# ------------------------------------------------------------------------------------------------------------- clipping
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [2, 2.0, 1, 3, 0.5, 0, -1, math.inf, -math.inf, "inf"])
def test_clip_grad_norm(oracle, norm_type, dtype):
    def body(torch):
        def clipped(max_norm):
            a, b, c = parameters(torch, [3.0, -4.0], None, [[12.0, 0.1], [0.2, 0.3]], dtype=dtype)
            total = torch.nn.utils.clip_grad_norm_([a, b, c], max_norm, norm_type)
            assert b.grad is None
            return np.concatenate([[total.numpy()], a.grad.numpy(), c.grad.numpy().ravel()])

        return {"total and gradients": np.stack([clipped(max_norm) for max_norm in (1.0, 1e3, 0, "2", math.inf)])}

    same(oracle, body, 1e-6 if dtype == "float32" else 1e-12)


def test_the_clipped_norm_is_the_one_asked_for():
    params = parameters(tinyrnn, [3.0, -4.0], [12.0])
    assert tinyrnn.nn.utils.clip_grad_norm_(params, 2.0).item() == 13
    assert tinyrnn.nn.utils.get_total_norm([p.grad for p in params]).item() == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradients_that_are_not_finite(oracle, value):
    def body(torch):
        clip = torch.nn.utils.clip_grad_norm_
        params = parameters(torch, [value, 1.0], [2.0])
        refused = told(lambda: clip(params, 1.0, error_if_nonfinite=True))
        untouched = gradients(params)
        return {
            "refused": refused,
            "untouched": untouched["gradient 1"].copy(),
            "total": clip(params, 1.0).numpy(),
            **gradients(params),
        }

    same(oracle, body)


def test_what_can_be_clipped(oracle):
    """A list, a generator, a single tensor, nothing."""

    def body(torch):
        clip = torch.nn.utils.clip_grad_norm_
        params = parameters(torch, [3.0, 4.0], [12.0])
        story = {
            "generator": clip((p for p in params), 6.5).item(),
            "empty": repr(clip([], 1.0)),
            "single": clip(params[0], 1.0, foreach=True).item(),
            "no gradients": repr(clip(parameters(torch, None), 1.0)),
        }
        with pytest.warns(UserWarning, match="`parameters` is an empty generator, no gradient clipping will occur."):
            clip((p for p in ()), 1.0)
        with pytest.warns(FutureWarning, match="`torch.nn.utils.clip_grad_norm` is now deprecated in favor of"):
            torch.nn.utils.clip_grad_norm(params, 1.0)
        return {**story, **gradients(params)}

    same(oracle, body)


@pytest.mark.parametrize("max_norm, norm_type", [("a", 2), (1.0, "a"), (1.0, None)])
def test_norms_are_numbers(oracle, max_norm, norm_type):
    same(
        oracle,
        lambda torch: {
            "told": told(lambda: torch.nn.utils.clip_grad_norm_(parameters(torch, [1.0]), max_norm, norm_type))
        },
    )


@pytest.mark.parametrize("clip_value", [2.0, "2", -1.0, 0])
def test_clip_grad_value(oracle, clip_value):
    def body(torch):
        params = parameters(torch, [3.0, -4.0, 1.0], None, [[math.nan, math.inf]])
        assert torch.nn.utils.clip_grad_value_((p for p in params), clip_value) is None
        torch.nn.utils.clip_grad_value_(params[0], clip_value)
        return gradients(params)

    same(oracle, body)


def test_norm_and_scaling_apart(oracle):
    def body(torch):
        utils = torch.nn.utils
        params = parameters(torch, [3.0, 4.0], None, [12.0])
        grads = [p.grad for p in params if p.grad is not None]
        norm = lambda *args: utils.get_total_norm(*args).numpy()
        story = {
            "list": norm(grads),
            "single": norm(grads[0], math.inf),
            "generator": norm(g for g in grads),
            "nothing": norm([]),
        }
        assert utils.clip_grads_with_norm_(params, 6.5, torch.tensor(13.0)) is None
        utils.clip_grads_with_norm_(params[2], 1.0, torch.tensor(4.0))
        return {**story, **gradients(params)}

    same(oracle, body)


def test_clipping_is_not_recorded():
    params = parameters(tinyrnn, [3.0, 4.0])
    params[0].grad.requires_grad_()
    total = tinyrnn.nn.utils.clip_grad_norm_(params, 1.0)
    assert not total.requires_grad
    assert params[0].grad.is_leaf


# --------------------------------------------------------------------------------------------------------------- vector
def test_parameters_to_vector(oracle):
    def body(torch):
        params = [torch.nn.Parameter(torch.tensor(v)) for v in ([1.0, 2.0], [[3.0, 4.0], [5.0, 6.0]], 7.0)]
        vector = torch.nn.utils.parameters_to_vector(p for p in params)
        (vector * vector).sum().backward()
        return {"vector": vector.detach().numpy(), **gradients(params)}

    same(oracle, body)


def test_vector_to_parameters(oracle):
    """The parameters stay the same objects, and share the memory of the vector."""

    def body(torch):
        params = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2,), (2, 3), ())]
        vector = torch.arange(10.0)
        assert torch.nn.utils.vector_to_parameters(vector, params) is None
        vector += 1
        return {str(i): p.detach().numpy() for i, p in enumerate(params)} | {"leaves": all(p.is_leaf for p in params)}

    same(oracle, body)


def test_vectors_that_do_not_fit(oracle):
    def body(torch):
        param = torch.nn.Parameter(torch.zeros(2, 3))
        fill = lambda vector: told(lambda: torch.nn.utils.vector_to_parameters(vector, [param]))
        return {"short": fill(torch.zeros(5)), "list": fill([0.0] * 6), "matrix": fill(torch.zeros(6, 1)[:, :0])}

    same(oracle, body)


# --------------------------------------------------------------------------------------------------------- weight norm
@pytest.mark.parametrize("name, dim", [("weight", 0), ("weight", 1), ("weight", -1), ("weight", None), ("bias", 0)])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weight_norm(oracle, name, dim):
    def body(torch):
        torch.manual_seed(0)
        layer = torch.nn.utils.weight_norm(torch.nn.Linear(3, 2), name, dim)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
        x = torch.tensor([[1.0, -2.0, 0.5]])
        for _ in range(3):
            optimizer.zero_grad()
            layer(x).pow(2).sum().backward()
            optimizer.step()
        found = {"names": " ".join(layer.state_dict()), "result": layer(x).detach().numpy()}
        found |= {key: value.numpy() for key, value in layer.state_dict().items()}
        found["twice"] = told(lambda: torch.nn.utils.weight_norm(layer, name))
        torch.nn.utils.remove_weight_norm(layer, name)
        found["names then"], found["result then"] = " ".join(layer.state_dict()), layer(x).detach().numpy()
        found["no hook"] = told(lambda: torch.nn.utils.remove_weight_norm(layer, name))
        return found

    same(oracle, body, 1e-5)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weight_norm_of_a_recurrent_layer(oracle):
    def body(torch):
        torch.manual_seed(0)
        lstm = torch.nn.utils.weight_norm(torch.nn.LSTM(2, 3), "weight_hh_l0")
        y, _ = lstm(torch.ones(4, 1, 2))
        y.sum().backward()
        found = {f"gradient of {key}": p.grad.numpy() for key, p in lstm.named_parameters()}
        return {"names": " ".join(lstm.state_dict()), "result": y.detach().numpy(), **found}

    same(oracle, body, 1e-4)


def test_other_helpers_are_refused_by_name():
    with pytest.raises(AttributeError, match="torch.nn.utils.parametrizations is not in tinyrnn"):
        tinyrnn.nn.utils.parametrizations  # noqa: B018
