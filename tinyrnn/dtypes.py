"""The types of tensor elements, and torch's rules for which type a mixture of them becomes."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np


class Shown(type):
    """The metaclass of classes that print as torch's do: `<class 'torch.Tensor'>`."""

    _shown: str

    def __repr__(cls) -> str:
        return f"<class '{cls._shown}'>" if "_shown" in vars(cls) else super().__repr__()


class dtype(metaclass=Shown):
    """The type of a tensor's elements, as torch names it.  `numpy` is NumPy's name for the same type.

    Types that no tensor can have (float16, complex64 ...) are names: they can be passed about, compared and printed,
    and where one is to be used, asking for its `numpy` raises NotImplementedError.
    """

    _shown = "torch.dtype"
    __slots__ = ("name", "numpy", "is_floating_point", "is_complex", "is_signed", "itemsize")
    numpy: np.dtype

    def __init__(self, name: str, numpy: type[np.generic] | None, kind: str = "", itemsize: int = 0):
        self.name = name
        if numpy is not None:
            self.numpy = np.dtype(numpy)
            kind, itemsize = self.numpy.kind, self.numpy.itemsize
        self.is_floating_point = kind == "f"
        self.is_complex = kind == "c"
        self.is_signed = kind in "ifc"
        self.itemsize = itemsize

    def __getattr__(self, name: str) -> Any:
        if name != "numpy":
            raise AttributeError(f"'torch.dtype' object has no attribute '{name}'", name=name, obj=self)
        use = "float32 or float64" if self.is_floating_point or self.is_complex else "int64, int32 or uint8"
        raise NotImplementedError(f"{self}: tinyrnn has no tensors of this type; use {use}")

    def to_complex(self) -> dtype:
        """The complex type whose parts are of this type."""
        return _PARTS[self]

    def to_real(self) -> dtype:
        """The type of a complex number's parts; of a real number, its own."""
        return {whole: part for part, whole in _PARTS.items() if part is not bfloat16}.get(self, self)

    def __repr__(self) -> str:
        return f"torch.{self.name}"  # as torch prints it, so that logs agree

    def __reduce__(self):
        return _by_name, (self.name,)


uint8 = dtype("uint8", np.uint8)
int8 = dtype("int8", np.int8)
int16 = short = dtype("int16", np.int16)
int32 = dtype("int32", np.int32)
int64 = long = dtype("int64", np.int64)
float32 = dtype("float32", np.float32)
float64 = double = dtype("float64", np.float64)
bool = dtype("bool", np.bool_)

float16 = half = dtype("float16", None, "f", 2)
bfloat16 = dtype("bfloat16", None, "f", 2)
complex32 = chalf = dtype("complex32", None, "c", 4)
complex64 = cfloat = dtype("complex64", None, "c", 8)
complex128 = cdouble = dtype("complex128", None, "c", 16)
uint16, uint32, uint64 = dtype("uint16", None, "u", 2), dtype("uint32", None, "u", 4), dtype("uint64", None, "u", 8)

_PARTS = {float16: complex32, bfloat16: complex64, float32: complex64, float64: complex128}
ALL = (uint8, int8, int16, int32, int64, float32, float64, bool)
NAMES = (float16, bfloat16, complex32, complex64, complex128, uint16, uint32, uint64)  # no tensor has these types
_names = {d.name: d for d in (*ALL, *NAMES)}
_of_numpy = {d.numpy: d for d in ALL}
_words = dict(zip(_of_numpy, ("Byte", "Char", "Short", "Int", "Long", "Float", "Double", "Bool"), strict=True))
_default = float32
PYTHON: dict[Any, dtype] = {builtins.float: float64, builtins.int: int64, builtins.bool: bool}  # torch takes them too


def _by_name(name: str) -> dtype:
    return _names[name]


def of(numpy: np.dtype) -> dtype:
    """The dtype of arrays of NumPy's type `numpy`."""
    try:
        return _of_numpy[numpy]
    except KeyError:
        supported = ", ".join(d.name for d in ALL)
        raise TypeError(
            f"no tensor can hold elements of NumPy's type {numpy}; the supported types are: {supported}"
        ) from None


def word(numpy: np.dtype) -> str:
    """How torch's messages call the elements of a type: Float, Double, Long ..."""
    return _words[numpy]


def get_default_dtype() -> dtype:
    """The type that floating-point tensors get when none is named: float32 unless set otherwise."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Make `d` (float32 or float64) the type of floating-point tensors for which none is named."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype(): only floating-point types are supported as the default type, got {d!r}")
    _of_numpy[d.numpy]  # an error, if there are no tensors of that type
    _default = d


_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2}


def promote(*operands: Any) -> np.dtype:
    """NumPy's type for the result of combining arrays and Python numbers, by torch's rules.

    The highest category present (bool < integer < floating point) decides.  Within it, arrays with
    dimensions outrank 0-d arrays, which outrank Python numbers; Python numbers stand for the default
    type of their category.
    """
    arrays: list[np.dtype] = []
    scalars: list[np.dtype] = []
    numbers: list[np.dtype] = []
    for x in operands:
        if isinstance(x, np.ndarray):
            (arrays if x.ndim else scalars).append(x.dtype)
        elif isinstance(x, (builtins.bool, np.bool_)):
            numbers.append(bool.numpy)
        elif isinstance(x, (int, np.integer)):
            numbers.append(int64.numpy)
        elif isinstance(x, (float, np.floating)):
            numbers.append(_default.numpy)
        elif hasattr(type(x), "__cuda_array_interface__"):
            (arrays if x.ndim else scalars).append(x.dtype)
        else:
            raise TypeError(f"expected a tensor or a number, got {type(x).__name__}")
    best: np.dtype | None = None
    for group in (arrays, scalars, numbers):
        if not group:
            continue
        here = group[0]
        for other in group[1:]:
            here = wider(here, other)
        if best is None or _KIND_ORDER[here.kind] > _KIND_ORDER[best.kind]:
            best = here
    assert best is not None
    return best


def wider(a: np.dtype, b: np.dtype) -> np.dtype:
    """Two types of one rank: the wider; an integer beside a float leaves the float as it is."""
    if a == b:
        return a
    order_a, order_b = _KIND_ORDER[a.kind], _KIND_ORDER[b.kind]
    if order_a == order_b:
        return np.promote_types(a, b)
    return a if order_a > order_b else b


def _category(d: dtype) -> int:
    """bool, integer, floating point, complex: torch lets no result go to a lower one."""
    return 3 if d.is_complex else 2 if d.is_floating_point else int(d is not bool)


def can_cast(from_: dtype, to: dtype) -> builtins.bool:
    """Whether a result of type `from_` may be written into a tensor of type `to`: not to a lower category."""
    return _category(from_) <= _category(to)


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The type of `tensor1 + tensor2`, for tensors and numbers."""
    return of(promote(*(getattr(x, "array", x) for x in (tensor1, tensor2))))


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type of the rules above that holds both."""
    for d in (type1, type2):
        if not isinstance(d, dtype):
            raise TypeError(f"promote_types(): the arguments must be torch.dtype, not {type(d).__name__}")
    return type1 if type1 is type2 else of(wider(type1.numpy, type2.numpy))


class finfo(metaclass=Shown):
    """The limits of a floating-point type (of the parts, for a complex one); the default type, if none is named.

    bits; eps, the distance from 1 to the next larger number; max, min; tiny = smallest_normal; resolution.
    Raises TypeError for other types.
    """

    _shown = "torch.finfo"
    FORMATS = {float16: (10, 15, 3), bfloat16: (7, 127, 2), float32: (23, 127, 6), float64: (52, 1023, 15)}

    def __init__(self, type: dtype | None = None):
        d = _default if type is None else PYTHON.get(type, type)
        d = d.to_real() if isinstance(d, dtype) else None
        if d not in self.FORMATS:
            raise TypeError(f"torch.finfo() requires a floating point input type, got {type!r}: iinfo is for integers")
        fraction, exponent, digits = self.FORMATS[d]
        self.dtype, self.bits = d.name, 8 * d.itemsize
        self.eps = 2.0**-fraction
        self.max = (2 - self.eps) * 2.0**exponent
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - exponent)
        self.resolution = float(f"1e-{digits}")

    def __eq__(self, other: object) -> builtins.bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in shown)}, dtype={self.dtype})"


class iinfo(metaclass=Shown):
    """The limits of an integer type: bits, max, min.  Raises TypeError for other types."""

    _shown = "torch.iinfo"

    def __init__(self, type: Any):
        type = int64 if type is builtins.int else type
        if not isinstance(type, dtype) or _category(type) > 1:
            raise TypeError(f"torch.iinfo() requires an integer input type, got {type!r}: finfo is for floating point")
        if type is bool:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        self.dtype, self.bits = type.name, 8 * type.itemsize
        self.max = 2 ** (self.bits - type.is_signed) - 1
        self.min = -self.max - 1 if type.is_signed else 0

    def __eq__(self, other: object) -> builtins.bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


class layout(metaclass=Shown):
    """How a tensor lies in memory: there is torch.strided only."""

    _shown = "torch.layout"

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:  # there is one of each
        return self.name


class memory_format(layout):
    """In which order a new tensor's elements lie: as the old one's, or row by row."""

    _shown = "torch.memory_format"


strided = layout("strided")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
