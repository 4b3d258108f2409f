"""torch's own operator samples (OpInfo): every operator that tinyrnn has by name gives torch's results and gradients as
function, as method and in place, for memory with gaps, into out=, under its other names; and torch's class of error.
"""

import functools
import importlib
import types
import warnings

import numpy as np
import pytest
from conftest import needs_torch

import tinyrnn

pytestmark = needs_torch

DTYPES = ("float32", "float64", "int64", "bool")

UNDEFINED = {  # operators whose result torch leaves open
    "empty": "uninitialised memory",
    "empty_like": "uninitialised memory",
    "new_empty": "uninitialised memory",
    "empty_strided": "uninitialised memory",
    "new_empty_strided": "uninitialised memory",
    "resize_": "uninitialised memory",
    "resize_as_": "uninitialised memory",
}
CANCELLED = {  # of which some gradients are rounding errors: their sums vanish
    "cov", "corrcoef", "nn.functional.normalize", "nn.functional.layer_norm", "nn.functional.group_norm",
    "nn.functional.rms_norm", "nn.functional.batch_norm", "nn.functional.cosine_similarity",
}  # fmt: skip
CANCELLED_IN_PLACE = {"nn.functional.elu", "nn.functional.selu", "nn.functional.celu"}  # told from what torch rounded
NOT_IN_PLACE = {  # what torch refuses there and tinyrnn does
    "acosh": "torch has no derivative", "asinh": "torch has no derivative", "atanh": "torch has no derivative",
    "float_power": "torch wants float64",
}  # fmt: skip
REFUSED = {
    "as_strided-partial_views": "a NumPy array does not tell of the memory around it",
    "nn.functional.triplet_margin_with_distance_loss": "its samples hold modules of torch's",
    **dict.fromkeys(("half", "bfloat16", "chalf", "cfloat", "cdouble"), "the type is refused"),
}  # variants of operators that tinyrnn refuses by name, and why


# ------------------------------------------------------------------------------------------ operators and their names
def named(name):
    """The function or the method of tinyrnn that goes by torch's name, or None."""
    module, _, last = name.rpartition(".")
    try:
        place = importlib.import_module(f"tinyrnn.{module}") if module else tinyrnn
    except ModuleNotFoundError:
        return None
    function = getattr(place, last, None)
    return function if callable(function) else getattr(tinyrnn.Tensor, name, None)  # torch.bool is a type


def counterpart(op, name):
    """Our `op`: the function of that name, or the expression that OpInfo has for it with `torch` meaning tinyrnn."""
    if isinstance(op, types.FunctionType) and op.__name__ == "<lambda>":
        meanings = {
            **op.__globals__,
            "torch": tinyrnn,
            "wrapper_set_seed": lambda f, *args, **kwargs: f(*args, **kwargs),
        }
        return types.FunctionType(op.__code__, meanings, op.__name__, op.__defaults__, op.__closure__)
    return named(name)


@functools.cache
def operators():
    """OpInfo by name and variant, for every operator of torch's that tinyrnn has by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    found = {f"{o.name}-{o.variant_test_name}".strip("-"): o for o in op_db if callable(named(o.name))}
    return {name: o for name, o in found.items() if o.name not in UNDEFINED and name not in REFUSED}


def pytest_generate_tests(metafunc):
    global MOST
    if metafunc.config.getoption("--every-sample"):
        MOST = 10**9
    if "larger" in metafunc.fixturenames and MOST == 10:
        metafunc.parametrize("larger", [])
    elif {"operator", "larger"} & {*metafunc.fixturenames}:
        try:
            names = sorted(operators())
        except ImportError:  # no torch, or not what torch's samples need (expecttest)
            names = []
        metafunc.parametrize("larger" if "larger" in metafunc.fixturenames else "operator", names)


# ------------------------------------------------------------------------------------------ one sample, twice
class Refused(Exception):
    """A sample holds what tinyrnn refuses by design: complex numbers, half precision, sparse layouts; or NumPy does:
    more than 64 dimensions.
    """


def convert(x, grads, fresh=False):
    """A part of a sample as tinyrnn has it; `grads` collects torch's tensors that want gradients, with ours."""
    import torch

    if isinstance(x, torch.Tensor):
        convert(x.dtype, grads)
        if x.layout != torch.strided or x.ndim > 64 or x.device.type != "cpu":
            raise Refused
        array = x.detach().numpy()
        y = tinyrnn.from_numpy(array.copy(order="K") if fresh else array)
        if x.requires_grad:
            y.requires_grad_()
            grads.append((x, y))
        return y
    if isinstance(x, torch.dtype):
        if x.is_complex or x in (torch.float16, torch.bfloat16):
            raise Refused
        return getattr(tinyrnn, str(x).removeprefix("torch."))
    if isinstance(x, (complex, np.complexfloating)):
        raise Refused
    if isinstance(x, torch.Generator):
        return tinyrnn.Generator().manual_seed(x.initial_seed())
    if isinstance(x, torch.device):
        return tinyrnn.device(str(x))
    if isinstance(x, torch.memory_format) and not hasattr(tinyrnn, str(x).removeprefix("torch.")):
        raise Refused
    if isinstance(x, (torch.memory_format, torch.layout)):
        return getattr(tinyrnn, str(x).removeprefix("torch."))
    if isinstance(x, torch.Size):
        return tinyrnn.Size(x)
    if isinstance(x, (tuple, list)):
        return type(x)(convert(v, grads, fresh) for v in x)
    if isinstance(x, dict):
        return {k: convert(v, grads, fresh) for k, v in x.items()}
    return x


def leaves(x):
    """The tensors and numbers in a result, in order."""
    return [y for v in x for y in leaves(v)] if isinstance(x, (tuple, list)) else [x]


TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}  # of results and of gradients


def same(theirs, mine, gradient=False, least=0):
    """Types, shapes and numbers are the same, the numbers to the tolerance, relative to the largest."""
    assert isinstance(theirs, (tuple, list)) == isinstance(mine, (tuple, list)), f"{type(theirs)} became {type(mine)}"
    theirs, mine = leaves(theirs), leaves(mine)
    assert len(theirs) == len(mine), f"{len(mine)} results instead of {len(theirs)}"
    for t, m in zip(theirs, mine, strict=True):
        if not hasattr(t, "detach"):
            assert type(t).__name__ == type(m).__name__ and (t == m or t != t and m != m or callable(t)), (t, m)
            continue
        a, b = t.detach().numpy(force=True), m.detach().numpy()
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{a.dtype}{a.shape} became {b.dtype}{b.shape}"
        assert gradient or t.requires_grad == m.requires_grad, f"requires_grad is {m.requires_grad}"
        tolerance = TOLERANCE.get(str(a.dtype), (0, 0))[gradient]
        scale = np.abs(a[np.isfinite(a)]).max(initial=least) if tolerance else 0
        np.testing.assert_allclose(b, a, rtol=0, atol=scale * tolerance)


def shown(x):
    """A sample's part in words: a tensor by its type, shape and strides."""
    if isinstance(x, (tuple, list)):
        return f"({', '.join(map(shown, x))})"
    if isinstance(x, dict):
        return f"({', '.join(f'{k}={shown(v)}' for k, v in x.items())})"
    return f"{x.dtype}{list(x.shape)}/{x.stride()}" if hasattr(x, "detach") else repr(x)


def attempt(function, *args, **kwargs):
    """(result, None), or (None, exception); from a known place in the random stream, as torch's samples ask for."""
    import torch

    tinyrnn.default_generator.manual_seed(42)
    torch.default_generator.manual_seed(42)  # torch.manual_seed takes a millisecond, for devices that are not there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs), None
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as e:
        return None, e


def check(theirs, ours, parts, name="", in_place=False):
    """One sample, (input, args, kwargs), through torch's function and ours: the same result or class of exception, and
    the same gradients.
    """
    import torch

    first, args, kwargs = parts
    if in_place:
        first = first.detach().clone().requires_grad_(first.requires_grad)
    grads = []
    try:
        mine, my_args, my_kwargs = convert((first, args, kwargs), grads, in_place)
    except Refused:
        return
    for x, y in zip(leaves(first), leaves(mine), strict=True):
        if "out" in kwargs and x is kwargs["out"]:
            my_kwargs["out"] = y
    written = (first.clone(), mine.clone()) if in_place and first.requires_grad else (first, mine)
    a, error = attempt(theirs, written[0], *args, **kwargs)
    b, our_error = attempt(ours, written[1], *my_args, **my_kwargs)
    assert type(our_error) is type(error), f"torch: {error!r}; here: {our_error!r}"
    if error is not None or any(isinstance(t, torch.Tensor) and t.dtype.is_complex for t in leaves(a)):
        return
    same(a, b)
    pairs = [(t, m) for t, m in zip(leaves(a), leaves(b), strict=True) if getattr(t, "requires_grad", False)]
    if not pairs or not grads:
        return
    make = torch.Generator().manual_seed(3)
    sent = [torch.rand(t.shape, generator=make, dtype=t.dtype) for t, _ in pairs]
    g, error = attempt(torch.autograd.grad, [t for t, _ in pairs], [t for t, _ in grads], sent, allow_unused=True)
    sent = [tinyrnn.from_numpy(s.numpy()) for s in sent]
    h, our_error = attempt(tinyrnn.autograd.grad, [m for _, m in pairs], [m for _, m in grads], sent, allow_unused=True)
    assert type(our_error) is type(error), f"torch: {error!r}; here: {our_error!r}"
    for x, y in zip(g or (), h or (), strict=True):
        assert (x is None) == (y is None), "one of the two has no gradient"
        if x is not None:
            same(x, y, gradient=True, least=name in CANCELLED or in_place and name in CANCELLED_IN_PLACE)


MOST = 10  # samples of an operator and a type; all with --every-sample, in minutes


def spread(items, most):
    """At most that many of the items: the first, the last, and some evenly between."""
    n = len(items)
    return items if n <= most else [items[round(i * (n - 1) / (most - 1))] for i in range(most)]


def samples(operator, dtype, source="sample_inputs", grad=True):
    """(input, args, kwargs) of torch's samples for an operator and a type, and whether the input is broadcast."""
    import torch

    info, dtype = operators()[operator], getattr(torch, dtype)
    if dtype not in info.supported_dtypes("cpu"):
        return []
    torch.manual_seed(0)
    wants = grad and dtype.is_floating_point and info.supports_autograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(getattr(info, source)("cpu", dtype, requires_grad=wants))
    return [((s.input, s.args, s.kwargs), s.broadcasts_input) for s in spread(found, MOST)]


class Where:
    """Adds to an error which call it was."""

    def __init__(self, *words):
        self.words = words

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            error.add_note(f"in {' '.join(w if isinstance(w, str) else shown(w) for w in self.words)}")


# ------------------------------------------------------------------------------------------ the tests
def ways(info):
    """The forms of an operator: (name, torch's, ours, whether it overwrites its input)."""
    function = counterpart(info.op, info.name)
    yield "function", info.op, function, False
    method = getattr(tinyrnn.Tensor, info.name, None)
    if callable(method) and info.method_variant is not None and method is not function:
        yield "method", info.method_variant, counterpart(info.method_variant, f"Tensor.{info.name}") or method, False
    in_place = getattr(tinyrnn.Tensor, f"{info.name}_", None)
    if info.name not in NOT_IN_PLACE and info.inplace_variant is not None and (in_place or "." in info.name):
        ours = counterpart(info.inplace_variant, f"Tensor.{info.name}_") or in_place
        if ours is not None:
            yield "in place", info.inplace_variant, ours, True


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples(operator, dtype):
    forms = list(ways(operators()[operator]))
    for parts, broadcasts in samples(operator, dtype):
        for form, theirs, ours, in_place in forms:
            if not (in_place and broadcasts):
                with Where(operator, form, parts):
                    check(theirs, ours, parts, operators()[operator].name, in_place)


LARGER_DIFFER = {
    **{f"nn.functional.{name}": "torch's gradient at NaN is NaN or zero, not the incoming one"
       for name in ("celu", "elu", "selu", "hardshrink", "softshrink", "hardtanh", "relu6")},
    "digamma": "the gradient at a pole is what rounding makes of it: ours is computed in float64, torch's is not",
    "sinc": "the gradient near zero is a difference of large numbers",
    "where": "the samples call a method of a number",
    "__rsub__": "the samples call a method of a number",
}  # fmt: skip


def leaf(x):
    """Tensors that are leaves of their own: torch's larger samples are views of others, whose gradients get lost."""
    if isinstance(x, (tuple, list)):
        return type(x)(map(leaf, x))
    if isinstance(x, dict):
        return {k: leaf(v) for k, v in x.items()}
    return x.detach().requires_grad_(x.requires_grad) if hasattr(x, "detach") else x


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_larger_samples(larger, dtype):
    """torch's reference samples, with --every-sample only: many dimensions, large and special numbers."""
    info = operators()[larger]
    if info.name in LARGER_DIFFER or (info.name in ("addcmul", "clamp") and dtype == "float32"):  # which cannot be made
        return
    for parts, broadcasts in samples(larger, dtype, "reference_inputs"):
        parts = leaf(parts)
        for form, theirs, ours, in_place in ways(info):
            if not in_place or not broadcasts and hasattr(parts[0], "detach"):
                with Where(larger, form, parts):
                    check(theirs, ours, parts, info.name, in_place)


def test_memory_with_gaps(operator):
    """Tensors whose elements do not lie side by side."""
    from torch.testing._internal.common_utils import noncontiguous_like

    def gaps(x):
        if isinstance(x, (tuple, list)):
            return type(x)(map(gaps, x))
        if isinstance(x, dict):
            return {k: gaps(v) for k, v in x.items()}
        return noncontiguous_like(x) if hasattr(x, "detach") else x

    info = operators()[operator]
    for parts, _ in samples(operator, "float64") if info.name != "as_strided" else ():  # it would read the gaps
        with Where(operator, parts):
            check(info.op, counterpart(info.op, info.name), gaps(parts), info.name)


def test_bad_input(operator):
    """Where torch's samples expect an error, the class is the same."""
    info = operators()[operator]
    for bad in info.error_inputs("cpu") if info.error_inputs_func is not None else ():
        s = bad.sample_input
        if operator.startswith("__") and not hasattr(s.input, "detach"):
            continue  # a method of a number, which Python does not call
        out = s.kwargs.get("out")
        if hasattr(out, "untyped_storage") and out.nbytes < out.untyped_storage().nbytes() and out.numel() == 1:
            continue  # torch lets it grow over its neighbours' memory; ours gets memory of its own
        with Where(operator, (s.input, s.args, s.kwargs)):
            check(info.op, counterpart(info.op, info.name), (s.input, s.args, s.kwargs), info.name)


TARGETS = {  # tensors for out=, of a library, for a result's shape and type: good ones, and some that torch refuses
    "as the result": lambda t, shape, dtype: t.ones(shape, dtype=dtype),
    **{d: lambda t, shape, _, d=d: t.ones(shape, dtype=getattr(t, d)) for d in (*DTYPES, "int32", "uint8")},
    "another shape": lambda t, shape, dtype: t.ones((*shape, 3), dtype=dtype),
    "empty": lambda t, shape, dtype: t.ones(0, dtype=dtype),
    "with gaps": lambda t, shape, dtype: t.ones((*shape, 2), dtype=dtype)[..., 0],
    "one element": lambda t, shape, dtype: t.ones((), dtype=dtype).expand(shape),
    "with a gradient": lambda t, shape, dtype: t.ones(shape, dtype=dtype, requires_grad=dtype.is_floating_point),
}
OUT_DIFFERS = {
    ("all", "uint8"): "torch casts the elements, so 0.5 is false",
    ("histc", "with a gradient"): "torch records nothing for it and lets it pass",
    ("nn.functional.gelu", "with gaps"): "torch writes nothing",
}


def check_out(info, parts, target):
    """One sample into out=, the first (or only) of which is as TARGETS[target] says."""
    import torch

    expected, error = attempt(info.op, parts[0], *parts[1], **parts[2])
    wanted = leaves(expected)
    if error is not None or not all(isinstance(t, torch.Tensor) for t in wanted):
        return

    def call(library, function, first, args, kwargs, results):
        outs = [library.ones_like(r) for r in results]
        outs[0] = TARGETS[target](library, tuple(results[0].shape), results[0].dtype)
        out = tuple(outs) if isinstance(expected, tuple) else outs[0]
        found, error = attempt(function, first, *args, **kwargs, out=out)
        assert error or all(x is y for x, y in zip(leaves(found), outs, strict=True)), "another tensor came back"
        return outs, error

    try:
        mine = convert((*parts, wanted), [])
    except Refused:
        return
    a, error = call(torch, info.op, *parts, wanted)
    b, our_error = call(tinyrnn, counterpart(info.op, info.name), *mine)
    if target == "one element" and error is None:
        return  # torch may write all elements to one place
    assert type(our_error) is type(error), f"torch: {error!r}; here: {our_error!r}"
    if error is None:
        assert [str(x.dtype) for x in a] == [str(x.dtype) for x in b]
        same([x.to(r.dtype) for x, r in zip(a, wanted, strict=True)],
             [x.to(r.dtype) for x, r in zip(b, mine[-1], strict=True)])  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_out(operator, dtype):
    """out= takes and refuses what torch's does; what it takes is what comes back."""
    info = operators()[operator]
    if not info.supports_out or info.name == "nn.functional.linear":  # where torch's documentation does not know of it
        return
    for parts, _ in spread(samples(operator, dtype, grad=False), 2):
        for target in TARGETS:
            if (info.name, target) not in OUT_DIFFERS:
                with Where(operator, "out", target, parts):
                    check_out(info, parts, target)


def test_aliases(operator):
    """The other names that torch has for an operator."""
    info = operators()[operator]
    for alias in info.aliases:
        assert named(alias.name), f"{alias.name} is missing"
        for parts, _ in spread(samples(operator, "float64"), 3):
            with Where(alias.name, parts):
                check(alias.op, counterpart(alias.op, alias.name), parts, info.name)


def test_a_wrong_result_is_caught(monkeypatch):
    monkeypatch.setattr(tinyrnn, "tanh", lambda x: x * 1.0)
    with pytest.raises(AssertionError):
        test_samples("tanh", "float64")


def test_a_wrong_gradient_is_caught(monkeypatch):
    right = tinyrnn.tanh
    monkeypatch.setattr(tinyrnn, "tanh", lambda x: right(x.detach()) + 2 * x - 2 * x.detach())
    with pytest.raises(AssertionError):
        test_samples("tanh", "float64")


def test_a_number_by_a_tensor_is_its_reciprocal_times_the_number():
    """As torch rounds it, and what its backward keeps: 7 / x may differ from it in the last bit."""
    x = tinyrnn.rand(1000) + 0.1
    assert (7 / x).equal(x.reciprocal() * 7) and not (7 / x).equal(tinyrnn.tensor(7.0) / x)
    assert (3 / tinyrnn.tensor([2, 4])).tolist() == [1.5, 0.75]
    assert (True / tinyrnn.tensor(0.0)).item() == float("inf")
