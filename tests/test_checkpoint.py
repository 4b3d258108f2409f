"""torch.utils.checkpoint against torch: the same gradients, the same random stream, with the part computed twice."""

import warnings

import numpy as np
import pytest
from conftest import needs_torch

import tinyrnn
from tinyrnn.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def trained(t, use_reentrant):
    """Two steps of blocks with dropout and an LSTM, each checkpointed unless `use_reentrant` is None."""

    def run(part, x):
        return part(x) if use_reentrant is None else t.utils.checkpoint.checkpoint(part, x, use_reentrant=use_reentrant)

    t.manual_seed(1)
    blocks = [t.nn.Sequential(t.nn.Linear(4, 8), t.nn.Tanh(), t.nn.Dropout(0.3), t.nn.Linear(8, 4)) for _ in range(2)]
    lstm = t.nn.LSTM(4, 4, 2, dropout=0.2)
    parameters = [p for part in (*blocks, lstm) for p in part.parameters()]
    optimizer = t.optim.SGD(parameters, lr=0.1)
    found = {}
    for step in range(2):
        x = h = t.randn(5, 3, 4).requires_grad_()
        for block in blocks:
            h = run(block, h)
        loss = run(lstm, h)[0].pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found[f"{step}"] = [
            loss.item(),
            x.grad.norm().item(),
            t.rand(1).item(),
            sum(p.sum().item() for p in parameters),
        ]
    return found


@pytest.mark.parametrize("use_reentrant", [None, False, True])
def test_training_is_torchs(use_reentrant, oracle):
    ours, theirs = trained(tinyrnn, use_reentrant), oracle(lambda t: trained(t, use_reentrant))
    plain = trained(tinyrnn, None)
    for step in ours:
        np.testing.assert_allclose(ours[step], theirs[step], rtol=1e-5)
        np.testing.assert_allclose(ours[step], plain[step], rtol=1e-6)


def structures(t):
    """Results in nested containers, what the function finds around it, keywords, and a checkpoint in a checkpoint."""
    checkpoint = t.utils.checkpoint.checkpoint
    x, outer = (t.tensor(v, requires_grad=True) for v in ([0.5, -1.0], [2.0, 3.0]))
    between = outer * 2
    pair, kept, number = checkpoint(
        lambda a, scale: (a * between * scale, {"k": [a + between]}, 3), x, scale=2.0, use_reentrant=False
    )
    (pair.sum() + kept["k"][0].pow(2).sum()).backward()
    found = {"x": x.grad.numpy(), "outer": outer.grad.numpy(), "number": number}
    x.grad = None
    inner = lambda a: checkpoint(lambda b: b.exp().sin(), a * 2, use_reentrant=False).cos()
    y = checkpoint(inner, x, use_reentrant=False)
    y.sum().backward()
    found["nested"] = x.grad.numpy()
    y = checkpoint(lambda a: a.exp() * 2, x, use_reentrant=False)
    found["grad"] = t.autograd.grad(y.sum(), x, retain_graph=True)[0].numpy()
    found["again"] = t.autograd.grad(y.sum(), x)[0].numpy()
    found["name"] = y.grad_fn.name()
    x.grad = None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        direct, (hidden,) = checkpoint(lambda a: (a * 2, (a * 3,)), x)
        found["without"] = checkpoint(lambda a: a * 2, x.detach(), use_reentrant=True).requires_grad
    found["reentrant"] = [direct.requires_grad, hidden.requires_grad, len(seen)]
    direct.sum().backward()
    found["direct"] = x.grad.numpy()
    return found


def test_structures(oracle):
    ours, theirs = structures(tinyrnn), oracle(structures)
    for name, value in theirs.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], value, rtol=1e-6)
        else:
            assert np.array_equal(ours[name], value), name


def test_the_part_runs_twice_and_keeps_nothing():
    calls, arrays = [], []

    def part(x):
        calls.append(1)
        y = x.exp()
        arrays.append(y.array)
        return y.sin()

    x = tinyrnn.ones(3, requires_grad=True)
    y = checkpoint(part, x, use_reentrant=False)
    assert len(calls) == 1
    kept = [a for a in y.grad_fn.saved if isinstance(a, np.ndarray)]
    assert not any(a is arrays[0] for a in kept)
    y.sum().backward()
    assert len(calls) == 2
    with tinyrnn.no_grad():
        checkpoint(part, x, use_reentrant=False)
    assert len(calls) == 3


def test_parts_of_a_sequence(oracle):
    def run(t, segments):
        t.manual_seed(2)
        model = t.nn.Sequential(t.nn.Linear(3, 5), t.nn.Dropout(0.5), t.nn.Tanh(), t.nn.Linear(5, 2), t.nn.Tanh())
        x = t.ones(4, 3, requires_grad=True)
        y = t.utils.checkpoint.checkpoint_sequential(model, segments, x, use_reentrant=False)
        y.sum().backward()
        return {"y": y.detach().numpy(), "x": x.grad.numpy(), "weight": model[0].weight.grad.numpy()}

    for segments in (1, 2, 3, 5):
        ours, theirs = run(tinyrnn, segments), oracle(lambda t, segments=segments: run(t, segments))
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-7)


CONTEXT = lambda: (None, None)
BAD = {
    "keyword": lambda t, x: t.utils.checkpoint.checkpoint(lambda a, k: a, x, use_reentrant=True, k=1),
    "context": lambda t, x: t.utils.checkpoint.checkpoint(lambda a: a, x, use_reentrant=True, context_fn=CONTEXT),
    "option": lambda t, x: t.utils.checkpoint.checkpoint_sequential([abs], 1, x, use_reentrant=False, k=1),
    "twice": lambda t, x: [t.utils.checkpoint.checkpoint(lambda a: a.exp().sum(), x, use_reentrant=False)] * 2,
}


@needs_torch
@pytest.mark.parametrize("name", BAD)
def test_bad_calls(name):
    import torch

    errors = []
    for t in (torch, tinyrnn):
        try:
            for y in BAD[name](t, t.ones(2, requires_grad=True)):
                y.backward()
            errors.append(None)
        except Exception as error:
            errors.append(type(error))
    assert errors[0] is not None and errors[0] == errors[1]


def test_another_result_the_second_time():
    lengths = iter((2, 3))
    y = checkpoint(lambda x: x[: next(lengths)] * 2, tinyrnn.ones(3, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="computed again"):
        y.sum().backward()
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(abs, tinyrnn.ones(1), use_reentrant=False, determinism_check="sometimes")


def test_the_random_stream_may_be_left_alone():
    x = tinyrnn.ones(100, requires_grad=True)
    for preserve in (True, False):
        tinyrnn.manual_seed(0)
        y = checkpoint(lambda a: a * tinyrnn.rand(100), x, use_reentrant=False, preserve_rng_state=preserve)
        x.grad = None
        y.sum().backward()
        assert tinyrnn.equal(x.grad, y.detach()) == preserve
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint_sequential([lambda a: a * 2, lambda a: a * 3], 2, x)


def hooked(t, use_reentrant):
    """Gradients of which hooks make others: on a leaf and on an earlier result, each used in two parts."""
    checkpoint = t.utils.checkpoint.checkpoint
    x, w = (t.ones(2, requires_grad=True) for _ in range(2))
    w.register_hook(lambda g: g * 2)
    h = x * 2
    h.register_hook(lambda g: g * 5)
    h.retain_grad()
    y = checkpoint(lambda a: a * w * 3, h, use_reentrant=use_reentrant)
    z = checkpoint(lambda a, b: a * w + b, y, h, use_reentrant=use_reentrant)
    z.sum().backward()
    return {"w": w.grad.numpy(), "x": x.grad.numpy(), "h": h.grad.numpy()}


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_hooks_see_the_gradients_of_the_whole_walk(use_reentrant, oracle):
    found = hooked(tinyrnn, use_reentrant)
    for name, value in oracle(lambda t: hooked(t, use_reentrant)).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def stale(t, run):
    """A view whose base was written to before the part looks at it."""
    w = t.ones(4, requires_grad=True)
    h = w * 1
    v = h.view(2, 2)
    h.relu_()
    run(lambda v: v * v, v).sum().backward()
    return w.grad


def stale_within(t, run):
    w, buffer = t.ones(4, requires_grad=True), t.zeros(2, 4)
    rows = [buffer[0], buffer[1]]
    buffer[0] = w * 2
    run(lambda z: z * rows[0] * rows[1].exp(), w).sum().backward()
    return w.grad


def leaf_of_its_own(t, run):
    x = t.ones(3, requires_grad=True)
    run(lambda z: (z + t.zeros(3, requires_grad=True)) ** 2, x).sum().backward()
    return x.grad


def counts(t, run):
    """The part may write to what it is given in a dict, as often as it runs."""
    x, count = t.ones(3, requires_grad=True), t.zeros(1)

    def part(x, told):
        told["count"].add_(1)
        return x.sin()

    y = run(part, x, {"count": count})
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    return x.grad


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("body", [stale, stale_within, leaf_of_its_own, counts])
def test_what_a_part_may_do(body, use_reentrant, oracle):
    def run(t):
        checkpoint = t.utils.checkpoint.checkpoint
        return {"": body(t, lambda *given: checkpoint(*given, use_reentrant=use_reentrant)).numpy()}

    np.testing.assert_allclose(run(tinyrnn)[""], oracle(run)[""], rtol=1e-6)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_was_detached_in_between_is_an_error(use_reentrant):
    w = tinyrnn.ones(3, requires_grad=True)
    h = checkpoint(lambda x: x * w, tinyrnn.ones(3, requires_grad=True), use_reentrant=use_reentrant)
    y = checkpoint(lambda h: h * w, h, use_reentrant=use_reentrant)
    h.detach_()
    with pytest.raises(RuntimeError, match="detached in place"):
        y.sum().backward()


def of_a_nested(parts):
    return parts[0] * parts[1]["k"]


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("when", ["argument", "residual", "plain", "inside", "view", "nested", "closure"])
def test_what_was_written_to_in_between_is_an_error(when, use_reentrant):
    """What the second run would compute is then something else, and some gradients would have nowhere to go."""
    h = tinyrnn.ones(2, requires_grad=True) * 2
    v, z, c = h.view(1, 2), h * 1, tinyrnn.ones(2)
    arguments = {"plain": (h, c), "view": (v,), "nested": ((h, {"k": h}),)}.get(when, (h,))
    part = {
        "inside": lambda a: a.mul_(3) * a, "plain": lambda a, b: a * b, "closure": lambda a: a + z, "nested": of_a_nested,
    }.get(when, lambda a: a * a)  # fmt: skip
    if use_reentrant and when == "nested":
        arguments = *arguments, h  # one of them has to be a tensor
        part = lambda parts, a: of_a_nested(parts)
    y = checkpoint(part, *arguments, use_reentrant=use_reentrant)
    if when == "residual":
        h += y
        y = h
    elif when != "inside":
        {"plain": c, "closure": z}.get(when, h).mul_(5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_states_of_devices_as_reversible_networks_keep_them(oracle):
    """https://arxiv.org/abs/1707.04585: what is computed again has the random numbers of the first time."""

    def ask(torch):
        states_of = torch.utils.checkpoint
        x = torch.ones(100)
        torch.manual_seed(0)
        kept, (devices, states) = torch.get_rng_state(), states_of.get_device_states(x, [x])
        first = torch.nn.functional.dropout(x)
        torch.set_rng_state(kept)
        states_of.set_device_states(devices, states)
        again = torch.nn.functional.dropout(x)
        return {"": np.array([first.tolist(), again.tolist()]), "devices": np.array([len(devices), len(states)])}

    expected, found = oracle(ask), ask(tinyrnn)
    assert isinstance(tinyrnn.cuda._initialized, bool)
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])
