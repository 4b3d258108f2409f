"""torch.multiprocessing: memory that several processes write to, what is sent, and processes that fail together."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

import tinyrnn
from tinyrnn import multiprocessing as mp
from tinyrnn import nn

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory is shared on Linux and macOS")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def forking():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        yield


def in_a_process(method, target, *args):
    process = mp.get_context(method).Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0


# ------------------------------------------------------------------------------------------ memory
def test_shared_memory_holds_the_same_numbers():
    for x in (
        tinyrnn.arange(6.0).reshape(2, 3), tinyrnn.tensor(3), tinyrnn.empty(0), tinyrnn.ones(2, 0),
        tinyrnn.tensor([True, False]), tinyrnn.arange(6.0).reshape(2, 3).t(), tinyrnn.arange(8)[::2],
        tinyrnn.arange(3.0).expand(2, 3), tinyrnn.arange(9.0).as_strided((3, 3), (2, 1), 1),
        tinyrnn.from_numpy(np.frombuffer(bytearray(16), np.int64)),
    ):  # fmt: skip
        before, stride = x.tolist(), x.stride()
        assert not x.is_shared()
        assert x.share_memory_() is x and x.is_shared()
        assert (x.tolist(), x.stride()) == (before, stride)
        at = x.data_ptr()
        assert x.share_memory_().data_ptr() == at
        assert x.numel() == 0 or x[..., :1].is_shared() if x.ndim else x.detach().is_shared()
        assert not x.clone().is_shared()


def test_all_that_share_memory_move_together():
    base = tinyrnn.zeros(4, 3)
    views = [base[1], base.t()[1:], base.detach(), base.data, base.view(-1), base.as_strided((2, 2), (3, 1), 1)]
    other, parameter = tinyrnn.zeros(3), nn.Parameter(base)
    views[0].share_memory_()
    assert all(x.is_shared() for x in (base, parameter, *views)) and not other.is_shared()
    base[1] = 5.0
    assert views[0].tolist() == [5.0] * 3 and parameter[1].tolist() == [5.0] * 3 and views[4][3:6].tolist() == [5.0] * 3
    views[1].fill_(7.0)
    assert base[0].tolist() == [0.0, 7.0, 7.0]


def test_gradients_go_through_shared_tensors():
    x = tinyrnn.ones(3, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y.share_memory_()
    x.share_memory_()
    z.backward()
    assert x.grad.tolist() == [8.0] * 3
    y = x * 2
    z = (y * y).sum()
    with tinyrnn.no_grad():
        y.share_memory_().add_(1)
    with pytest.raises(RuntimeError, match="version"):
        z.backward()


def add(x, amount):
    with tinyrnn.no_grad():
        x.add_(amount)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_writes_and_its_parent_sees(method):
    x = tinyrnn.zeros(2, 3).share_memory_()
    in_a_process(method, add, x[1], 5.0)
    assert x.tolist() == [[0.0] * 3, [5.0] * 3]


def test_what_is_not_shared_is_a_forked_childs_own_and_shared_with_a_spawned_one():
    x, y = tinyrnn.zeros(3), tinyrnn.zeros(3)
    in_a_process("fork", add, x, 5.0)
    in_a_process("spawn", add, y, 5.0)
    assert (x.tolist(), x.is_shared()) == ([0.0] * 3, False)
    assert (y.tolist(), y.is_shared()) == ([5.0] * 3, True)


def train(model, steps):
    optimizer = tinyrnn.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(tinyrnn.ones(4, 2, 3))[0].mean() - 1).square().backward()
        optimizer.step()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_train_one_model(method):
    tinyrnn.manual_seed(0)
    models = [nn.LSTM(3, 4), nn.LSTM(3, 4)]
    models[1].load_state_dict(models[0].state_dict())
    models[0](tinyrnn.ones(4, 2, 3))[0].sum().backward()
    assert models[0].share_memory() is models[0]
    assert all(p.is_shared() and p.grad.is_shared() for p in models[0].parameters())
    for _ in range(2):
        in_a_process(method, train, models[0], 3)
    train(models[1], 6)
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert mine.equal(theirs)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
def test_an_optimizer_that_began_before_goes_on(kind):
    models = [nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 4))]
    models.append(copy.deepcopy(models[0]))
    optimizers = [getattr(tinyrnn.optim, kind)(model.parameters(), 0.1) for model in models]
    for step in range(3):
        if step == 1:
            models[0].share_memory()
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(tinyrnn.ones(5, 2, 3))[0].sum().backward()
            optimizer.step()
    for mine, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert mine.equal(theirs) and mine.is_shared() and not theirs.is_shared()


def test_what_is_on_a_gpu_is_not_shared(gpu):
    x = tinyrnn.ones(2, device="cuda")
    with pytest.raises(NotImplementedError, match=r"a tensor on cuda:0: tinyrnn shares memory on the CPU only"):
        x.share_memory_()
    assert not x.is_shared() and sent(x).tolist() == [1.0, 1.0]


class Rows(tinyrnn.utils.data.Dataset):
    def __init__(self):
        self.rows = tinyrnn.arange(12.0).reshape(4, 3).share_memory_()

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.rows[index]


@pytest.mark.parametrize("batch_size, first", [(2, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]), (None, [0.0, 1.0, 2.0])])
def test_a_loaders_workers_read_shared_memory(batch_size, first):
    rows = Rows()
    loader = tinyrnn.utils.data.DataLoader(rows, batch_size, num_workers=2)
    got = list(loader)
    assert got[0].tolist() == first and got[0].is_shared() == (batch_size is None)
    got[0].fill_(7)
    assert rows[0].tolist() == ([7.0] * 3 if batch_size is None else [0.0, 1.0, 2.0])


def answer(tasks, answers):
    for x in iter(tasks.get, None):
        x.add_(1)
        answers.put((x.is_shared(), x * 2))


def test_tensors_go_through_queues():
    context = mp.get_context("fork")
    tasks, answers = context.SimpleQueue(), context.SimpleQueue()
    worker = context.Process(target=answer, args=(tasks, answers))
    worker.start()
    shared, copied = tinyrnn.zeros(3).share_memory_(), tinyrnn.zeros(3)
    for x in (shared[:2], copied):
        tasks.put(x)
    got = [answers.get(), answers.get()]
    tasks.put(None)
    worker.join()
    assert [(s, x.tolist()) for s, x in got] == [(True, [2.0] * 2), (False, [2.0] * 3)]
    assert (shared.tolist(), copied.tolist()) == ([1.0, 1.0, 0.0], [0.0] * 3)


def sent(x):
    """A tensor as another process would get it, sent to this one."""
    return pickle.loads(mp.reduction.ForkingPickler.dumps(x))


def test_what_is_sent_is_what_it_was():
    shared = nn.Parameter(tinyrnn.arange(6.0).reshape(2, 3).t()).share_memory_()
    shared.name = "mine"
    pair = sent((shared, shared.detach()[1]))
    assert type(pair[0]) is nn.Parameter and pair[0].requires_grad and pair[0].name == "mine"
    assert pair[0].stride() == shared.stride() and not pair[1].requires_grad
    pair[1].fill_(9)
    assert shared[1].tolist() == pair[0][1].tolist() == [9.0, 9.0]
    assert pair[0].data_ptr() == shared.data_ptr()  # mapped once
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        sent(shared * 2)
    assert pickle.loads(pickle.dumps(shared)).is_shared() is False


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files")
def test_memory_goes_when_nobody_has_it():
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        nn.Linear(3, 4).share_memory()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------------ processes
def record(index, into, start):
    into[index] = start + index


def test_spawn():
    into = tinyrnn.zeros(3)
    assert mp.spawn(record, (into, 10), nprocs=3) is None
    assert into.tolist() == [10.0, 11.0, 12.0]
    started = mp.start_processes(record, (into, 20), 2, join=False, start_method="fork")
    assert len(started.pids()) == 2
    while not started.join(timeout=20):
        pass
    assert started.join() and into.tolist() == [20.0, 21.0, 12.0]


def fail(index, how):
    if index == 1:
        if how == "raises":
            raise ValueError("that was it")
        if how == "killed":
            os.kill(os.getpid(), 9)
        os._exit(3)
    import time

    time.sleep(60)


@pytest.mark.parametrize(
    "how, kind, told",
    [
        ("raises", mp.ProcessRaisedException, r"(?s)-- Process 1 terminated with the following error:.*that was it"),
        ("killed", mp.ProcessExitedException, "process 1 terminated with signal SIGKILL"),
        ("leaves", mp.ProcessExitedException, "process 1 terminated with exit code 3"),
    ],
)
def test_when_one_process_fails_the_others_end(how, kind, told):
    context = mp.start_processes(fail, (how,), 2, join=False, start_method="fork")
    with pytest.raises(kind, match=told) as caught:
        while not context.join():
            pass
    assert not any(process.is_alive() for process in context.processes)
    assert caught.value.error_index == 1 and caught.value.error_pid == context.pids()[1]
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is kind and str(again) == str(caught.value)
    assert not any(map(os.path.exists, context.error_files))


def test_names_of_multiprocessing():
    import multiprocessing

    assert mp.Queue is not None and set(multiprocessing.__all__) < set(mp.__all__)
    with pytest.raises(AssertionError, match="invalid sharing strategy 'x'"):
        mp.set_sharing_strategy("x")
    assert mp.get_sharing_strategy() == "file_descriptor"
    mp.set_sharing_strategy("file_system")
    assert mp.get_sharing_strategy() == "file_system"
    mp.set_sharing_strategy("file_descriptor")
    with pytest.warns(FutureWarning, match="only supports start_method=spawn"):
        mp.spawn(print, nprocs=0, start_method="fork")
    with pytest.warns(UserWarning, match="renamed to ProcessContext"):
        mp.SpawnContext([], [])


def test_importing_tinyrnn_does_not_import_multiprocessing():
    script = "import sys, tinyrnn as torch; assert 'multiprocessing' not in sys.modules; torch.multiprocessing.Process"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    subprocess.run([sys.executable, "-c", "from tinyrnn import multiprocessing as mp; mp.spawn"], check=True, cwd=ROOT)


def test_a_program_of_several_processes(tmp_path):
    (tmp_path / "hogwild.py").write_text(
        textwrap.dedent("""\
        import torch
        import torch.multiprocessing as mp
        from torch import nn

        def train(rank, model, done):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            loss = (model(torch.ones(1, 2)) - 3).square().mean()
            loss.backward()
            optimizer.step()
            done[rank] = 1

        if __name__ == "__main__":
            torch.manual_seed(0)
            mp.set_start_method("spawn")
            model, done = nn.Linear(2, 1), torch.zeros(2)
            model.share_memory()
            before = model.weight.clone()
            mp.spawn(train, args=(model, done), nprocs=2)
            processes = [mp.Process(target=train, args=(0, model, done))]
            [p.start() for p in processes], [p.join() for p in processes]
            print(done, (model.weight != before).all(), model.weight.is_shared())
    """)
    )
    run = [sys.executable, "-m", "tinyrnn", "run", str(tmp_path / "hogwild.py")]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)
    assert done.stdout == "tensor([1., 1.]) tensor(True) True\n", done.stderr
