"""Sine waves of random phase, continued by two LSTM cells that LBFGS fitted in double precision."""

import numpy as np
import torch
from torch import nn, optim


class Sequence(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.hidden = hidden
        self.lstm1 = nn.LSTMCell(1, hidden)
        self.lstm2 = nn.LSTMCell(hidden, hidden)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x, future=0):
        h1, c1, h2, c2 = (torch.zeros(x.size(0), self.hidden, dtype=torch.double) for _ in range(4))
        outputs = []
        for x_t in x.split(1, dim=1):
            h1, c1 = self.lstm1(x_t, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        for _ in range(future):  # its own predictions are its next inputs
            h1, c1 = self.lstm1(outputs[-1], (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return torch.cat(outputs, dim=1)


phase = np.random.RandomState(2).randint(-40, 40, (8, 1))
waves = torch.from_numpy(np.sin((np.arange(30) + phase) / 10.0))
x, y = waves[2:, :-1], waves[2:, 1:]
model = Sequence().double()
criterion = nn.MSELoss()
optimizer = optim.LBFGS(model.parameters(), lr=0.4, max_iter=5, history_size=10)
for step in range(10):

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        print(f"   loss {loss.item():.12f}")
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        predicted = model(waves[:2, :-1], future=5)
        print(f"{step} test loss {criterion(predicted[:, :-5], waves[:2, 1:]).item():.12f}")
print(predicted.dtype, predicted.shape, *(f"{number:.7f}" for number in predicted[0, -5:].numpy()))
