"""Tests that run one body twice, on torch and on tinyrnn: both must return, or raise, the same."""

import functools
import inspect
import warnings

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
