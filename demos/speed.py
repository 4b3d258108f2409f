"""How fast is tinyrnn on this machine?  The same work here, in torch and in JAX, in one run.

    python demos/speed.py                               # some five minutes: a table, and a picture of it
    python demos/speed.py --quick                       # a few small cases, less than half a minute
    python demos/speed.py --only LSTM attention         # cases whose name contains one of these
    python demos/speed.py --python jax=/opt/jax/bin/python      # JAX lives in another environment
    python demos/speed.py --peers none                  # tinyrnn alone: GFLOP/s, and how much of the processor it uses

Each library runs in a process of its own, so that their threads do not disturb one another, and they take turns.  They
get the same weights and inputs, and before anything is timed their outputs and gradients are compared: where they
differ the table says WRONG, and no time counts.  In the table

    ms            one forward pass, or one forward and backward pass (train), or one step: forward, loss, backward,
                  clipping, Adam; the median, in tinyrnn
    GFLOP/s       multiplications and additions of the matrix products, which is nearly all there is, by that time
    of peak       how many that is of those that all cores can do with numbers that are already in registers, measured
                  in the same turns
    torch, jax    their time by tinyrnn's: above 1, tinyrnn is faster.  Times of the same turn are divided, and the
                  median is shown: so it holds while other programs slow the machine down, as long as they slow down all

torch runs eagerly, as most people run it, and JAX compiles the whole computation (jit) before it is timed.
"""

import argparse
import importlib
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

PEERS = {"torch": "pip install torch", "jax": "pip install jax"}
COLORS = {"tinyrnn": "tab:blue", "torch": "tab:orange", "jax": "tab:green"}
TOLERANCE = 2e-4  # the largest difference, by the largest number of the array: float32 sums in another order
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4, "MGU": 2, "MGU loop": 2}
FLOAT = np.float32


class Case(NamedTuple):
    """`mode` is forward, train or step; sizes are explained where they are used."""

    group: str
    name: str
    size: tuple
    mode: str
    quick: bool = False

    def __str__(self) -> str:
        first, last = ("{} > {}", "{} x {}") if self.group != "attention" else ("{} x {} heads", "{} x {}")
        size = [*self.size]
        return f"{self.name} {first.format(*size[:2])}, {last.format(*size[2:4])}, {self.mode}"

    def flops(self) -> float:
        """Floating-point operations of the matrix products; a backward pass has two for each of the forward's."""
        passes = 1 if self.mode == "forward" else 3
        if self.group == "attention":
            B, N, T, D = self.size
            return passes * attention_flops(B * N, T, D, self.name.startswith("causal"))
        I, H, B, T, *rest = self.size
        if self.name == "Transformer":  # H is the width; the vocabulary is that of the outputs, too
            heads, blocks = rest
            block = 2 * B * T * 12 * H * H + attention_flops(B * heads, T, H // heads, True)
            return passes * (blocks * block + 2 * B * T * H * I)
        if self.name == "language model":
            (E,) = rest
            return passes * 2 * B * T * (4 * H * (E + H) + 4 * H * (H + H) + H * I)
        if self.name == "classifier":  # nobody asks for the gradient of its inputs
            return passes * (2 * B * T * H * (I + H) + 2 * B * H * 2) - 2 * B * T * H * I
        return passes * 2 * B * T * GATES[self.name] * H * (I + H)


def attention_flops(matrices: int, T: int, D: int, causal: bool) -> float:
    """Two products of (T, T, D) for each head; causal, only with what came before."""
    return 4 * matrices * D * (T * (T + 1) / 2 if causal else T * T)


SIZES = [(1, 16, 8, 10), (32, 64, 32, 32), (128, 128, 64, 100), (512, 512, 64, 32), (256, 256, 1, 256)]
CASES = [
    # Layers and cells: input features > hidden units, batch x time steps.
    *(
        Case("layers", name, size, mode, mode == "train" and size in SIZES[:2] and name != "GRU")
        for name in ("RNN", "GRU", "LSTM")
        for size in SIZES
        for mode in ("forward", "train")
    ),
    *(
        Case("own cell", name, size, "train", size == SIZES[1])
        for name in ("MGU", "MGU loop")
        for size in (SIZES[1], SIZES[2])
    ),
    # Attention: batch x heads, time steps x numbers a head.
    *(
        Case("attention", name, size, "train", size[2] == 256)
        for size in ((8, 4, 64, 32), (4, 8, 256, 64), (2, 8, 1024, 64))
        for name in ("attention", "causal attention")
    ),
    # Models: like layers, with a vocabulary for input features.  The Transformer has 4 heads in 2 blocks.
    Case("steps", "classifier", (5, 20, 8, 10), "step", True),
    Case("steps", "classifier", (1, 16, 1000, 10), "step"),
    Case("steps", "language model", (96, 256, 32, 64, 128), "step"),
    Case("steps", "Transformer", (96, 128, 16, 64, 4, 2), "step", True),
]


# ---------------------------------------------------------------------------------------------------
# The work, written once for tinyrnn and torch.  A library has build(case, given), which gives the function to time and
# one that returns the arrays to compare; and a version.
# ---------------------------------------------------------------------------------------------------
class TorchLike:
    def __init__(self, name: str, threads: int):
        self.torch = importlib.import_module(name)
        self.torch.set_num_threads(threads)
        self.version = self.torch.__version__

    def model(self, name: str, size: tuple):
        """A module whose output is one array."""
        torch, nn, F = self.torch, self.torch.nn, self.torch.nn.functional

        def unit(f, x_n, h_n, h):
            """The minimal gated unit, https://arxiv.org/abs/1603.09420."""
            f = torch.sigmoid(f)
            return (1 - f) * h + f * torch.tanh(x_n + f * h_n)

        class Loop(nn.Module):
            """A recurrent layer as one writes it without knowing of another way."""

            def __init__(self, inputs, hidden, batch_first):
                super().__init__()
                self.weight_ih_l0 = nn.Parameter(torch.zeros(2 * hidden, inputs))
                self.weight_hh_l0 = nn.Parameter(torch.zeros(2 * hidden, hidden))
                self.bias_ih_l0 = nn.Parameter(torch.zeros(2 * hidden))
                self.bias_hh_l0 = nn.Parameter(torch.zeros(2 * hidden))

            def forward(self, x):
                of_x = F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
                h, outputs = torch.zeros(x.shape[0], self.weight_hh_l0.shape[1]), []
                for t in range(x.shape[1]):
                    x_f, x_n = of_x[:, t].chunk(2, 1)
                    h_f, h_n = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(2, 1)
                    h = unit(x_f + h_f, x_n, h_n, h)
                    outputs.append(h)
                return torch.stack(outputs, 1), h

        class Layer(nn.Module):
            def __init__(self, inputs, hidden, *_):
                super().__init__()
                own = {"MGU": nn.cell(unit) if hasattr(nn, "cell") else Loop, "MGU loop": Loop}
                self.rnn = (own.get(name) or getattr(nn, name))(inputs, hidden, batch_first=True)

            def forward(self, x):
                return self.rnn(x)[0]

        class Attention(nn.Module):
            def forward(self, q, k, v):
                return F.scaled_dot_product_attention(q, k, v, is_causal=name.startswith("causal"))

        class Classifier(nn.Module):
            def __init__(self, inputs, hidden, *_):
                super().__init__()
                self.rnn, self.fc = nn.RNN(inputs, hidden, batch_first=True), nn.Linear(hidden, 2)

            def forward(self, x):
                return self.fc(self.rnn(x)[0][:, -1])

        class LanguageModel(nn.Module):
            def __init__(self, vocabulary, hidden, batch, steps, embedding):
                super().__init__()
                self.emb, self.fc = nn.Embedding(vocabulary, embedding), nn.Linear(hidden, vocabulary)
                self.rnn = nn.LSTM(embedding, hidden, num_layers=2, batch_first=True)

            def forward(self, x):
                return self.fc(self.rnn(self.emb(x))[0])

        class Block(nn.Module):
            def __init__(self, width, heads):
                super().__init__()
                self.ln1, self.ln2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
                self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
                self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

            def forward(self, x):
                q, k, v = (z.unflatten(2, (self.heads, -1)).transpose(1, 2) for z in self.qkv(self.ln1(x)).chunk(3, 2))
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.proj(y.transpose(1, 2).flatten(2))
                return x + self.down(F.gelu(self.up(self.ln2(x))))

        class Transformer(nn.Module):
            def __init__(self, vocabulary, width, batch, steps, heads, blocks):
                super().__init__()
                self.emb, self.pos = nn.Embedding(vocabulary, width), nn.Embedding(steps, width)
                self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
                self.ln, self.fc = nn.LayerNorm(width), nn.Linear(width, vocabulary)

            def forward(self, x):
                return self.fc(self.ln(self.blocks(self.emb(x) + self.pos(torch.arange(x.shape[1])))))

        models = {"classifier": Classifier, "language model": LanguageModel, "Transformer": Transformer}
        return Attention() if "attention" in name else models.get(name, Layer)(*size)

    def given(self, case: Case) -> dict[str, np.ndarray]:
        """Random weights, inputs and target (labels, or weights of a sum of the outputs) for all libraries."""
        rng, model = np.random.default_rng(1), self.model(case.name, case.size)
        arrays = {}
        for name, p in model.named_parameters():
            bound = p.shape[-1] ** -0.5
            arrays[name] = rng.uniform(-bound, bound, tuple(p.shape)).astype(FLOAT)
        if case.group == "attention":
            inputs = [rng.standard_normal(case.size).astype(FLOAT) for _ in "qkv"]
        else:
            features, _, batch, steps, *_ = case.size
            words = "emb.weight" in arrays
            inputs = [rng.integers(0, features, (batch, steps)) if words
                      else rng.standard_normal((batch, steps, features)).astype(FLOAT)]  # fmt: skip
        arrays |= {f"input{k}": x for k, x in enumerate(inputs)}
        shape = tuple(model(*map(self.torch.from_numpy, inputs)).shape)
        if case.mode == "step":
            return arrays | {"target": rng.integers(0, shape[-1], math.prod(shape[:-1]))}
        return arrays | {"target": rng.standard_normal(shape).astype(FLOAT)}

    def build(self, case: Case, given: dict[str, np.ndarray]):
        torch, F = self.torch, self.torch.nn.functional
        model = self.model(case.name, case.size)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.from_numpy(given[name]))
        inputs = {name: torch.from_numpy(x) for name, x in given.items() if name.startswith("input")}
        target = torch.from_numpy(given["target"])
        leaves = dict(model.named_parameters())
        if case.mode == "train":
            leaves |= {name: x.requires_grad_() for name, x in inputs.items()}
        if case.mode == "step":
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

        def forward():
            with torch.no_grad():
                return model(*inputs.values())

        def train():
            for leaf in leaves.values():
                leaf.grad = None
            out = model(*inputs.values())
            (out * target).sum().backward()
            return out

        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(*inputs.values()).flatten(0, -2), target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

        run = {"forward": forward, "train": train, "step": step}[case.mode]

        def results():
            arrays = {"output": run().detach().numpy()}
            if case.mode != "forward":
                arrays |= {f"gradient of {name}": leaf.grad.numpy().copy() for name, leaf in leaves.items()}
            if case.mode == "step":
                arrays["losses of the next steps"] = np.array([step().item() for _ in range(10)])
            return arrays

        return run, results


# ---------------------------------------------------------------------------------------------------
# The same in JAX: pure functions of a dictionary of weights, compiled whole
# ---------------------------------------------------------------------------------------------------
class Jax:
    def __init__(self, threads: int):
        self.jax = importlib.import_module("jax")
        self.version = self.jax.__version__

    def recurrent(self, kind: str, p: dict, x, level: int = 0):
        jax, jnp = self.jax, self.jax.numpy
        sigmoid, tanh = jax.nn.sigmoid, jnp.tanh
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_x, w_h, b_x, b_h = (p[f"rnn.{name}_l{level}"] for name in names)

        def step(state, of_x):
            h, c = state
            of_h = h @ w_h.T + b_h
            if kind == "RNN":
                h = tanh(of_x + of_h)
            elif kind == "LSTM":
                i, f, g, o = jnp.split(of_x + of_h, 4, 1)
                c = sigmoid(f) * c + sigmoid(i) * tanh(g)
                h = sigmoid(o) * tanh(c)
            elif kind == "GRU":
                (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(of_x, 3, 1), jnp.split(of_h, 3, 1)
                z = sigmoid(x_z + h_z)
                h = (1 - z) * tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h
            else:
                (x_f, x_n), (h_f, h_n) = jnp.split(of_x, 2, 1), jnp.split(of_h, 2, 1)
                f = sigmoid(x_f + h_f)
                h = (1 - f) * h + f * tanh(x_n + f * h_n)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], w_h.shape[1]), FLOAT)
        outputs = jax.lax.scan(step, (zeros, zeros), jnp.swapaxes(x, 0, 1) @ w_x.T + b_x)[1]
        return jnp.swapaxes(outputs, 0, 1)

    def attention(self, q, k, v, causal: bool):
        swapped = (self.jax.numpy.swapaxes(x, 1, 2) for x in (q, k, v))
        return self.jax.numpy.swapaxes(self.jax.nn.dot_product_attention(*swapped, is_causal=causal), 1, 2)

    def model(self, case: Case):
        """A function of the weights and the inputs."""
        jax, jnp, name = self.jax, self.jax.numpy, case.name

        def linear(p, layer, x):
            return x @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]

        def norm(p, layer, x):
            x = x - x.mean(-1, keepdims=True)
            return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p[f"{layer}.weight"] + p[f"{layer}.bias"]

        def language_model(p, x):
            x = p["emb.weight"][x]
            for level in range(2):
                x = self.recurrent("LSTM", p, x, level)
            return linear(p, "fc", x)

        def transformer(p, x):
            heads, blocks = case.size[4:]
            B, T = x.shape
            x = p["emb.weight"][x] + p["pos.weight"]
            for k in range(blocks):
                qkv = jnp.split(linear(p, f"blocks.{k}.qkv", norm(p, f"blocks.{k}.ln1", x)), 3, 2)
                y = self.attention(*(z.reshape(B, T, heads, -1).swapaxes(1, 2) for z in qkv), True)
                x = x + linear(p, f"blocks.{k}.proj", y.swapaxes(1, 2).reshape(B, T, -1))
                y = jax.nn.gelu(linear(p, f"blocks.{k}.up", norm(p, f"blocks.{k}.ln2", x)), approximate=False)
                x = x + linear(p, f"blocks.{k}.down", y)
            return linear(p, "fc", norm(p, "ln", x))

        if "attention" in name:
            return lambda p, q, k, v: self.attention(q, k, v, name.startswith("causal"))
        models = {
            "classifier": lambda p, x: linear(p, "fc", self.recurrent("RNN", p, x)[:, -1]),
            "language model": language_model,
            "Transformer": transformer,
        }
        return models.get(name, lambda p, x: self.recurrent(name, p, x))

    def build(self, case: Case, given: dict[str, np.ndarray]):
        jax, jnp, model = self.jax, self.jax.numpy, self.model(case)
        weights = {name: jnp.asarray(x) for name, x in given.items()}
        target = weights.pop("target")
        inputs = {name: weights.pop(name) for name in given if name.startswith("input")}
        wait = jax.block_until_ready

        if case.mode == "forward":
            forward = jax.jit(model)
            run = lambda: wait(forward(weights, *inputs.values()))
            return run, lambda: {"output": run()}

        if case.mode == "train":

            def loss(leaves):
                out = model(*({k: leaves[k] for k in weights},), *(leaves[k] for k in inputs))
                return (out * target).sum(), out

            gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))
            run = lambda: wait(gradients(weights | inputs))

            def results():
                (_, out), found = run()
                return {"output": out} | {f"gradient of {name}": g for name, g in found.items()}

            return run, results

        def cross_entropy(p):
            out = model(p, *inputs.values())
            logs = jax.nn.log_softmax(out.reshape(-1, out.shape[-1]))
            return -jnp.take_along_axis(logs, target[:, None], 1).mean()

        def clipped(p):
            loss, grads = jax.value_and_grad(cross_entropy)(p)
            norm = jnp.sqrt(sum((g * g).sum() for g in grads.values()))
            return loss, {name: g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)) for name, g in grads.items()}

        @jax.jit
        def adam(p, m, v, t):
            loss, grads = clipped(p)
            t = t + 1
            m = {name: 0.9 * m[name] + 0.1 * g for name, g in grads.items()}
            v = {name: 0.999 * v[name] + 0.001 * g * g for name, g in grads.items()}
            rate, scale = 1e-3 / (1 - 0.9**t), 1 - 0.999**t
            p = {name: x - rate * m[name] / (jnp.sqrt(v[name] / scale) + 1e-8) for name, x in p.items()}
            return loss, (p, m, v, t)

        zeros = {name: jnp.zeros_like(x) for name, x in weights.items()}
        state = (weights, zeros, zeros, jnp.zeros(()))

        def step():
            nonlocal state
            loss, state = wait(adam(*state))
            return loss

        def results():
            gradients = {f"gradient of {name}": g for name, g in jax.jit(clipped)(weights)[1].items()}
            return {"output": step(), **gradients, "losses of the next steps": [step() for _ in range(10)]}

        return step, results


def multiply_add(threads: int):
    """What the processor can do at most: a function that keeps all threads at fused multiply-adds, and how many
    floating-point operations it does.  The tile of a matrix product does nothing else; its numbers stay where they are.
    """
    from tinyrnn.kernels.cpu.jit import kernel, njit
    from tinyrnn.kernels.cpu.pool import split
    from tinyrnn.kernels.cpu.simd import address, lanes
    from tinyrnn.kernels.cpu.tile import ROWS, VECTORS_WIDE, tile

    times, columns = 100_000, VECTORS_WIDE * lanes(np.float32)
    one_tile = tile(np.float32, ROWS, VECTORS_WIDE)

    @kernel
    def some(first, last, ones, zeros, sums):
        for part in range(first, last):
            to = sums + 4 * part * ROWS * columns
            one_tile(ROWS, columns, zeros, 0, to, 4 * columns, times, ones, 4, 0, ones, 0)

    everywhere = split(some)

    @njit
    def run(ones, zeros, sums):
        everywhere(sums.shape[0], 1, 1, address(ones), address(zeros), address(sums))

    ones, zeros = np.ones(max(ROWS, columns), FLOAT), np.zeros(columns, FLOAT)
    sums = np.empty((threads, ROWS, columns), FLOAT)
    run(ones, zeros, sums)
    assert (sums == times).all()
    return lambda: run(ones, zeros, sums), 2 * times * sums.size


# ---------------------------------------------------------------------------------------------------
# A process for each library, that answers lines of JSON
# ---------------------------------------------------------------------------------------------------
def work(library: str, threads: int) -> None:
    """What such a process does."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints is not an answer

    def answer(**reply):
        print(json.dumps(reply), file=answers, flush=True)

    if hasattr(os, "sched_setaffinity"):  # JAX has no other way to be told
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        lib = Jax(threads) if library == "jax" else TorchLike(library, threads)
        peak, flops = multiply_add(threads) if library == "tinyrnn" else (None, 0)
    except ImportError as error:
        return answer(error=str(error), missing=getattr(error, "name", "") == library)
    answer(version=lib.version, flops=flops)
    for line in sys.stdin:
        ask = SimpleNamespace(**json.loads(line))
        try:
            if ask.do == "build":
                case, folder = CASES[ask.case], Path(ask.folder)
                if library == "tinyrnn":
                    np.savez(folder / "given.npz", **lib.given(case))
                run, results = lib.build(case, dict(np.load(folder / "given.npz")))
                np.savez(folder / f"{library}.npz", **results())
                answer()
            else:
                answer(seconds=timed(peak if ask.do == "peak" else run, ask.seconds))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}"[:300])


def timed(run, seconds: float) -> float:
    """The median time of a call, of as many as there is time for."""
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Process:
    """The process of one library, as the others see it."""

    def __init__(self, library: str, python: str, threads: int):
        self.library = library
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        command = [python, __file__, "--threads", str(threads), "--work", library]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        try:
            self.process = subprocess.Popen(command, text=True, env=env, **pipes)
        except OSError as error:
            self.process, self.died = None, str(error)

    def answer(self) -> dict:
        line = self.process.stdout.readline() if self.process else ""
        return json.loads(line) if line else {"error": "its process died" if self.process else self.died}

    def ask(self, **question) -> dict:
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"error": "its process died"}
        return self.answer()

    def end(self) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait()
