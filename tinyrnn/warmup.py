"""`python -m tinyrnn warmup`: compile ahead what programs are likely to use, so that none of them has to wait.

Small programs are run through the public names; what they compile stays in the cache on disk.  What is not among them
(a cell of one's own, float64 without --float64) is compiled when it is first used, as ever.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import tinyrnn as torch
from tinyrnn import nn, optim
from tinyrnn.kernels import cache
from tinyrnn.kernels.cpu import jit
from tinyrnn.nn import functional as F
from tinyrnn.nn.utils.rnn import pack_sequence

FUNCTIONS = "abs cos elu erf exp gelu leaky_relu log log1p logsigmoid relu rsqrt sigmoid silu sin softplus sqrt tanh"


def finish(*results: Any) -> None:
    """Backward through all results."""
    sum(r.sum() for r in results).backward()


def arithmetic() -> None:
    x, y, row = (torch.rand(*size, requires_grad=True) for size in ((4, 5), (4, 5), (5,)))
    products = x @ y.t(), torch.bmm(x[None], y.t()[None]), F.linear(x, y, torch.rand(4, requires_grad=True))
    large = torch.rand(300, 300, requires_grad=True)
    finish(*products, large @ large, x * row, x / y, x - 2, x**2, x.mean(0), x.max(), x.max(1)[0], x.std(), x.cumsum(0))


def copies() -> None:
    x, mask = torch.rand(60, 50, requires_grad=True), torch.rand(60, 50) > 0.5
    finish(x.t().contiguous(), x.t().reshape(-1), x.masked_fill(mask, 0.0), torch.where(mask, x, 2 * x))


def functions() -> None:
    for name in FUNCTIONS.split():
        function = getattr(torch, name, None) or getattr(F, name)
        x = torch.rand(2, 20, requires_grad=True)
        finish(function(x), function(x.t()[:, :1]))


def rows() -> None:
    x, target = torch.rand(4, 7, requires_grad=True), torch.tensor([0, 1, 2, 3])
    finish(F.softmax(x, 1), F.log_softmax(x, 1), torch.logsumexp(x, 1), nn.LayerNorm(7)(x))
    finish(
        F.cross_entropy(x, target),
        F.nll_loss(x, target),
        nn.Embedding(9, 5)(target),
        x[target],
        x.gather(1, target[:, None]),
    )
    finish(x.sort(1)[0], x.topk(2, 1)[0], x.gather(1, x.argsort(1)), x.index_select(1, target))
    finish(F.dropout(x, 0.5), F.mse_loss(x, x.detach()), F.smooth_l1_loss(x, x.detach()))
    finish(F.binary_cross_entropy_with_logits(x, x.detach()))


def attention() -> None:
    q, k, v = (torch.rand(2, 3, 4, 8, requires_grad=True) for _ in range(3))
    finish(F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v, is_causal=True))
    finish(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(torch.rand(2, 3, 8)))


def recurrent(kind: str) -> Callable[[], None]:
    def layer() -> None:
        for rnn in (getattr(nn, kind)(3, 20, num_layers=2, bidirectional=True), getattr(nn, kind)(3, 70)):
            finish(rnn(torch.rand(5, 9, 3, requires_grad=True))[0])
            finish(rnn(pack_sequence([torch.rand(n, 3) for n in (4, 2, 1)]))[0].data)
        finish(rnn(torch.rand(5, 1, 3))[0])

    return layer


def optimizers() -> None:
    for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        model = nn.Linear(3, 2)
        optimizer = kind(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.rand(4, 3)).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


def programs() -> Iterator[tuple[str, Callable[[], None]]]:
    yield "arithmetic, products and reductions", arithmetic
    yield "functions and activations", functions
    yield "copies and masks", copies
    yield "softmax, losses, layer norm, embedding", rows
    yield "attention", attention
    for kind in ("RNN", "GRU", "LSTM"):
        yield kind, recurrent(kind)
    yield "optimizers", optimizers
    yield "what those did not reach", jit.compile_deferred


def warmup(float64: bool = False) -> None:
    """Run all of it, and say what, and how long it took."""
    jit.waiting.told = True  # what is said here says more
    print(f"Compiling kernels into {cache.directory()}")
    begin = time.monotonic()
    for dtype in (torch.float32, torch.float64)[: 1 + float64]:
        torch.set_default_dtype(dtype)
        for what, program in programs():
            start = time.monotonic()
            program()
            print(f"  {time.monotonic() - start:6.1f} s  {what} ({str(dtype).removeprefix('torch.')})", flush=True)
    print(f"Ready after {time.monotonic() - begin:.1f} s.")
