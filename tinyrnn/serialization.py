"""save and load, in torch's own file format: what one of the two wrote, the other reads.

A file is a zip archive of uncompressed records:

    archive/data.pkl    the object, pickled; a tensor is a call of
                        torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks),
                        and a storage a persistent id: ("storage", torch.FloatStorage, "0", "cpu", number of elements)
    archive/data/0 ...  the memory of each storage; tensors that share memory name the same one
    archive/byteorder   "little" or "big"
    archive/version     "3"

No torch is needed for either direction: `torch_names` pairs torch's names in the pickle with what stands for them here.
"""

from __future__ import annotations

import collections
import functools
import io
import os
import pickle
import re
import secrets
import stat
import struct
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import IO, Any

import numpy as np

from . import devices, dtypes
from .devices import device
from .strides import address, at, memory_of
from .tape import wrap
from .tensor import STATE, Size, Tensor

ALIGNMENT = 64  # of each record in the file, so that it can be mapped into memory
HEADER = 30  # bytes of a zip record's header before its name
PADDING = 0x4246  # the kind of extra field that torch pads a header with
TRUST = "weights_only=False loads it, and lets the file run any code it likes: do that only if you trust its source"


# ---- storages --------------------------------------------------------------------------------------------------------


class StorageType:
    """What stands for torch.FloatStorage and its like in a pickle."""

    def __init__(self, dtype: dtypes.dtype):
        self.dtype = dtype


class Storage:
    """The memory that tensors are views of. `map_location` functions get one and return one."""

    def __init__(self, array: np.ndarray, key: str, location: str = "cpu"):
        self.array = array  # one-dimensional, contiguous; on the GPU, if a load puts it there
        self.key = key
        self.location = location

    @property
    def device(self) -> device:
        return device(self.location)

    def nbytes(self) -> int:
        return self.array.nbytes

    def cpu(self) -> Storage:
        """This storage in the memory of the CPU."""
        return self if self.location == "cpu" else Storage(devices.host(self.array), self.key)

    def cuda(self, device=None) -> Storage:
        """This storage in the memory of the GPU."""
        check_cuda(f"storage.cuda({'' if device is None else device})")
        where = devices.settled("cuda" if device is None else device)
        return Storage(devices.put(self.array, where), self.key, str(where))


STORAGE_TYPES = {
    "torch.BoolStorage": StorageType(dtypes.bool),
    "torch.ByteStorage": StorageType(dtypes.uint8),
    "torch.CharStorage": StorageType(dtypes.int8),
    "torch.ShortStorage": StorageType(dtypes.int16),
    "torch.IntStorage": StorageType(dtypes.int32),
    "torch.LongStorage": StorageType(dtypes.int64),
    "torch.FloatStorage": StorageType(dtypes.float32),
    "torch.DoubleStorage": StorageType(dtypes.float64),
}
storage_type_of = {kind.dtype: kind for kind in STORAGE_TYPES.values()}


# ---- what torch's names in a pickle stand for ------------------------------------------------------------------------


def rebuild_tensor(storage, offset, size, stride, requires_grad, backward_hooks, metadata=None):
    """A view of `storage`; offset and strides count elements. Refuses what would reach outside it."""
    counts = all(type(number) is int and number >= 0 for number in (offset, *size, *stride))
    if not isinstance(storage, Storage) or len(size) != len(stride) or not counts:
        raise pickle.UnpicklingError(f"no tensor has the size {size}, the stride {stride} and the offset {offset}")
    if metadata:
        raise pickle.UnpicklingError(f"a tensor with the metadata {metadata} (a lazy conj() or neg()): not supported")
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if 0 not in size else offset
    if end > storage.array.size:
        raise pickle.UnpicklingError(
            f"a tensor of size {tuple(size)}, stride {tuple(stride)} and offset {offset} reaches outside its storage "
            f"{storage.key!r} of {storage.array.size} elements"
        )
    item = storage.array.itemsize
    array = at(storage.array, tuple(size), tuple(step * item for step in stride), offset * item)
    return wrap(array).requires_grad_(requires_grad)


def rebuild_parameter(data, requires_grad, backward_hooks):
    from .nn.parameter import Parameter

    return Parameter(data, requires_grad)


def rebuild_parameter_with_state(data, requires_grad, backward_hooks, state):
    return set_state(rebuild_parameter(data, requires_grad, backward_hooks), state)


def rebuild_from_type(rebuild, cls, args, state):
    """A tensor with attributes of the user's, or of a subclass of the user's."""
    if rebuild is not rebuild_tensor or not issubclass(cls, Tensor):
        raise pickle.UnpicklingError(f"{cls!r} made by {rebuild!r}: expected a class of tensors, _rebuild_tensor_v2")
    tensor = rebuild(*args)
    if type(tensor) is not cls:
        plain, tensor = tensor, object.__new__(cls)
        vars(tensor).update(vars(plain))
    return set_state(tensor, state)


def set_state(tensor, state):
    """Give a tensor the attributes that a program had set on it."""
    if state is not None and type(state) is not dict:
        raise pickle.UnpicklingError(f"the attributes of a tensor are in a {type(state).__name__}: expected a dict")
    for name in state or ():
        if name in STATE:
            raise pickle.UnpicklingError(f"the file sets the attribute {name!r} of a tensor, which is not its to set")
    vars(tensor).update(state or {})
    return tensor


@functools.cache
def torch_names() -> dict[str, Any]:
    from .nn.parameter import Parameter
    from .nn.utils.rnn import PackedSequence

    return {
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
        "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
        "torch.Tensor": Tensor,
        "torch.nn.parameter.Parameter": Parameter,
        "torch.nn.utils.rnn.PackedSequence": PackedSequence,
        "torch.Size": Size,
        "torch.device": device,
        **{repr(dtype): dtype for dtype in dtypes.ALL},
        **STORAGE_TYPES,
    }


def resolve(name: str) -> Any:
    """What `name`, which begins with "torch.", stands for."""
    try:
        return torch_names()[name]
    except KeyError:
        pass
    if re.fullmatch(r"torch\.(\w+Storage|storage\.\w+)|torch\._utils\._rebuild_tensor_v3", name):
        known = ", ".join(dtype.name for dtype in dtypes.ALL)
        raise pickle.UnpicklingError(
            f"{name}: tinyrnn has no tensors of this type (it has {known}); "
            "convert them in torch before saving, for instance with .float()"
        )
    raise pickle.UnpicklingError(
        f"{name}: tinyrnn has nothing that stands for this object of torch's; "
        "in torch, save the tensors and numbers it holds (of a model: its state_dict())"
    )


# ---- saving ----------------------------------------------------------------------------------------------------------


def save(
    obj: Any,
    f: str | os.PathLike[str] | IO[bytes],
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write `obj` to a file that load, and torch.load, read.

    obj: tensors, parameters, containers of them, and whatever can be pickled. Tensors that share memory share it again
        after loading, and the whole of the memory is written, also where a tensor sees only a part of it.
    f: a path, or an object with a `write` method. A file at a path is replaced at the very end: whatever
        goes wrong before, the old one is whole.

    Raises RuntimeError if the folder of `f` does not exist or if tensors of different dtypes share memory,
    AttributeError if `f` is neither a path nor writable, and pickle's errors for what cannot be pickled.
    """
    if pickle_module is not pickle:
        raise ValueError(f"save(): expected the module pickle as pickle_module, got {pickle_module!r}")
    if not _use_new_zipfile_serialization:
        raise ValueError("save(): only torch's zip format can be written (_use_new_zipfile_serialization=True)")
    destination: AbstractContextManager[IO[bytes]]
    if isinstance(f, (str, os.PathLike)):
        destination = replacing(f)
    elif hasattr(f, "write"):
        destination = nullcontext(f)
    else:
        raise AttributeError(
            "save(): expected 'f' to be string, path, or a file-like object with a 'write' attribute, "
            f"got {type(f).__name__}"
        )
    pickled = io.BytesIO()
    pickler = Pickler(pickled, pickle_protocol)
    pickler.dump(obj)
    records: dict[str, bytes | memoryview] = {
        "data.pkl": pickled.getvalue(),
        ".format_version": b"1",
        ".storage_alignment": str(ALIGNMENT).encode(),
        "byteorder": sys.byteorder.encode(),
        **{f"data/{storage.key}": storage.array.view(np.uint8).data for storage in pickler.storages.values()},
        "version": b"3\n",
    }
    with destination as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in records.items():
            write_record(archive, "archive/" + name, data)


class Pickler(pickle._Pickler):
    """Writes tensors and their kin as torch does. (A subclass of pickle's Python form: the C form looks up every global
    that it writes, and torch's are not there.)"""

    def __init__(self, file: IO[bytes], protocol: int):
        super().__init__(file, protocol)
        self.Parameter = torch_names()["torch.nn.parameter.Parameter"]
        self.names = {id(thing): name for name, thing in torch_names().items()}
        self.storages: dict[tuple[int, int], Storage] = {}  # (address, bytes) of memory that they keep alive

    def persistent_id(self, obj):
        if type(obj) is Storage:
            kind = storage_type_of[dtypes.of(obj.array.dtype)]
            return ("storage", kind, obj.key, obj.location, obj.array.size)
        return None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor):
            if obj._hooks:
                warnings.warn(f"save(): a tensor's hooks are not saved: {list(obj._hooks.values())}", stacklevel=2)
            state = {name: value for name, value in vars(obj).items() if name not in STATE}
            if isinstance(obj, self.Parameter):
                args = (obj.detach(), obj.requires_grad, OrderedDict())
                return (rebuild_parameter_with_state, (*args, state)) if state else (rebuild_parameter, args)
            args = (*self.locate(obj.array), obj.requires_grad, OrderedDict())
            if state or type(obj) is not Tensor:
                return rebuild_from_type, (rebuild_tensor, type(obj), args, state)
            return rebuild_tensor, args
        if isinstance(obj, Size):
            return Size, (tuple(obj),)
        if isinstance(obj, device):
            return device, (obj.type,) if obj.index is None else (obj.type, obj.index)
        if isinstance(obj, (dtypes.dtype, StorageType, type, types.FunctionType)):
            return self.names.get(id(obj), NotImplemented)  # text is written as a global, by save_global
        return NotImplemented

    def save_global(self, obj, name=None):
        if name is not None and self.names.get(id(obj)) == name:
            module, _, attribute = name.rpartition(".")
            self.write(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    def locate(self, array: np.ndarray) -> tuple[Storage, int, tuple[int, ...], tuple[int, ...]]:
        """Where an array's elements are: storage, offset, size and stride, the last three counted in elements."""
        if type(array) is not np.ndarray:
            return self.locate_on_gpu(array)
        item = array.itemsize
        owner = memory_of(array)
        start, end = np.lib.array_utils.byte_bounds(owner)
        offset = array.ctypes.data - start
        misaligned = any(number % item for number in (offset, *array.strides))
        if array.size == 0 or misaligned or min(array.strides + owner.strides, default=0) < 0:
            owner = array = array.copy()
            start, end = np.lib.array_utils.byte_bounds(owner)
            offset = 0
        key = (start, end - start)
        if key not in self.storages:
            flat = np.lib.stride_tricks.as_strided(owner, ((end - start) // owner.itemsize,), (owner.itemsize,))
            flat = flat.view(np.uint8)[: flat.nbytes // item * item].view(array.dtype)
            self.storages[key] = Storage(flat, str(len(self.storages)))
        storage = self.storages[key]
        if storage.array.dtype != array.dtype:
            raise RuntimeError(
                "save(): cannot save multiple tensors that view the same data as different types: "
                f"{storage.array.dtype} and {array.dtype}"
            )
        stride = tuple(step // item for step in array.strides)
        return storage, offset // item, array.shape, stride

    def locate_on_gpu(self, array: Any) -> tuple[Storage, int, tuple[int, ...], tuple[int, ...]]:
        """The same for an array on the GPU, whose memory is copied."""
        item = array.itemsize
        if not hasattr(array.block, "address") or (address(array) - array.block.address) % item:  # another library's
            array = array.copy()
        start, size = array.block.address, array.block.asked // item
        if (start, size) not in self.storages:
            whole = array.at((size,), (item,), start - address(array))
            self.storages[start, size] = Storage(devices.host(whole), str(len(self.storages)), "cuda:0")
        stride = tuple(step // item for step in array.strides)
        return self.storages[start, size], (address(array) - start) // item, array.shape, stride


def write_record(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Append an uncompressed record whose first byte stands at a multiple of ALIGNMENT."""
    info = zipfile.ZipInfo(name)
    extra = 4 + (20 if len(data) * 1.05 > zipfile.ZIP64_LIMIT else 0)  # field headers: ours, zipfile's for long sizes
    padding = -(archive.start_dir + HEADER + len(name) + extra) % ALIGNMENT
    info.extra = struct.pack("<HH", PADDING, padding) + b"Z" * padding
    archive.writestr(info, data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of the one at `path` when all is written, and vanishes if anything fails.

    RuntimeError if the folder is not there; PermissionError if no file can be made in it.
    """
    if not os.fspath(path):
        raise RuntimeError("invalid file name: '' (save)")
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {os.path.dirname(os.fspath(path))} does not exist.")
    mode = os.stat(path).st_mode if os.path.exists(path) else None
    if mode is not None:
        if not stat.S_ISREG(mode):  # a device or a pipe cannot be replaced, and a folder gives open's own error
            with open(path, "wb") as file:
                yield file
            return
        open(path, "r+b").close()  # open's own error if the file may not be written
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"save(): the new file is made beside {os.fspath(path)!r} before it takes its place, but no files can be "
            f"made in {folder!r}"
        )
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


# ---- loading ---------------------------------------------------------------------------------------------------------


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what save, or torch.save, wrote.

    f: a path, or an object with `read`, `seek` and `tell`.
    map_location: where storages go: a device or its name; a dict from the name of the device that a storage was saved
        from to another; a function of a storage and that name, which returns the storage. None, also from the
        function: the device that it was saved from.
    weights_only: True (the default, unless pickle_module is given) builds tensors, parameters, numbers, texts and plain
        containers, and what add_safe_globals was given, and refuses everything else. False builds objects of any class,
        which runs what code the file names.
    mmap: asks for storages that stay in the file until they are used; they are read into memory all the same.
    pickle_load_args: `encoding` and `errors`, as pickle's Unpickler has them.

    Raises FileNotFoundError; EOFError for an empty file; pickle.UnpicklingError for one that is not in torch's zip
    format, or holds what is refused; RuntimeError for a damaged one, and for storages on a device that is not here.
    """
    if pickle_module not in (None, pickle):
        raise ValueError(f"load(): expected the module pickle as pickle_module, got {pickle_module!r}")
    if weights_only and pickle_module is not None:
        raise RuntimeError("load(): weights_only=True unpickles in its own way, leave pickle_module out")
    if weights_only is None:
        weights_only = pickle_module is None
    if mmap and not isinstance(f, (str, os.PathLike)):
        raise ValueError(f"f must be a file path in order to use the mmap argument (load() got {type(f).__name__})")
    options = {"encoding": "utf-8", **pickle_load_args}
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return unpickle(Archive(file, repr(os.fspath(f))), map_location, weights_only, options)
    if not all(hasattr(f, method) for method in ("read", "seek", "tell")):
        raise AttributeError(
            "load(): expected a path or a file-like object with 'read', 'seek' and 'tell', "
            f"got {type(f).__name__}. What cannot seek can be read into an io.BytesIO first."
        )
    return unpickle(Archive(f, repr(getattr(f, "name", type(f)))), map_location, weights_only, options)


def unpickle(archive: Archive, map_location: Any, weights_only: bool, options: dict[str, Any]) -> Any:
    pickled = io.BytesIO(archive.read("data.pkl"))
    unpickler = (WeightsUnpickler if weights_only else Unpickler)(pickled, Storages(archive, map_location), **options)
    try:
        return unpickler.load()
    except pickle.UnpicklingError as error:
        kind = "Weights only load failed: " if weights_only else ""
        raise pickle.UnpicklingError(f"load({archive.name}): {kind}{error}") from None


ZIP_ERRORS = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error)  # of zipfile, for damaged files


class Archive:
    """The records of a file, read by name. `name` is the file's, for errors."""

    def __init__(self, file: IO[bytes], name: str):
        self.name = name
        start = file.tell()
        head = file.read(512)
        size = file.seek(0, os.SEEK_END)
        file.seek(start)
        if not head:
            raise EOFError(f"load({name}): the file is empty" + (", or was read to its end: seek(0)?" if size else ""))
        if not head.startswith(b"PK\x03\x04"):
            found = foreign_format(head)
            raise pickle.UnpicklingError(f"load({name}): expected a file in torch's zip format, got {found}")
        try:
            self.zip = zipfile.ZipFile(file)
        except ZIP_ERRORS as error:
            raise self.damaged(f"it is truncated, or was changed after saving ({error})") from None
        infos = self.zip.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise RuntimeError(f"load({name}): expected uncompressed records, as save() writes, got compressed ones")
        if sum(info.file_size for info in infos) > size:
            raise self.damaged("its records are said to be longer than the file")
        self.root = infos[0].filename.partition("/")[0] if infos else ""
        if self.has("constants.pkl"):
            raise RuntimeError(f"load({name}): this is a TorchScript program, which tinyrnn cannot run")
        self.byteorder = self.read("byteorder").decode("latin1") if self.has("byteorder") else sys.byteorder
        if self.byteorder not in ("little", "big"):
            raise self.damaged(f"the record 'byteorder' is {self.byteorder!r}, expected 'little' or 'big'")

    def damaged(self, what: str) -> RuntimeError:
        return RuntimeError(f"load({self.name}): the file is damaged: {what}")

    def has(self, record: str) -> bool:
        return f"{self.root}/{record}" in self.zip.NameToInfo

    def size(self, record: str) -> int:
        if not self.has(record):
            raise self.damaged(f"the record {record!r} is missing")
        return self.zip.getinfo(f"{self.root}/{record}").file_size

    def read(self, record: str) -> bytearray:
        """The bytes of a record, checked against its checksum."""
        data = bytearray(self.size(record))
        self.read_into(record, memoryview(data))
        return data

    def read_into(self, record: str, target: memoryview) -> None:
        try:
            with self.zip.open(f"{self.root}/{record}") as source:
                filled = 0
                while chunk := source.read(1 << 24):
                    target[filled : filled + len(chunk)] = chunk
                    filled += len(chunk)
        except ZIP_ERRORS as error:
            raise self.damaged(f"record {record!r}: {error}") from None


def foreign_format(head: bytes) -> str:
    """What a file that begins so seems to be."""
    if head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        return "torch's format of before version 1.6: load it in torch and save it again"
    if head[257:262] == b"ustar":
        return "a tar file, torch's format of before version 0.1.10: load it in torch and save it again"
    if head[:1] == b"\x80":
        return "a pickle: pickle.load reads it"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip file: load(gzip.open(...)) reads what save() wrote into it"
    return f"a file that begins with the bytes {head[:8]!r}"


class Storages:
    """Persistent ids -> storages; each is read once."""

    def __init__(self, archive: Archive, map_location: Any):
        self.archive = archive
        self.map_location = map_location
        self.loaded: dict[str, Storage] = {}

    def __call__(self, persistent_id) -> Storage:
        match persistent_id:
            case (str("storage"), StorageType(dtype=dtype), str(key), str(location), int(count)) if count >= 0:
                pass
            case _:
                raise pickle.UnpicklingError(f"the persistent id {persistent_id!r} is not one of a storage")
        if key not in self.loaded:
            record = f"data/{key}"
            size = self.archive.size(record)
            if size != count * dtype.itemsize:
                raise self.archive.damaged(
                    f"record {record!r} has {size} bytes, and a storage of {count} elements of "
                    f"type {dtype.name} needs {count * dtype.itemsize}"
                )
            array = np.empty(count, dtype.numpy)
            self.archive.read_into(record, array.view(np.uint8).data)
            if self.archive.byteorder != sys.byteorder:
                array.byteswap(inplace=True)
            self.loaded[key] = self.place(Storage(array, key, location))
        storage = self.loaded[key]
        if storage.array.dtype != dtype.numpy:
            raise self.archive.damaged(f"the storage {key!r} has two types, {storage.array.dtype} and {dtype.name}")
        return storage

    def place(self, storage: Storage) -> Storage:
        """Put a storage where map_location wants it."""
        wish, location = self.map_location, storage.location
        if isinstance(wish, dict):
            location = str(wish.get(location, location))
        elif isinstance(wish, (str, device)):
            location = str(wish)
        elif wish is not None:
            if not callable(wish):
                raise TypeError(
                    "load(): expected None, a device, its name, a dict or a function as map_location, "
                    f"got {type(wish).__name__}"
                )
            placed = wish(storage, location)
            if placed is not None and not isinstance(placed, Storage):
                raise TypeError(f"load(): map_location must return the storage it was given, or None, got {placed!r}")
            if placed is not None:
                return placed
        if location.startswith("cuda"):
            check_cuda(f"load({self.archive.name}): a storage belongs on {location!r}")
            return storage.cuda(location)
        if location.partition(":")[0] != "cpu":
            raise RuntimeError(
                f"load({self.archive.name}): don't know how to restore data location of a storage "
                f"tagged with {location!r}; map_location='cpu' loads it into this machine's memory"
            )
        storage.location = "cpu"
        return storage


def check_cuda(what: str) -> None:
    """Raise torch's error if there is no GPU to put a storage on."""
    try:
        devices.check("cuda")
    except devices.NoDevice as error:
        raise RuntimeError(
            f"{what}: Attempting to deserialize object on a CUDA device, but {error}. map_location='cpu' puts all "
            "storages into this machine's memory."
        ) from None


class Unpickler(pickle.Unpickler):
    """Builds objects of any class, tinyrnn's in the place of torch's."""

    def __init__(self, file: IO[bytes], storages: Storages, **options: Any):
        super().__init__(file, **options)
        self.storages = storages

    def persistent_load(self, pid):
        return self.storages(pid)

    def find_class(self, module, name):
        return resolve(f"{module}.{name}") if module.split(".")[0] == "torch" else super().find_class(module, name)


# ---- loading what cannot be trusted ----------------------------------------------------------------------------------


def encode(text, encoding):
    """How protocol 2 writes bytes: as the text that has them as its latin1 encoding."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {type(text).__name__} in {encoding!r}: expected text in 'latin1'")
    return text.encode("latin1")


def as_bytearray(data=b""):
    if type(data) is not bytes:  # a number would ask for that much memory
        raise pickle.UnpicklingError(f"a bytearray of {type(data).__name__}: expected bytes")
    return bytearray(data)


HARMLESS = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": collections.Counter,
    "_codecs.encode": encode,
    **{f"{module}.{kind.__name__}": kind for module in ("builtins", "__builtin__") for kind in (set, complex)},
    **{f"{module}.bytearray": as_bytearray for module in ("builtins", "__builtin__")},
}

BLOCKED = ("sys", "os", "posix", "nt")  # modules whose functions are not let in, whatever a program says
_marked: set[Any] = set()  # classes and functions, or pairs of one and the name that a file has for it


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let load build objects of these classes, and call these functions, also with weights_only=True.

    Each is found in a file by its own name; a pair (class, name) is found by that name.
    """
    _marked.update(safe_globals)


def get_safe_globals() -> list[Any]:
    """What add_safe_globals was given."""
    return list(_marked)


def clear_safe_globals() -> None:
    """Take back what add_safe_globals was given."""
    _marked.clear()


@contextmanager
def safe_globals(safe_globals: list[Any]) -> Iterator[None]:
    """add_safe_globals for a `with` block."""
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        _marked.difference_update(safe_globals)


def marked_names() -> dict[str, Any]:
    """What add_safe_globals was given, by the names that a file has for it."""
    found = {}
    for each in _marked:
        match each:
            case (thing, str(name)):
                found[name] = thing
            case tuple():
                raise ValueError(f"add_safe_globals(): expected pairs of a class or function and its name, got {each}")
            case _:
                found[f"{each.__module__}.{each.__qualname__}"] = each
    return found


HARMLESS_OPCODES = b"".join(
    [
        pickle.PROTO,
        pickle.FRAME,
        pickle.STOP,
        pickle.MARK,
        pickle.POP,
        pickle.POP_MARK,
        pickle.BINGET,
        pickle.LONG_BINGET,
        pickle.BINPUT,
        pickle.LONG_BINPUT,
        pickle.MEMOIZE,
        pickle.NONE,
        pickle.NEWTRUE,
        pickle.NEWFALSE,
        pickle.BININT,
        pickle.BININT1,
        pickle.BININT2,
        pickle.LONG1,
        pickle.LONG4,
        pickle.BINFLOAT,
        pickle.BINUNICODE,
        pickle.SHORT_BINUNICODE,
        pickle.BINUNICODE8,
        pickle.BINSTRING,
        pickle.SHORT_BINSTRING,
        pickle.BINBYTES,
        pickle.SHORT_BINBYTES,
        pickle.BINBYTES8,
        pickle.EMPTY_TUPLE,
        pickle.TUPLE,
        pickle.TUPLE1,
        pickle.TUPLE2,
        pickle.TUPLE3,
        pickle.EMPTY_LIST,
        pickle.APPEND,
        pickle.APPENDS,
        pickle.EMPTY_DICT,
        pickle.SETITEM,
        pickle.SETITEMS,
        pickle.EMPTY_SET,
        pickle.ADDITEMS,
        pickle.FROZENSET,
        pickle.GLOBAL,
        pickle.STACK_GLOBAL,
        pickle.BINPERSID,
    ]
)


class Instructions(dict):
    """The opcodes of a pickle -> the methods that run them."""

    def __missing__(self, opcode):
        raise pickle.UnpicklingError(f"weights need no pickle instruction {chr(opcode)!r}. {TRUST}.")


class WeightsUnpickler(pickle._Unpickler):
    """Knows the instructions, names and calls that weights are made of, what add_safe_globals lets in, and no others.

    (A subclass of pickle's Python form, because the C form lets nobody take instructions away.)
    """

    dispatch = Instructions({op: pickle._Unpickler.dispatch[op] for op in HARMLESS_OPCODES})

    def __init__(self, file: IO[bytes], storages: Storages, **options: Any):
        super().__init__(file, **options)
        self.storages = storages
        self.failure: Exception | None = None  # an error that is not of the pickle's making
        functions = (
            rebuild_tensor,
            rebuild_parameter,
            rebuild_parameter_with_state,
            rebuild_from_type,
            device,
            Size,
            *HARMLESS.values(),
        )
        self.marked = marked_names()
        self.classes = {id(thing) for thing in self.marked.values()}
        self.functions = {id(function) for function in functions} | self.classes

    def load(self):
        try:
            return super().load()
        except (
            AttributeError,
            EOFError,
            LookupError,
            MemoryError,
            OverflowError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            if error is self.failure:
                raise
            raise pickle.UnpicklingError(f"data.pkl is damaged, or not one of weights: {error!r}") from error

    def find_class(self, module, name):
        name = f"{module}.{name}"
        if name in HARMLESS:
            return HARMLESS[name]
        if name in self.marked and module not in BLOCKED:
            return self.marked[name]
        if name.startswith("torch."):
            return resolve(name)
        raise pickle.UnpicklingError(
            f"the file names {name}, which weights are not made of. add_safe_globals lets it in; {TRUST}."
        )

    def persistent_load(self, pid):
        try:
            return self.storages(pid)
        except Exception as error:
            self.failure = error
            raise

    def load_reduce(self):
        args = self.stack.pop()
        function = self.stack.pop()
        if id(function) not in self.functions:
            raise pickle.UnpicklingError(f"the file calls {function!r}, which weights are not made of. {TRUST}.")
        self.append(function(*args))

    def load_newobj(self):
        args = self.stack.pop()
        cls = self.stack.pop()
        if id(cls) not in self.classes:
            raise pickle.UnpicklingError(f"weights need no pickle instruction that makes a {cls!r}. {TRUST}.")
        self.append(cls.__new__(cls, *args))

    def load_build(self):
        if id(type(self.stack[-2])) in self.classes:
            return super().load_build()
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict:
            kind = type(self.stack[-1]).__name__
            raise pickle.UnpicklingError(f"the file sets the state of a {kind}, which weights have not. {TRUST}.")
        vars(self.stack[-1]).update(state)
        return None

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.NEWOBJ[0]] = load_newobj
