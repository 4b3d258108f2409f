"""Reversing a string with an encoder and a decoder that attends to it; `outputs[t] = y`, and teacher forcing."""

import random

import torch
import torch.nn.functional as F
from torch import nn, optim

SOS, DIGITS, LENGTH = 0, 8, 6


class Encoder(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(DIGITS, hidden)
        self.rnn = nn.GRU(hidden, hidden)

    def forward(self, source):
        return self.rnn(self.embedding(source))


class Attention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.attn = nn.Linear(2 * hidden, hidden)
        self.v = nn.Parameter(torch.rand(hidden))
        self.v.data.normal_(mean=0, std=1.0 / hidden**0.5)

    def forward(self, hidden, encoded):
        T, B, _ = encoded.shape
        pairs = torch.cat([hidden.repeat(T, 1, 1), encoded], 2).permute(1, 0, 2)
        energy = torch.tanh(self.attn(pairs)).transpose(1, 2)
        return F.softmax(torch.bmm(self.v.repeat(B, 1).unsqueeze(1), energy), dim=2)


class Decoder(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(DIGITS, hidden)
        self.attention = Attention(hidden)
        self.rnn = nn.GRU(2 * hidden, hidden)
        self.out = nn.Linear(2 * hidden, DIGITS)

    def forward(self, token, hidden, encoded):
        weights = self.attention(hidden[-1], encoded)
        context = weights.bmm(encoded.transpose(0, 1)).transpose(0, 1)
        out, hidden = self.rnn(torch.cat([self.embedding(token).unsqueeze(0), context], 2), hidden)
        return self.out(torch.cat([out.squeeze(0), context.squeeze(0)], 1)), hidden, weights


class Seq2Seq(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.encoder, self.decoder = Encoder(hidden), Decoder(hidden)

    def forward(self, source, target, teacher_forcing=0.5):
        T, B = target.shape
        outputs = torch.zeros(T, B, DIGITS)
        encoded, hidden = self.encoder(source)
        token = target[0]
        for t in range(1, T):
            outputs[t], hidden, _ = self.decoder(token, hidden, encoded)
            token = target[t] if random.random() < teacher_forcing else outputs[t].argmax(1)
        return outputs


def pairs(batch):
    source = torch.randint(1, DIGITS, (LENGTH, batch))
    return source, torch.cat([torch.full((1, batch), SOS), source.flip(0)])


random.seed(torch.initial_seed())
model = Seq2Seq(24)
for parameter in model.parameters():
    if parameter.dim() > 1:
        nn.init.xavier_uniform_(parameter)
print(model)
optimizer = optim.Adam(model.parameters(), lr=3e-3)
for step in range(50):
    source, target = pairs(16)
    optimizer.zero_grad()
    outputs = model(source, target)
    loss = F.cross_entropy(outputs[1:].view(-1, DIGITS), target[1:].reshape(-1))
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1)
    optimizer.step()
    print(f"{step:2d} loss {loss.item():.7f} norm {norm.item():.6f}")

model.eval()
with torch.no_grad():
    source, target = pairs(2)
    outputs = model(source, target, teacher_forcing=0)
    print(source.t().tolist(), "->", outputs[1:].argmax(2).t().tolist())
