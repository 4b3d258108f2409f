"""The tensor: an array, and every method that torch's programs call on it.

What a method computes stands in tinyrnn.ops; the list of names stands here.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import devices, dtypes, printing, random, tape
from .hooks import RemovableHandle
from .ops import arithmetic, create, elementwise, linear, rows
from .ops import index as indexing
from .ops import reduce as reductions
from .ops import shape as shapes
from .ops.common import Number, cast, check_broadcast, converted, expect_tensor, inplace, number
from .tape import TensorBase, check_writable, run, wrap, write


class Size(tuple):
    """The shape of a tensor: a tuple, printed as torch prints it."""

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    __str__ = __repr__

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return int(np.prod(self, dtype=np.int64))

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return Size(found) if isinstance(key, slice) else found

    def __add__(self, other):
        return Size(tuple(self) + tuple(other))

    def __mul__(self, other):
        return Size(tuple(self) * other)

    __rmul__ = __mul__


def operand(function: Callable, kinds: Any = (TensorBase, *Number)) -> Any:
    """`function` as an operator: for other operands than tensors and numbers, Python asks the other side."""

    def operate(self, other):
        return function(self, other) if isinstance(other, kinds) else NotImplemented

    operate.__name__ = function.__name__
    return operate


class Tensor(TensorBase):
    """An n-dimensional array of one type, and the record of how it was computed.

    `Tensor(2, 3)` is an uninitialised tensor of that shape and the default type, `Tensor([1, 2])` holds these numbers,
    as in torch; `tensor` is the constructor to prefer.
    """

    def __init__(self, *args: Any, device: Any = None):
        devices.check(device)
        self.array = getattr(create, create.TYPED[dtypes.get_default_dtype()])(*args).array

    # -------------------------------------------------------------------------------- what it is
    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or its element number `dim`."""
        if dim is None:
            return Size(self.array.shape)
        ndim = self.array.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension specified as {dim} but tensor has no dimensions"
                if ndim == 0
                else f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {dim})"
            )
        return self.array.shape[dim]

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of(self.array.dtype)

    @property
    def device(self) -> devices.device:
        return devices.CPU

    @property
    def ndim(self) -> builtins.int:
        return self.array.ndim

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return self.array.ndim

    def numel(self) -> builtins.int:
        """The number of elements."""
        return self.array.size

    nelement = numel

    @property
    def itemsize(self) -> builtins.int:
        return self.array.itemsize

    element_size = lambda self: self.array.itemsize
    nbytes = property(lambda self: self.array.nbytes)
    is_cuda = property(lambda self: False)
    is_sparse = property(lambda self: False)
    is_quantized = property(lambda self: False)
    layout = property(lambda self: "torch.strided")

    def stride(self, dim: builtins.int | None = None) -> Any:
        """How many elements apart neighbours are in memory, along each dimension or along `dim`."""
        a = self.array
        strides = [s // a.itemsize for s in a.strides]
        for i in reversed(range(a.ndim)):  # NumPy's stride is arbitrary where there is nothing to step over
            if a.size == 0 or a.shape[i] == 1:
                strides[i] = strides[i + 1] * max(a.shape[i + 1], 1) if i + 1 < a.ndim else 1
        return tuple(strides) if dim is None else strides[shapes.axis(dim, a.ndim)]

    def is_contiguous(self, memory_format: Any = None) -> builtins.bool:
        """Whether the elements lie in order in memory, without gaps."""
        return self.array.flags.c_contiguous

    def is_floating_point(self) -> builtins.bool:
        return self.array.dtype.kind == "f"

    def is_complex(self) -> builtins.bool:
        return False

    def data_ptr(self) -> builtins.int:
        """The address of the first element."""
        return self.array.ctypes.data

    def get_device(self) -> builtins.int:
        return -1

    # -------------------------------------------------------------------------------- its part in the tape
    @property
    def grad_fn(self) -> tape.Node | None:
        return self.node

    @property
    def is_leaf(self) -> builtins.bool:
        return self.node is None

    @property
    def retains_grad(self) -> builtins.bool:
        return self._retains

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Collect a gradient in .grad from now on, or no more; for leaves of a floating-point type."""
        if not isinstance(requires_grad, builtins.bool):
            kind = requires_grad.__class__.__name__
            raise TypeError(f"requires_grad_(): argument 'requires_grad' (position 1) must be bool, not {kind}")
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf, too."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        tape.retain(self)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook` with the gradient of this tensor when it is known; what it returns, if not None, takes its
        place.
        """
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        tape.refresh(self)
        node = self._node
        if node is None:
            if self._hooks is None:
                self._hooks = {}
            hooks = self._hooks
        else:
            if node.hooks is None:
                node.hooks = {}
            hooks = node.hooks.setdefault(self._slot, {})
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool | None = None,
        create_graph: builtins.bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor (a scalar, unless `gradient` is given) to the .grad of all leaves it was
        computed from.
        """
        from . import autograd

        if isinstance(gradient, (list, tuple)) and len(gradient) == 1:
            (gradient,) = gradient
        autograd.backward((self,), None if gradient is None else (gradient,), retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """A tensor that shares the memory, and that nothing was recorded of."""
        other = wrap(self.array)
        other._version = self.version
        return other

    def detach_(self) -> Tensor:
        """Forget how this tensor was computed."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._node, self._slot, self._requires = None, 0, False
        return self

    @property
    def data(self) -> Tensor:
        return wrap(self.array)

    @data.setter
    def data(self, other: Tensor) -> None:
        if not isinstance(other, TensorBase):
            raise TypeError(f"Variable data has to be a tensor, but got {other.__class__.__name__}")
        if self.requires_grad and other.array.dtype.kind != "f":
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        self.array = other.array

    # -------------------------------------------------------------------------------- to Python and NumPy
    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        return self.array.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        return self.array.tolist()

    def numpy(self, *, force: builtins.bool = False) -> np.ndarray:
        """The array itself: tensor and array share memory."""
        if self.requires_grad and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.array

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> np.ndarray:
        array = self.numpy()
        return np.array(array, dtype, copy=copy) if dtype is not None or copy else array

    __array_priority__ = 1000  # tensor + array is NumPy's business, and array + tensor is refused, as in torch

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: builtins.bool = False) -> Tensor:
        """What NumPy's functions make of a tensor is a tensor; truth values become uint8, as in torch."""
        return wrap(array.astype(np.uint8) if array.dtype == np.bool_ else array)

    def __bool__(self) -> builtins.bool:
        if self.array.size != 1:
            raise RuntimeError(
                "Boolean value of Tensor with no values is ambiguous"
                if self.array.size == 0
                else "Boolean value of Tensor with more than one value is ambiguous"
            )
        return bool(self.array.item())

    def _number(self) -> Any:
        if self.array.size != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, this one has {self.array.size}"
            )
        return self.array.item()

    def __float__(self) -> builtins.float:
        return builtins.float(self._number())

    def __int__(self) -> builtins.int:
        return builtins.int(self._number())

    def __index__(self) -> builtins.int:
        if self.array.dtype.kind not in "iub" or self.array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.array.item())

    def __len__(self) -> builtins.int:
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(shapes.unbind(self))

    def __reversed__(self) -> Tensor:
        return self.flip(0) if self.array.ndim else self

    def __contains__(self, element: Any) -> builtins.bool:
        if isinstance(element, (Tensor, *Number)):
            return bool(np.any(self.array == getattr(element, "array", element)))
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        return printing.tensor_repr(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        if self.array.ndim == 0 and type(self) is Tensor:
            return self.array.item().__format__(spec)
        return object.__format__(self, spec)

    def __hash__(self) -> builtins.int:
        return id(self)

    def __reduce_ex__(self, protocol):  # the record is left behind: what comes out is a leaf
        return rebuild, (
            type(self),
            self.array,
            self.requires_grad,
            {k: v for k, v in self.__dict__.items() if k not in STATE},
        )

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment.  If "
                "you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage"
            )
        if id(self) not in memo:
            other = memo[id(self)] = rebuild(type(self), self.array.copy(order="K"), self._requires, {})
            if self.grad is not None:
                other.grad = wrap(self.grad.array.copy())
        return memo[id(self)]

    # -------------------------------------------------------------------------------- types and devices
    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """The tensor with another dtype or on another device: to(dtype), to(device, dtype), to(other); itself if
        nothing changes.
        """
        dtype, device, copy = kwargs.pop("dtype", None), kwargs.pop("device", None), kwargs.pop("copy", False)
        kwargs.pop("non_blocking", None), kwargs.pop("memory_format", None)
        if kwargs:
            raise TypeError(f"to() received an invalid keyword argument {next(iter(kwargs))!r}")
        for x in args:
            if isinstance(x, dtypes.dtype):
                dtype = x
            elif isinstance(x, TensorBase):
                dtype = dtypes.of(x.array.dtype)
            elif isinstance(x, (str, devices.device)) or type(x) is int:
                device = x
            elif x is not None and not isinstance(x, bool):
                raise TypeError(
                    f"to() received an invalid combination of arguments - got ({type(x).__name__}): "
                    "expected a dtype, a device or "
                    "a tensor"
                )
        devices.check(device)
        if dtype is None or dtype.numpy == self.array.dtype:
            return self.clone() if copy else self
        return cast(self, dtype.numpy)

    def type(self, dtype: Any = None, non_blocking: builtins.bool = False) -> Any:
        """The name of the type ('torch.FloatTensor'), or the tensor with another type."""
        if dtype is None:
            return f"torch.{create.TYPED[self.dtype]}"
        if not isinstance(dtype, dtypes.dtype):
            name = dtype if isinstance(dtype, str) else f"torch.{dtype.__name__}"
            found = {f"torch.{n}": d for d, n in create.TYPED.items()}
            if name not in found:
                raise ValueError(f"invalid type: '{dtype}'")
            dtype = found[name]
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """The tensor with the type of another."""
        return self.to(expect_tensor(other, "type_as", "other").dtype)

    float = lambda self: self.to(dtypes.float32)
    double = lambda self: self.to(dtypes.float64)
    long = lambda self: self.to(dtypes.int64)
    int = lambda self: self.to(dtypes.int32)
    short = lambda self: self.to(dtypes.int16)
    char = lambda self: self.to(dtypes.int8)
    byte = lambda self: self.to(dtypes.uint8)
    bool = lambda self: self.to(dtypes.bool)

    def cpu(self) -> Tensor:
        return self

    def cuda(self, device: Any = None, non_blocking: builtins.bool = False) -> Tensor:
        return self.to("cuda" if device is None else device)

    def pin_memory(self) -> Tensor:
        return self

    # -------------------------------------------------------------------------------- arithmetic and comparisons
    add, sub, mul, div = arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div
    subtract, multiply, divide, true_divide = sub, mul, div, div
    pow, floor_divide, remainder = arithmetic.pow, arithmetic.floor_divide, arithmetic.remainder
    eq, ne, lt, le, gt, ge = arithmetic.eq, arithmetic.ne, arithmetic.lt, arithmetic.le, arithmetic.gt, arithmetic.ge
    less, less_equal, greater, greater_equal = lt, le, gt, ge
    __add__, __sub__, __mul__, __truediv__ = map(operand, (add, sub, mul, div))
    __radd__, __rsub__, __rmul__ = operand(add), operand(arithmetic.rsub), operand(mul)
    __pow__, __floordiv__, __mod__ = map(operand, (pow, floor_divide, remainder))
    __rpow__, __rfloordiv__, __rmod__ = map(operand, (arithmetic.rpow, arithmetic.rfloordiv, arithmetic.rmod))
    __ne__ = operand(ne)
    __lt__, __le__, __gt__, __ge__ = map(operand, (lt, le, gt, ge))
    neg = negative = __neg__ = arithmetic.neg
    logical_and, logical_or, logical_xor = arithmetic.logical_and, arithmetic.logical_or, arithmetic.logical_xor
    logical_not = arithmetic.logical_not
    bitwise_and, bitwise_or, bitwise_xor = arithmetic.bitwise_and, arithmetic.bitwise_or, arithmetic.bitwise_xor
    __and__, __or__, __xor__ = __rand__, __ror__, __rxor__ = tuple(map(operand, (bitwise_and, bitwise_or, bitwise_xor)))
    bitwise_not = arithmetic.bitwise_not
    isnan, isinf, isfinite = arithmetic.isnan, arithmetic.isinf, arithmetic.isfinite
    equal, isclose, allclose = arithmetic.equal, arithmetic.isclose, arithmetic.allclose
    floor, ceil, round, trunc, sign = (
        arithmetic.floor,
        arithmetic.ceil,
        arithmetic.round,
        arithmetic.trunc,
        arithmetic.sign,
    )
    addcmul, addcdiv, lerp = arithmetic.addcmul, arithmetic.addcdiv, arithmetic.lerp
    addmm, baddbmm = linear.addmm, linear.baddbmm
    matmul = linear.matmul
    __matmul__ = operand(linear.matmul, TensorBase)
    mm, bmm, mv, dot, outer = linear.mm, linear.bmm, linear.mv, linear.dot, linear.outer

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = create.as_tensor(other)
        return arithmetic.eq(self, other) if isinstance(other, (TensorBase, *Number)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return self.reciprocal() * other
        return arithmetic.rdiv(self, other) if isinstance(other, Number) else NotImplemented

    def __pos__(self) -> Tensor:
        if self.array.dtype == np.bool_:
            raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
        return self

    def __invert__(self) -> Tensor:
        if self.array.dtype.kind == "f":
            raise TypeError(
                f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, got {self.dtype}"
            )
        return self.bitwise_not()

    # -------------------------------------------------------------------------------- functions of each element
    exp, expm1, log, log1p = elementwise.exp, elementwise.expm1, elementwise.log, elementwise.log1p
    sqrt, rsqrt, reciprocal, square = elementwise.sqrt, elementwise.rsqrt, elementwise.reciprocal, elementwise.square
    sin, cos, tan = elementwise.sin, elementwise.cos, elementwise.tan
    sinh, cosh, tanh = elementwise.sinh, elementwise.cosh, elementwise.tanh
    sigmoid, erf, relu = elementwise.sigmoid, elementwise.erf, elementwise.relu
    abs = absolute = __abs__ = elementwise.abs
    maximum, minimum = elementwise.maximum, elementwise.minimum
    clamp = clip = elementwise.clamp
    masked_fill = elementwise.masked_fill

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, other elsewhere."""
        return elementwise.where(condition, self, other)

    # -------------------------------------------------------------------------------- reductions
    sum, mean, var, std, norm, logsumexp = (
        reductions.sum,
        reductions.mean,
        reductions.var,
        reductions.std,
        reductions.norm,
        reductions.logsumexp,
    )
    max, min, amax, amin = reductions.max, reductions.min, reductions.amax, reductions.amin
    argmax, argmin, all, any, cumsum = (
        reductions.argmax,
        reductions.argmin,
        reductions.all,
        reductions.any,
        reductions.cumsum,
    )
    softmax, log_softmax = rows.softmax, rows.log_softmax

    # -------------------------------------------------------------------------------- shape
    view, reshape, flatten, unflatten = shapes.view, shapes.reshape, shapes.flatten, shapes.unflatten
    permute, transpose, t, movedim = shapes.permute, shapes.transpose, shapes.t, shapes.movedim
    swapaxes = shapes.swapaxes
    unsqueeze, squeeze, expand, expand_as, repeat = (
        shapes.unsqueeze,
        shapes.squeeze,
        shapes.expand,
        shapes.expand_as,
        shapes.repeat,
    )
    chunk, unbind, clone, contiguous = shapes.chunk, shapes.unbind, shapes.clone, shapes.contiguous
    flip, roll, tril, triu, repeat_interleave = (
        shapes.flip,
        shapes.roll,
        shapes.tril,
        shapes.triu,
        shapes.repeat_interleave,
    )

    def split(self, split_size: Any, dim: builtins.int = 0) -> tuple:
        """Consecutive parts along `dim`, as views: see tinyrnn.split."""
        return shapes.split(self, split_size, dim)

    def view_as(self, other: Tensor) -> Tensor:
        """The same memory in the shape of another tensor."""
        return self.view(other.array.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """The same elements in the shape of another tensor."""
        return self.reshape(other.array.shape)

    @property
    def T(self) -> Tensor:
        return self.permute(*reversed(range(self.array.ndim)))

    @property
    def mT(self) -> Tensor:
        if self.array.ndim == 1:
            raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.")
        return self.transpose(-2, -1) if self.array.ndim else self.view(())

    # -------------------------------------------------------------------------------- indexing
    __getitem__, __setitem__ = indexing.getitem, indexing.setitem
    narrow, select, index_select, masked_select = (
        indexing.narrow,
        indexing.select,
        indexing.index_select,
        indexing.masked_select,
    )
    gather, scatter, scatter_add, nonzero = indexing.gather, indexing.scatter, indexing.scatter_add, indexing.nonzero
    sort, argsort, topk, unique = indexing.sort, indexing.argsort, indexing.topk, indexing.unique

    # -------------------------------------------------------------------------------- written into this tensor
    add_ = __iadd__ = inplace(arithmetic.add)
    sub_ = __isub__ = inplace(arithmetic.sub)
    mul_ = __imul__ = inplace(arithmetic.mul)
    div_ = __itruediv__ = inplace(arithmetic.div)
    pow_ = __ipow__ = inplace(arithmetic.pow)
    remainder_ = __imod__ = inplace(arithmetic.remainder)
    floor_divide_ = __ifloordiv__ = inplace(arithmetic.floor_divide)
    __iand__, __ior__, __ixor__ = map(inplace, (arithmetic.bitwise_and, arithmetic.bitwise_or, arithmetic.bitwise_xor))
    neg_, sign_, floor_, ceil_, round_, trunc_ = map(
        inplace,
        (arithmetic.neg, arithmetic.sign, arithmetic.floor, arithmetic.ceil, arithmetic.round, arithmetic.trunc),
    )
    addcmul_, addcdiv_, lerp_, addmm_ = map(
        inplace, (arithmetic.addcmul, arithmetic.addcdiv, arithmetic.lerp, linear.addmm)
    )
    exp_, log_, sqrt_, rsqrt_, sin_, cos_, tanh_, sigmoid_, abs_, square_, reciprocal_ = map(
        inplace,
        (
            elementwise.exp,
            elementwise.log,
            elementwise.sqrt,
            elementwise.rsqrt,
            elementwise.sin,
            elementwise.cos,
            elementwise.tanh,
            elementwise.sigmoid,
            elementwise.abs,
            elementwise.square,
            elementwise.reciprocal,
        ),
    )
    relu_, clamp_, masked_fill_ = map(inplace, (elementwise.relu, elementwise.clamp, elementwise.masked_fill))
    clip_ = clamp_
    scatter_, scatter_add_ = map(inplace, (indexing.scatter, indexing.scatter_add))
    tril_, triu_ = map(inplace, (shapes.tril, shapes.triu))

    def fill_(self, value: Any) -> Tensor:
        """Every element becomes `value`, a number or a 0-d tensor."""
        if not isinstance(value, TensorBase):
            return self.copy_(wrap(converted(value, self.array.dtype, "fill_")))
        if value.array.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.array.ndim} dimensions."
            )
        return self.copy_(value)

    def zero_(self) -> Tensor:
        """Every element becomes zero."""
        return self.fill_(0)

    def copy_(self, other: Any, non_blocking: builtins.bool = False) -> Tensor:
        """Every element becomes that of `other` (a tensor or a number), which is broadcast and cast."""
        source = other if isinstance(other, TensorBase) else wrap(np.asarray(number(other, "copy_", "other")))
        here, there = self.array, source.array
        if check_broadcast(here, there) != here.shape:
            raise RuntimeError(
                f"output with shape {list(here.shape)} doesn't match the broadcast shape {list(there.shape)}"
            )
        check_writable(self, source.requires_grad)
        tape.check_apart(here, there)
        if tape.is_grad_enabled() and (self.requires_grad or source.requires_grad):
            source = run(Replaced, (self, source), (here, there))
        return write(self, source)

    def index_fill_(self, dim: builtins.int, index: Tensor, value: Any) -> Tensor:
        """The slices along `dim` that `index` names become `value`, a number or a 0-d tensor."""
        over, ids = shapes.axis(dim, self.array.ndim), expect_tensor(index, "index_fill_", "index").array
        if isinstance(value, TensorBase) and value.array.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.array.ndim} dimension(s)."
            )
        if ids.dtype != np.int64:
            raise IndexError(f"index_fill_(): Expected dtype int64 for index, got {index.dtype}")
        if ids.ndim > 1:
            raise RuntimeError(f"Index has to be a vector/scalar, got shape {list(ids.shape)}")
        target = self if self.array.ndim else self.view(1)
        target[(*(slice(None),) * over, index)] = value
        return self

    def index_add_(self, dim: builtins.int, index: Tensor, source: Tensor, *, alpha: builtins.float = 1) -> Tensor:
        """The slices of `source`, times `alpha`, are added to those along `dim` that `index` names."""
        shape, over = self.array.shape, shapes.axis(dim, self.array.ndim)
        ids, added = (
            expect_tensor(index, "index_add_", "index").array,
            expect_tensor(source, "index_add_", "source").array,
        )
        if ids.ndim > 1:
            raise IndexError(f"index_add_(): Index is supposed to be a vector, but got size {list(ids.shape)}")
        indexing.integers(index, "index_add_")
        if self.array.dtype != added.dtype:
            raise RuntimeError(
                f"index_add_(): self ({self.dtype}) and source ({source.dtype}) must have the same scalar type"
            )
        if (*shape[:over], *shape[over + 1 :]) != (*added.shape[:over], *added.shape[over + 1 :]):
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
                f"{list(shape)} source.shape = {list(added.shape)}"
            )
        n = shape[over] if shape else 1
        if wrong := [i for i in ids.reshape(-1).tolist() if not 0 <= i < n]:
            kind = RuntimeError if len(shape) > 1 else IndexError
            raise kind(f"index {wrong[0]} is out of bounds for dimension {over} with size {n} (index_add_())")
        if ids.size != (added.shape[over] if added.ndim else 1):
            raise RuntimeError(
                f"index_add_(): Number of indices ({ids.size}) should be equal to source.size(dim): "
                f"({list(added.shape)}), for dim: {over}"
            )
        places = index.reshape([-1 if d == over else 1 for d in range(max(len(shape), 1))])
        places = places.expand(added.shape) if added.ndim else places.reshape(())
        return self.scatter_add_(over, places, source if alpha == 1 else source * alpha)

    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """A copy with the first elements of `source` where `mask` holds, in order."""
        truth, found = expect_tensor(mask, "masked_scatter", "mask").array, source.array
        if truth.dtype != np.bool_:
            raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
        if found.dtype != self.array.dtype:
            raise RuntimeError(
                f"masked_scatter: expected self and source to have same dtypes but got {self.dtype} and {source.dtype}"
            )
        out = self.expand(check_broadcast(self.array, truth)).clone()
        where = np.broadcast_to(truth, out.array.shape)
        count = np.count_nonzero(where)
        if count > found.size:
            raise RuntimeError(f"Number of elements of source < number of ones in mask ({found.size} < {count})")
        out[wrap(where)] = source.reshape(-1)[:count]
        return out

    def uniform_(
        self,
        low: builtins.float = 0.0,
        high: builtins.float = 1.0,
        *,
        generator: random.Generator | None = None,
        **bounds: builtins.float,
    ) -> Tensor:
        """Uniform numbers in [low, high); torch calls the bounds `from` and `to`."""
        low, high = bounds.pop("from", low), bounds.pop("to", high)
        return self._drawn(lambda g: g.uniform(self.array.shape, low, high, self.array.dtype.type), generator)

    def normal_(
        self, mean: builtins.float = 0.0, std: builtins.float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Normal numbers."""
        return self._drawn(lambda g: g.normal(self.array.shape, mean, std, self.array.dtype.type), generator)

    def exponential_(self, lambd: builtins.float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
        """Exponentially distributed numbers with rate `lambd`."""
        return self._drawn(lambda g: g.exponential(self.array.shape, lambd, self.array.dtype.type), generator)

    def bernoulli_(self, p: Any = 0.5, *, generator: random.Generator | None = None) -> Tensor:
        """1 with probability `p` (a number, or a tensor of probabilities), else 0."""
        if isinstance(p, TensorBase):
            array = shapes.expand(p, self.array.shape).array
            return self._drawn(lambda g: g.bernoulli_from(array), generator)
        return self._drawn(lambda g: g.bernoulli(self.array.shape, p), generator)

    def random_(self, *bounds: builtins.int, generator: random.Generator | None = None) -> Tensor:
        """Integers: random_(), random_(to) or random_(from, to)."""
        if len(bounds) == 1:
            bounds = (0, *bounds)
        return self._drawn(lambda g: g.random_(self.array.shape, self.array.dtype.type, *bounds), generator)

    def _drawn(self, draw: Callable, generator: random.Generator | None) -> Tensor:
        check_writable(self, False)
        return self.copy_(
            wrap(np.asarray(draw(generator or random.default_generator)).astype(self.array.dtype, copy=False))
        )

    def unsqueeze_(self, dim: builtins.int) -> Tensor:
        """A dimension of size one more, in this tensor itself."""
        return self._reshaped(shapes.unsqueeze, dim)

    def squeeze_(self, dim: Any = None) -> Tensor:
        """Without its dimensions of size one, in this tensor itself."""
        return self._reshaped(shapes.squeeze, dim)

    def t_(self) -> Tensor:
        """Transposed, in this tensor itself."""
        return self._reshaped(shapes.t)

    def _reshaped(self, shape: Callable, *args: Any) -> Tensor:
        tape.check_recordable(self, False)
        with tape.set_grad_enabled(self.node is not None):
            view = shape(self, *args)
        if view._node is not None:
            tape.attach(self, view._node, view._slot)
        self.array = view.array
        self.version[0] += 1
        return self

    # -------------------------------------------------------------------------------- new tensors like this one
    def new_tensor(
        self, data: Any, *, dtype: dtypes.dtype | None = None, requires_grad: builtins.bool = False, device: Any = None
    ) -> Tensor:
        """A tensor from data, of this tensor's type."""
        return create.finish(create.from_data(data, dtype or self.dtype), requires_grad, device)

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Zeros of another shape, of this tensor's type."""
        return create.zeros(*size, **{"dtype": self.dtype, **options})

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Ones of another shape, of this tensor's type."""
        return create.ones(*size, **{"dtype": self.dtype, **options})

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """An uninitialised tensor of another shape, of this tensor's type."""
        return create.empty(*size, **{"dtype": self.dtype, **options})

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """`fill_value` in another shape, of this tensor's type."""
        return create.full(size, fill_value, **{"dtype": self.dtype, **options})

    def new(self, *args: Any) -> Tensor:
        """A tensor of this tensor's type, from sizes or data."""
        return getattr(create, create.TYPED[self.dtype])(*args)


class Replaced(tape.Op):
    """Other content for a tensor: the gradient is that content's, and zero for what was there."""

    @staticmethod
    def forward(a, b):
        return np.array(np.broadcast_to(b, a.shape), a.dtype), ()

    @staticmethod
    def backward(saved, needs, g):
        return np.zeros_like(g) if needs[0] else None, g


STATE = {"array", "grad", "_grad", "_requires", "_node", "_slot", "_view", "_version", "_hooks", "_retains"}


def is_tensor(obj: Any) -> builtins.bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> builtins.bool:
    """Whether the elements are floating-point numbers."""
    return expect_tensor(input, "is_floating_point").is_floating_point()


def numel(input: Tensor) -> builtins.int:
    """The number of elements."""
    return expect_tensor(input, "numel").array.size


def rebuild(cls: type, array: np.ndarray, requires_grad: bool, attributes: dict) -> Any:
    """A tensor from its pickled parts."""
    tensor: Any = object.__new__(cls)
    tensor.array = array
    tensor._requires = requires_grad
    tensor.__dict__.update(attributes)
    return tensor


tape.results_are(Tensor)
