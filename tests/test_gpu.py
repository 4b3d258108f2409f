"""What test_cuda_tensor.py asks of the simulator, asked of a real GPU, and every op against torch on it: `pytest -m gpu`.

Where there is no GPU all of this is skipped.
"""

import re

import layers_on_devices
import numpy as np
import pytest
import table
import test_cuda_tensor
from conftest import torch
from programs_on_devices import PROGRAMS
from stories import close
from test_cuda_tensor import *  # noqa: F403  (the same tests, with another device)
from test_cuda_tensor import SAMPLES, answer, both

import tinyrnn
from tinyrnn import nn
from tinyrnn.kernels.cuda import driver

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("gpu"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(driver.missing() is not None, reason=f"needs a GPU: {driver.missing()}"),
]
on_torch = pytest.mark.skipif(torch is None or not torch.cuda.is_available(), reason="needs torch with CUDA")


@pytest.fixture
def gpu():
    """The real device, where test_cuda_tensor.py has the simulator."""
    return driver.driver()


@pytest.mark.parametrize("part", range(test_cuda_tensor.PARTS))
def test_every_op_computes_what_the_cpu_does(part):
    """All samples, not every third of them."""
    for row, call, case in SAMPLES[part :: test_cuda_tensor.PARTS]:
        here, there = both(
            lambda device, row=row, call=call, case=case: answer(row, call, case, table.Functions, device)
        )
        table.compare(there, here, "g", f"{row.name}: {call.__name__} for {' '.join(row.cases[case])!r}")


def by_chance(row, call, case):
    """Whether the answer to a call is not the same on all devices."""
    ties = row.name in PLACES and re.search(r":[tikhybs]\b", " ".join(row.cases[case]))
    return bool(re.search(r"\b(seeded|drawn)\(", call.__name__) or ties)


PLACES = {
    "sort", "argsort", "topk", "kthvalue", "median", "nanmedian", "mode", "max", "min", "argmax", "argmin", "cummax",
    "cummin",
}  # fmt: skip


@on_torch
@pytest.mark.parametrize("part", range(test_cuda_tensor.PARTS))
def test_every_op_computes_what_torch_does_on_the_gpu(part):
    """But for errors, of which torch tells a few by stopping the device; random numbers, of which it draws others; and
    which one of equal numbers is found, which it leaves open.
    """
    for row, call, case in SAMPLES[part :: test_cuda_tensor.PARTS]:
        if isinstance(answer(row, call, case, table.Functions, "cpu", torch), str) or by_chance(row, call, case):
            continue
        mine, theirs = (answer(row, call, case, table.Functions, "cuda", lib) for lib in (tinyrnn, torch))
        if not isinstance(theirs, str):
            table.compare(mine, theirs, "g", f"{row.name}: {call.__name__} for {' '.join(row.cases[case])!r}, on CUDA")


@on_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", layers_on_devices.CASES)
def test_every_layer_computes_what_torchs_does_on_the_gpu(case, dtype):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    mine, theirs = (layers_on_devices.answers(lib, case, "cuda", dtype) for lib in (tinyrnn, torch))
    close(mine, theirs)


@on_torch
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("sizes", [(1, 5, 3, 4), (8, 20, 16, 32), (3, 50, 30, 130), (16, 12, 64, 512)])
def test_recurrent_layers_compute_what_torch_does(name, sizes):
    """(batch, steps, features, units), forward and backward, two layers and directions, in full precision."""
    batch, steps, features, units = sizes
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    theirs = getattr(torch.nn, name)(features, units, 2, bidirectional=True).cuda()
    mine = getattr(nn, name)(features, units, 2, bidirectional=True).cuda()
    mine.load_state_dict({k: tinyrnn.from_numpy(v.cpu().numpy()) for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((steps, batch, features)).astype(np.float32)
    found = []
    for lib, layer in ((torch, theirs), (tinyrnn, mine)):
        given = lib.from_numpy(x).cuda().requires_grad_()
        out = layer(given)[0]
        (out * out).sum().backward()
        found.append([t.detach().cpu().numpy() for t in (out, given.grad, *(p.grad for p in layer.parameters()))])
    for k, (a, b) in enumerate(zip(*found, strict=True)):
        scale = np.abs(a).max()
        np.testing.assert_allclose(b, a, rtol=0, atol=(1e-4 if k else 1e-5) * scale, err_msg=f"{k}")


def test_fifty_steps_of_training_go_the_same_way_on_both_devices():
    def run(device):
        model = nn.ModuleList([nn.LSTM(4, 32, 2, dropout=0.2), nn.Linear(32, 3)]).to(device)
        x, y = tinyrnn.randn(20, 16, 4).to(device), tinyrnn.randint(0, 3, (16,)).to(device)
        optimizer, losses = tinyrnn.optim.Adam(model.parameters(), lr=1e-3), []
        for _ in range(50):
            loss = nn.functional.cross_entropy(model[1](model[0](x)[0][-1]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    here, there = both(run)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_second_run_gives_the_same_bits(name):
    tinyrnn.manual_seed(0)
    first = PROGRAMS[name]("cuda")
    tinyrnn.manual_seed(0)
    assert PROGRAMS[name]("cuda") == first
