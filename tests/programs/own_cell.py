"""The adding problem with recurrent cells written by hand, one of them with a backward of its own."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class MinimalGate(nn.Module):
    """A gated unit with a single gate: h' = (1 - f) h + f tanh(W x + U (f h))."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.w = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.u = nn.Parameter(torch.empty(2, hidden_size, hidden_size))
        self.b = nn.Parameter(torch.zeros(2 * hidden_size))
        nn.init.xavier_uniform_(self.w)
        for u in self.u:
            nn.init.orthogonal_(u)

    def forward(self, x, h):
        for_gate, for_new = F.linear(x, self.w, self.b).chunk(2, 1)
        f = torch.sigmoid(for_gate + h @ self.u[0])
        new = torch.tanh(for_new + (f * h) @ self.u[1])
        return torch.lerp(h, new, f)

    def extra_repr(self):
        return f"{self.w.size(1)}, {self.hidden_size}"


class Clipped(torch.autograd.Function):
    """The identity; its gradient is kept between -0.01 and 0.01."""

    @staticmethod
    def forward(ctx, h):
        return h.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.clamp(-0.01, 0.01)


class LayerNormRNN(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.input, self.recurrent = nn.Linear(input_size, hidden_size, bias=False), nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, x, h):
        return Clipped.apply(torch.tanh(self.norm(self.input(x) + self.recurrent(h))))


class Loop(nn.Module):
    """A cell over time, then a linear map of the last state."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.out = cell, nn.Linear(cell.hidden_size, 1)

    def forward(self, x):
        h = x.new_zeros(x.size(0), self.cell.hidden_size)
        for x_t in x.unbind(1):
            h = self.cell(x_t, h)
        return self.out(h).squeeze(1)


def adding(batch, length):
    """Numbers, two of which are marked; the answer is the sum of these two."""
    numbers, marks = torch.rand(batch, length), torch.zeros(batch, length)
    first, second = torch.randint(0, length // 2, (batch,)), torch.randint(length // 2, length, (batch, 1))
    marks[torch.arange(batch), first] = 1
    marks.scatter_(1, second, 1.0)
    return torch.stack((numbers, marks), 2), (numbers * marks).sum(1)


for cell in (MinimalGate(2, 16), LayerNormRNN(2, 16)):
    model = Loop(cell)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    print(model)
    for step in range(50):
        x, y = adding(20, 12)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(p.grad.pow(2).sum().item() for p in model.parameters()))
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        print(f"{step:2d} loss {loss.item():.7f} norm {norm:.6f}")
