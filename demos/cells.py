"""Recurrent cells that torch has no fused kernel for, written in a few lines each, against the same step in a loop.

Each cell learns the adding problem (Hochreiter and Schmidhuber 1997): of a sequence of random numbers two are marked,
and their sum is asked for at the end.  The same step is then run as a loop of tensor operations, to see that it
computes the same, and how much slower it is.

    python demos/cells.py                             # all five, and a picture
    python demos/cells.py --quick                     # fewer steps on shorter sequences, some seconds
    python demos/cells.py --print coupled_lstm        # the fused kernels derived from a cell, to be read
    python demos/cells.py --zoneout 0.1               # with zoneout (Krueger et al. 2017)
    python demos/cells.py --device cuda               # on an NVIDIA GPU
"""

import inspect
import time
from pathlib import Path

import command_line
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import tinyrnn as torch
from tinyrnn import nn, optim


@nn.cell
def minimal_gated_unit(f, x_n, h_n, h):
    """Zhou et al. 2016, https://arxiv.org/abs/1603.09420, with the gate on the product, as in torch's GRU."""
    f = torch.sigmoid(f)
    return (1 - f) * h + f * torch.tanh(x_n + f * h_n)


@nn.cell
def peephole_lstm(i, f, g, o, c, *, p_i, p_f, p_o):
    """The gates see the cell, by a weight for each unit: Gers and Schmidhuber 2000."""
    new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * new) * torch.tanh(new), new


@nn.cell
def coupled_lstm(f, g, o, c):
    """What is written is what is forgotten: Greff et al. 2017, https://arxiv.org/abs/1503.04069."""
    f = torch.sigmoid(f)
    c = f * c + (1 - f) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@nn.cell
def minimal_gru(x_z, x_n, h):
    """Feng et al. 2024, https://arxiv.org/abs/2410.01201: the gates see the input alone."""
    z = torch.sigmoid(x_z)
    return (1 - z) * h + z * x_n


def normal(v, weight):
    """A layer norm over the hidden units."""
    v = v - v.mean(-1, keepdim=True)
    return v * torch.rsqrt((v * v).mean(-1, keepdim=True) + 1e-5) * (1 + weight)


@nn.cell
def normalized_lstm(i, f, g, o, c, *, w_i, w_f, w_g, w_o, w_c):
    """Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450, with a norm for each gate, and no bias after it."""
    new = torch.sigmoid(normal(f, w_f)) * c + torch.sigmoid(normal(i, w_i)) * torch.tanh(normal(g, w_g))
    return torch.sigmoid(normal(o, w_o)) * torch.tanh(normal(new, w_c)), new


GUESS = 1 / 6  # the variance of the sum of two uniform numbers
CELLS = {
    cell.__name__: cell for cell in (minimal_gated_unit, peephole_lstm, coupled_lstm, minimal_gru, normalized_lstm)
}


def adding(count: int, length: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences (length, count, 2) of a number in [0, 1) and a mark; the sums of what is marked (count, 1)."""
    numbers, marks = torch.rand(length, count), torch.zeros(length, count)
    for k in range(count):
        marks[torch.randint(0, length // 2, (1,)), k] = 1
        marks[torch.randint(length // 2, length, (1,)), k] = 1
    return torch.stack([numbers, marks], 2).to(device), (numbers * marks).sum(0).unsqueeze(1).to(device)


def in_a_loop(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the layer computes, without its options, by tensor operations, one step after the other."""
    cell, hidden = layer.cell, layer.hidden_size
    inner = [cell.gates[k] for k in cell.inner]  # which have weights for the hidden state
    h, *others = (torch.zeros(x.shape[1], hidden, device=x.device) for _ in cell.states)
    vectors = {name: getattr(layer, f"{name}_l0") for name in cell.vectors}
    outputs = []
    for row in x:
        known = {"h": h, **dict(zip(cell.states[1:], others, strict=True))}
        from_x = (row @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(len(cell.gates), 1)
        known |= {f"x_{gate}": a for gate, a in zip(cell.gates, from_x, strict=True)}
        if inner:
            from_h = (h @ layer.weight_hh_l0.T + layer.bias_hh_l0).chunk(len(inner), 1)
            for gate, b in zip(inner, from_h, strict=True):
                known |= {f"h_{gate}": b, gate: known[f"x_{gate}"] + b}
        names = [n for n, p in inspect.signature(layer.step).parameters.items() if p.kind is not p.KEYWORD_ONLY]
        new = layer.step(*(known[name] for name in names), **vectors)
        h, *others = new if isinstance(new, tuple) else (new,)
        outputs.append(h)
    return torch.stack(outputs)


def train(layer: nn.Module, head: nn.Module, steps: int, length: int, device: str) -> list[float]:
    """Adam on new sequences at every step; the loss of each."""
    optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(steps):
        x, y = adding(32, length, device)
        loss = nn.functional.mse_loss(head(layer(x)[0][-1]), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fastest(run, device: str, times: int = 5) -> float:
    """The least seconds of some runs, after one that compiles what is needed."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None  # a GPU works on after a call returns
    run()
    seconds = []
    for _ in range(times):
        wait()
        start = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def plot(losses: dict[str, list[float]], seconds: dict[str, tuple[float, float]], path: Path) -> None:
    """The loss of each cell in training; the times of its kernels and of its loop."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.axhline(GUESS, color="0.6", linestyle="--", label="guessing the mean")
    for name, values in losses.items():
        width = max(1, len(values) // 50)
        starts = range(0, len(values), width)
        left.plot(starts, [np.mean(values[k : k + width]) for k in starts], label=name)
    left.set(title="The adding problem", xlabel="training step", ylabel="training loss (squared error)", yscale="log")
    left.grid(alpha=0.3)
    left.legend()
    places = np.arange(len(seconds))
    for k, (label, color) in enumerate((("fused kernels", "tab:blue"), ("a loop of tensor operations", "0.6"))):
        times = [1e3 * pair[k] for pair in seconds.values()]
        bars = right.barh(places + 0.4 * k - 0.2, times, 0.4, color=color, label=label)
        right.bar_label(bars, [f"{time:.2f}" for time in times], padding=3)
    right.set(title="The same step, forward and backward", xlabel="milliseconds")
    right.set_yticks(places, [*seconds])
    right.invert_yaxis()
    right.margins(x=0.15)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = command_line.Parser(__doc__, quick="200 steps, sequences of 6, 32 hidden units")
    at_least_1, at_least_2 = command_line.at_least(1), command_line.at_least(2)
    parser.add_argument("--steps", type=at_least_1, help="training steps (default: 500; quick: 200)")
    parser.add_argument("--hidden", type=at_least_1, help="hidden units (default: 64; quick: 32)")
    parser.add_argument("--length", type=at_least_2, help="numbers in a sequence (default: 10; quick: 6)")
    parser.add_argument("--zoneout", type=command_line.probability, default=0.0,
                        help="the probability that a unit keeps its state (default: 0)")  # fmt: skip
    parser.add_argument("--print", choices=CELLS, help="show this cell's kernels for the CPU, and stop")
    args = parser.parse_args()
    if args.print:
        from tinyrnn.kernels.cpu.recurrence import print_kernel

        print(print_kernel(CELLS[args.print].cell, "float32"))
        return
    command_line.prepare(args)
    device = args.device
    steps = args.steps or (200 if args.quick else 500)
    hidden = args.hidden or (32 if args.quick else 64)
    length = args.length or (6 if args.quick else 10)
    print(f"Guessing the mean would have a loss of {GUESS:.3f}.")
    losses, seconds = {}, {}
    for name, cell in CELLS.items():
        torch.manual_seed(1)
        layer = cell(2, hidden, zoneout=args.zoneout).to(device)
        head = nn.Linear(hidden, 1).to(device)
        losses[name] = train(layer, head, steps, length, device)
        layer.eval()
        x, y = adding(200, length, device)
        with torch.no_grad():
            error = nn.functional.mse_loss(head(layer(x)[0][-1]), y).item()
        plain = cell(2, hidden).to(device)
        plain.load_state_dict(layer.state_dict())
        apart = (plain(x)[0] - in_a_loop(plain, x)).abs().max().item()
        fused = fastest(lambda layer=plain, x=x: layer(x)[0].sum().backward(), device)
        loop = fastest(lambda layer=plain, x=x: in_a_loop(layer, x).sum().backward(), device)
        seconds[name] = fused, loop
        print(
            f"{name:20} test loss {error:.4f};  forward and backward {1e3 * fused:.2f} ms, "
            f"in a loop {1e3 * loop:.2f} ms: {loop / fused:.1f} times;  apart by {apart:.0e}"
        )
    path = args.out / "cells.png"
    plot(losses, seconds, path)
    print(f"{path} written")
    print("Look at: what a few lines of scalar math are worth as kernels, against the same lines as a loop; and that")
    print("both compute the same. --print shows the kernels.")


if __name__ == "__main__":
    command_line.run(main)
