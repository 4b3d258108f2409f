"""Types, devices and switches: names that can be passed around, questions that are answered, and what is refused."""

import contextlib
import inspect
import math
import os
import pickle
import threading
import warnings

import numpy as np
import pytest
from phrases import check
from stories import as_torch

import tinyrnn
from tinyrnn import dtypes


@pytest.fixture(autouse=True)
def usual_types():
    yield
    tinyrnn.set_default_dtype(tinyrnn.float32)


# ------------------------------------------------------------------------------------------ types
def test_types_as_torch(oracle):
    check(
        """
        torch.float16, torch.half is torch.float16, torch.bfloat16, torch.complex64, torch.cfloat is torch.complex64
        torch.complex128 is torch.cdouble, torch.chalf, torch.uint16, torch.uint32, torch.uint64
        [getattr(torch, d).itemsize for d in "float16 bfloat16 complex64 complex128 bool int8 int64 uint16".split()]
        [getattr(torch, d).is_floating_point for d in "float16 bfloat16 complex64 bool int8 double".split()]
        [getattr(torch, d).is_complex for d in "float16 complex64 complex128 bool".split()]
        [getattr(torch, d).is_signed for d in "float16 complex64 uint16 uint8 bool int8 double".split()]
        torch.float16 == torch.half, torch.float16 == torch.float32, {torch.float16: 1}[torch.half]
        [getattr(torch, d).to_complex() for d in "float16 float32 float64 bfloat16".split()]
        [getattr(torch, d).to_real() for d in "float16 float32 complex64 complex128 complex32 int64".split()]
        type(torch.float16), torch.device, torch.Size, torch.layout, torch.memory_format
        torch.strided, torch.contiguous_format, torch.preserve_format, x.layout is torch.strided
        pickle.loads(pickle.dumps(torch.float16)) is torch.float16, copy.deepcopy(torch.half) is torch.half
        torch.float16.nothing
        torch.finfo()
        torch.finfo(torch.float16), torch.finfo(torch.bfloat16), torch.finfo(torch.float64)
        torch.finfo(torch.complex64), torch.finfo(torch.float16).max, torch.finfo(x.dtype).eps
        [getattr(torch.finfo(torch.float64), k) for k in "bits eps max min tiny smallest_normal resolution \
            dtype".split()]
        torch.finfo(torch.float32) == torch.finfo(torch.float32), torch.finfo(torch.half) == torch.finfo()
        torch.finfo(torch.int32)
        torch.finfo(float)
        torch.iinfo(torch.int64), torch.iinfo(torch.uint8), torch.iinfo(torch.int8), torch.iinfo(torch.uint16)
        torch.iinfo(torch.int64).max, torch.iinfo(torch.int32).min, torch.iinfo(torch.int16).bits
        torch.iinfo(torch.float32)
        torch.iinfo(torch.bool)
        torch.iinfo()
        torch.iinfo(torch.int8) == torch.iinfo(torch.int8), torch.iinfo(torch.int8) == torch.iinfo(torch.uint8)
        [torch.can_cast(torch.float32, d) for d in (torch.int64, torch.float16, torch.complex64, torch.bool)]
        [torch.can_cast(torch.int64, d) for d in (torch.bool, torch.uint8, torch.float32, torch.float16)]
        torch.can_cast(torch.complex64, torch.float64), torch.can_cast(torch.bool, torch.int8)
        torch.promote_types(torch.int8, torch.uint8), torch.promote_types(torch.int64, torch.float32)
        torch.promote_types(torch.float16, torch.float16), torch.promote_types(torch.bool, torch.uint8)
        torch.promote_types(torch.float32, 3)
        torch.result_type(x, i), torch.result_type(i, 1.5), torch.result_type(sc, i), torch.result_type(1, True)
        torch.result_type(1, 2.0), torch.result_type(b, 1), torch.result_type(i, sc.double())
        torch.result_type("a", 1)
        torch.set_default_dtype(torch.int64)
        torch.set_default_dtype("a")
        torch.set_default_dtype(torch.float64); r = torch.ones(1).dtype, torch.tensor(1.5).dtype; \
            torch.set_default_dtype(torch.float32)
        torch.set_default_tensor_type(torch.LongTensor)
        torch.set_default_tensor_type("torch.cuda.FloatTensor")
        torch.set_default_tensor_type(torch.DoubleTensor); r = torch.ones(1).dtype; \
            torch.set_default_tensor_type("torch.FloatTensor")
        torch.zeros(2, dtype=float).dtype, torch.ones(1, dtype=int).dtype, torch.tensor([1, 0], dtype=bool), \
            x.to(int).dtype
        """,
        oracle,
    )


REFUSED = [d for name, d in vars(tinyrnn).items() if isinstance(d, tinyrnn.dtype) and d in dtypes.NAMES]


@pytest.mark.parametrize("dtype", sorted(set(REFUSED), key=str), ids=str)
def test_no_tensor_has_such_a_type(dtype):
    x = tinyrnn.ones(2)
    made = [
        lambda: x.to(dtype),
        lambda: x.to("cpu", dtype),
        lambda: x.type(dtype),
        lambda: x.sum(dtype=dtype),
        lambda: x.new_zeros(2, dtype=dtype),
        lambda: tinyrnn.tensor([1.0], dtype=dtype),
        lambda: tinyrnn.as_tensor([1.0], dtype=dtype),
        lambda: tinyrnn.zeros(2, dtype=dtype),
        lambda: tinyrnn.randn(2, dtype=dtype),
        lambda: tinyrnn.arange(2, dtype=dtype),
        lambda: tinyrnn.empty_like(x, dtype=dtype),
        lambda: tinyrnn.set_default_dtype(dtype),
        lambda: tinyrnn.nn.Linear(1, 1).to(dtype),
        lambda: tinyrnn.nn.Linear(1, 1, dtype=dtype),
    ]
    for number, make in enumerate(made):
        with pytest.raises((NotImplementedError, TypeError), match=str(dtype) if number < 10 else None):
            make()
    assert tinyrnn.get_default_dtype() is tinyrnn.float32


def test_methods_for_such_types_are_refused():
    for name in ("half", "bfloat16", "cfloat", "cdouble"):
        with pytest.raises(NotImplementedError, match=r"torch\.\w+: tinyrnn has no tensors of this type; use float32"):
            getattr(tinyrnn.ones(2), name)()
    for name in ("half", "bfloat16"):
        with pytest.raises(RuntimeError, match=name):
            getattr(tinyrnn.nn.Linear(1, 1), name)()


# ------------------------------------------------------------------------------------------ devices
def test_devices_as_torch(oracle):
    check(
        """
        torch.get_default_device(), torch.set_default_device("cpu"), torch.set_default_device(None)
        torch.set_default_device("nowhere")
        with torch.device("cpu"): r = torch.ones(2).device
        torch.device("cpu", 0), torch.device("cpu:1"), torch.device("cuda:0").index, torch.device(type="cuda", index=1)
        str(torch.device("cuda", 1)), torch.device("mps"), torch.device("xpu:2"), torch.device(torch.device("cpu"))
        torch.device("cpu") == torch.device("cpu", 0), torch.device("cpu") == "cpu", x.device == torch.device("cpu")
        hash(torch.device("cuda:0")) == hash(torch.device("cuda", 0))
        torch.device("nowhere")
        torch.device("cpu:-1")
        torch.device("cuda:01")
        torch.device("cuda:0", 1)
        torch.device(None)
        torch.device(1.5)
        torch.device()
        torch.ones(2, device="cuda")
        x.to("cuda:0")
        x.cuda()
        nn.Linear(1, 1).cuda()
        x.cpu() is x, x.to("cpu") is x, x.to(torch.device("cpu"), non_blocking=True) is x
        """,
        oracle,
    )


def test_there_is_no_gpu(oracle):
    if tinyrnn.cuda.is_available():
        pytest.skip("there is one")
    check(
        """
        torch.cuda.is_available(), torch.cuda.device_count(), torch.cuda.is_initialized(), \
            torch.cuda.is_bf16_supported()
        torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated(0), torch.cuda.memory_reserved(device=0)
        torch.cuda.max_memory_reserved(), torch.cuda.memory_stats(), torch.cuda.get_arch_list()
        torch.cuda.manual_seed(1), torch.cuda.manual_seed_all(1), torch.cuda.seed(), torch.cuda.seed_all()
        torch.cuda.empty_cache(), torch.cuda.get_rng_state_all(), torch.cuda.set_rng_state_all([])
        torch.cuda.current_device()
        torch.cuda.get_device_name(0)
        torch.cuda.get_device_properties(0)
        torch.cuda.get_device_capability(0)
        torch.cuda.mem_get_info()
        torch.cuda.synchronize()
        torch.cuda.current_stream()
        torch.cuda.get_rng_state()
        torch.cuda.Stream()
        torch.cuda.Event(enable_timing=True)
        with torch.cuda.device(-1): r = 1
        torch.cuda.FloatTensor, torch.cuda.LongTensor
        torch.cuda.FloatTensor(2)
        isinstance(x, torch.cuda.FloatTensor), isinstance(x, torch.FloatTensor), isinstance(i, torch.FloatTensor)
        x.type("torch.cuda.FloatTensor")
        torch.accelerator.is_available(), torch.accelerator.current_accelerator(), torch.accelerator.device_count()
        torch.accelerator.synchronize()
        torch.accelerator.current_device_index()
        torch.accelerator.set_device_index(0)
        torch.backends.mps.is_available(), torch.backends.mps.is_built(), torch.mps.is_available(), \
            torch.mps.device_count()
        torch.xpu.is_available(), torch.xpu.device_count(), torch.cpu.is_available(), torch.cpu.device_count()
        torch.backends.cudnn.is_available(), torch.backends.cudnn.version(), torch.backends.cuda.is_built()
        torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
        with torch.backends.cudnn.flags(enabled=False): r = 1
        torch.version.cuda, torch.version.hip
        """,
        oracle,
    )
    with pytest.raises(RuntimeError, match="cuda.set_device"):  # torch's own words are about its parts
        tinyrnn.cuda.set_device(0)
    with pytest.raises(AssertionError, match="cuda.device"), tinyrnn.cuda.device(0):
        pass


# ------------------------------------------------------------------------------------------ switches
def test_switches_as_torch(oracle):
    check(
        """
        torch.set_num_threads(2); r = torch.get_num_threads()
        torch.set_num_threads(0)
        torch.set_num_threads("2")
        torch.use_deterministic_algorithms(True); r = torch.are_deterministic_algorithms_enabled(), \
            torch.get_deterministic_debug_mode()
        torch.use_deterministic_algorithms(True, warn_only=True); r = \
            torch.is_deterministic_algorithms_warn_only_enabled()
        torch.set_deterministic_debug_mode("error"); r = torch.get_deterministic_debug_mode()
        torch.set_deterministic_debug_mode("nothing")
        torch.use_deterministic_algorithms(False); r = torch.are_deterministic_algorithms_enabled()
        torch.set_float32_matmul_precision("high"); r = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("nothing"); r = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest"); r = torch.get_float32_matmul_precision()
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.allow_tf32 = True; r = torch.get_float32_matmul_precision(), \
            torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "nothing"
        torch.backends.cuda.matmul.allow_tf32 = 1
        torch.backends.cuda.matmul.allow_tf32 = False; r = torch.get_float32_matmul_precision(), \
            torch.backends.cuda.matmul.fp32_precision
        torch.set_float32_matmul_precision(2)
        torch.set_warn_always(False); r = torch.is_warn_always_enabled()
        torch.is_autocast_enabled(), torch.newaxis, torch.inf, torch.nan, torch.pi, torch.e
        torch.autocast("cuda", enabled=False).__enter__() is None
        torch.autocast("cuda").__enter__() is None
        torch.cuda.amp.autocast().__enter__() is None
        torch.cuda.amp.autocast(enabled=False, dtype=torch.float16).__enter__() is None
        torch.autocast("nowhere")
        torch.autocast(3)
        s = torch.amp.GradScaler(enabled=False); r = s.scale(3), s.get_scale(), s.is_enabled(), s.state_dict(), \
            s.update()
        s = torch.cuda.amp.GradScaler(); r = s.scale(3), s.get_scale(), s.is_enabled(), s.state_dict()
        torch.get_rng_state().shape, torch.get_rng_state().dtype, torch.random.get_rng_state().dtype
        torch.manual_seed(3); r = torch.initial_seed(), torch.random.initial_seed(), \
            torch.default_generator.initial_seed()
        torch.manual_seed(3); s = torch.get_rng_state(); a = torch.rand(2); torch.set_rng_state(s); r = \
            torch.equal(a, torch.rand(2))
        """,
        oracle,
    )
    tinyrnn.set_num_threads(1)
    assert tinyrnn.get_num_interop_threads() == 1 and tinyrnn.set_flush_denormal(True) is False
    tinyrnn.set_num_interop_threads(1)


def test_autocast_on_the_cpu_is_refused():
    for dtype in (None, tinyrnn.float16, tinyrnn.bfloat16):
        with pytest.raises(RuntimeError, match="enabled=False"):
            tinyrnn.autocast("cpu", dtype=dtype)
    with tinyrnn.autocast("cpu", dtype=tinyrnn.float32), tinyrnn.autocast("cpu", enabled=False):
        assert tinyrnn.ones(1).dtype is tinyrnn.float32

    @tinyrnn.autocast("cpu", enabled=False)
    def decorated(x):
        return x + 1

    assert decorated(1) == 2

    @tinyrnn.cuda.amp.custom_fwd(cast_inputs=tinyrnn.float32)
    def forward(x):
        return x

    assert forward(3) == 3 and tinyrnn.amp.custom_bwd(forward) is forward


def test_what_is_not_here_says_so():
    with pytest.raises(AttributeError, match="torch.fx is not in tinyrnn: torch's compilers are out of scope"):
        tinyrnn.fx  # noqa: B018
    assert not hasattr(tinyrnn, "conv2d")


# ------------------------------------------------------------------------------------------ threads and processes
def draws(*generators):
    """Whether another thread can draw from all of them."""
    drawn = []
    other = threading.Thread(target=lambda: drawn.extend(g.uniform(10) for g in generators), daemon=True)
    other.start()
    other.join(timeout=5)
    return len(drawn) == len(generators)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_may_draw_while_a_thread_of_its_parent_did():
    own, drawing, stop = tinyrnn.Generator(), threading.Event(), threading.Event()

    def draw():
        while not stop.is_set():
            tinyrnn.randn(1000)
            own.uniform(1000)
            drawing.set()

    thread = threading.Thread(target=draw)
    thread.start()
    drawing.wait()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(20):
                if not (child := os.fork()):
                    os._exit(0 if draws(tinyrnn.random.default_generator, own) else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_generators_go_though_forks_know_them():
    from tinyrnn import random

    before = len(random._alive)
    generators = [tinyrnn.Generator() for _ in range(3)]
    assert len(random._alive) == before + 3
    assert pickle.loads(pickle.dumps(generators[0])).initial_seed() == generators[0].initial_seed()
    generators.clear()
    assert len(random._alive) <= before + 1


@as_torch
def test_a_scaler_of_losses(torch):
    """Steps with infinite gradients are left out, and the scale follows; what it saves, it goes on from."""
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    one, other = torch.optim.SGD([p], lr=0.5), torch.optim.Adam([q], lr=0.3)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    told = [scaler.is_enabled(), scaler.get_scale()]
    for factor in (1.0, 2.0, math.inf, 1.0, math.nan, 3.0, 1.0):
        one.zero_grad(), other.zero_grad()
        losses = scaler.scale([(p * factor).sum(), (q * 3).sum()])
        for loss in losses:
            loss.backward()
        if factor == 2.0:
            scaler.unscale_(one)
            told.append(torch.nn.utils.clip_grad_norm_([p], 0.1))
        told += [scaler.step(one), scaler.step(other), p.grad.clone()]
        scaler.update()
        told += [scaler.get_scale(), p.detach().clone(), q.detach().clone()]
    state = scaler.state_dict()
    told.append(sorted(state.items()))
    again = torch.amp.GradScaler("cpu")
    again.load_state_dict(state)
    again.scale(p)
    told.append(again.get_scale())
    again.update(4.0)
    return told, again.get_scale(), again.get_growth_factor(), again.get_backoff_factor(), again.get_growth_interval()


def test_misuse_of_a_scaler(oracle):
    start = "s = torch.amp.GradScaler('cpu'); p = nn.Parameter(x); o = torch.optim.SGD([p], lr=1.0); "
    phrases = """
        r = s.scale(3)
        r = s.scale((p, [p]))
        r = s.update()
        r = s.step(o)
        s.scale(p.sum()).backward(); s.unscale_(o); r = s.unscale_(o)
        s.scale(p.sum()).backward(); s.step(o); r = s.step(o)
        s.scale(p.sum()).backward(); s.step(o); r = s.unscale_(o)
        s.scale(p.sum()).backward(); r = s.step(o, closure=None)
        r = s.load_state_dict({})
        r = torch.amp.GradScaler("cpu", growth_factor=1.0)
        r = torch.amp.GradScaler("cpu", backoff_factor=1.0)
        r = torch.amp.GradScaler("cpu", enabled=False).get_scale()
        s.set_growth_factor(3.0); s.set_backoff_factor(0.1); s.set_growth_interval(7); r = s.state_dict()
        """
    check("\n".join(start + line.strip() for line in phrases.strip().splitlines()), oracle)


# ------------------------------------------------------------------------------------------ assert_close
def test_assert_close(oracle):
    check(
        """
        torch.testing.assert_close(x, x.clone()), torch.testing.assert_close(x, x + 1e-7)
        torch.testing.assert_close(x, x + 1e-3)
        torch.testing.assert_close(x, x.double())
        torch.testing.assert_close(x, x.double(), check_dtype=False)
        torch.testing.assert_close(x, x[0])
        torch.testing.assert_close(x, x + 1e-3, rtol=1e-2, atol=0)
        torch.testing.assert_close(x, x + 1e-3, rtol=1e-2)
        torch.testing.assert_close(x, "a")
        torch.testing.assert_close(x, 1.0)
        torch.testing.assert_close(1, 1.0)
        torch.testing.assert_close(1.0, 1.0 + 1e-9)
        torch.testing.assert_close([x, i], [x, i]), torch.testing.assert_close({"a": x}, {"a": x})
        torch.testing.assert_close([x, i], [x])
        torch.testing.assert_close({"a": x}, {"b": x})
        torch.testing.assert_close({"a": [x]}, {"a": [x + 1]})
        torch.testing.assert_close(sc * math.nan, sc * math.nan)
        torch.testing.assert_close(sc * math.nan, sc * math.nan, equal_nan=True)
        torch.testing.assert_close(sc * math.inf, sc * math.inf)
        torch.testing.assert_close(sc * math.inf, -sc * math.inf)
        torch.testing.assert_close(i, i + 1)
        torch.testing.assert_close(b, ~b)
        torch.testing.assert_close(i, i.int(), check_dtype=False)
        torch.testing.assert_close(np.ones(2), np.ones(2))
        torch.testing.assert_close(x.t(), x.t().contiguous(), check_stride=True)
        torch.testing.assert_close(z, z.clone())
        torch.testing.assert_close(nn.Parameter(x), x)
        torch.testing.assert_close(nn.Parameter(x), x, allow_subclasses=False)
        torch.testing.assert_close(torch.tensor([2**62]), torch.tensor([-2**62]))
        torch.testing.assert_close(torch.tensor([-2**63]), torch.tensor([2**63 - 1]))
        torch.testing.assert_close(torch.tensor([100], dtype=torch.uint8), torch.tensor([200], dtype=torch.uint8))
        torch.testing.assert_close([None, x], [None, x]), torch.testing.assert_close(None, None)
        torch.testing.assert_close(None, x)
        torch.testing.assert_close(np.float64(1.0), 1.0), torch.testing.assert_close(np.int64(3), 3)
        torch.testing.assert_close(True, False)
        """,
        oracle,
    )
    for message in ("mine", lambda usual: f"mine {usual}"):
        with pytest.raises(AssertionError, match="mine"):
            tinyrnn.testing.assert_close(1.0, 2.0, msg=message)
    tinyrnn.testing.assert_allclose(tinyrnn.ones(2), np.ones(2))


def test_assert_close_says_where():
    x = tinyrnn.tensor([[1.0, 2.0], [3.0, 4.0]])
    y = x.clone()
    y[1, 0] = 6.0
    with pytest.raises(AssertionError) as caught:
        tinyrnn.testing.assert_close([x], [y])
    told = str(caught.value)
    for words in (
        "Mismatched elements: 1 / 4 (25.0%)",
        "absolute difference: 3.0 at index (1, 0) (up to 1e-05 allowed)",
        "relative difference: 0.5 at index (1, 0)",
        "item [0]",
    ):
        assert words in told, told


def test_every_public_function_of_the_switches_has_a_docstring():
    for module in (tinyrnn.switches, tinyrnn.cuda, tinyrnn.amp, tinyrnn.accelerator, tinyrnn.testing):
        for name, value in vars(module).items():
            with contextlib.suppress(AttributeError):
                if name[0] != "_" and inspect.isroutine(value) and value.__module__ == module.__name__:
                    assert value.__doc__, f"{module.__name__}.{name}"
