"""The work that speed.py times: cases, and how each is done in tinyrnn, torch and JAX.

    CASES[device]                           for "cpu" and for "cuda", of sizes that suit them
    given_for(tinyrnn, case, device)        weights, inputs and target, for all libraries
    build(torch, case, given, device)       in tinyrnn or in torch, whichever is given: the same code
    build_in_jax(jax, case, given)          by functions, compiled whole, on the device that JAX has chosen

The last two return what is timed, a function without arguments, and a function that returns the arrays to be compared.
"""

from typing import NamedTuple

import numpy as np

HEADS, CLASSES = 4, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4, "MGU": 2, "MGU loop": 2}


class Case(NamedTuple):
    """size: input features (or the size of the vocabulary), hidden units, batch, time steps; for attention, the batch,
    heads, time steps and numbers of a head."""

    group: str
    name: str
    size: tuple[int, int, int, int]
    mode: str

    def __str__(self) -> str:
        form = "{} {}x{}, {}x{}, {}" if self.group == "attention" else "{} {}>{}, {}x{}, {}"
        return form.format(self.name, *self.size, self.mode)

    def flops(self) -> float:
        """Floating-point operations of the matrix products.  Backward has two products for each one of forward."""
        passes = 1 if self.mode == "forward" else 3
        if self.group == "attention":
            B, N, T, D = self.size
            return passes * 4 * B * N * D * T * ((T + 1) / 2 if self.name.startswith("causal") else T)
        X, H, B, T = self.size
        products = {  # for one step of one sequence
            "classifier": H * (X + H) + H * CLASSES / T - H * X / 3,  # nobody asks for the gradient of its input
            "language model": 2 * 4 * H * (H + H) + H * X,
            "transformer": 12 * H * H + H * (T + 1) + H * X,  # attention looks at half of all pairs of steps
        }
        return passes * 2 * B * T * (products.get(self.name) or GATES[self.name] * H * (X + H))


def cases(sizes, own_sizes, head_sizes, steps) -> list[Case]:
    """Layers, cells of one's own, attention, and training steps of these sizes."""
    return [
        *(Case("layers", f, s, mode) for f in ("RNN", "GRU", "LSTM") for s in sizes for mode in ("forward", "train")),
        *(Case("own cell", name, size, "train") for size in own_sizes for name in ("MGU", "MGU loop")),
        *(Case("attention", kind, s, "train") for s in head_sizes for kind in ("attention", "causal attention")),
        *(Case("steps", name, size, "step") for name, size in steps),
    ]


CLASSIFIERS = [("classifier", (5, 20, 8, 10)), ("classifier", (1, 16, 1000, 10))]
CASES = {
    "cpu": cases(
        [(1, 16, 8, 10), (32, 64, 32, 32), (128, 128, 64, 100), (512, 512, 64, 32), (256, 256, 1, 256)],
        [(32, 64, 32, 32), (128, 128, 64, 100)],
        [(8, 4, 64, 32), (4, 8, 256, 64), (2, 8, 1024, 64)],
        [*CLASSIFIERS, ("language model", (96, 256, 32, 64)), ("transformer", (96, 128, 16, 64))],
    ),
    "cuda": cases(
        [(32, 64, 32, 32), (128, 128, 64, 100), (256, 256, 1, 256), (512, 512, 64, 128), (1024, 1024, 128, 64)],
        [(128, 128, 64, 100), (512, 512, 64, 128)],
        [(4, 8, 256, 64), (8, 16, 1024, 64), (2, 16, 4096, 64)],
        [*CLASSIFIERS, ("language model", (96, 512, 64, 128)), ("transformer", (96, 512, 64, 256))],
    ),
}


# ---------------------------------------------------------------------------------------------------
# The work, written once for tinyrnn and torch
# ---------------------------------------------------------------------------------------------------
def model_of(torch, case: Case, device: str = "cpu"):
    """A module with one output."""
    nn, F = torch.nn, torch.nn.functional
    X, H, _, T = case.size

    def unit(f, x_n, h_n, h):
        """A minimal gated unit, https://arxiv.org/abs/1603.09420."""
        f = torch.sigmoid(f)
        return (1 - f) * h + f * torch.tanh(x_n + f * h_n)

    class Loop(nn.RNNCellBase):
        """A layer of such units, as one writes it by tensor operations."""

        def forward(self, x):
            of_x = F.linear(x, self.weight_ih, self.bias_ih)
            h, outputs = torch.zeros(x.shape[0], H, device=x.device), []
            for t in range(x.shape[1]):
                (x_f, x_n), of_h = of_x[:, t].chunk(2, 1), F.linear(h, self.weight_hh, self.bias_hh)
                h_f, h_n = of_h.chunk(2, 1)
                h = unit(x_f + h_f, x_n, h_n, h)
                outputs.append(h)
            return torch.stack(outputs, 1), h

    class Model(nn.Module):
        """Its parts, and what it does with them."""

        def __init__(self, forward, **parts):
            super().__init__()
            self.function = forward
            for name, part in parts.items():
                setattr(self, name, part.to(device))

        def forward(self, *inputs):
            return self.function(self, *inputs)

    if case.group == "attention":
        causal = case.name.startswith("causal")
        return Model(lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
    if case.group == "own cell":
        fused = case.name == "MGU" and hasattr(nn, "cell")
        layer = nn.cell(unit)(X, H, batch_first=True) if fused else Loop(X, H, bias=True, num_chunks=2)
        return Model(lambda m, x: m.rnn(x)[0], rnn=layer)
    if case.group == "layers":
        return Model(lambda m, x: m.rnn(x)[0], rnn=getattr(nn, case.name)(X, H, batch_first=True))
    if case.name == "classifier":
        parts = {"rnn": nn.RNN(X, H, batch_first=True), "fc": nn.Linear(H, CLASSES)}
        return Model(lambda m, x: m.fc(m.rnn(x)[0][:, -1]), **parts)
    ends = {"emb": nn.Embedding(X, H), "fc": nn.Linear(H, X)}
    if case.name == "language model":
        layers = nn.LSTM(H, H, num_layers=2, batch_first=True)
        return Model(lambda m, x: m.fc(m.rnn(m.emb(x))[0]), rnn=layers, **ends)
    options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    block = nn.TransformerEncoderLayer(H, HEADS, 4 * H, **options)
    mask = nn.Transformer.generate_square_subsequent_mask(T, device=device)
    forward = lambda m, x: m.fc(m.block(m.emb(x) + m.pos.weight, mask, is_causal=True))
    return Model(forward, pos=nn.Embedding(T, H), block=block, **ends)


def named(model) -> dict:
    """The parameters; a cell's have the names of a layer's."""
    return {name.removesuffix("_l0"): p for name, p in model.named_parameters()}


def given_for(torch, case: Case, device: str = "cpu") -> dict[str, np.ndarray]:
    """Random weights, inputs, and labels or, for a layer, the gradient of its output."""
    rng, model = np.random.default_rng(1), model_of(torch, case, device)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    arrays = {name: normal(*p.shape) / np.float32(p.shape[-1] ** 0.5) for name, p in named(model).items()}
    features, _, batch, steps = case.size
    if case.group == "attention":
        inputs = {f"input {letter}": normal(*case.size) for letter in "qkv"}
    elif "emb.weight" in arrays:
        inputs = {"input": rng.integers(0, features, (batch, steps))}
    else:
        inputs = {"input": normal(batch, steps, features)}
    shape = model(*(torch.from_numpy(x).to(device) for x in inputs.values())).shape
    target = rng.integers(0, shape[-1], shape[:-1]).ravel() if case.mode == "step" else normal(*shape)
    return {**arrays, **inputs, "target": target}


def build(torch, case: Case, given: dict[str, np.ndarray], device: str = "cpu"):
    """What is timed, and a function that returns the arrays to be compared."""
    model, F = model_of(torch, case, device), torch.nn.functional
    leaves = named(model)
    with torch.no_grad():
        for name, p in leaves.items():
            p.copy_(torch.from_numpy(given[name]))
    inputs = {name: torch.from_numpy(x).to(device) for name, x in given.items() if name.startswith("input")}
    target = torch.from_numpy(given["target"]).to(device)
    if case.mode == "train":
        leaves |= {name: x.requires_grad_() for name, x in inputs.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=1e-3) if case.mode == "step" else None

    def forward():
        with torch.no_grad():
            return model(*inputs.values())

    def loss_of(out):
        return (out * target).sum() if case.mode == "train" else F.cross_entropy(out.flatten(0, -2), target)

    def train():
        for leaf in leaves.values():
            leaf.grad = None
        out = model(*inputs.values())
        loss_of(out).backward()
        return out

    def step():
        out = train()
        torch.nn.utils.clip_grad_norm_(leaves.values(), 1.0)
        optimizer.step()
        return out

    def results():
        arrays = {"output": (forward if case.mode == "forward" else train)().detach().cpu().numpy()}
        if case.mode != "forward":
            arrays |= {f"gradient of {name}": leaf.grad.cpu().numpy() for name, leaf in leaves.items()}
        if case.mode == "step":
            arrays["losses"] = np.array([loss_of(step()).item() for _ in range(10)])
        return arrays

    return {"forward": forward, "train": train, "step": step}[case.mode], results


# ---------------------------------------------------------------------------------------------------
# The same in JAX, by functions of a dictionary of weights
# ---------------------------------------------------------------------------------------------------
def build_in_jax(jax, case: Case, given: dict[str, np.ndarray]):
    jnp, sigmoid, tanh = jax.numpy, jax.nn.sigmoid, jax.numpy.tanh
    weights = {name: jnp.asarray(x) for name, x in given.items()}
    target = weights.pop("target")
    inputs = {name: weights.pop(name) for name in given if name.startswith("input")}

    def linear(p, name, x):
        return x @ p[f"{name}weight"].T + p[f"{name}bias"]

    def norm(p, name, x):
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def recurrent(p, kind, x, suffix=""):
        w_x, w_h, b_x, b_h = (p[f"rnn.{n}{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

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

        zeros = jnp.zeros((x.shape[0], w_h.shape[1]))
        return jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1) @ w_x.T + b_x)[1].swapaxes(0, 1)

    def block(p, x):
        q, k, v = jnp.split(linear(p, "block.self_attn.in_proj_", norm(p, "block.norm1", x)), 3, 2)
        heads = (z.reshape(*z.shape[:2], HEADS, -1) for z in (q, k, v))
        y = jax.nn.dot_product_attention(*heads, is_causal=True).reshape(x.shape)
        x = x + linear(p, "block.self_attn.out_proj.", y)
        y = jax.nn.gelu(linear(p, "block.linear1.", norm(p, "block.norm2", x)), approximate=False)
        return x + linear(p, "block.linear2.", y)

    def model(p, x, *more):
        if case.group == "attention":
            q, k, v = (z.swapaxes(1, 2) for z in (x, *more))
            return jax.nn.dot_product_attention(q, k, v, is_causal=case.name.startswith("causal")).swapaxes(1, 2)
        if case.name == "classifier":
            return linear(p, "fc.", recurrent(p, "RNN", x)[:, -1])
        if case.name == "language model":
            return linear(p, "fc.", recurrent(p, "LSTM", recurrent(p, "LSTM", p["emb.weight"][x]), "_l1"))
        if case.name == "transformer":
            return linear(p, "fc.", block(p, p["emb.weight"][x] + p["pos.weight"]))
        return recurrent(p, case.name, x)

    def loss_of(leaves):
        out = model(leaves, *(leaves.get(name, x) for name, x in inputs.items()))
        if case.mode == "train":
            return (out * target).sum(), out
        logs = jax.nn.log_softmax(out.reshape(-1, out.shape[-1]))
        return -jnp.take_along_axis(logs, target[:, None], 1).mean(), out

    gradients = jax.value_and_grad(loss_of, has_aux=True)

    @jax.jit
    def adam(p, m, v, t):
        (loss, _), grads = gradients(p)
        clip = jnp.minimum(1, 1 / (jnp.sqrt(sum((g * g).sum() for g in grads.values())) + 1e-6))
        m = {name: 0.9 * m[name] + 0.1 * (clip * g) for name, g in grads.items()}
        v = {name: 0.999 * v[name] + 0.001 * (clip * g) ** 2 for name, g in grads.items()}
        rate, scale = 1e-3 / (1 - 0.9**t), 1 / (1 - 0.999**t)
        p = {name: x - rate * m[name] / (jnp.sqrt(scale * v[name]) + 1e-8) for name, x in p.items()}
        return loss, (p, m, v, t + 1)

    leaves = weights | inputs if case.mode == "train" else weights
    zeros = {name: jnp.zeros_like(x) for name, x in weights.items()}
    state = (weights, zeros, zeros, jnp.ones(()))
    compiled, compiled_gradients = jax.jit(model), jax.jit(gradients)

    def forward():
        return jax.block_until_ready(compiled(weights, *inputs.values()))

    def train():
        return jax.block_until_ready(compiled_gradients(leaves))

    def step():
        nonlocal state
        loss, state = jax.block_until_ready(adam(*state))
        return loss

    def results():
        if case.mode == "forward":
            return {"output": forward()}
        (_, out), grads = train()
        arrays = {"output": out} | {f"gradient of {name}": g for name, g in grads.items()}
        if case.mode == "step":
            arrays["losses"] = np.array([step() for _ in range(10)])
        return arrays

    return {"forward": forward, "train": train, "step": step}[case.mode], results
