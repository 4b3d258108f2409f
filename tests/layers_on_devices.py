"""Layers, losses and optimizers, each a few lines that run on torch and on tinyrnn, on any device: test_cuda_tensor.py
compares the CPU with the simulator, and test_gpu.py a GPU with the CPU, and with torch on the same GPU.
"""

import numpy as np
from stories import flat

IDS = [[1, 4, 0, 2, 2], [3, 3, 1, 5, 0], [2, 1, 1, 0, 4]]


class Scene:
    """What a case is made of: tensors from one stream of numbers, on one device, in one type."""

    def __init__(self, torch, device, dtype):
        self.torch, self.device, self.dtype = torch, device, getattr(torch, dtype)
        self.numbers, self.leaves = np.random.default_rng(3), []

    def x(self, *shape, low=-2.0, high=2.0):
        """An input that requires a gradient."""
        leaf = self.made(self.numbers.uniform(low, high, shape)).requires_grad_()
        self.leaves.append(leaf)
        return leaf

    def made(self, array):
        """A tensor of an array's numbers."""
        found = self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return found.to(self.dtype) if found.is_floating_point() else found

    def layer(self, layer):
        """A layer with parameters from the stream, nowhere zero or equal."""
        layer = layer.to(self.device, self.dtype)
        with self.torch.no_grad():
            for p in layer.parameters():
                p.copy_(self.made(self.numbers.uniform(-0.5, 0.5, tuple(p.shape))))
                self.leaves.append(p)
        return layer


def answers(torch, case, device, dtype):
    """Results of a case and the gradients of its leaves, by name, as arrays."""
    scene = Scene(torch, device, dtype)
    results = [r for r in flat(CASES[case](scene, torch, torch.nn)) if r is not None]
    sent = [r for r in results if r.requires_grad]
    if sent:
        sum((r * scene.made(scene.numbers.uniform(-1, 1, tuple(r.shape)))).sum() for r in sent).backward()
    assert all(t.device.type == torch.device(device).type for t in results)
    told = {f"result {k}": r.detach().cpu().numpy() for k, r in enumerate(results)}
    grads = {f"gradient {k}": leaf.grad for k, leaf in enumerate(scene.leaves) if leaf.grad is not None}
    return told | {name: g.detach().cpu().numpy() for name, g in grads.items()}


# ------------------------------------------------------------------------------------------ recurrent layers
def recurrent(name, **options):
    def case(s, torch, nn):
        layer = s.layer(getattr(nn, name)(5, 6, **options))
        return layer(s.x(3, 4, 5) if options.get("batch_first") else s.x(4, 3, 5))

    return case


def packed(name):
    def case(s, torch, nn):
        layer = s.layer(getattr(nn, name)(5, 6, 2, bidirectional=True))
        rows = nn.utils.rnn.pack_padded_sequence(s.x(4, 3, 5), torch.tensor([2, 4, 3]), enforce_sorted=False)
        out, last = layer(rows)
        return *nn.utils.rnn.pad_packed_sequence(out)[:1], last

    return case


def with_states(name, **options):
    def case(s, torch, nn):
        layer = s.layer(getattr(nn, name)(5, 37, **options))
        sizes = [(1, 2, 37)] * (1 + (name == "LSTM"))
        states = [s.x(*size) for size in sizes]
        return layer(s.x(6, 2, 5), tuple(states) if len(states) > 1 else states[0])

    return case


def cell(name, **options):
    def case(s, torch, nn):
        step, h = s.layer(getattr(nn, name)(5, 6, **options)), None
        for row in s.x(4, 3, 5):
            h = step(row, h)
        return h

    return case


RECURRENT = {
    **{name: recurrent(name) for name in ("RNN", "GRU", "LSTM")},
    **{f"{name} two ways": recurrent(name, num_layers=2, bidirectional=True) for name in ("RNN", "GRU", "LSTM")},
    **{f"{name} packed": packed(name) for name in ("RNN", "GRU", "LSTM")},
    **{f"{name} from states": with_states(name) for name in ("RNN", "GRU", "LSTM")},
    "RNN of relu": recurrent("RNN", nonlinearity="relu"),
    "GRU without bias, batch first": recurrent("GRU", bias=False, batch_first=True),
    "LSTM with a projection": recurrent("LSTM", proj_size=3, num_layers=2, bidirectional=True),
    **{name: cell(name) for name in ("RNNCell", "GRUCell", "LSTMCell")},
    "RNNCell of relu": cell("RNNCell", nonlinearity="relu"),
}


# ------------------------------------------------------------------------------------------ attention
def attending(s, torch, nn):
    layer = s.layer(nn.MultiheadAttention(6, 2, kdim=5, vdim=4, batch_first=True))
    hidden = s.made(np.array([[False, False, True], [False, True, False]]))
    return layer(s.x(2, 4, 6), s.x(2, 3, 5), s.x(2, 3, 4), key_padding_mask=hidden)


def attending_causally(s, torch, nn):
    layer, x = s.layer(nn.MultiheadAttention(6, 3)), s.x(5, 2, 6)
    mask = nn.Transformer.generate_square_subsequent_mask(5, device=s.device, dtype=s.dtype)
    return layer(x, x, x, attn_mask=mask, need_weights=False, is_causal=True)


def encoding(norm_first, activation):
    def case(s, torch, nn):
        layer = nn.TransformerEncoderLayer(
            6, 2, 8, 0.0, activation, batch_first=True, norm_first=norm_first, dtype=s.dtype
        )
        encoder = s.layer(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
        hidden = s.made(np.array([[False, False, False, True], [False] * 4]))
        return encoder(s.x(2, 4, 6), src_key_padding_mask=hidden)

    return case


def decoding(s, torch, nn):
    layer = s.layer(nn.TransformerDecoderLayer(6, 2, 8, 0.0))
    mask = nn.Transformer.generate_square_subsequent_mask(3, device=s.device, dtype=s.dtype)
    return layer(s.x(3, 2, 6), s.x(4, 2, 6), tgt_mask=mask, tgt_is_causal=True)


def translating(s, torch, nn):
    return s.layer(nn.Transformer(6, 2, 1, 1, 8, 0.0))(s.x(4, 2, 6), s.x(3, 2, 6))


ATTENTION = {
    "MultiheadAttention": attending,
    "MultiheadAttention, causal": attending_causally,
    "TransformerEncoder": encoding(False, "relu"),
    "TransformerEncoder, norms first": encoding(True, "gelu"),
    "TransformerDecoderLayer": decoding,
    "Transformer": translating,
}


# ------------------------------------------------------------------------------------------ other layers
def applied(name, *arguments, shape=(3, 4, 6), **options):
    return lambda s, torch, nn: s.layer(getattr(nn, name)(*arguments, **options))(s.x(*shape))


def normalising(name, shape):
    """In training, and then in evaluation, with the statistics that training has left."""

    def case(s, torch, nn):
        layer = s.layer(getattr(nn, name)(4, affine=True, track_running_stats=True))
        first = layer(s.x(*shape))
        layer.eval()
        return first, layer(s.x(*shape)), layer.running_mean, layer.running_var

    return case


def embedding(s, torch, nn):
    ids = s.made(np.array(IDS))
    bags = s.layer(nn.EmbeddingBag(6, 4, mode="sum"))
    return s.layer(nn.Embedding(6, 3, padding_idx=1))(ids), bags(ids)


OTHERS = {
    "Linear": applied("Linear", 6, 5),
    "Bilinear": lambda s, torch, nn: s.layer(nn.Bilinear(4, 5, 3))(s.x(2, 4), s.x(2, 5)),
    "embeddings": embedding,
    "LayerNorm": applied("LayerNorm", 6),
    "LayerNorm of two axes": applied("LayerNorm", (4, 6)),
    "RMSNorm": applied("RMSNorm", 6),
    "GroupNorm": applied("GroupNorm", 2, 4),
    "PReLU": applied("PReLU", 4),
    "BatchNorm1d": normalising("BatchNorm1d", (5, 4)),
    "BatchNorm1d of sequences": normalising("BatchNorm1d", (5, 4, 3)),
    "InstanceNorm1d": normalising("InstanceNorm1d", (5, 4, 3)),
}


# ------------------------------------------------------------------------------------------ losses
def of_classes(name, reduction, **options):
    def case(s, torch, nn):
        scores, ids = s.x(3, 6, 5), s.made(np.array(IDS))
        weight = s.made(s.numbers.uniform(0.5, 1.5, 6))
        scores = scores if name == "CrossEntropyLoss" else scores.log_softmax(1)
        return getattr(nn, name)(weight=weight, ignore_index=2, reduction=reduction, **options)(scores, ids)

    return case


def pair(name, low=-2.0, high=2.0, **options):
    return lambda s, torch, nn: getattr(nn, name)(**options)(
        s.x(4, 5, low=low, high=high), s.made(s.numbers.uniform(0.1, 0.9, (4, 5)))
    )


def alignment(s, torch, nn):
    labels = s.made(np.array([[1, 2, 2], [3, 1, 1]]))
    lengths = s.made(np.array([7, 6])), s.made(np.array([3, 2]))
    return nn.CTCLoss(zero_infinity=True)(s.x(7, 2, 5).log_softmax(-1), labels, *lengths)


def signs(s):
    return s.made(np.array([1.0, -1.0, 1.0]))


LOSSES = {
    "CrossEntropyLoss": of_classes("CrossEntropyLoss", "mean", label_smoothing=0.1),
    "CrossEntropyLoss of each": of_classes("CrossEntropyLoss", "none"),
    "NLLLoss": of_classes("NLLLoss", "mean"),
    **{name: pair(name) for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss")},
    "BCELoss": pair("BCELoss", 0.1, 0.9),
    "KLDivLoss": pair("KLDivLoss", -3.0, -0.1, reduction="batchmean"),
    "GaussianNLLLoss": lambda s, torch, nn: nn.GaussianNLLLoss()(s.x(4, 5), s.x(4, 5), s.x(4, 5, low=0.5)),
    "MarginRankingLoss": lambda s, torch, nn: nn.MarginRankingLoss(0.3)(s.x(3), s.x(3), signs(s)),
    "CosineEmbeddingLoss": lambda s, torch, nn: nn.CosineEmbeddingLoss(0.1)(s.x(3, 4), s.x(3, 4), signs(s)),
    "TripletMarginLoss": lambda s, torch, nn: nn.TripletMarginLoss()(s.x(3, 4), s.x(3, 4), s.x(3, 4)),
    "CTCLoss": alignment,
}


# ------------------------------------------------------------------------------------------ optimizers
def training(name, norm=0.5, **options):
    """The losses of five steps, with gradients that are clipped to a norm, and the parameters after them."""

    def case(s, torch, nn):
        layer, x, y = s.layer(nn.Linear(4, 3)), s.x(6, 4).detach(), s.made(s.numbers.uniform(-1, 1, (6, 3)))
        optimizer = getattr(torch.optim, name)(layer.parameters(), **options)

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(layer(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(layer.parameters(), norm)
            return loss

        losses = [optimizer.step(closure).detach() for _ in range(5)]
        optimizer.zero_grad()
        return [*losses, *(p.detach() for p in layer.parameters())]

    return case


OPTIMIZERS = {
    "SGD": training("SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": training("Adam", lr=0.05, amsgrad=True, weight_decay=0.01),
    "AdamW": training("AdamW", lr=0.05),
    "NAdam": training("NAdam", lr=0.05),
    "RAdam": training("RAdam", lr=0.05),
    "Adamax": training("Adamax", lr=0.05),
    "Adagrad": training("Adagrad", lr=0.05, lr_decay=0.1),
    "Adadelta": training("Adadelta", lr=0.5),
    "RMSprop": training("RMSprop", lr=0.02, momentum=0.5, centered=True),
    "Rprop": training("Rprop", lr=0.01),
    "ASGD": training("ASGD", lr=0.05),
    "LBFGS": training("LBFGS", np.inf, lr=0.1, max_iter=3),
}
CASES = RECURRENT | ATTENTION | OTHERS | LOSSES | OPTIMIZERS
