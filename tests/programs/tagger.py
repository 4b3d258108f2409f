"""Names and places in sentences of different lengths: a bidirectional LSTM over packed, padded batches."""

import random

import torch
from torch import nn, optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

WORDS = {
    "PER": ["ada", "alan", "grace", "edsger"],
    "LOC": ["london", "paris", "oslo"],
    "O": ["met", "saw", "left", "for", "near", "with", "and", "in", "the", "old", "of"],
}
TAGS = ["<pad>", *WORDS]
VOCABULARY = ["<pad>", *(word for words in WORDS.values() for word in words)]


def sentence():
    tags = random.choices(TAGS[1:], weights=[2, 1, 3], k=random.randint(2, 9))
    words = [random.choice(WORDS[tag]) for tag in tags]
    return torch.tensor([VOCABULARY.index(w) for w in words]), torch.tensor([TAGS.index(t) for t in tags])


class Tagger(nn.Module):
    def __init__(self, width=16, hidden=12):
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), width, padding_idx=0)
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.out = nn.Linear(2 * hidden, len(TAGS))

    def forward(self, x, lengths):
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        out, (h, _) = self.lstm(packed)
        out, _ = pad_packed_sequence(out, batch_first=True)
        return self.out(out), h


random.seed(torch.initial_seed())
model = Tagger()
optimizer = optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss(ignore_index=0)
for step in range(50):
    xs, ys = zip(*(sentence() for _ in range(8)), strict=True)
    lengths = torch.tensor([len(x) for x in xs])
    x, y = pad_sequence(xs, batch_first=True), pad_sequence(ys, batch_first=True)
    optimizer.zero_grad()
    scores, h = model(x, lengths)
    loss = criterion(scores.transpose(1, 2), y)
    loss.backward()
    optimizer.step()
    real = y != 0
    right = (scores.argmax(-1) == y)[real].float().mean()
    print(f"{step:2d} {tuple(x.shape)} loss {loss.item():.7f} accuracy {right:.4f} {h.norm():.6f}")
print("the padding's gradient:", model.embedding.weight.grad[0].abs().max().item())

model.eval()
with torch.no_grad():
    words = ["ada", "saw", "the", "old", "london", "with", "grace"]
    scores, _ = model(torch.tensor([[VOCABULARY.index(w) for w in words]]), [len(words)])
    for word, row in zip(words, scores[0].softmax(-1), strict=True):
        print(f"{word:8s} {TAGS[row.argmax()]:6s} {row.max():.5f}")
