"""Small programs, functions of a device that give the numbers they compute; test_cuda_tensor.py and test_gpu.py run
them on both devices.
"""

import tinyrnn as torch
from tinyrnn import nn, optim


def trained(parameters, loss_of, optimizer, steps=3):
    """The losses of some steps, and a number that depends on all parameters after them."""
    parameters, losses = list(parameters), []
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return [*losses, sum(p.detach().pow(2).sum().item() for p in parameters)]


def classifier(device):
    """A bidirectional LSTM of two layers with dropout, over packed sequences."""
    embed, rnn, fc = (
        nn.Embedding(7, 3, padding_idx=0),
        nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.3),
        nn.Linear(8, 2),
    )
    model = nn.ModuleList([embed, rnn, fc]).to(device)
    x, lengths = torch.randint(1, 7, (4, 3)).to(device), [4, 3, 2]
    y = torch.tensor([0, 1, 1], device=device)

    def loss():
        packed = nn.utils.rnn.pack_padded_sequence(embed(x), lengths)
        _, (h, _) = rnn(packed)
        return nn.functional.cross_entropy(fc(torch.cat([h[-1], h[-2]], 1)), y)

    return trained(model.parameters(), loss, optim.Adam(model.parameters(), lr=0.05))


def forecaster(device):
    """A GRU whose inputs are its own outputs, with layer normalisation and an exponential schedule."""
    cell, norm, out = nn.GRUCell(2, 3), nn.LayerNorm(3), nn.Linear(3, 2)
    model = nn.ModuleList([cell, norm, out]).to(device)
    x, y = torch.randn(2, 2).to(device), torch.randn(3, 2, 2).to(device)
    optimizer = optim.RMSprop(model.parameters(), lr=0.01)

    def loss():
        h, v, total = None, x, 0
        for target in y:
            h = cell(v, h)
            v = out(norm(h))
            total = total + nn.functional.smooth_l1_loss(v, target)
        return total

    return trained(model.parameters(), loss, optimizer)


def encoder(device):
    """A Transformer encoder with a causal mask and padding, dropout and label smoothing."""
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True, activation="gelu")
    model = nn.ModuleList([nn.Embedding(5, 4), nn.TransformerEncoder(layer, 1), nn.Linear(4, 5)]).to(device)
    x = torch.randint(0, 5, (2, 3)).to(device)
    mask = nn.Transformer.generate_square_subsequent_mask(3, device=device)
    padding = torch.tensor([[0.0] * 3, [0.0, 0.0, -torch.inf]], device=device)

    def loss():
        h = model[1](model[0](x), mask, padding, is_causal=True)
        return nn.functional.cross_entropy(model[2](h).flatten(0, 1), x.flatten(), label_smoothing=0.1)

    return trained(model.parameters(), loss, optim.AdamW(model.parameters(), lr=0.01), steps=2)


def translator(device):
    """A decoder with additive attention: a step of training, then greedy and beam search."""
    decoder = nn.AttentionDecoder(6, 3, 4, memory_size=2, attention="bahdanau").to(device)
    memory, tokens = torch.randn(2, 3, 2).to(device), torch.randint(0, 6, (2, 3)).to(device)
    mask = torch.tensor([[True] * 3, [True, True, False]], device=device)
    loss = lambda: nn.functional.cross_entropy(decoder(tokens, memory, mask=mask)[0].flatten(0, 1), tokens.flatten())
    found = trained(decoder.parameters(), loss, optim.SGD(decoder.parameters(), lr=0.1, momentum=0.9), steps=1)
    greedy = decoder.greedy(memory, mask=mask, start=0, end=5, max_length=3)
    beam = decoder.beam_search(memory, mask=mask, start=0, end=5, max_length=2, beam_width=2)
    return [*found, *greedy.sequences.flatten().tolist(), *beam.scores.flatten().tolist()]


def own_cell(device):
    """A derived cell with zoneout, and a Function of one's own."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    @nn.cell
    def mgu(f, x_n, h_n, h):
        f = torch.sigmoid(f)
        return (1 - f) * h + f * torch.tanh(x_n + f * h_n)

    layer = mgu(2, 3, zoneout=0.2, recurrent_dropout=0.1).to(device)
    x = torch.randn(3, 2, 2).to(device)
    return trained(layer.parameters(), lambda: Square.apply(layer(x)[0]).mean(), optim.SGD(layer.parameters(), lr=0.5))


def normalised_cell(device):
    """Two derived cells, one of which takes means over its units, and the other has no product with its state."""

    @nn.cell
    def normalised(f, g, c, *, scale):
        g = g - g.mean(-1, keepdim=True)
        g = g * torch.rsqrt((g * g).mean(-1, keepdim=True) + 0.1) * scale
        c = torch.sigmoid(f) * c + torch.tanh(g)
        return torch.tanh(c - c.mean(-1, keepdim=True)), c

    @nn.cell
    def of_the_input(x_z, x_n, h):
        z = torch.sigmoid(x_z)
        return (1 - z) * h + z * x_n

    first, second = normalised(2, 40, bidirectional=True).to(device), of_the_input(80, 3, zoneout=0.2).to(device)
    x = torch.randn(4, 3, 2).to(device)
    parameters = [*first.parameters(), *second.parameters()]
    return trained(parameters, lambda: second(first(x)[0])[0].square().mean(), optim.SGD(parameters, lr=0.5))


PROGRAMS = {f.__name__: f for f in (classifier, forecaster, encoder, translator, own_cell, normalised_cell)}
