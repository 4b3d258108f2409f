"""A character model of English: truncated backpropagation through time, tied weights, dropout, clipped gradients."""

import torch
import torch.nn as nn

TEXT = """the child saw the cat, the cat saw the bird, and the bird saw the worm. the worm saw nothing at all: it was
looking for the rain, and the rain was far away, over the hills, where no child and no cat had ever been. """


class CharacterModel(nn.Module):
    def __init__(self, n_chars, width, layers):
        super().__init__()
        self.embedding = nn.Embedding(n_chars, width)
        self.drop = nn.Dropout(0.2)
        self.rnn = nn.LSTM(width, width, layers, dropout=0.2)
        self.decoder = nn.Linear(width, n_chars)
        self.decoder.weight = self.embedding.weight  # tied: one matrix reads and writes

    def forward(self, x, hidden):
        out, hidden = self.rnn(self.drop(self.embedding(x)), hidden)
        return self.decoder(self.drop(out)), hidden

    def start(self, batch):
        weight = next(self.parameters())
        return tuple(weight.new_zeros(self.rnn.num_layers, batch, self.rnn.hidden_size) for _ in range(2))


chars = sorted(set(TEXT))
data = torch.tensor([chars.index(c) for c in TEXT])
batch, steps = 6, 8
columns = data[: len(data) // batch * batch].view(batch, -1).t().contiguous()
model = CharacterModel(len(chars), 32, 2)
criterion = nn.CrossEntropyLoss()
print(model)
print(
    f"{sum(p.numel() for p in model.parameters()):,} parameters, tied: {model.decoder.weight is model.embedding.weight}"
)

done = 0
while done < 50:
    hidden = model.start(batch)
    for i in range(0, len(columns) - 1 - steps, steps):
        hidden = tuple(h.detach() for h in hidden)  # gradients stop at the beginning of the chunk, the state goes on
        model.zero_grad()
        output, hidden = model(columns[i : i + steps], hidden)
        loss = criterion(output.view(-1, len(chars)), columns[i + 1 : i + 1 + steps].view(-1))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(p.grad, alpha=-4.0)
        done += 1
        print(f"{done:2d} | loss {loss.item():.7f} | perplexity {loss.exp():.5f} | norm {norm:.7f}")

model.eval()
with torch.no_grad():
    letter, hidden, written = columns[:1, :1], model.start(1), []
    for _ in range(40):
        output, hidden = model(letter, hidden)
        letter = torch.multinomial(output.view(-1).div(0.8).softmax(0), 1).view(1, 1)
        written.append(chars[letter.item()])
print(repr("".join(written)))
