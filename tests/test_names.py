"""Names that programs import, subclass, test with isinstance, or leave in: base classes, marks, functional_call."""

import json
import warnings

import numpy as np
import pytest
from phrases import check

import tinyrnn
from tinyrnn import facade, nn


# ------------------------------------------------------------------------------------------ base classes
def test_base_classes(oracle):
    facade.imported("torch.nn.modules.utils")
    for library in (tinyrnn, facade.torch()):
        loss, modules = library.nn.modules.loss, library.nn.modules
        assert issubclass(library.nn.MSELoss, loss._Loss) and not issubclass(library.nn.MSELoss, loss._WeightedLoss)
        assert issubclass(library.nn.CrossEntropyLoss, loss._WeightedLoss)
        assert issubclass(library.nn.BatchNorm1d, modules.batchnorm._BatchNorm)
        assert issubclass(library.nn.Dropout1d, modules.dropout._DropoutNd)
        assert issubclass(library.nn.GRU, modules.rnn.RNNBase) and modules.utils._pair(3) == (3, 3)
    check(
        """
        isinstance(nn.LayerNorm(2), nn.modules.batchnorm._BatchNorm), nn.BatchNorm1d(2)
        nn.BatchNorm1d(2)(torch.ones(2))
        nn.modules.loss._Loss(reduction="sum").reduction, nn.modules.loss._WeightedLoss(torch.ones(2)).weight
        nn.modules.dropout._DropoutNd(0.25), nn.modules.rnn.RNNBase("GRU", 2, 3)
        nn.modules.utils._single(2), nn.modules.utils._pair([1, 2]), nn.modules.utils._triple(0)
        nn.modules.utils._quadruple("abcd"), nn.modules.utils._ntuple(5)(1), nn.modules.utils._reverse_repeat_tuple((1, 2), 2)
        s = nn.Sequential(nn.Linear(1, 1)).state_dict(prefix="module."); \
            nn.modules.utils.consume_prefix_in_state_dict_if_present(s, "module."); r = list(s), list(s._metadata)
        s = {"a.b": 1, "c": 2, "a": 3}; nn.modules.utils.consume_prefix_in_state_dict_if_present(s, "a."); r = s
        """,
        oracle,
    )
    with pytest.raises(NotImplementedError, match="_check_input_dim"):
        nn.modules.batchnorm._BatchNorm(2)(tinyrnn.ones(2, 2))


# ------------------------------------------------------------------------------------------ marks
def test_marks_that_a_program_leaves_in(oracle):
    facade.imported("torch.nn.attention", ["SDPBackend", "sdpa_kernel"])
    facade.imported("torch.autograd.profiler", ["record_function"])
    with pytest.raises(ImportError, match=r"torch.profiler.profile is not in tinyrnn: the tools around torch"):
        facade.imported("torch.profiler", ["profile"])
    check(
        """
        with torch.profiler.record_function("forward"): r = 3
        with torch.autograd.profiler.record_function("forward", "args"): r = 3
        torch.profiler.record_function("name")(len)([1, 2])
        torch.profiler.record_function("name").name, torch.profiler.record_function("a", args="b").args
        with torch.profiler.record_function("forward"): r = 3 / 0
        A = torch.nn.attention; r = A.SDPBackend.MATH, str(A.SDPBackend.MATH), int(A.SDPBackend.FLASH_ATTENTION)
        torch.nn.attention.SDPBackend.EFFICIENT_ATTENTION.value, torch.nn.attention.SDPBackend(3)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH): r = \
            torch.nn.functional.scaled_dot_product_attention(*[torch.ones(1, 1, 2, 2)] * 3)
        A = torch.nn.attention; c = A.sdpa_kernel([A.SDPBackend.MATH, A.SDPBackend.FLASH_ATTENTION], True); c.__enter__(); r = 3
        torch.nn.attention.sdpa_kernel("math").__enter__()
        """,
        oracle,
    )


# ------------------------------------------------------------------------------------------ functional_call
def called(torch):
    """What calls with other parameters give: results, gradients, and the module afterwards, or the error."""
    F, told = torch.func.functional_call, {}
    torch.manual_seed(0)
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64)

    def note(name, question):
        try:
            answer = question()
            told[name] = answer.tolist() if isinstance(answer, torch.Tensor) else answer
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            told[name] = type(error).__name__

    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).double()
    others = {name: torch.full_like(p, 0.5).requires_grad_() for name, p in net.named_parameters()}
    before = [p.tolist() for p in net.parameters()]

    def gradients():
        F(net, others, (x,)).square().sum().backward()
        return [t.grad.tolist() for t in others.values()], [p.grad for p in net.parameters()]

    note("gradients", gradients)
    note("one argument", lambda: F(net, others, x))
    note("keyword", lambda: F(net[0], {"weight": others["0.weight"]}, kwargs={"input": x}))
    note("some", lambda: F(net, {"0.bias": others["0.bias"]}, x))
    first, *rest = others
    note("two dictionaries", lambda: F(net, ({first: others[first]}, {k: others[k] for k in rest}), x))
    note("twice", lambda: F(net, ({first: others[first]}, others), x))
    note("a list of lists", lambda: F(net, ([1],), x))
    note("no dictionary", lambda: F(net, 3, x))
    note("an unknown name", lambda: F(net, {"nothing": x}, x))
    note("an unknown module", lambda: F(net, {"9.weight": x}, x))
    note("a module", lambda: F(net, {"0": x}, x))
    note("no tensor", lambda: F(net, {"0.weight": 3}, x))
    note("another shape", lambda: F(net, {"0.weight": x[:1]}, x))
    note("strict", lambda: F(net, others, x, strict=True))
    note("strict, one missing", lambda: F(net, {first: others[first]}, x, strict=True))
    note("strict, one too many", lambda: F(net, {**others, "nothing": x}, x, strict=True))
    told["as before"] = [p.tolist() for p in net.parameters()] == before

    tied = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).double()
    tied[1].weight = tied[0].weight
    half, one = torch.full((2, 2), 0.5, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    for name in ("0.weight", "1.weight"):
        note(f"tied {name}", lambda name=name: F(tied, {name: half}, x))
        note(f"untied {name}", lambda name=name: F(tied, {name: half}, x, tie_weights=False))
    note("tied, two", lambda: F(tied, {"0.weight": half, "1.weight": one}, x))
    note("untied, two", lambda: F(tied, {"0.weight": half, "1.weight": one}, x, tie_weights=False))
    note("tied, twice the same", lambda: F(tied, {"0.weight": half, "1.weight": half}, x))
    told["still tied"] = tied[0].weight is tied[1].weight

    norm = torch.nn.BatchNorm1d(2).double()
    state = {name: b.clone() for name, b in norm.named_buffers()}
    F(norm, state, x)
    told["buffers"] = [b.tolist() for b in (*state.values(), *norm.buffers())]
    for kind in ("RNN", "GRU", "LSTM"):
        rnn = getattr(torch.nn, kind)(2, 3).double()
        given = {name: torch.full_like(p, 0.25).requires_grad_() for name, p in rnn.named_parameters()}
        F(rnn, given, x)[0].sum().backward()
        told[kind] = [t.grad.tolist() for t in given.values()]
    heads = torch.nn.MultiheadAttention(2, 1).double()
    given = {name: torch.full_like(p, 0.25).requires_grad_() for name, p in heads.named_parameters()}
    F(heads, given, (x, x, x))[0].sum().backward()
    told["heads"] = [t.grad.tolist() for t in given.values()]
    return told


def test_functional_call(oracle):
    theirs = json.loads(str(oracle(lambda torch: {"": json.dumps(called(torch))})[""]))
    ours = json.loads(json.dumps(called(tinyrnn)))
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        if isinstance(expected, (str, bool)):
            assert ours[name] == expected, name
        np.testing.assert_allclose(numbers(ours[name]), numbers(expected), rtol=1e-10, atol=1e-12, err_msg=name)


def numbers(nested):
    """The numbers in nested lists, in order."""
    if isinstance(nested, list):
        return [n for part in nested for n in numbers(part)]
    return [] if nested is None or isinstance(nested, str) else [nested]


def test_a_module_is_as_it_was_after_an_error_in_a_functional_call():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(tinyrnn.ones(1))

        def forward(self, x):
            self.weight = None
            raise ZeroDivisionError

    module = Fails()
    weight, given = module.weight, {"weight": tinyrnn.zeros(1)}
    with pytest.raises(ZeroDivisionError):
        tinyrnn.func.functional_call(module, given, (tinyrnn.ones(1),))
    assert module.weight is weight and list(module.parameters()) == [weight]
    with pytest.warns(FutureWarning, match=r"Please use `torch.func.functional_call`"):
        tinyrnn.nn.utils.stateless.functional_call(nn.Linear(1, 1), {}, tinyrnn.ones(1, 1))


# ------------------------------------------------------------------------------------------ DistributedSampler
def test_a_share_for_each_process(oracle):
    def shares(torch):
        Sampler, told = torch.utils.data.distributed.DistributedSampler, {}
        for n in (1, 2, 7, 8, 9):
            for replicas in (1, 2, 3, 5):
                for options in ({}, {"shuffle": False}, {"drop_last": True}, {"seed": 3, "drop_last": True}):
                    for rank in range(replicas):
                        sampler = Sampler(range(n), replicas, rank, **options)
                        try:
                            first = list(sampler)
                            sampler.set_epoch(2)
                            told[f"{n} {replicas} {rank} {options}"] = [len(sampler), *first, *sampler]
                        except AssertionError:
                            told[f"{n} {replicas} {rank} {options}"] = [-1]
        return told

    theirs, ours = oracle(lambda torch: {"": json.dumps(shares(torch))})[""], shares(tinyrnn)
    assert ours == json.loads(str(theirs))
    for rank in (-1, 2):
        with pytest.raises(ValueError, match=rf"Invalid rank {rank}, rank should be in the interval \[0, 1\]"):
            tinyrnn.utils.data.DistributedSampler(range(3), 2, rank)
    for given in ({}, {"num_replicas": 2}, {"rank": 0}):
        with pytest.raises(RuntimeError, match="asks for num_replicas and rank"):
            tinyrnn.utils.data.DistributedSampler(range(3), **given)


# ------------------------------------------------------------------------------------------ warnings
WARNED = {
    "from_numpy": "torch.from_numpy(fixed)", "from_numpy of what can be written": "torch.from_numpy(fixed.copy())",
    "tensor": "torch.tensor(fixed)",
    "T of none": "torch.tensor(1.0).T", "T of one": "torch.ones(2).T", "T of two": "torch.ones(2, 3).T",
    "T of three": "torch.ones(1, 2, 3).T", "meshgrid": "torch.meshgrid(torch.ones(1), torch.ones(2))",
    "meshgrid of a list": "torch.meshgrid([torch.ones(1)])", "meshgrid, indexing": "torch.meshgrid(torch.ones(1), indexing='ij')",
    "scaler": "torch.cuda.amp.GradScaler(enabled=False)", "scaler by position": "torch.cuda.amp.GradScaler(2.0, 2.0, 0.5, 9, False)",
    "new scaler": "torch.amp.GradScaler(enabled=False)", "autocast": "torch.cuda.amp.autocast(enabled=False)",
    "new autocast": "torch.autocast('cuda', enabled=False)", "custom_fwd": "torch.cuda.amp.custom_fwd(len)",
    "custom_fwd with options": "torch.cuda.amp.custom_fwd(cast_inputs=torch.float32)(len)",
    "custom_bwd": "torch.cuda.amp.custom_bwd(len)", "new custom_bwd": "torch.amp.custom_bwd(device_type='cuda')(len)",
    "backward hook": "torch.nn.Linear(1, 1).register_backward_hook(print)",
}  # fmt: skip


def test_warnings(oracle):
    def told(torch):
        fixed, found = np.ones(2), {}
        fixed.flags.writeable = False
        torch.set_warn_always(True)
        try:
            for name, text in WARNED.items():
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    eval(text, {"torch": torch, "fixed": fixed})
                found[name] = [f"{w.category.__name__}: {str(w.message)[:38]}" for w in caught]
                assert torch is not tinyrnn or all(w.filename == "<string>" for w in caught), name
        finally:
            torch.set_warn_always(False)
        return found

    assert told(tinyrnn) == json.loads(str(oracle(lambda torch: {"": json.dumps(told(torch))})[""]))


def test_a_read_only_array_stays_as_it_is():
    fixed = np.ones(2)
    fixed.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = tinyrnn.from_numpy(fixed)
    with pytest.raises((ValueError, RuntimeError), match="read-only"):
        x.add_(1)
    assert fixed.tolist() == [1.0, 1.0] and (x + 1).tolist() == [2.0, 2.0]
    scaler = tinyrnn.cuda.amp.GradScaler(2.0, 2.0, 0.5, 9, False)
    assert isinstance(scaler, tinyrnn.amp.GradScaler) and scaler.scale(3) == 3


def test_numbers_that_layers_and_packing_take(oracle):
    check(
        """
        nn.LSTM(4, 3, batch_first=1)
        nn.LSTM(4, 3, bias=1)
        nn.LayerNorm(np.int64(3))(x).shape, nn.RMSNorm(np.int64(3))(x).shape
        nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.PackedSequence(x, i[1:]))
        nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.PackedSequence(torch.ones(5, 2), torch.tensor([2, 2])))
        nn.TripletMarginWithDistanceLoss()
        torch.save(x, "")
        torch.iinfo(int), pickle.loads(pickle.dumps(torch.strided)) is torch.strided
        torch.distributions.Normal(0.0, 1.0).support, str(torch.distributions.Uniform(0.0, 1.0).arg_constraints)
        """,
        oracle,
    )
