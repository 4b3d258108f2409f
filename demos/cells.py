"""Recurrent cells that torch has no fused kernel for, written in a few lines each, against the same step in a loop.

Each cell learns the adding problem (Hochreiter and Schmidhuber 1997): of a sequence of random numbers two are marked,
and their sum is asked for at the end.  The same step is then run as a loop of tensor operations, to see that it
computes the same, and how much slower it is.

    python demos/cells.py                             # all three
    python demos/cells.py --print coupled_lstm        # the fused kernels derived from a cell, to be read
    python demos/cells.py --zoneout 0.1               # with zoneout (Krueger et al. 2017)
    python demos/cells.py --device cuda               # on an NVIDIA GPU
"""

import argparse
import inspect
import time

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


CELLS = {cell.__name__: cell for cell in (minimal_gated_unit, peephole_lstm, coupled_lstm)}


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
    h, *others = (torch.zeros(x.shape[1], hidden, device=x.device) for _ in cell.states)
    vectors = {name: getattr(layer, f"{name}_l0") for name in cell.vectors}
    outputs = []
    for row in x:
        from_x = (row @ layer.weight_ih_l0.T + layer.bias_ih_l0).chunk(len(cell.gates), 1)
        from_h = (h @ layer.weight_hh_l0.T + layer.bias_hh_l0).chunk(len(cell.gates), 1)
        known = {"h": h, **dict(zip(cell.states[1:], others, strict=True))}
        for gate, a, b in zip(cell.gates, from_x, from_h, strict=True):
            known |= {f"x_{gate}": a, f"h_{gate}": b} if f"x_{gate}" in cell.recording.inputs else {gate: a + b}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500, help="training steps (500)")
    parser.add_argument("--hidden", type=int, default=64, help="hidden units (64)")
    parser.add_argument("--length", type=int, default=10, help="numbers in a sequence (10)")
    parser.add_argument("--zoneout", type=float, default=0.0, help="the probability that a unit keeps its state (0)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--print", choices=CELLS, help="show this cell's kernels for the CPU, and stop")
    options = parser.parse_args()
    try:
        torch.empty(0, device=options.device)
    except RuntimeError as error:  # it says what is missing
        parser.error(f"--device: {error}")
    if options.steps < 1 or options.hidden < 1 or options.length < 2:
        parser.error("--steps and --hidden must be at least 1, and --length at least 2")
    if not 0 <= options.zoneout < 1:
        parser.error("--zoneout must be at least 0, and less than 1")
    if options.print:
        from tinyrnn.kernels.cpu.recurrence import print_kernel

        print(print_kernel(CELLS[options.print].cell, "float32"))
        return
    device = options.device
    print("Guessing the mean would have a loss of 0.167.")
    for name, cell in CELLS.items():
        torch.manual_seed(1)
        layer = cell(2, options.hidden, zoneout=options.zoneout).to(device)
        head = nn.Linear(options.hidden, 1).to(device)
        train(layer, head, options.steps, options.length, device)
        layer.eval()
        x, y = adding(200, options.length, device)
        with torch.no_grad():
            error = nn.functional.mse_loss(head(layer(x)[0][-1]), y).item()
        plain = cell(2, options.hidden).to(device)
        plain.load_state_dict(layer.state_dict())
        apart = (plain(x)[0] - in_a_loop(plain, x)).abs().max().item()
        fused = fastest(lambda layer=plain, x=x: layer(x)[0].sum().backward(), device)
        loop = fastest(lambda layer=plain, x=x: in_a_loop(layer, x).sum().backward(), device)
        print(
            f"{name:20} test loss {error:.4f};  forward and backward {1e3 * fused:.2f} ms, "
            f"in a loop {1e3 * loop:.2f} ms: {loop / fused:.1f} times;  apart by {apart:.0e}"
        )


if __name__ == "__main__":
    main()
