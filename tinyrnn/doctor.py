"""`python -m tinyrnn doctor`: what this machine has, what is missing, and whether all its kernels compute right.

A family is checked on each device by a small function: its values against NumPy's, and its gradient, if it has one,
along a random direction, against the difference quotient, all in float64.  What only large arrays come to, such as a
recurrence whose blocks wait for one another and a library's product, is checked in float32.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinyrnn as torch
from tinyrnn import nn
from tinyrnn.kernels import cache
from tinyrnn.nn import functional as F
from tinyrnn.ops.additive import additive_attention as attend

Check = tuple[Callable, Callable, tuple[np.ndarray, ...]]  # a function, the same in NumPy, their arguments


# ------------------------------------------------------------------------------------------ what there is
def installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The name of the CPU, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def report() -> Iterator[tuple[str, str]]:
    """(what, in words) of the machine and of what is installed on it."""
    from tinyrnn.kernels.cpu import simd

    yield "tinyrnn", f"{torch.__version__}, in {Path(torch.__file__).parent}"
    yield "Python", f"{platform.python_version()}, NumPy {np.__version__}, Numba {installed('numba')}"
    yield "system", platform.platform()
    lanes = simd.lanes(np.float32)
    yield "CPU", f"{processor()}; vectors of {lanes} float32 or {lanes // 2} float64"
    yield "threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors (torch.set_num_threads)"
    folder = cache.directory()
    if folder.parent == cache.base().absolute():
        others = len(list(folder.parent.glob("kernels-*"))) - 1
        more = f"; {others} of other versions beside it can be deleted" if others else ""
        yield "cache", f"{folder}, {size_of(folder) / 1e6:.0f} MB{more}"
    else:
        yield "cache", f"{cache.base()} cannot be written: every process compiles anew. Set NUMBA_CACHE_DIR."
    yield "GPU", gpu()
    yield "CUDA", cuda()
    yield "extras", ", ".join(f"{name} {installed(name)}" for name in ("matplotlib", "tqdm", "numba-cuda"))


def gpu() -> str:
    """The GPU, or what is missing to use one."""
    from tinyrnn.kernels.cuda import driver

    if words := driver.missing():
        return f"none: {words}"
    if words := unusable():
        return f"there is one, but it cannot be used: {words}"
    device = driver.driver()
    free, total = device.memory()
    capability = ".".join(map(str, device.capability))
    return (
        f"{device.name}, compute capability {capability}, {device.multiprocessors} multiprocessors, "
        f"{free >> 20} of {total >> 20} MiB free"
    )


def cuda() -> str:
    """The versions of the driver and of what makes code for it."""
    from tinyrnn.kernels.cuda import driver

    found = [f"{what} {version}" for what, version in driver.versions().items()]
    return ", ".join(found) if found else "not installed"


def unusable() -> str:
    """Why nothing can be done on the GPU that is there; nothing if something can.  Another process may have it."""
    from tinyrnn.kernels.cuda import driver

    try:
        driver.driver().memory()
    except RuntimeError as problem:
        return str(problem)
    return ""


# ------------------------------------------------------------------------------------------ what it computes
def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gru(x: np.ndarray, w: np.ndarray, u: np.ndarray) -> np.ndarray:
    """A GRU without biases over (B, T, I), from a state of zeros (Cho et al. 2014; torch's order of the gates)."""
    h, out = np.zeros((len(x), u.shape[1])), []
    for t in range(x.shape[1]):
        (r, z, n), (hr, hz, hn) = np.split(x[:, t] @ w.T, 3, 1), np.split(h @ u.T, 3, 1)
        r, z = sigmoid(r + hr), sigmoid(z + hz)
        h = (1 - z) * np.tanh(n + r * hn) + z * h
        out.append(h)
    return np.stack(out, 1)


def gru_layer(x: Any, w: Any, u: Any) -> Any:
    layer = nn.GRU(x.shape[2], u.shape[1], bias=False, batch_first=True, device=x.device, dtype=x.dtype)
    del layer.weight_ih_l0, layer.weight_hh_l0
    layer.weight_ih_l0, layer.weight_hh_l0 = w, u  # the check's own tensors, to find their gradients
    return layer(x)[0]


def adam(p: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The first step of Adam (Kingma and Ba 2015)."""
    return p - 0.1 * g / (np.abs(g) + 1e-8)


def adam_step(p: Any, g: Any) -> Any:
    parameter = nn.Parameter(p.detach().clone())
    parameter.grad = g.detach().clone()
    torch.optim.Adam([parameter], lr=0.1).step()
    return parameter.detach()


def batch_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def additive(query: np.ndarray, keys: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bahdanau et al. 2015, with keys that are their own projection."""
    return softmax(np.tanh(query[:, :, None] + keys[:, None]) @ v[0]) @ keys


def additive_attention(query: Any, keys: Any, v: Any) -> Any:
    return attend(query, keys, v, keys, None)[0]


def clip(p: np.ndarray, g: np.ndarray) -> np.ndarray:
    return g / (np.sqrt((g * g).sum()) + 1e-6)


def clip_gradient(p: Any, g: Any) -> Any:
    parameter = nn.Parameter(p.detach().clone())
    parameter.grad = g.detach().clone()
    nn.utils.clip_grad_norm_([parameter], 1.0)
    return parameter.grad


def alignments(x: np.ndarray) -> np.ndarray:
    """-log of the probability that 3 steps of 3 labels, of which 0 is the blank, spell 1 2 (Graves et al. 2006)."""
    chances, total = softmax(x), 0.0
    for path in itertools.product(range(3), repeat=3):
        if [label for label, _ in itertools.groupby(path) if label] == [1, 2]:
            total += np.prod(chances[range(3), path])
    return np.array(-np.log(total))


def ctc(x: Any) -> Any:
    return F.ctc_loss(x.log_softmax(-1), torch.tensor([1, 2]), torch.tensor(3), torch.tensor(2), reduction="sum")


def drawn(x: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.rand(x.shape, device=x.device)


def words(x: np.ndarray) -> np.ndarray:
    """torch.rand is the last 24 bits of each word of a Mersenne twister, as a fraction."""
    return (np.random.RandomState(0).randint(0, 2**32, x.shape, np.uint64) % 2**24) / 2**24


def checks() -> dict[str, Check]:
    """A check for each family of kernels."""
    draw = np.random.default_rng(0).standard_normal
    x, y, q = draw((5, 7)), draw((7, 6)), draw((2, 3, 9, 8))
    keys, values = draw((2, 3, 11, 8)), draw((2, 3, 11, 8))
    rows, a, b = np.array([3, 0, 3, 1]), draw((50, 60)), draw((50, 60))

    def scores(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        return softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(8)) @ v

    return {
        "map": (lambda x: torch.tanh(x) * torch.sigmoid(x), lambda x: np.tanh(x) * sigmoid(x), (x,)),
        "reduce": (lambda x: x.sum(0), lambda x: x.sum(0), (x,)),
        "rows": (lambda x: F.softmax(x, -1), softmax, (x,)),
        "gemm": (torch.matmul, np.matmul, (x, y)),
        "index": (lambda x: F.embedding(torch.tensor(rows, device=x.device), x), lambda x: x[rows], (x,)),
        "recurrence": (gru_layer, gru, (draw((3, 6, 4)), draw((15, 4)), draw((15, 5)))),
        "attention": (F.scaled_dot_product_attention, scores, (q, keys, values)),
        "additive": (additive_attention, additive, (draw((2, 3, 5)), draw((2, 4, 5)), draw((1, 5)))),
        "channels": (lambda x: F.batch_norm(x, None, None, training=True), batch_norm, (x,)),
        "scan": (lambda x: x.cumsum(1), lambda x: x.cumsum(1), (x,)),
        "select": (lambda x, y: torch.where(x > 0, x, y), lambda x, y: np.where(x > 0, x, y), (a, b)),
        "copies": (lambda x: x.t().contiguous(), lambda x: np.ascontiguousarray(x.T), (a,)),
        "order": (lambda x: x.sort(0).values, lambda x: np.sort(x, 0), (x,)),
        "search": (lambda x: torch.searchsorted(x.sort().values, x), lambda x: x.argsort().argsort(), (x,)),
        "ctc": (ctc, alignments, (draw((3, 3)),)),
        "random": (drawn, words, (x,)),
        "clip": (clip_gradient, clip, (x, draw(x.shape))),
        "update": (adam_step, adam, (x, draw(x.shape))),
    }


def large_checks() -> dict[str, Check]:
    """Checks for float32: of a recurrence that a GPU divides among many blocks, and of a product for its library."""
    draw = np.random.default_rng(2).standard_normal
    x, w, u = draw((64, 3, 512)), draw((1536, 512)) / 16, draw((1536, 512)) / 16
    return {
        "large gemm": (torch.matmul, np.matmul, (w[:512], u[:512])),
        "large recurrence": (gru_layer, gru, (x, w, u)),
    }


def wrong(check: Check, device: str, dtype: Any = torch.float64) -> str:
    """What is wrong with a family's results on a device; nothing if they are right."""
    function, reference, arrays = check
    draw = np.random.default_rng(1).standard_normal
    expected, way = reference(*arrays), [draw(a.shape) for a in arrays]
    weight, step = draw(expected.shape), 1e-6
    tensors = [torch.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in arrays]
    result = function(*tensors)
    exact = dtype is torch.float64
    near, least = (1e-9, 1e-11) if exact else (0.0, 3e-5 * np.abs(expected).max())  # TF32 is wrong by 1e-3
    if not np.allclose(result.detach().cpu().numpy(), expected, rtol=near, atol=least):
        return "wrong values"
    if result.requires_grad:
        result.backward(torch.tensor(weight, dtype=dtype, device=device))
        terms = [t.grad.cpu().numpy() * d for t, d in zip(tensors, way, strict=True)]
        ends = [reference(*(a + s * d for a, d in zip(arrays, way, strict=True))) for s in (step, -step)]
        slope = float(((ends[0] - ends[1]) * weight).sum()) / (2 * step)
        size = np.sqrt(sum(float((t * t).sum()) for t in terms))  # of the slope, as a rule
        near, least = (1e-6, 1e-7) if exact else (0.0, 3e-4 * size)
        if not np.isclose(sum(float(t.sum()) for t in terms), slope, rtol=near, atol=least):
            return "a wrong gradient"
    return ""


def examine(device: str, large: bool = True) -> Iterator[tuple[str, str, float]]:
    """(family, what is wrong with it on a device, seconds); `large`: also of what is checked in float32."""
    families = [(name, check, torch.float64) for name, check in checks().items()]
    families += [(name, check, torch.float32) for name, check in large_checks().items()] if large else []
    for family, check, dtype in families:
        start = time.perf_counter()
        try:
            found = wrong(check, device, dtype)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        yield family, found, time.perf_counter() - start


def doctor() -> int:
    """Print it all; the status is 1 if anything computes wrongly, or nothing can."""
    try:
        import tinyrnn.kernels.cpu.jit  # noqa: F401
    except RuntimeError as problem:
        print(problem, file=sys.stderr)
        return 1
    for what, words in report():
        print(f"{what:<9} {words}")
    there = torch.cuda.is_available()
    failed = ["the GPU itself"] if there and unusable() else []
    for device in ("cpu", "cuda") if there and not failed else ("cpu",):
        print(f"\nSelf-check on {device} (the first one compiles, which takes a while):")
        for family, found, seconds in examine(device):
            print(f"  {'WRONG' if found else 'ok':<5} {family:<16} {seconds:5.2f} s  {found}".rstrip(), flush=True)
            failed += [f"{family} on {device}"] * bool(found)
    if failed:
        print(
            f"\n{len(failed)} of the checks failed: {', '.join(failed)}. Delete the cache named above and try again; "
            "if that does not help, please report this output.",
            file=sys.stderr,
        )
    else:
        print("\nAll is well.")
    return 1 if failed else 0
