"""Tests that run one body twice, on torch and on tinyrnn: both must return, or raise, the same."""

import functools
import inspect
import warnings

import numpy as np

import tinyrnn


def tell(value):
    """A value as text: the numbers of a tensor to five digits, and a star if it requires a gradient."""
    if hasattr(value, "requires_grad"):
        return f"tensor{list(value.shape)} {tell(value.tolist())}{' *' * value.requires_grad}"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(tell, value))})"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


def told(call, words, raises):
    """What `call` returned or raised, as text.  Of an error's message only `words` count, which must be in it."""
    try:
        return tell(call())
    except raises as error:
        if words is None:
            return type(error).__name__
        return f"{type(error).__name__}: {words if words in str(error) else error}"


def as_torch(body=None, *, words=None, raises=()):
    """Make a test of body(torch, ...): what it returns or raises must be the same for both libraries.

    words: what an error's message must contain, or a function of the test's parameters that tells it.
    raises: the error that is expected, or allowed where there are parameters; none, if there are no `words` either.
    """
    if body is None:
        return functools.partial(as_torch, words=words, raises=raises)
    raises = raises or (Exception if words else ())

    @functools.wraps(body)
    def test(oracle, **parameters):
        said = words(**parameters) if callable(words) else words
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = str(
                oracle(lambda torch: {"story": told(lambda: body(torch, **parameters), said, raises)})["story"]
            )
            ours = told(lambda: body(tinyrnn, **parameters), said, raises)
        assert ours == theirs, f"\ntinyrnn: {ours}\ntorch:   {theirs}"
        assert said is None or said in ours, f"{ours!r} does not say {said!r}"

    signature = inspect.signature(body)
    parameters = [p.replace(name="oracle") if p.name == "torch" else p for p in signature.parameters.values()]
    test.__signature__ = signature.replace(parameters=parameters)
    return test


# ---------------------------------------------------------------------------------- layers
# One body runs on torch and on tinyrnn.  A kind is the name of a layer or a cell, with RELU or PROJ behind it.
def projected(hidden):
    """The number of numbers that an LSTM_PROJ of so many hidden units hands on."""
    return max(1, hidden // 2)


def make(torch, kind, *sizes, dtype="float64", **options):
    """A layer or a cell with weights from a fixed stream of numbers, nowhere zero or equal."""
    name, _, variant = kind.partition("_")
    if variant == "PROJ":
        options["proj_size"] = projected(sizes[1])
    elif variant:
        options["nonlinearity"] = variant.lower()
    layer = getattr(torch.nn, name)(*sizes, dtype=getattr(torch, dtype), **options)
    numbers = np.random.default_rng(1)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.from_numpy(numbers.uniform(-0.6, 0.6, tuple(p.shape))))
    return layer


def tensor(torch, seed, *shape, dtype="float64", grad=True):
    numbers = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(numbers.astype(dtype)).requires_grad_(grad)


def states(torch, kind, *shape, dtype="float64"):
    """Initial states as the layer takes them."""
    widths = (projected(shape[-1]) if kind.endswith("PROJ") else shape[-1], shape[-1])
    h, c = (tensor(torch, 10 + k, *shape[:-1], width, dtype=dtype) for k, width in enumerate(widths))
    return (h, c) if kind.startswith("LSTM") else h


def flat(result):
    """The tensors in a nested result, in order."""
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [result]


def story(torch, results, inputs, layer=None):
    """The results, and the gradients that flow from a random weighting of them to the inputs and every parameter."""
    results = flat(results)
    weights = [tensor(torch, 20 + k, *r.shape, grad=False).to(r.dtype) for k, r in enumerate(results)]
    sum((r * w).sum() for r, w in zip(results, weights, strict=True)).backward()
    told = {f"result {k}": r.detach().numpy() for k, r in enumerate(results)}
    named = [*enumerate(flat(inputs)), *(layer.named_parameters() if layer else ())]
    return told | {f"gradient of {name}": short(t.grad.numpy()) for name, t in named}


def short(gradient):
    """A large matrix is told by three random weightings of its rows, to keep the recorded answers small."""
    if gradient.size < 24 or gradient.ndim != 2:
        return gradient
    weights = np.random.default_rng(5).standard_normal((3, len(gradient)))
    return (weights @ gradient.astype("float64")).astype(gradient.dtype)


def close(got, expected):
    """Within 1e-5 (float64: 1e-12) of the expected array's scale; gradients 1e-4 (1e-10)."""
    assert got.keys() == expected.keys()
    for name, want in expected.items():
        have = np.asarray(got[name])
        assert have.dtype == want.dtype and have.shape == want.shape, (name, have.dtype, have.shape, want.shape)
        single, gradient = want.dtype == np.float32, name.startswith("gradient")
        tolerance = (1e-4 if gradient else 1e-5) if single else (1e-10 if gradient else 1e-12)
        scale = np.abs(want).max(initial=0.0)
        np.testing.assert_allclose(have, want, rtol=0, atol=tolerance * scale, err_msg=name)


def same(oracle, body):
    """What `body` tells of torch and of tinyrnn is close; all its arrays are recorded as one."""
    mine = {name: np.ascontiguousarray(value) for name, value in body(tinyrnn).items()}

    def answer(torch):
        theirs = {name: np.ascontiguousarray(value) for name, value in body(torch).items()}
        kinds = [[(name, a.dtype, a.shape) for name, a in arrays.items()] for arrays in (mine, theirs)]
        assert kinds[0] == kinds[1]
        return {"bytes": np.frombuffer(b"".join(a.tobytes() for a in theirs.values()), np.uint8)}

    data, expected = oracle(answer)["bytes"].tobytes(), {}
    for name, a in mine.items():
        expected[name] = np.frombuffer(data[: a.nbytes], a.dtype).reshape(a.shape)
        data = data[a.nbytes :]
    assert not data
    close(mine, expected)
