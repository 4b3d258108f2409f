"""Tensors on a GPU, which is a simulator here: where they are, what they share, and that they compute what the CPU does.

The kernels have tests of their own (test_cuda_*.py); test_gpu.py runs the same programs on a real GPU.
"""

import copy
import io
import itertools
import pickle
import threading

import layers_on_devices
import numpy as np
import pytest
import table
import test_functional
import test_ops
from programs_on_devices import PROGRAMS
from stories import close

import tinyrnn as torch
from tinyrnn import devices, nn, optim
from tinyrnn.ops import recurrent

pytest.importorskip("numba_cuda")
pytestmark = [pytest.mark.usefixtures("gpu"), pytest.mark.filterwarnings("ignore")]


def both(function):
    """What a function of a device gives on the CPU and on the GPU, from the same seed."""
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(1)
        found.append(function(device))
    return found


# ------------------------------------------------------------------------------------------ where tensors are
def test_to_and_back():
    x = torch.arange(6.0).reshape(2, 3)
    y = x.to("cuda")
    assert y.device == torch.device("cuda:0") and y.is_cuda and not y.is_cpu and y.get_device() == 0
    assert y.to("cuda") is y is y.cuda() is y.to(y) and x.to("cpu") is x.cpu() is x and x.get_device() == -1
    assert y.to("cuda", copy=True) is not y and y.to(torch.device("cuda"), torch.float64).dtype is torch.float64
    assert x.to(y).is_cuda and x.cuda(0, non_blocking=True).is_cuda and x.to(0).is_cuda and x.type_as(y).is_cuda
    assert y.cpu().tolist() == x.tolist() == y.tolist() and y.type() == "torch.cuda.FloatTensor"
    assert y.type("torch.DoubleTensor").is_cpu and x.type(torch.cuda.LongTensor).is_cuda
    assert y.t().contiguous().cpu().tolist() == x.t().tolist() and y.t().stride() == x.t().stride()
    assert isinstance(y, torch.cuda.FloatTensor) and not isinstance(x, torch.cuda.FloatTensor)
    assert torch.cuda.LongTensor([1, 2]).sum().item() == 3
    with pytest.raises(RuntimeError, match="must be cuda device"):
        x.cuda("cpu")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        x.to("cuda:1")
    with pytest.raises(devices.NoDevice, match="'mps'"):
        x.to("mps")


def test_the_gradient_comes_back_to_the_device_of_the_leaf():
    x = torch.ones(3, requires_grad=True)
    (x.to("cuda") * torch.arange(3.0, device="cuda")).sum().cpu().backward()
    assert x.grad.is_cpu and x.grad.tolist() == [0, 1, 2]
    w = torch.ones(3, device="cuda", requires_grad=True)
    (w.cpu() * 2 + w.to(torch.float64).to("cpu")).sum().backward()
    assert w.grad.is_cuda and w.grad.tolist() == [3, 3, 3] and w.is_leaf
    with pytest.raises(RuntimeError, match="same device"):
        w.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="expected device cuda:0 but got cpu"):
        (w * 2).backward(torch.ones(3))


def test_gradients_that_lie_in_the_same_memory_are_added_up_elsewhere():
    def gradients(device):
        x, y = (torch.arange(6.0, device=device).reshape(2, 3).requires_grad_() for _ in range(2))
        (x.view(6) + y.view(6)).sqrt().sum().backward()
        y.grad += 1  # which is nobody else's
        (x.mean() + x.var() + torch.stack([x[0], x[1]]).sum()).backward()
        return [x.grad[:, 1:].tolist(), y.grad[:, 1:].tolist()]

    here, there = both(gradients)
    np.testing.assert_allclose(there, here, rtol=1e-5)


def test_numbers_come_out_and_arrays_do_not():
    x = torch.tensor([[1.5, 2.0]], device="cuda")
    assert (
        x[0, 0].item() == float(x[0, 0]) == 1.5 and int(x[0, 1]) == 2 and bool(x[0, 0]) and f"{x[0, 1]:.2f}" == "2.00"
    )
    assert (
        [1, 2, 3][torch.tensor(1, device="cuda")] == 2 and 2.0 in x and len(x) == 1 and [len(row) for row in x] == [2]
    )
    assert repr(x) == "tensor([[1.5000, 2.0000]], device='cuda:0')"
    assert repr(torch.zeros(0, device="cuda", dtype=torch.int64)) == "tensor([], device='cuda:0', dtype=torch.int64)"
    for way in (lambda: x.numpy(), lambda: np.asarray(x), lambda: np.add(x, 1)):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            way()
    assert x.numpy(force=True).tolist() == x.tolist()
    with pytest.raises(TypeError, match="only implemented on CPU tensors"):
        x.apply_(abs)


def test_devices_do_not_mix():
    x, y = torch.ones(2, 3, device="cuda"), torch.ones(3)
    calls = [
        lambda: x + y, lambda: y * x, lambda: x @ y, lambda: torch.where(x > 0, x, y), lambda: torch.cat([x[0], y]),
        lambda: torch.stack([y, x[0]]), lambda: nn.functional.linear(y, x), lambda: nn.functional.mse_loss(x[0], y),
        lambda: x.add_(y), lambda: y.mul_(x[0]), lambda: y[torch.tensor([0], device="cuda")],
        lambda: y.masked_fill(x[0] > 0, 1), lambda: nn.Linear(3, 2)(x), lambda: x.index_put_((torch.tensor([0]),), y),
        lambda: nn.functional.cross_entropy(x, torch.tensor([0, 1])), lambda: torch.dot(y, x[0]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(RuntimeError, match="on the same device"):
            call()
    assert (x + torch.tensor(2.0)).is_cuda and (torch.tensor(2.0) * x).is_cuda and (x > torch.tensor(0)).all()
    assert x[torch.tensor([1])].is_cuda  # indices may be on the CPU
    x[0] = y * 5  # and copies go across
    y.copy_(x[0])
    assert y.tolist() == [5, 5, 5]


@pytest.mark.parametrize("make", [
    "zeros(2)", "ones(2)", "empty(2)", "full((2,), 3)", "tensor([1, 2])", "arange(3)", "linspace(0, 1, 3)", "eye(2)",
    "rand(2)", "randn(2)", "randint(5, (2,))", "randperm(4)", "as_tensor([1])", "asarray([1])", "scalar_tensor(1)",
    "logspace(0, 1, 2)", "tril_indices(2, 2)", "empty_strided((2,), (1,))", "normal(0.0, 1.0, (3,))",
])  # fmt: skip
def test_constructors(make):
    name, _, rest = make.partition("(")
    call = lambda **how: eval(f"torch.{name}({rest[:-1]}, **how)", {"torch": torch, "how": how})
    torch.manual_seed(0)
    x = call()
    torch.manual_seed(0)
    y = call(device="cuda")
    torch.manual_seed(0)
    with torch.device("cuda"):
        z = call()
        assert call(device="cpu").is_cpu
    assert x.is_cpu and y.is_cuda and z.is_cuda
    if "empty" not in make:
        assert x.tolist() == y.tolist() == z.tolist()


def test_the_default_device():
    assert torch.get_default_device() == torch.device("cpu")
    with torch.device("cuda"):
        assert torch.get_default_device() == torch.device("cuda:0")
        assert nn.Linear(2, 2).weight.is_cuda and nn.LSTM(2, 2).weight_hh_l0.is_cuda and torch.Tensor([1]).is_cuda
        assert torch.zeros_like(torch.zeros(1, device="cpu")).is_cpu and torch.from_numpy(np.zeros(1)).is_cpu
        with torch.device("cpu"):
            assert torch.zeros(1).is_cpu
        assert torch.zeros(1).is_cuda
    assert torch.zeros(1).is_cpu
    torch.set_default_device("cuda")
    try:
        assert torch.ones(1).is_cuda and torch.nn.Parameter().is_cuda
    finally:
        torch.set_default_device(None)
    assert torch.ones(1).is_cpu
    x = torch.ones(2, 3, device="cuda")
    like = [torch.zeros_like(x), torch.rand_like(x), torch.full_like(x, 2), x.new_zeros(2), x.new_tensor([1]), x.new(2)]
    assert all(each.is_cuda for each in like) and torch.zeros_like(x, device="cpu").is_cpu


def test_views_share_memory_and_the_tape_sees_writes():
    x = torch.zeros(2, 3, device="cuda")
    row = x[1]
    row += 2
    x.view(-1)[0] = 7
    assert x.tolist() == [[7, 0, 0], [2, 2, 2]] and row.storage_offset() == 3 and x.t().data_ptr() == x.data_ptr()
    w = torch.ones(3, device="cuda", requires_grad=True)
    y = w.exp()
    y[0] = 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = w * 2
    y[1:] *= 3
    y.sum().backward()
    assert w.grad.tolist() == [2, 6, 6]
    with pytest.raises(RuntimeError, match="more than one element"):
        torch.zeros(1, device="cuda").expand(3).add_(1)
    out = torch.empty(0, device="cuda")
    assert torch.add(w.detach(), 1, out=out) is out and out.tolist() == [2, 2, 2]
    assert torch.zeros(3, device="cuda").resize_(5).shape == (5,)


# ------------------------------------------------------------------------------------------ two devices
@pytest.mark.parametrize(
    "call",
    [
        lambda x, a, i, m: x.scatter_reduce(0, i, a, "sum"),
        lambda x, a, i, m: x.scatter_add(0, i, a),
        lambda x, a, i, m: x.scatter(0, i, a),
        lambda x, a, i, m: x.scatter_reduce(0, i.cpu(), x, "amax"),
        lambda x, a, i, m: x.index_copy(0, i[0], a),
        lambda x, a, i, m: x.index_copy(0, i[0].cpu(), x),
        lambda x, a, i, m: x.index_add(0, i[0], a),
        lambda x, a, i, m: x.index_reduce(0, i[0], a, "prod"),
        lambda x, a, i, m: x.index_fill(0, i[0].cpu(), 1.0),
        lambda x, a, i, m: x.put(i[0], a[0]),
        lambda x, a, i, m: x.put(i[0].cpu(), x[0]),
        lambda x, a, i, m: x.take(i.cpu()),
        lambda x, a, i, m: x.masked_select(m),
        lambda x, a, i, m: x.masked_scatter(m.cuda(), a),
        lambda x, a, i, m: x.repeat_interleave(torch.tensor([1, 2]), 0),
        lambda x, a, i, m: torch.block_diag(x, a),
        lambda x, a, i, m: torch.meshgrid(x[0], a[0], indexing="ij"),
        lambda x, a, i, m: nn.functional.embedding_bag(i[0], x, torch.tensor([0])),
        lambda x, a, i, m: nn.functional.embedding_bag(i.cpu(), x),
        lambda x, a, i, m: nn.functional.nll_loss(x, i[0], weight=a[0]),
        lambda x, a, i, m: nn.functional.nll_loss(x, i[0].cpu()),
        lambda x, a, i, m: nn.functional.cross_entropy(x, i[0], weight=a[0]),
        lambda x, a, i, m: nn.functional.cross_entropy(x, i[0].cpu()),
    ],
)
def test_tensors_of_two_devices_are_refused(call):
    x, a = torch.ones(2, 2, device="cuda"), torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="on the same device"):
        call(x, a, torch.tensor([[0, 1]], device="cuda"), torch.tensor([[True, False], [True, True]]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64, torch.float32])
def test_means_of_what_goes_to_one_place(dtype):
    def means(device):
        x, i = torch.zeros(3, dtype=dtype, device=device), torch.tensor([0, 0], device=device)
        values = torch.tensor([4, 6], dtype=dtype, device=device)
        found = [x.scatter_reduce(0, i, values, "mean", include_self=own).tolist() for own in (True, False)]
        return found + [x.index_reduce(0, i, values, "mean").tolist()]

    here, there = both(means)
    assert here == there and here[1][0] == 5


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, of the cast
@pytest.mark.parametrize("name", ["median", "nanmedian"])
def test_the_median_of_no_integers(name):
    here, there = both(lambda device: getattr(torch.zeros(0, dtype=torch.int64, device=device), name)().item())
    assert here == there


def test_a_thread_that_looks_up_a_kernel_while_another_asks_for_the_gpu(monkeypatch):
    """What it finds is for its own call: the next one asks again."""
    from tinyrnn import kernels

    monkeypatch.setattr(kernels.Twin, "awake", False)
    family = kernels.Twin("rows")
    import_module = kernels.importlib.import_module

    def slowly(*name):
        kernels.wake()
        return import_module(*name)

    monkeypatch.setattr(kernels.importlib, "import_module", slowly)
    found = family.softmax
    assert kernels.Twin.awake and found is not family.softmax  # the second knows of both devices
    assert family.softmax is vars(family)["softmax"]


# ------------------------------------------------------------------------------------------ other homes
def test_pickles_copies_and_files(tmp_path):
    x = torch.arange(6.0, device="cuda").reshape(2, 3)
    w = nn.Parameter(x.clone())
    for again in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        assert again.is_cuda and again.tolist() == x.tolist()
    assert copy.deepcopy(w).is_cuda and isinstance(copy.deepcopy(w), nn.Parameter)
    file = tmp_path / "saved.pt"
    torch.save({"x": x, "column": x[:, 1], "w": w, "host": torch.ones(2)}, file)
    found = torch.load(file)
    assert found["x"].is_cuda and found["w"].is_cuda and found["host"].is_cpu and found["column"].tolist() == [1, 4]
    found["x"][0, 1] = 9
    assert found["column"].tolist() == [9, 4]  # still a view
    for where, there in (
        ("cpu", False),
        ({"cuda:0": "cpu"}, False),
        (lambda s, location: s.cpu(), False),
        ("cuda", True),
    ):
        found = torch.load(file, map_location=where)
        assert found["x"].is_cuda is there and found["x"].tolist() == x.tolist()
    assert torch.load(file, map_location="cuda")["host"].is_cuda
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.load(file, map_location="cuda:3")


def test_without_a_gpu_a_file_says_what_is_missing(gpu, monkeypatch):
    file = io.BytesIO()
    torch.save(torch.ones(2, device="cuda"), file)
    monkeypatch.setattr("tinyrnn.kernels.cuda.driver.missing", lambda: "there is no GPU")
    file.seek(0)
    with pytest.raises(RuntimeError, match="CUDA device, but .*there is no GPU.*map_location='cpu'"):
        torch.load(file)
    file.seek(0)
    assert torch.load(file, map_location="cpu").tolist() == [1, 1]
    for call in (
        lambda: torch.ones(1).cuda(),
        lambda: torch.ones(1, device="cuda"),
        lambda: nn.Linear(1, 1).to("cuda"),
    ):
        with pytest.raises(devices.NoDevice, match="there is no GPU"):
            call()
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0 and torch.cuda.memory_allocated() == 0


def test_memory_is_shared_with_other_libraries():
    x = torch.arange(6.0, device="cuda").reshape(2, 3).t()

    class Other:
        __cuda_array_interface__ = x.__cuda_array_interface__

    for y in (torch.as_tensor(Other()), torch.from_dlpack(x), torch.utils.dlpack.from_dlpack(x.__dlpack__())):
        assert y.data_ptr() == x.data_ptr() and y.stride() == x.stride() and y.tolist() == x.tolist()
        y[0, 0] += 1
        assert x[0, 0].item() == y[0, 0].item()
    assert x.__dlpack_device__() == (2, 0) and not hasattr(torch.ones(1), "__cuda_array_interface__")
    with pytest.raises(BufferError, match="detach"):
        x.clone().requires_grad_().__dlpack__()
    with pytest.raises(RuntimeError, match="detach"):
        x.clone().requires_grad_().__cuda_array_interface__  # noqa: B018
    for dtype in (torch.bool, torch.uint8, torch.int16, torch.int64, torch.float64):
        y = torch.ones(3, dtype=dtype, device="cuda")
        assert torch.from_dlpack(y).dtype is dtype and torch.from_dlpack(y).data_ptr() == y.data_ptr()


def test_memory_that_begins_between_two_wide_numbers_is_no_view_of_them():
    x = torch.arange(9.0, device="cuda")

    class Rest:
        __cuda_array_interface__ = x[1:].__cuda_array_interface__

    y = torch.as_tensor(Rest())
    assert y[:2].tolist() == [1, 2]
    with pytest.raises(RuntimeError, match=r"storage_offset\(\) must be divisible by 2 to view Float as Double"):
        y.view(torch.float64)


class Foreign:
    """Another library's array on the GPU."""

    def __init__(self, x, **other):
        self.owner, self.__cuda_array_interface__ = x, {**x.__cuda_array_interface__, **other}


def test_other_libraries_arrays_are_copied_and_cast_as_asked():
    x = torch.arange(4.0, device="cuda")
    assert torch.as_tensor(Foreign(x), dtype=torch.float64).dtype is torch.float64
    assert torch.as_tensor(Foreign(x), device="cpu").is_cpu and torch.asarray(Foreign(x), device="cpu").is_cpu
    assert torch.asarray(Foreign(x), copy=False).data_ptr() == x.data_ptr() == torch.asarray(Foreign(x)).data_ptr()
    for y in (
        torch.tensor(Foreign(x)),
        torch.asarray(Foreign(x), copy=True),
        torch.tensor(Foreign(x), dtype=torch.int),
    ):
        y[0] = 9
        assert y.is_cuda and y.tolist() == [9, 1, 2, 3] and x[0].item() == 0
    for kwargs in ({"dtype": torch.int32}, {"device": "cpu"}):
        with pytest.raises(ValueError, match="copy=False"):
            torch.asarray(Foreign(x), copy=False, **kwargs)
    for call in (torch.as_tensor, torch.tensor, torch.asarray):
        with pytest.raises(TypeError, match="uint16"):
            call(Foreign(x, typestr="<u2"))
    nothing = Foreign(torch.empty(0, 2, device="cuda"), data=(0, False))  # others' need no address
    assert torch.asarray(nothing, copy=False).shape == (0, 2)
    with pytest.raises((RuntimeError, TypeError)):
        torch.tensor(torch.Tensor)  # a class has the property, and is no array


def test_dlpack_of_other_devices():
    from tinyrnn import dlpack

    class Elsewhere:
        def __init__(self, kind, number, a):
            self.device, self.a = (kind, number), a

        def __dlpack_device__(self):
            return self.device

        def __dlpack__(self, **options):
            return self.a.__dlpack__()

    with pytest.raises(BufferError, match="GPU 1 cannot be shared"):
        torch.from_dlpack(Elsewhere(dlpack.ON_CUDA, 1, np.ones(2)))
    pinned = torch.from_dlpack(Elsewhere(3, 0, np.ones(2)))  # CUDA's, of the CPU
    assert pinned.device.type == "cpu" and pinned.tolist() == [1, 1]


def test_dlpack_lends_memory_until_nobody_needs_it():
    from tinyrnn import dlpack

    a = np.arange(6.0).reshape(2, 3)
    lend = lambda: dlpack.capsule(a, a.ctypes.data, a.shape, a.strides, a.dtype, dlpack.ON_CPU)
    taken = torch.from_dlpack(lend())  # by NumPy, which must understand our structs
    assert taken.tolist() == a.tolist() and len(dlpack._lent) == 1
    unused = lend()
    assert len(dlpack._lent) == 2
    del unused, taken
    assert not dlpack._lent
    used = torch.ones(2, device="cuda").__dlpack__()
    y = torch.from_dlpack(used)
    with pytest.raises(RuntimeError, match="invalid capsule"):
        torch.from_dlpack(used)
    del used
    assert len(dlpack._lent) == 1 and y.tolist() == [1, 1]  # the first tensor is gone, its memory is not
    del y
    assert not dlpack._lent


def test_a_capsule_that_is_refused_is_given_back():
    """While the error of the one who refused it is on its way."""
    from tinyrnn import dlpack

    x = torch.ones(2, device="cuda")
    for _ in range(3):
        with pytest.raises(RuntimeError, match="Unsupported device"):
            np.from_dlpack(x)
        assert not dlpack._lent

    def refuse(capsule):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        refuse(x.__dlpack__())
    thread = threading.Thread(target=lambda: [x.__dlpack__() for _ in range(100)])
    thread.start()
    thread.join()
    assert not dlpack._lent


def test_dlpack_as_it_is_asked_for(gpu, monkeypatch):
    x, told = torch.arange(3.0, device="cuda"), []
    for name in ("launch", "copy", "synchronize"):
        call = getattr(gpu, name)
        monkeypatch.setattr(gpu, name, lambda *a, name=name, call=call: told.append(name) or call(*a))
    x.__dlpack__(copy=True, stream=7)
    assert len(told) == 2 and told[1] == "synchronize"  # what is waited for is the copy
    y = torch.from_dlpack(x.__dlpack__(copy=True))
    y[0] = 5
    assert y.is_cuda and x.tolist() == [0, 1, 2]
    assert np.from_dlpack(x, device="cpu").tolist() == [0, 1, 2]
    for options in ({"dl_device": (1, 0), "copy": False}, {"dl_device": (2, 1)}):
        with pytest.raises(BufferError, match="cannot be shared with DLPack's device"):
            x.__dlpack__(**options)


def test_capsules_of_dlpack_1():
    """Made here from one of our own, and read by NumPy, too."""
    import ctypes

    from tinyrnn import dlpack

    def versioned(x, flags=0):
        plain = x.__dlpack__()
        tensor = dlpack._lent[dlpack._pointer(plain, dlpack.NEW)][0].tensor
        managed = dlpack._Versioned((ctypes.c_uint32 * 2)(1, 0), None, None, flags, tensor)
        kept.extend((plain, managed))
        return dlpack._new(ctypes.addressof(managed), dlpack.VERSIONED, None)

    kept = []
    x = torch.arange(3.0, device="cuda")
    capsule = versioned(x)
    y = torch.from_dlpack(capsule)
    assert y.data_ptr() == x.data_ptr() and y.tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="invalid capsule"):
        torch.from_dlpack(capsule)
    with pytest.raises(BufferError, match="only be read"):
        torch.from_dlpack(versioned(x, dlpack.READ_ONLY))
    later = versioned(x)
    kept[-1].version[0] = 2
    with pytest.raises(BufferError, match="DLPack 2"):
        torch.from_dlpack(later)
    host = np.arange(3.0)
    assert torch.from_dlpack(host.__dlpack__(max_version=(1, 0))).tolist() == [0, 1, 2]


# ------------------------------------------------------------------------------------------ torch.cuda
def test_the_gpu_and_its_memory(gpu):
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1 and torch.cuda.current_device() == 0
    assert torch.accelerator.current_accelerator() == torch.device("cuda") and torch.accelerator.is_available()
    assert torch.cuda.get_device_name() == gpu.name and gpu.name in repr(torch.cuda.get_device_properties(0))
    assert len(torch.cuda.get_device_capability()) == 2
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total == torch.cuda.get_device_properties("cuda").total_memory
    before = torch.cuda.memory_allocated()
    x = torch.empty(1000, device="cuda")
    taken = torch.cuda.memory_allocated() - before
    assert 4000 <= taken <= 4608 and torch.cuda.memory_reserved() >= before + taken
    del x
    assert torch.cuda.memory_allocated() == before and torch.cuda.max_memory_allocated() >= before + taken
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == torch.cuda.memory_stats()["allocated_bytes.all.peak"] == before
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == torch.cuda.memory_allocated() and "GPU 0" in torch.cuda.memory_summary()
    torch.cuda.set_device("cuda:0"), torch.cuda.synchronize(), torch.accelerator.synchronize()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.cuda.set_device(1)
    with torch.cuda.device(0), torch.cuda.device_of(torch.ones(1, device="cuda")), torch.cuda.device_of(torch.ones(1)):
        pass


def test_no_memory_left(gpu, monkeypatch):
    def full(size):
        raise torch.cuda.OutOfMemoryError("no")

    monkeypatch.setattr(gpu, "allocate", full)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory. Tried to allocate"):
        torch.empty(10**7, device="cuda")
    assert issubclass(torch.cuda.OutOfMemoryError, RuntimeError)


def test_streams_and_events():
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with pytest.raises(ValueError, match="must be recorded"):
        start.elapsed_time(end)
    with torch.cuda.stream(torch.cuda.Stream()):
        start.record()
        end.record(torch.cuda.current_stream())
    end.synchronize(), torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
    assert start.elapsed_time(end) >= 0 and end.query() and torch.cuda.Stream() == torch.cuda.current_stream()
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(torch.cuda.Event())
    with torch.cuda.Stream() as side:
        assert torch.ones(2, device="cuda").record_stream(side) is None
    with pytest.raises(RuntimeError, match="is on the CPU"):
        torch.ones(2).record_stream(side)


# ------------------------------------------------------------------------------------------ the random stream
def test_a_seed_draws_the_same_on_both_devices():
    def drawn(device):
        x = torch.empty(3, 4, device=device)
        probabilities = torch.full((3, 4), 0.3, device=device)
        return [
            x.normal_().tolist(), x.t().uniform_().tolist(), x.exponential_().tolist(), x.bernoulli_(0.4).tolist(),
            x.bernoulli_(probabilities).tolist(), torch.bernoulli(probabilities).tolist(),
            torch.multinomial(probabilities, 2).tolist(), torch.normal(probabilities, 1.0).tolist(),
            torch.rand_like(x).tolist(), torch.randperm(7, device=device).tolist(),
            nn.functional.dropout(torch.ones(20, device=device)).tolist(),
            nn.functional.rrelu(-probabilities, training=True).tolist(),
            [v.tolist() for v in nn.init.orthogonal_(torch.empty(3, 3, device=device))],
            nn.init.trunc_normal_(x, std=2.0).tolist(), nn.init.sparse_(x, 0.5).tolist(),
        ]  # fmt: skip

    here, there = both(drawn)
    for k, (a, b) in enumerate(zip(here, there, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=str(k))


def test_generators_and_seeds():
    host, there = torch.Generator(), torch.Generator("cuda")
    assert there.device == torch.device("cuda:0")
    a, b = torch.rand(3, generator=host.manual_seed(3)), torch.rand(3, device="cuda", generator=there.manual_seed(3))
    assert a.tolist() == b.tolist() and pickle.loads(pickle.dumps(there)).device == there.device
    for wrong in (lambda: torch.rand(3, generator=there), lambda: torch.ones(2, device="cuda").normal_(generator=host)):
        with pytest.raises(RuntimeError, match="device type for generator but found"):
            wrong()
    torch.cuda.manual_seed_all(5)
    first, state = torch.rand(2, device="cuda"), torch.cuda.get_rng_state()
    second = torch.rand(2, device="cuda")
    with pytest.raises(TypeError, match="must be a torch.ByteTensor"):
        torch.set_rng_state(state.to("cuda"))
    torch.cuda.set_rng_state(state)
    assert second.tolist() == torch.rand(2, device="cuda").tolist()
    torch.cuda.manual_seed(5)
    assert first.tolist() == torch.rand(2, device="cuda").tolist() and torch.cuda.initial_seed() == 5
    with torch.random.fork_rng(devices=[0]):
        torch.rand(5)


# ------------------------------------------------------------------------------------------ every op
def rows():
    """All rows of the two tables."""
    for module in (test_ops, test_functional):
        for value in vars(module).values():
            yield from value if isinstance(value, list) and value and isinstance(value[0], table.Row) else ()


ELSEWHERE = {"to", "cpu", "type", "from_numpy", "frombuffer", "cuda"}  # which are about the device itself
SAMPLES = [
    (row, call, call_number % len(row.cases))
    for row in {id(row): row for row in rows()}.values()
    for call_number, call in enumerate(row.calls)
    if row.name not in ELSEWHERE and not row.name.endswith("Tensor") and "generator" not in call.__name__
]
PARTS = 12


@pytest.mark.parametrize("part", range(PARTS))
def test_every_op_computes_what_the_cpu_does(part):
    """Of each row, one case a call, forward and backward; of every third in this run.  The CPU is held to torch."""
    for row, call, case in itertools.islice(SAMPLES, 3 * part, None, 3 * PARTS):
        forms = [table.Functions, *[table.InPlace] * hasattr(torch.Tensor, f"{row.name}_")]
        for form in forms:
            here, there = both(
                lambda device, row=row, call=call, case=case, form=form: answer(row, call, case, form, device)
            )
            where = f"{row.name}: {call.__name__} for {' '.join(row.cases[case])!r}, {form.__name__}"
            table.compare(there, here, "g", where)


def answer(row, call, case, form, device, library=torch):
    """table.ask, with inputs and new tensors on a device, where all results have to be."""
    inputs = [library.from_numpy(a).to(device).requires_grad_(a.dtype.kind == "f") for a in row.arrays(case)]
    try:
        with library.device(device):
            results = table.leaves(call(form(library), *inputs))
            sent = [y for y in results if getattr(y, "requires_grad", False)]
            if sent:
                library.autograd.backward(sent, [table.seed(library, y).to(device) for y in sent])
    except Exception as error:
        return type(error).__name__
    tensors = [y for y in results if isinstance(y, library.Tensor)]
    if library is torch and "device=" not in call.__name__:  # the other has exceptions: block_diag of nothing
        assert all(y.device.type == device for y in tensors)
    return [described(y) for y in results] + ["gradients", *(described(x.grad) for x in inputs if x.requires_grad)]


def described(y):
    return table.described(y.detach().cpu().requires_grad_(y.requires_grad) if hasattr(y, "is_cuda") else y, None)


# ------------------------------------------------------------------------------------------ layers and training
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_the_same_on_both_devices(name):
    here, there = both(PROGRAMS[name])
    assert len(here) > 1 and np.isfinite(here).all()
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", layers_on_devices.CASES)
def test_a_layer_computes_what_it_does_on_the_cpu(case):
    here, there = both(lambda device: layers_on_devices.answers(torch, case, device, "float32"))
    close(there, here)


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell])
def test_weights_that_are_used_at_each_step(cell, monkeypatch):
    monkeypatch.setattr(recurrent.LargeStep, "LEAST", 0)

    def gradients(device):
        model = nn.ModuleList([nn.Embedding(5, 4, padding_idx=1), cell(4, 6), nn.Linear(6, 5)]).to(device)
        embed, step, out = model
        ids, state, total = torch.tensor([[0, 1], [4, 4], [1, 2], [3, 0]]).to(device), None, 0
        bias = torch.zeros(5, device=device, requires_grad=True)
        for row in ids:
            state = step(embed(row), state)
            h = state[0] if isinstance(state, tuple) else state
            total = total + (out(h[:1]) + bias).tanh().sum() + (h @ out.weight.T).sum()
        total.backward()
        return [p.grad.cpu().numpy() for p in [*model.parameters(), bias]]

    for here, there in zip(*both(gradients), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


def test_modules_move_with_all_they_have():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    (weight, *_), loss = list(model.parameters()), model(torch.randn(4, 2)).sum()
    loss.backward()
    assert model.to("cuda") is model and next(model.parameters()) is weight
    assert all(t.is_cuda for t in [*model.parameters(), *model.buffers(), weight.grad]) and weight.is_leaf
    state = model.cpu().state_dict()
    assert all(t.is_cpu for t in model.parameters())
    other = nn.Sequential(nn.Linear(2, 3, device="cuda"), nn.BatchNorm1d(3, device="cuda"))
    other.load_state_dict(state)
    assert other[0].weight.is_cuda and other[0].weight.tolist() == weight.tolist()


def test_an_optimizer_keeps_its_state_beside_the_parameters():
    for maker in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.NAdam):
        options = {"momentum": 0.9} if maker is optim.SGD else {}

        def run(device, maker=maker, options=options):
            w = torch.tensor([[1.0, -2.0], [0.5, 3.0]], device=device, requires_grad=True)
            b = torch.ones(2, device=device, requires_grad=True)
            optimizer, found = maker([w, b], lr=0.1, **options), []
            for _ in range(2):
                optimizer.zero_grad()
                loss = ((w @ b - 1) ** 2).sum()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
            tensors = [v for state in optimizer.state.values() for k, v in state.items() if torch.is_tensor(v)]
            assert all(v.device.type == device for v in tensors if v.ndim)
            return [*found, *w.flatten().tolist()], optimizer.state_dict(), [w, b]

        (here, state, _), (there, _, parameters) = both(run)
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6, err_msg=maker.__name__)
        other = maker(parameters, lr=0.1, **options)
        other.load_state_dict(state)  # from the CPU
        tensors = [v for state in other.state.values() for v in state.values() if torch.is_tensor(v) and v.ndim]
        assert tensors == [] or all(v.is_cuda for v in tensors)


def test_packed_sequences():
    def run(device):
        x = torch.randn(3, 4, 2).to(device).requires_grad_()
        packed = nn.utils.rnn.pack_padded_sequence(x, [2, 4, 3], batch_first=True, enforce_sorted=False)
        assert packed.data.device.type == packed.sorted_indices.device.type == device and packed.batch_sizes.is_cpu
        padded, lengths = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
        (padded * padded).sum().backward()
        assert packed.cpu().sorted_indices.is_cpu and packed.cuda().is_cuda and lengths.is_cpu
        return [*padded.flatten().tolist(), *x.grad.flatten().tolist(), *lengths.tolist()]

    here, there = both(run)
    np.testing.assert_allclose(there, here)
    with pytest.raises(RuntimeError, match="1D CPU int64 tensor"):
        nn.utils.rnn.pack_padded_sequence(torch.ones(2, 1, 1), torch.tensor([2], device="cuda"))


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, float("inf")])
def test_distances_are_those_of_the_cpu(p):
    def distances(device):
        a, b = (torch.randn(2, n, 2, device=device, requires_grad=True) for n in (27, 2))
        found = torch.cdist(a, b, p)
        (found * found).sum().backward()
        return [t.detach().cpu().numpy() for t in (found, a.grad, b.grad)]

    for cpu, gpu in zip(*both(distances), strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-5, atol=1e-5)


def test_whole_rows_and_numbers_by_several_tensors_of_indices():
    def picked(device):
        a = torch.arange(24.0, device=device).reshape(2, 3, 4).requires_grad_()
        i, j = torch.tensor([[1], [-1]], device=device), torch.tensor([0, -1, 0], device=device)
        rows, numbers = a[i, j], a[i, j, torch.tensor(2, device=device).expand(3)]
        (rows.pow(2).sum() + numbers.pow(3).sum()).backward()
        return [t.detach().cpu().tolist() for t in (rows, numbers, a.grad)]

    cpu, gpu = both(picked)
    assert cpu == gpu
