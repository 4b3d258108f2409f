"""save and load: torch's file format in both directions, whole files or none, and no trust in strangers' pickles."""

import errno
import io
import os
import pickle
import pickletools
import stat
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from conftest import needs_torch

import tinyrnn
from tinyrnn import dtypes, serialization
from tinyrnn.devices import device
from tinyrnn.nn.parameter import Parameter
from tinyrnn.serialization import load, save
from tinyrnn.tape import wrap
from tinyrnn.tensor import Size, Tensor


def tensor(values, dtype="float32"):
    return wrap(np.array(values, dtype))


def saved(obj, **options) -> io.BytesIO:
    file = io.BytesIO()
    save(obj, file, **options)
    file.seek(0)
    return file


def round_trip(obj, **options):
    return load(saved(obj), **options)


def rewritten(file: io.BytesIO, **changes: bytes) -> io.BytesIO:
    """The same archive with other records; `data_pkl=...` replaces data.pkl."""
    changes = {f"archive/{name.replace('_pkl', '.pkl')}": data for name, data in changes.items()}
    result = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(result, "w") as new:
        for name in {**dict.fromkeys(old.namelist()), **changes}:
            new.writestr(name, changes[name] if name in changes else old.read(name))
    result.seek(0)
    return result


def pickle_of(file: io.BytesIO) -> bytes:
    return zipfile.ZipFile(file).read("archive/data.pkl")


# ---- what torch wrote ------------------------------------------------------------------------------------------------


def test_a_state_dict_of_torchs(oracle):
    def question(torch):
        torch.manual_seed(0)
        model = torch.nn.LSTM(2, 3)
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        values = {name: value.numpy() for name, value in model.state_dict().items()}
        return {"file": np.frombuffer(file.getvalue(), np.uint8), **values}

    expected = oracle(question)
    state = load(io.BytesIO(expected.pop("file").tobytes()))
    assert type(state) is OrderedDict and list(state) == list(expected)
    assert state._metadata == {"": {"version": 1}}
    for name, value in state.items():
        assert type(value) is Tensor and value.array.dtype == np.float32 and not value.requires_grad
        np.testing.assert_array_equal(value.array, expected[name])


def test_every_type_and_container_of_torchs(oracle):
    def question(torch):
        whole = torch.arange(12.0).reshape(3, 4)
        kinds = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
        parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]), requires_grad=False)
        parameter.tag = "mine"
        objects = {
            "kinds": {kind: torch.tensor([[0, 1, 100]]).to(getattr(torch, kind)) for kind in kinds},
            "views": [whole, whole[1:, ::2], whole.t(), whole.new_ones(1).expand(2, 2), whole[0, 0], whole[:0]],
            "parameter": parameter,
            "leaf": torch.tensor([3.0], requires_grad=True),
            "result": torch.tensor([3.0], requires_grad=True) * 2,
            "others": (1, 2.5, "text", None, True, 10**30, b"bytes", bytearray(b"more"), {1, 2}, 2j),
            "torchs": [torch.Size([2, 3]), torch.float64, torch.device("cpu")],
        }
        file = io.BytesIO()
        torch.save(objects, file)
        return {"file": np.frombuffer(file.getvalue(), np.uint8)}

    objects = load(io.BytesIO(oracle(question)["file"].tobytes()))
    for kind, value in objects["kinds"].items():
        assert value.dtype is getattr(dtypes, kind)
        assert value.array.tolist() == [[0, 1, 100] if kind != "bool" else [False, True, True]]
    whole, part, transposed, expanded, element, empty = (t.array for t in objects["views"])
    assert whole.tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert part.tolist() == [[4, 6], [8, 10]] and element.shape == () and empty.shape == (0, 4)
    assert transposed.tolist() == whole.T.tolist()
    assert expanded.tolist() == [[1, 1], [1, 1]] and expanded.strides == (0, 0)
    whole[1, 0] = -1
    assert part[0, 0] == transposed[0, 1] == -1  # they are views of one memory again
    assert type(objects["parameter"]) is Parameter and objects["parameter"].tag == "mine"
    assert not objects["parameter"].requires_grad
    assert objects["leaf"].requires_grad
    assert objects["result"].requires_grad and objects["result"].grad_fn is None
    assert objects["others"] == (1, 2.5, "text", None, True, 10**30, b"bytes", bytearray(b"more"), {1, 2}, 2j)
    assert objects["torchs"] == [(2, 3), dtypes.float64, device("cpu")] and type(objects["torchs"][0]) is Size


@pytest.mark.parametrize(
    "kind, name",
    [
        ("half", "HalfStorage"),
        ("bfloat16", "BFloat16Storage"),
        ("cfloat", "ComplexFloatStorage"),
        ("uint16", "_rebuild_tensor_v3"),
    ],
)
def test_types_that_are_not_here_are_refused_by_name(oracle, kind, name):
    def question(torch):
        file = io.BytesIO()
        torch.save({"w": torch.ones(2).to(getattr(torch, kind))}, file)
        return {"file": np.frombuffer(file.getvalue(), np.uint8)}

    file = io.BytesIO(oracle(question)["file"].tobytes())
    for weights_only in (True, False):
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError, match=name + ".*no tensors of this type.*float32"):
            load(file, weights_only=weights_only)


def test_a_lazy_negative_of_torchs_is_refused(oracle):
    def question(torch):
        file = io.BytesIO()
        torch.save(torch.tensor([1 + 2j]).conj().imag, file)
        return {"file": np.frombuffer(file.getvalue(), np.uint8)}

    with pytest.raises(pickle.UnpicklingError, match="lazy"):
        load(io.BytesIO(oracle(question)["file"].tobytes()))


def test_a_whole_model_of_torchs_is_refused_by_name(oracle):
    def question(torch):
        file = io.BytesIO()
        torch.save(torch.nn.Linear(1, 1), file)
        return {"file": np.frombuffer(file.getvalue(), np.uint8)}

    with pytest.raises(pickle.UnpicklingError, match=r"torch.nn.modules.linear.Linear.*state_dict\(\)"):
        load(io.BytesIO(oracle(question)["file"].tobytes()), weights_only=False)


def test_files_of_other_formats(oracle, tmp_path):
    def question(torch):
        file = io.BytesIO()
        torch.save([1], file, _use_new_zipfile_serialization=False)
        return {"file": np.frombuffer(file.getvalue(), np.uint8)}

    contents = {
        "legacy": (oracle(question)["file"].tobytes(), pickle.UnpicklingError, "before version 1.6"),
        "pickle": (pickle.dumps([1]), pickle.UnpicklingError, "a pickle"),
        "text": (b"hello", pickle.UnpicklingError, "begins with the bytes b'hello'"),
        "empty": (b"", EOFError, "empty"),
    }
    for name, (content, error, words) in contents.items():
        path = tmp_path / f"{name}.pt"
        path.write_bytes(content)
        with pytest.raises(error, match=f"{name}.pt.*{words}"):
            load(path)
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        load(tmp_path / "nowhere.pt")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("hello.txt", b"hello")
    other.seek(0)
    with pytest.raises(RuntimeError, match="'data.pkl' is missing"):
        load(other)
    for record, content, words in ("constants.pkl", b"", "TorchScript"), ("byteorder", b"middle", "'middle', expected"):
        with pytest.raises(RuntimeError, match=words):
            load(rewritten(saved(1), **{record: content}))
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle_of(saved(1)))
    compressed.seek(0)
    with pytest.raises(RuntimeError, match="compressed"):
        load(compressed)


# ---- what torch reads ------------------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_torch_reads_what_save_wrote(protocol):
    import torch

    whole = np.arange(12, dtype="float32").reshape(3, 4)
    parameter = Parameter(tensor([1, 2]))
    parameter.tag = "mine"
    objects = OrderedDict(
        views=[wrap(whole), wrap(whole[1:, ::2]), wrap(whole.T), wrap(np.broadcast_to(whole[0], (2, 4)))],
        kinds=[tensor([0, 1], kind.numpy) for kind in dtypes.ALL],
        parameters=[Parameter(tensor([[1, 2]]), requires_grad=False), parameter],
        leaf=tensor([3]).requires_grad_(),
        empty=tensor([[], []]),
        others=[1, 2.5, "text", None, b"bytes", {"a": (1, 2)}, {3}, Size((2, 3)), dtypes.int64, device("cpu")],
    )
    objects._metadata = {"version": 1}
    for weights_only in (False, True) if protocol == 2 else (False,):  # torch's safe form knows little else
        read = torch.load(saved(objects, pickle_protocol=protocol), weights_only=weights_only)
        assert read._metadata == {"version": 1}
        for ours, theirs in zip(objects["views"], read["views"], strict=True):
            np.testing.assert_array_equal(theirs.numpy(), ours.array)
        read["views"][0][1, 0] = -1
        assert read["views"][1][0, 0] == read["views"][2][0, 1] == -1
        assert [t.dtype for t in read["kinds"]] == [getattr(torch, kind.name) for kind in dtypes.ALL]
        assert [t.tolist() for t in read["kinds"]] == [[0, 1]] * len(dtypes.ALL)
        assert [type(p) for p in read["parameters"]] == [torch.nn.Parameter] * 2
        assert [p.requires_grad for p in read["parameters"]] == [False, True]
        assert read["parameters"][1].tag == "mine"
        assert read["leaf"].requires_grad and read["empty"].shape == (2, 0)
        assert read["others"] == [
            1,
            2.5,
            "text",
            None,
            b"bytes",
            {"a": (1, 2)},
            {3},
            torch.Size([2, 3]),
            torch.int64,
            torch.device("cpu"),
        ]


@needs_torch
def test_the_pickle_is_torchs_own():
    import torch

    ours = OrderedDict(w=Parameter(tensor([[1, 2], [3, 4]])), b=tensor([5, 6]), n=[Size((1,)), dtypes.float64])
    theirs = OrderedDict(
        w=torch.nn.Parameter(torch.tensor([[1.0, 2], [3, 4]])),
        b=torch.tensor([5.0, 6]),
        n=[torch.Size([1]), torch.float64],
    )
    file = io.BytesIO()
    torch.save(theirs, file)
    assert pickle_of(saved(ours)) == pickle_of(file)


@needs_torch
def test_views_of_every_kind_go_to_torch_and_back():
    import torch

    rng = np.random.default_rng(0)
    for _ in range(50):
        memory = rng.standard_normal(rng.integers(1, 5, rng.integers(1, 4)))
        views = []
        for _ in range(4):
            view = memory.transpose(rng.permutation(memory.ndim))
            cuts = [slice(int(rng.integers(0, n + 1)), None, int(rng.integers(1, 3))) for n in view.shape]
            views.append(wrap(view[tuple(cuts)]))
        read = torch.load(saved(views))
        assert len({t.untyped_storage().data_ptr() for t in read if t.numel()}) <= 1
        file = io.BytesIO()
        torch.save(read, file)
        file.seek(0)
        for ours, theirs, again in zip(views, read, load(file), strict=True):
            np.testing.assert_array_equal(theirs.numpy(), ours.array)
            np.testing.assert_array_equal(again.array, ours.array)


# ---- what comes back -------------------------------------------------------------------------------------------------


def test_shared_memory_stays_shared():
    weight = Parameter(tensor([[1, 2], [3, 4]]))
    encoder, decoder, row = round_trip([weight, weight, wrap(weight.array[1])])
    assert encoder is decoder
    encoder.array[1, 0] = -1
    assert row.array.tolist() == [-1, 4]


def test_a_strided_view_shares_the_memory_of_its_base():
    base = wrap(np.arange(6, dtype="float32"))
    windows = wrap(np.lib.stride_tricks.sliding_window_view(base.array[1:], 3))
    whole, windows, expanded = round_trip([base, windows, base[4:5].expand(2, 1)])
    whole.array[4] = -1
    assert windows.array.tolist() == [[1, 2, 3], [2, 3, -1], [3, -1, 5]]
    assert expanded.array.tolist() == [[-1], [-1]]


def test_views_that_torch_has_no_strides_for_are_copied():
    numbers = np.arange(4, dtype="float32")
    fields = np.zeros(3, [("a", "i1"), ("b", "f4")])
    fields["b"] = [1, 2, 3]
    backwards, field = round_trip([wrap(numbers[::-1]), wrap(fields["b"])])
    assert backwards.array.tolist() == [3, 2, 1, 0] and field.array.tolist() == [1, 2, 3]


def test_memory_that_ends_within_an_element():
    memory = np.frombuffer(np.array([1, 2], "float32").tobytes() + b"xy", np.uint8).copy()
    assert round_trip(wrap(memory[:8].view("float32"))).array.tolist() == [1, 2]


def test_one_memory_as_two_types_is_refused_as_in_torch():
    numbers = np.arange(4, dtype="float32")
    with pytest.raises(RuntimeError, match="view the same data as different types: float32 and int32"):
        saved([wrap(numbers), wrap(numbers.view("int32"))])


def test_results_come_back_as_leaves():
    x = tensor([1, 2]).requires_grad_()
    y, z = round_trip([x * 2, (x * 2).detach()])
    assert y.requires_grad and y.grad_fn is None and y.array.tolist() == [2, 4]
    assert not z.requires_grad


def test_only_a_users_attributes_are_kept():
    x = tensor([1, 2]).requires_grad_()
    y = x * 2
    y.retain_grad()
    x.register_hook(lambda g: g)
    y.sum().backward()
    x.note = {"epoch": 3}
    with pytest.warns(UserWarning, match="hooks are not saved"):
        file = saved([x, y, x[0:1]])
    assert b"grad" not in pickle_of(file).replace(b"requires_grad", b"")
    x, y, part = load(file)
    assert x.note == {"epoch": 3} and x.grad is None and y.grad is None
    part.detach().array[0] = 7
    assert x.array[0] == 7


class Model:
    """A user's object; pickle finds the class by name."""

    def __init__(self):
        self.weight = Parameter(tensor([1, 2]))
        self.history = [np.arange(3)]


class Named(Tensor):
    pass


def test_objects_of_any_class_come_back_on_request():
    file = saved(Model())
    model = load(file, weights_only=False)
    assert type(model) is Model and type(model.weight) is Parameter and model.weight.requires_grad
    assert model.history[0].tolist() == [0, 1, 2]
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=r"Weights only load failed: .*\.Model.*weights_only=False"):
        load(file)


def function_of_a_program(x):
    return x


class Whole(tinyrnn.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.function = tinyrnn.nn.Embedding(5, 3), function_of_a_program
        self.lstm, self.linear = tinyrnn.nn.LSTM(3, 2, num_layers=2, dropout=0.5), tinyrnn.nn.Linear(2, 5)

    def forward(self, x):
        return self.function(self.linear(self.lstm(self.embedding(x))[0]))


def test_a_whole_model_of_classes_that_are_called_safe():
    modules = tinyrnn.nn.modules
    names = [Whole, function_of_a_program, modules.sparse.Embedding, modules.rnn.LSTM, modules.linear.Linear]
    model, x = Whole().eval(), tensor([[1], [4]], "int64")
    file = saved(model)
    with serialization.safe_globals(names):
        assert set(serialization.get_safe_globals()) == {*names}
        found = load(file)
    assert type(found) is Whole and found(x).equal(model(x)) and serialization.get_safe_globals() == []
    for missing in (Whole, function_of_a_program, modules.rnn.LSTM):
        with (
            serialization.safe_globals([each for each in names if each is not missing]),
            pytest.raises(pickle.UnpicklingError, match=f"{missing.__name__}.*add_safe_globals lets it in"),
        ):
            file.seek(0)
            load(file)


def test_safe_globals_by_another_name():
    file, name = saved(tinyrnn.nn.Identity()), "tinyrnn.nn.layers.Identity"
    try:
        serialization.add_safe_globals([(Whole, name)])
        assert type(load(file)) is Whole
        serialization.add_safe_globals([(Whole, name, 3)])
        with pytest.raises(ValueError, match="expected pairs"):
            load(saved(1))
    finally:
        serialization.clear_safe_globals()
    assert serialization.get_safe_globals() == []


def test_what_runs_commands_is_not_made_safe():
    with serialization.safe_globals([os.system]), pytest.raises(pickle.UnpicklingError, match=r"names posix\.system"):
        load(saved(Payload(os.system, "true")))


def test_a_subclass_comes_back_on_request():
    named = object.__new__(Named)
    named.array = np.ones(2, "float32")
    named.name = "x"
    plain = object.__new__(Named)
    plain.array = np.zeros(1, "float32")
    again, plain = round_trip([named, plain], weights_only=False)
    assert type(again) is type(plain) is Named
    assert again.name == "x" and again.array.tolist() == [1, 1] and plain.array.tolist() == [0]


def test_tensors_can_be_written_to_after_loading():
    x = round_trip(tensor([1, 2]))
    x.array[0] = 5
    assert x.array.flags.writeable and x.array.flags.aligned


def test_the_other_byte_order():
    file = saved([tensor([1, 2]), tensor([True], "bool")])
    swapped = rewritten(file, **{"data/0": np.array([1, 2], ">f4").tobytes(), "byteorder": b"big"})
    numbers, truth = load(swapped)
    assert numbers.array.tolist() == [1, 2] and truth.array.tolist() == [True]


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 6])
def test_records_start_at_multiples_of_64_bytes(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)  # the second: as if 8 bytes were more than 2 GB
    save({"a": tensor([1.0]), "b": tensor([2.0, 3.0])}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    for info in zipfile.ZipFile(tmp_path / "x.pt").infolist():
        name, extra = np.frombuffer(content, "<u2", 2, info.header_offset + 26)
        assert (info.header_offset + 30 + name + extra) % 64 == 0
    assert load(tmp_path / "x.pt")["b"].array.tolist() == [2, 3]


# ---- map_location ----------------------------------------------------------------------------------------------------


def test_map_location():
    file = saved({"x": tensor([1, 2])})
    seen = []

    def as_saved(storage, location):
        seen.append((location, storage.nbytes(), storage.device))

    def broken(storage, location):
        raise KeyError("from a user's function")

    for wish in (
        None,
        "cpu",
        device("cpu"),
        {},
        {"cuda:0": "cpu"},
        {"cpu": "cpu"},
        as_saved,
        lambda s, location: s,
        lambda s, location: s.cpu(),
    ):
        file.seek(0)
        assert load(file, wish)["x"].array.tolist() == [1, 2]
    assert seen == [("cpu", 8, device("cpu"))]
    for wish, error, words in [
        ("cuda", RuntimeError, "CUDA device.*map_location='cpu'"),
        ({"cpu": "cuda:1"}, RuntimeError, "cuda:1"),
        (lambda s, location: s.cuda(0), RuntimeError, "CUDA device"),
        ("nowhere", RuntimeError, "restore.*'nowhere'"),
        (lambda s, location: 5, TypeError, "return the storage.*5"),
        (5, TypeError, "map_location, got int"),
        (broken, KeyError, "from a user's function"),
    ]:
        file.seek(0)
        with pytest.raises(error, match=words):
            load(file, map_location=wish)


def test_a_file_written_on_a_gpu():
    file = saved({"x": tensor([1, 2])})
    on_gpu = pickle_of(file).replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    with pytest.raises(RuntimeError, match="'cuda:0'.*map_location='cpu'"):
        load(rewritten(file, data_pkl=on_gpu))
    for wish in ("cpu", lambda storage, location: storage):
        file.seek(0)
        assert load(rewritten(file, data_pkl=on_gpu), wish)["x"].array.tolist() == [1, 2]


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_arguments_that_are_refused(tmp_path):
    with pytest.raises(AttributeError, match="'write' attribute, got int"):
        save(1, 5)
    with pytest.raises(RuntimeError, match="Parent directory .*nowhere does not exist"):
        save(1, tmp_path / "nowhere" / "x.pt")
    with pytest.raises(IsADirectoryError):
        save(1, tmp_path)
    with pytest.raises(ValueError, match="zip format"):
        save(1, io.BytesIO(), _use_new_zipfile_serialization=False)
    with pytest.raises(AttributeError, match="file-like object.*got int"):
        load(5)
    with pytest.raises(ValueError, match="must be a file path in order to use the mmap argument"):
        load(saved(1), mmap=True)
    with pytest.raises(RuntimeError, match="pickle_module"):
        load(saved(1), weights_only=True, pickle_module=pickle)
    file = saved(1)
    load(file)
    file.seek(0, os.SEEK_END)
    with pytest.raises(EOFError, match=r"seek\(0\)"):
        load(file)


# ---- a file is whole or as it was ------------------------------------------------------------------------------------


class Full(io.FileIO):
    """A disk that takes 400 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 400:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def raises(error):
    def fail(*arguments, **keywords):
        raise error

    return fail


@pytest.mark.parametrize("trouble", ["pickle", "permission", "disk", "sync", "rename", "interrupt"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, trouble):
    path = tmp_path / "model.pt"
    save({"x": tensor([1, 2])}, path)
    before = path.read_bytes()
    new, error = {"x": tensor(np.zeros(1000))}, OSError
    if trouble == "pickle":
        new, error = {"x": tensor([3]), "f": lambda: None}, (pickle.PicklingError, AttributeError)
    elif trouble == "permission":
        refused = lambda name, mode: raises(PermissionError(errno.EACCES, "Permission denied", name))()
        monkeypatch.setattr(
            serialization, "open", lambda name, mode: (refused if mode == "r+b" else open)(name, mode), raising=False
        )
    elif trouble == "disk":
        on_full_disk = lambda name, mode: (Full if "x" in mode else open)(name, mode)
        monkeypatch.setattr(serialization, "open", on_full_disk, raising=False)
    elif trouble == "sync":
        monkeypatch.setattr(os, "fsync", raises(OSError(errno.EIO, "Input/output error")))
    elif trouble == "rename":
        monkeypatch.setattr(os, "replace", raises(OSError(errno.EBUSY, "Device or resource busy")))
    else:
        monkeypatch.setattr(serialization, "write_record", raises(KeyboardInterrupt()))
        error = KeyboardInterrupt
    with pytest.raises(error):
        save(new, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.pt"]


def test_a_failed_pickle_writes_nothing_to_an_open_file():
    file = io.BytesIO()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save([tensor([1]), lambda: None], file)
    assert file.getvalue() == b""


def test_the_mode_of_the_file_is_opens(tmp_path):
    path, other = tmp_path / "x.pt", tmp_path / "other"
    before = os.umask(0o027)
    try:
        save(1, path)
        open(other, "w").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode) == 0o640
    path.chmod(0o604)
    save(2, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604 and load(path) == 2


def test_a_link_stays_a_link(tmp_path):
    target = tmp_path / "run" / "last.pt"
    target.parent.mkdir()
    link = tmp_path / "best.pt"
    link.symlink_to("run/last.pt")
    for number in (1, 2):  # first to a file that is not there yet
        save(number, link)
        assert link.is_symlink() and load(target) == number
    assert os.listdir(target.parent) == ["last.pt"]


def test_what_is_no_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        save(tensor([1, 2]), pipe)
        content = os.read(reader, 1 << 16)
    finally:
        os.close(reader)
    assert load(io.BytesIO(content)).array.tolist() == [1, 2]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save([1], "x.pt")
    assert load("x.pt") == [1] and os.listdir() == ["x.pt"]


# ---- damage and malice -----------------------------------------------------------------------------------------------


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "cut.pt"
    content = saved({"x": tensor(np.arange(50))}).getvalue()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises((EOFError, RuntimeError, pickle.UnpicklingError), match="cut.pt"):
            load(path)


def test_a_changed_byte_is_noticed():
    content = bytearray(saved({"x": tensor([1234.5])}).getvalue())
    content[content.index(np.float32(1234.5).tobytes())] ^= 1
    with pytest.raises(RuntimeError, match="damaged: record 'data/0'.*CRC"):
        load(io.BytesIO(content))


class Payload:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_code_in_a_file_is_not_run(tmp_path, protocol):
    trace = tmp_path / "trace"
    bomb = pickle.dumps(Payload(os.mkdir, str(trace)), protocol)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load(rewritten(saved(1), data_pkl=bomb))
    assert not trace.exists()
    load(rewritten(saved(1), data_pkl=bomb), weights_only=False)
    assert trace.exists()  # the payload was a live one


def test_the_refusal_names_the_global_and_the_way_out():
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system.*weights_only=False loads it.*trust"):
        load(saved(Payload(os.system, "true")))


@pytest.mark.parametrize(
    "code, words",
    [
        (b"ctorch\nTensor\n(K\x05tR.", "calls .*Tensor"),  # not a function that weights are built with
        (b"ctorch\nfloat32\n}X\x08\x00\x00\x00itemsizeK\x01sb.", "sets the state of a dtype"),
        (b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "expected bytes"),  # would take 2 GB
        (b"c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00idna\n\x86R.", "latin1"),
        (b"ccollections\nOrderedDict\n)\x81.", "instruction"),
        (b"\x82\x01.", "instruction"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\nK\x05\x85NtR.", "made by .*Tensor"),
        (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\ndevice\n)NtR.",
            "device.* expected a class of tensors",
        ),
        (b"R.", "damaged"),
        (b"X\xff\xff\xff\xffabc.", "damaged|truncated"),
        (b"U\x01\xff.", "damaged"),
        (b"K\x01Q.", "persistent id"),
        (b"", "damaged"),
    ],
)
def test_hostile_pickles(code, words):
    with pytest.raises(pickle.UnpicklingError, match=words):
        load(rewritten(saved(1), data_pkl=code))


@pytest.mark.parametrize(
    "old, new, words",
    [
        (b"K\x06\x85", b"K\x07\x85", "outside its storage"),  # size 7 of 6 elements
        (b"K\x06\x85", b"J\xff\xff\xff\xff\x85", "no tensor has"),  # size -1
        (b"K\x00K\x06\x85", b"K\x01K\x06\x85", "outside its storage"),  # offset 1
        (b"K\x01\x85", b"J\xff\xff\xff\x7f\x85", "outside its storage"),  # stride 2**31 - 1
        (b"K\x01\x85", b"X\x01\x00\x00\x001\x85", "no tensor has"),
        (b"K\x01\x85", b"K\x01K\x01\x86", "no tensor has"),  # two strides for one dimension
        (b"K\x06t", b"K\x07t", "24 bytes, and a storage of 7 elements"),
        (b"FloatStorage", b"DoubleStorage", "24 bytes"),
    ],
)
def test_no_tensor_reaches_outside_its_memory(old, new, words):
    file = saved(tensor(np.arange(6)))
    assert pickle_of(file).count(old) == 1
    for weights_only in (True, False):
        with pytest.raises((pickle.UnpicklingError, RuntimeError), match=words):
            load(rewritten(file, data_pkl=pickle_of(file).replace(old, new)), weights_only=weights_only)


def test_a_persistent_id_may_be_anything():
    file = saved(tensor([1]))
    a_tensor = pickle_of(file)[2:-1]  # without the protocol and the final STOP
    for odd in (b"N", b"]", a_tensor, b"(" + a_tensor + b"NNNNt", b"(NNNNNt", b"(X\x07\x00\x00\x00storageNNNNt"):
        with pytest.raises(pickle.UnpicklingError, match="persistent id"):
            load(rewritten(file, data_pkl=b"\x80\x02" + odd + b"Q."))


def test_a_file_cannot_change_what_a_tensor_is():
    x = tensor([1, 2])
    x.note = 1
    file = saved(x)
    with pytest.raises(pickle.UnpicklingError, match="sets the attribute 'grad'"):
        load(rewritten(file, data_pkl=pickle_of(file).replace(b"note", b"grad")))


def test_records_that_pretend_to_be_longer_than_the_file():
    content = bytearray(saved(tensor([1, 2])).getvalue())
    for name in (b"PK\x01\x02",):
        start = content.rindex(name)  # the central directory's last entry
        content[start + 20 : start + 28] = np.array([1 << 31, 1 << 31], "<u4").tobytes()
    with pytest.raises(RuntimeError, match="longer than the file"):
        load(io.BytesIO(content))


def test_random_damage_to_the_pickle_is_an_error_or_a_value():
    rng = np.random.default_rng(0)
    file = saved(OrderedDict(w=Parameter(tensor([[1, 2]])), x=[tensor([3.0]), Size((1,)), b"b", {2}, device("cpu")]))
    good = pickle_of(file)
    refused = 0
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(len(bad))] = rng.choice([rng.integers(256), good[rng.integers(len(good))]])
        try:
            load(rewritten(file, data_pkl=bytes(bad)))
        except (pickle.UnpicklingError, RuntimeError):
            refused += 1
    assert refused > 200


def test_a_pickle_is_plain_enough_for_other_readers():
    code = pickletools.genops(pickle_of(saved(Parameter(tensor([1])))))
    names = {argument for operation, argument, _ in code if operation.name == "GLOBAL"}
    assert names == {
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "collections OrderedDict",
    }


@needs_torch
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_a_packed_sequence_that_torch_saved(tmp_path, enforce_sorted):
    import torch

    parts = [torch.arange(3.0), torch.arange(2.0)]
    torch.save({"packed": torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted)}, tmp_path / "packed.pt")
    packed = tinyrnn.load(tmp_path / "packed.pt", weights_only=False)["packed"]
    assert type(packed) is tinyrnn.nn.utils.rnn.PackedSequence
    padded, lengths = tinyrnn.nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    assert padded.tolist() == [[0, 1, 2], [0, 1, 0]] and lengths.tolist() == [3, 2]


def test_a_file_that_was_to_be_mapped_is_read(tmp_path):
    tinyrnn.save({"a": tinyrnn.arange(3)}, tmp_path / "a.pt")
    loaded = load(tmp_path / "a.pt", mmap=True)["a"]
    loaded += 1
    assert loaded.tolist() == [1, 2, 3] and load(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2]
