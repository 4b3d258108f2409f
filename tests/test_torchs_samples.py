"""torch's own samples of layers, losses and optimizers, through torch and through tinyrnn; schedulers beside them."""

import copy
import itertools
import warnings

import numpy as np
import pytest
from conftest import needs_torch, torch

import tinyrnn

pytestmark = needs_torch

LIBRARIES = (torch, tinyrnn)
TOLERANCE = {"float32": (1e-5, 1e-4), "float64": (1e-12, 1e-10)}  # of results and of gradients, relative to the largest


class Refused(Exception):
    """The sample holds what tinyrnn refuses by design: half precision."""


def database(module, name):
    """One of the lists of samples that torch ships, or nothing where it or its own requirements are not installed."""
    if torch is None:
        return []
    pytest.importorskip("expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import importlib

        found = getattr(importlib.import_module(f"torch.testing._internal.{module}"), name)
        return found() if callable(found) else found


MODULES = {m.name.removeprefix("nn."): m for m in database("common_modules", "module_db")}
OPTIMIZERS = {o.name: o for o in database("common_optimizers", "optim_db")}
OLDER = [
    case
    for case in [*database("common_nn", "module_tests"), *database("common_nn", "get_new_module_tests")]
    if hasattr(tinyrnn.nn, case.get("module_name", "-")) and "complex" not in case.get("desc", "")
]
OURS = sorted(name for name in MODULES if hasattr(tinyrnn.nn, name))


# ------------------------------------------------------------------------------------------ both libraries
def convert(x, pairs):
    """A part of a sample as tinyrnn has it; `pairs` collects torch's and our tensors that want gradients."""
    if isinstance(x, torch.Tensor):
        if x.dtype in (torch.float16, torch.bfloat16):
            raise Refused
        known = [y for other, y in pairs if other is x]
        if known:
            return known[0]
        y = tinyrnn.from_numpy(x.detach().numpy().copy())
        if x.requires_grad:
            y.requires_grad_()
            pairs.append((x, y))
        return y
    if isinstance(x, torch.dtype):
        return getattr(tinyrnn, str(x).removeprefix("torch."))
    if isinstance(x, (tuple, list)):
        return type(x)(convert(v, pairs) for v in x)
    if isinstance(x, dict):
        return {k: convert(v, pairs) for k, v in x.items()}
    if callable(x) and getattr(torch.nn.functional, getattr(x, "__name__", "-"), None) is x:
        return getattr(tinyrnn.nn.functional, x.__name__)
    if isinstance(x, torch.nn.TransformerEncoderLayer):
        return converted_layer(x)
    return x


def converted_layer(x):
    """An encoder layer that torch's sample brings along, as ours with the same weights."""
    y = tinyrnn.nn.TransformerEncoderLayer(
        x.self_attn.embed_dim,
        x.self_attn.num_heads,
        x.linear1.out_features,
        x.dropout.p,
        convert(x.activation, []),
        x.norm1.eps,
        x.self_attn.batch_first,
        x.norm_first,
        x.linear1.bias is not None,
        dtype=convert(x.linear1.weight.dtype, []),
    )
    y.load_state_dict({name: convert(value, []) for name, value in x.state_dict().items()})
    return y


def leaves(x):
    """The tensors and other values in a result, in order."""
    return [y for v in x for y in leaves(v)] if isinstance(x, (tuple, list)) else [x]


def same(theirs, mine, what, gradient=False):
    """The same numbers, but for a tolerance; NaN and infinities in the same places."""
    theirs, mine = leaves(theirs), leaves(mine)
    assert len(theirs) == len(mine), what
    for a, b in zip(theirs, mine, strict=True):
        assert (a is None) == (b is None), f"{what}: {a} and {b}"
        if not hasattr(a, "detach"):
            assert a == b, what
            continue
        a, b = a.detach().numpy(), b.detach().numpy()
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{what}: {a.dtype}{a.shape} became {b.dtype}{b.shape}"
        bound = TOLERANCE.get(str(a.dtype), (0, 0))[gradient] * np.abs(a[np.isfinite(a)]).max(initial=1e-3)
        np.testing.assert_allclose(b, a, rtol=0, atol=bound, err_msg=what)


def attempt(function, *args, **kwargs):
    """(result, None), or (None, exception)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **kwargs), None
        except Exception as error:
            return None, error


def refused_alike(theirs, mine, what):
    """Whether both failed; with the same class of exception."""
    assert type(theirs) is type(mine), f"{what}: torch {theirs!r}, here {mine!r}"
    return theirs is not None


def words(x):
    """A part of a sample in words: a tensor by its type and shape."""
    if isinstance(x, (tuple, list)):
        return f"({', '.join(map(words, x))})"
    if isinstance(x, dict):
        return f"({', '.join(f'{k}={words(v)}' for k, v in x.items())})"
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "detach") else repr(x)


# ------------------------------------------------------------------------------------------ layers and losses
def build(name, args, kwargs, dtype):
    """A module of torch's and ours, with the same parameters: drawn by each from the same seed, and then copied."""
    mine, pairs = convert((args, kwargs), []), []
    modules, errors = [], []
    for library, (a, k) in zip(LIBRARIES, ((args, kwargs), mine), strict=True):
        library.manual_seed(5)
        module, error = attempt(getattr(library.nn, name), *a, **k)
        modules.append(module)
        errors.append(error)
    if refused_alike(*errors, f"{name}{words(args)}{words(kwargs)}"):
        return None
    theirs, ours = modules
    assert repr(theirs) == repr(ours)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in ours.named_parameters()]
    for key, value in theirs.state_dict().items():
        same(value, ours.state_dict()[key], f"{name}: {key} as it begins")
    theirs, ours = theirs.to(dtype), ours.to(convert(dtype, pairs))
    ours.load_state_dict({key: convert(value, []) for key, value in theirs.state_dict().items()})
    return theirs, ours


def run_both(theirs, ours, args, kwargs, what):
    """The same results and the same gradients of all inputs and parameters."""
    pairs = []
    mine = convert((args, kwargs), pairs)
    pairs += zip(theirs.parameters(), ours.parameters(), strict=True)
    torch.manual_seed(7), tinyrnn.manual_seed(7)
    a, error = attempt(theirs, *args, **kwargs)
    b, our_error = attempt(ours, *mine[0], **mine[1])
    if refused_alike(error, our_error, what):
        return
    same(a, b, what)
    for key, value in theirs.state_dict().items():
        same(value, ours.state_dict()[key], f"{what}: {key} after the call")
    sent = [(x, y) for x, y in zip(leaves(a), leaves(b), strict=True) if getattr(x, "requires_grad", False)]
    assert len(sent) == sum(getattr(y, "requires_grad", False) for y in leaves(b)), f"{what}: requires_grad"
    if not sent:
        return
    make = torch.Generator().manual_seed(3)
    seeds = [torch.randn(x.shape, generator=make, dtype=x.dtype) for x, _ in sent]
    g = torch.autograd.grad([x for x, _ in sent], [x for x, _ in pairs], seeds, allow_unused=True)
    h = tinyrnn.autograd.grad(
        [y for _, y in sent], [y for _, y in pairs], [convert(s, []) for s in seeds], allow_unused=True
    )
    for k, (x, y) in enumerate(zip(g, h, strict=True)):
        same(x, y, f"{what}: gradient {k}", gradient=True)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OURS)
def test_modules(name, dtype, training):
    info, dtype = MODULES[name], getattr(torch, dtype)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
    for sample in samples:
        made = build(name, sample.constructor_input.args, sample.constructor_input.kwargs, dtype)
        if made is None or sample.forward_input is None:
            continue
        theirs, ours = made
        assert theirs.train(training).training == ours.train(training).training
        args, kwargs = sample.forward_input.args, sample.forward_input.kwargs
        run_both(theirs, ours, args, kwargs, f"{theirs}{words(args)}{words(kwargs)}")


@pytest.mark.parametrize("name", [name for name in OURS if MODULES[name].module_error_inputs_func])
def test_bad_input_of_modules(name):
    info = MODULES[name]
    for training in (True, False):
        for bad in info.module_error_inputs_func(
            info, device="cpu", dtype=torch.float64, requires_grad=False, training=training
        ):
            sample = bad.module_error_input
            try:
                made = build(name, sample.constructor_input.args, sample.constructor_input.kwargs, torch.float64)
                if made is not None:
                    run_both(*made, sample.forward_input.args, sample.forward_input.kwargs, name)
            except Refused:
                continue


@pytest.mark.parametrize("case", OLDER, ids=[f"{c['module_name']}-{c.get('desc', '')}" for c in OLDER])
def test_older_samples(case):
    """The layers of torch.testing._internal.common_nn."""
    torch.manual_seed(2)
    name, kwargs = case["module_name"], {}
    args = case["constructor_args_fn"]() if "constructor_args_fn" in case else case.get("constructor_args", ())
    inputs = case["input_fn"]() if "input_fn" in case else torch.randn(case["input_size"])
    for dtype in (torch.float32, torch.float64):
        made = build(name, args, kwargs, dtype)
        given = inputs if isinstance(inputs, (tuple, list)) else [inputs]
        given = [x.to(dtype).detach().requires_grad_() if x.is_floating_point() else x for x in given]
        run_both(*made, given, {}, f"{name}{words(args)}{words(given)}")


# ------------------------------------------------------------------------------------------ optimizers
FLAGS = [{}, *({flag: True} for flag in ("foreach", "fused", "capturable", "maximize"))]


def begin(library, dtype, convex=False):
    """Three parameters and the closure of their loss; `convex` for what would make a rounding grow."""
    rng = np.random.default_rng(3)
    tensors = [
        library.from_numpy(rng.standard_normal(shape)).to(getattr(library, dtype)).requires_grad_()
        for shape in ((4, 3), (3,), ())
    ]
    x = library.from_numpy(rng.standard_normal((5, 4))).to(tensors[0].dtype)

    def closure():
        for p in tensors:
            p.grad = None
        y = x @ tensors[0] + tensors[1]
        if convex:
            loss = (y - x[:, :3]).pow(2).mean() + sum((p - 1).pow(2).mean() for p in tensors)
        else:
            loss = (y.tanh() * tensors[2]).pow(2).sum() + tensors[2].exp()
        loss.backward()
        return loss

    return tensors, closure


def optimized(library, name, options, dtype, steps=5, resume=3):
    """The parameters after each step; after `resume` steps the optimizer is made anew from its state."""
    if name == "LBFGS":  # in float32, a rounding leads torch's own runs apart by more than the tolerance
        dtype = "float64" if isinstance(dtype, str) else library.float64
    tensors, closure = begin(library, dtype, convex=name == "LBFGS")
    make = getattr(library.optim, name)
    optimizer = make(tensors, **options)
    trace, states = [], []
    for step in range(steps):
        if step == resume:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = make(tensors, **options)
            optimizer.load_state_dict(saved)
        loss = closure()
        if name == "LBFGS":
            optimizer.step(closure)
        else:
            optimizer.step()
        trace.append([loss.detach(), *(p.detach().clone() for p in tensors)])
        states.append(optimizer.state_dict())
    return trace, states, repr(optimizer)


def compare_runs(name, options, dtype, what):
    mine = convert(options, [])
    a, error = attempt(optimized, torch, name, options, dtype)
    if error is None and {"foreach", "fused"} & set(options):  # torch's other ways of computing the same, less exactly
        alone = {key: value for key, value in options.items() if key not in ("foreach", "fused")}
        a = *optimized(torch, name, alone, dtype)[:2], a[2]
    b, our_error = attempt(optimized, tinyrnn, name, mine, dtype)
    if refused_alike(error, our_error, what):
        return
    for step, (x, y) in enumerate(zip(a[0], b[0], strict=True)):
        same(x, y, f"{what}, step {step}")
    theirs, ours = a[1][-1], b[1][-1]
    assert list(theirs["state"]) == list(ours["state"]), what
    for number, entries in theirs["state"].items():
        if name != "LBFGS":  # whose state is a history that a rounding changes
            assert list(entries) == list(ours["state"][number]), what
            for key, value in entries.items():
                same(value, ours["state"][number][key], f"{what}: {key}", gradient=True)
    for mine, other in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        ways = ("foreach", "fused")
        assert list(mine) == list(other), what
        assert all(str(mine[k]) == str(other[k]) for k in mine if k not in ways), what
    assert a[2] == b[2], what


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: next(iter(flag), "plain"))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(name for name in OPTIMIZERS if hasattr(tinyrnn.optim, name)))
def test_optimizers(name, dtype, flag):
    for sample in OPTIMIZERS[name].optim_inputs_func("cpu"):
        if sample.kwargs.get("differentiable"):
            continue  # refused: see the next test
        compare_runs(name, {**sample.kwargs, **flag}, dtype, f"{name}({words(sample.kwargs)}) {flag}")


@pytest.mark.parametrize("name", sorted(name for name in OPTIMIZERS if hasattr(tinyrnn.optim, name)))
def test_bad_options_of_optimizers(name):
    for bad in OPTIMIZERS[name].optim_error_inputs_func("cpu", torch.float32):
        sample = bad.optimizer_error_input
        what = f"{name}({words(sample.params)}, {words(sample.kwargs)})"
        made, errors = [], []
        for library, options in zip(LIBRARIES, (sample.kwargs, convert(sample.kwargs, [])), strict=True):
            params = sample.params if library is torch else convert(sample.params, [])
            result, error = attempt(getattr(library.optim, name), params, **options)
            made.append(result)
            errors.append(error)
        if refused_alike(*errors, what):
            continue
        refused_alike(*(attempt(optimizer.step)[1] for optimizer in made), what)


def test_steps_leave_no_record():
    tensors, _ = begin(tinyrnn, "float32")
    for name in ("Adam", "Rprop", "SGD"):
        with pytest.raises(NotImplementedError, match="differentiable"):
            getattr(tinyrnn.optim, name)(tensors, differentiable=True)


# ------------------------------------------------------------------------------------------ schedulers
def half(epoch):
    return 1 / (1 + epoch)


class Callable:
    """A function with a state, which a scheduler saves."""

    def __init__(self):
        self.base = 0.9

    def __call__(self, epoch):
        return self.base**epoch


SCHEDULERS = [  # name, arguments
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 2, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 4, 4, 7], "gamma": 0.3}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 3}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.5, "end_factor": 0.1, "total_iters": 7}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 8, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 20}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": half}),
    ("LambdaLR", {"lr_lambda": [half, Callable()]}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.9 if epoch % 2 else 0.8}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": 0.1, "step_size_up": 2, "step_size_down": 4,
                  "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "exp_range", "gamma": 0.9}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "scale_fn": Callable(), "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 20}),
    ("OneCycleLR", {"max_lr": [0.1, 0.2], "epochs": 5, "steps_per_epoch": 4, "anneal_strategy": "linear",
                    "three_phase": True}),
    ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5}),
    ("ReduceLROnPlateau", {"mode": "max", "patience": 0, "cooldown": 2, "min_lr": [0.01, 0.2],
                           "threshold_mode": "abs"}),
    ("StepLR", {"step_size": 3, "verbose": True}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "mode": "typo"}),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 0.5}),
    ("MultiplicativeLR", {"lr_lambda": [half]}),
    ("MultiplicativeLR", {"lr_lambda": 3}),
]  # fmt: skip


def groups(library, name="SGD", tensor_lr=False):
    p, q = (library.ones(2, requires_grad=True) for _ in range(2))
    momentum = {"momentum": 0.9} if name == "SGD" else {}
    lr = library.tensor(0.5) if tensor_lr else 0.5
    return getattr(library.optim, name)([{"params": [p]}, {"params": [q], "lr": 0.25}], lr=lr, **momentum)


def plain(value):
    """A scheduler's state, or an optimizer's options, as text, without what is printed by its address."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not callable(v) and k != "params"}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return f"{float(value):.9g}" if isinstance(value, float) or hasattr(value, "detach") else repr(value)


def scheduled(library, make, optimizer, epochs=(None,) * 20, resume=11):
    """What a scheduler does in 20 steps, told as a list; after `resume` steps another one goes on from its state."""
    told, options = [], optimizer
    optimizer = groups(library, **options)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scheduler = make(library, optimizer)
        for step, epoch in enumerate(epochs):
            if step == resume:
                state = copy.deepcopy(scheduler.state_dict())
                other = groups(library, **options)
                other.load_state_dict(optimizer.state_dict())
                optimizer, scheduler = other, make(library, other)
                for group, saved in zip(optimizer.param_groups, state["_last_lr"], strict=True):
                    group["lr"] = saved
                scheduler.load_state_dict(state)
            optimizer.step()
            metrics = (abs(7 - step) / 10,) if type(scheduler).__name__ == "ReduceLROnPlateau" else ()
            scheduler.step(*metrics, *(() if epoch is None else (epoch,)))
            told.append(plain([scheduler.get_last_lr(), list(optimizer.param_groups)]))
            told.append(list(scheduler.state_dict()))
        told.append(plain({k: v for k, v in scheduler.state_dict().items() if k[0] != "_" or k == "_last_lr"}))
    return told, [(w.category.__name__, str(w.message)[:40]) for w in warned]


@pytest.mark.parametrize("optimizer", [{}, {"name": "Adam"}, {"tensor_lr": True}], ids=["SGD", "Adam", "tensor"])
@pytest.mark.parametrize("name, options", SCHEDULERS, ids=[f"{name}-{k}" for k, (name, _) in enumerate(SCHEDULERS)])
def test_schedulers(name, options, optimizer):
    def make(library, optimizer):
        return getattr(library.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(options))

    told = [attempt_scheduled(library, make, optimizer) for library in LIBRARIES]
    assert told[0] == told[1]


def attempt_scheduled(library, make, optimizer, **how):
    try:
        return scheduled(library, make, optimizer, **how)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, ZeroDivisionError) as error:
        return type(error).__name__


@pytest.mark.parametrize(
    "name, options",
    [s for s in SCHEDULERS if "LR" in s[0] and s[0] not in ("ReduceLROnPlateau", "OneCycleLR")],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_closed_forms(name, options):
    def make(library, optimizer):
        return getattr(library.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(options))

    told = [attempt_scheduled(library, make, {}, epochs=range(12)) for library in LIBRARIES]
    assert told[0] == told[1]


def chained(library, optimizer):
    s = library.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(optimizer, 0.1, 4), s.ExponentialLR(optimizer, 0.9)], optimizer)


def sequential(library, optimizer):
    s = library.optim.lr_scheduler
    return s.SequentialLR(
        optimizer,
        [s.LinearLR(optimizer, 0.1, total_iters=3), s.CosineAnnealingLR(optimizer, 9), s.StepLR(optimizer, 2)],
        [3, 9],
    )


def nested(library, optimizer):
    s = library.optim.lr_scheduler
    inner = s.SequentialLR(optimizer, [s.ConstantLR(optimizer, 0.5, 2), s.ExponentialLR(optimizer, 0.8)], [4])
    return s.SequentialLR(optimizer, [inner, s.PolynomialLR(optimizer, 6)], [8])


def without_schedulers(library, optimizer):
    return library.optim.lr_scheduler.ChainedScheduler([])


def of_another_optimizer(library, optimizer):
    s = library.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(optimizer), s.ConstantLR(groups(library))])


def with_a_plateau(library, optimizer):
    s = library.optim.lr_scheduler
    return s.ChainedScheduler([s.ConstantLR(optimizer), s.ReduceLROnPlateau(optimizer)])


def averaging(library, optimizer):
    return library.optim.swa_utils.SWALR(optimizer, 0.05, 6)


def averaging_at_once(library, optimizer):
    return library.optim.swa_utils.SWALR(optimizer, [0.05, 0.1], 0, "linear")


@pytest.mark.parametrize(
    "make",
    [chained, sequential, nested, without_schedulers, of_another_optimizer, with_a_plateau, averaging,
     averaging_at_once],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_schedulers_of_schedulers(make):
    told = [attempt_scheduled(library, make, {}, resume=99) for library in LIBRARIES]
    assert told[0] == told[1]


def test_wrong_order_of_calls():
    def tell(library):
        found = []
        for early, own_step in itertools.product((True, False), (True, False)):
            optimizer = groups(library)
            scheduler = library.optim.lr_scheduler.StepLR(optimizer, 2)
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                if own_step:
                    optimizer.step = lambda: None
                for call in (scheduler.step, optimizer.step) if early else (optimizer.step, scheduler.step):
                    call()
                scheduler.get_lr()
            found.append([str(w.message)[:60] for w in warned])
        return found

    assert tell(torch) == tell(tinyrnn)


# ------------------------------------------------------------------------------------------ averages of models
@pytest.mark.parametrize("way", ["plain", "ema", "multi_ema", "swa", "multi_swa", "buffers"])
def test_averaged_models(way):
    def run(library):
        library.manual_seed(0)
        nn, swa = library.nn, library.optim.swa_utils
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
        options = {
            "plain": lambda: {},
            "ema": lambda: {"avg_fn": swa.get_ema_avg_fn(0.9)},
            "multi_ema": lambda: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)},
            "swa": lambda: {"avg_fn": swa.get_swa_avg_fn()},
            "multi_swa": lambda: {"multi_avg_fn": swa.get_swa_multi_avg_fn()},
            "buffers": lambda: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9), "use_buffers": True},
        }[way]()
        averaged = swa.AveragedModel(model, **options)
        optimizer = library.optim.SGD(model.parameters(), lr=0.1)
        data = [library.randn(8, 3) for _ in range(4)]
        for x in data:
            model(x).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            averaged.update_parameters(model)
        swa.update_bn(data, averaged)
        return averaged.state_dict(), averaged(data[0])

    (theirs, a), (ours, b) = run(torch), run(tinyrnn)
    assert list(theirs) == list(ours)
    for key, value in theirs.items():
        same(value, ours[key], key)
    same(a, b, "the averaged model's answer")


# ------------------------------------------------------------------------------------------ the test can fail
def test_a_wrong_loss_is_caught(monkeypatch):
    right = tinyrnn.nn.functional.mse_loss
    monkeypatch.setattr(tinyrnn.nn.functional, "mse_loss", lambda *a, **k: right(*a, **k) * (1 + 1e-9))
    with pytest.raises(AssertionError):
        test_modules("MSELoss", "float64", True)


def test_a_wrong_update_is_caught(monkeypatch):
    monkeypatch.setattr(tinyrnn.optim.variants, "counter", lambda: tinyrnn.tensor(1.0))
    with pytest.raises(AssertionError):
        test_optimizers("Adamax", "float64", {})
