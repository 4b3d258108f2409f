"""The tensor: an array, and every method that torch's programs call on it.

What a method computes stands in tinyrnn.ops; the list of names stands here.
"""

from __future__ import annotations

import builtins
import copy
import functools
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import devices, dlpack, dtypes, printing, random, tape
from .hooks import RemovableHandle
from .kernels import Lazy
from .ops import arithmetic, binary, create, draw, elementwise, join, linear, methods, rows
from .ops import index as indexing
from .ops import scatter as scattering
from .ops import shape as shapes
from .ops.common import NO_BOOL, Number, cast, check_broadcast, converted, expect_tensor, number
from .strides import address, contiguous, copyto, frames, memory_of, memory_order, window
from .switches import warn_once
from .tape import TensorBase, check_writable, run, wrap, write

autograd: Any = Lazy("tinyrnn.autograd")  # which is built on tensors


class Size(tuple, metaclass=dtypes.Shown):
    """The shape of a tensor: a tuple of ints, printed as torch prints it."""

    _shown = "torch.Size"

    def __new__(cls, sizes: Any = ()) -> Size:
        sizes = tuple(sizes)
        for i, n in enumerate(sizes):
            if not hasattr(n, "__index__"):
                kind = n.__class__.__name__
                raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{kind}')")
        return super().__new__(cls, map(operator.index, sizes))

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    __str__ = __repr__

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return int(np.prod(self, dtype=np.int64))

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return as_size(found) if isinstance(key, slice) else found

    def __add__(self, other):
        return Size(tuple(self) + tuple(other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other):
        return Size(tuple(other) + tuple(self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, other):
        return Size(tuple(self) * other)

    __rmul__ = __mul__


as_size = functools.partial(tuple.__new__, Size)  # for what NumPy gives: there is nothing to check


def operand(function: Callable, kinds: Any = (TensorBase, *Number)) -> Any:
    """`function` as an operator: for other operands than tensors and numbers, Python asks the other side."""

    def operate(self, other):
        return function(self, other) if isinstance(other, kinds) else NotImplemented

    operate.__name__ = function.__name__
    return operate


def converter(dtype: dtypes.dtype) -> Callable:
    """The method that converts to a type."""

    def convert(self, memory_format: Any = None):
        return cast(self, dtype.numpy) if memory_format is None else self.to(dtype, memory_format=memory_format)

    convert.__name__, convert.__doc__ = dtype.name, f"The elements as {dtype.name}; the tensor itself if they are."
    return convert


class Tensor(TensorBase, metaclass=dtypes.Shown):
    """An n-dimensional array of one type, and the record of how it was computed.

    `Tensor(2, 3)` is an uninitialised tensor of that shape and the default type, `Tensor([1, 2])` holds these numbers,
    as in torch; `tensor` is the constructor to prefer.
    """

    _shown = "torch.Tensor"

    def __init__(self, *args: Any, device: Any = None):
        devices.check(device)
        if len(args) == 1 and isinstance(args[0], TensorBase):
            self.array, self._writes = args[0].array, args[0].version
            return
        made = getattr(create, create.TYPED[dtypes.get_default_dtype()])(*args).array
        self.array = devices.put(made, device or devices.default.device)

    # -------------------------------------------------------------------------------- what it is
    @property
    def shape(self) -> Size:
        return as_size(self.array.shape)

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or its element number `dim`."""
        if dim is None:
            return as_size(self.array.shape)
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
        return devices.of(self.array)

    @property
    def ndim(self) -> builtins.int:
        return self.array.ndim

    def dim(self) -> builtins.int:
        """The number of dimensions."""
        return self.array.ndim

    ndimension = dim

    def numel(self) -> builtins.int:
        """The number of elements."""
        return self.array.size

    nelement = numel

    @property
    def itemsize(self) -> builtins.int:
        return self.array.itemsize

    element_size = lambda self: self.array.itemsize
    nbytes = property(lambda self: self.array.nbytes)
    is_cpu = property(lambda self: type(self.array) is np.ndarray)
    is_cuda = property(lambda self: type(self.array) is not np.ndarray)
    is_xpu = is_mps = is_meta = is_mkldnn = property(lambda self: False)
    is_sparse = is_sparse_csr = is_quantized = is_nested = property(lambda self: False)
    layout = property(lambda self: dtypes.strided)

    def stride(self, dim: builtins.int | None = None) -> Any:
        """How many elements apart neighbours are in memory, along each dimension or along `dim`."""
        a = self.array
        strides = [s // a.itemsize for s in a.strides]
        for i in reversed(range(a.ndim)):  # NumPy does not step where torch would, along a new axis of size one
            if strides[i] == 0 and (a.size == 0 or a.shape[i] == 1):
                strides[i] = strides[i + 1] * max(a.shape[i + 1], 1) if i + 1 < a.ndim else 1
        return tuple(strides) if dim is None else strides[shapes.axis(dim, a.ndim)]

    def is_contiguous(self, memory_format: Any = None) -> builtins.bool:
        """Whether the elements lie in order in memory, without gaps."""
        return self.array.flags.c_contiguous

    def is_floating_point(self) -> builtins.bool:
        return self.array.dtype.kind == "f"

    def is_complex(self) -> builtins.bool:
        return False

    is_conj = is_neg = is_distributed = is_complex

    def is_shared(self) -> builtins.bool:
        """Whether other processes can have this memory: see share_memory_."""
        sharing = sys.modules.get("tinyrnn.multiprocessing")
        return sharing is not None and sharing.is_shared(self)

    def share_memory_(self) -> Tensor:
        """Put the tensor, and all that share its memory, where other processes can have it too: processes that are
        forked from now on, or that it is sent to (see tinyrnn.multiprocessing).  Raises NotImplementedError on a GPU.
        """
        from .multiprocessing import share

        share([self])
        return self

    def is_pinned(self, device: Any = None) -> builtins.bool:
        return False

    def is_signed(self) -> builtins.bool:
        """Whether the type has negative numbers."""
        return self.array.dtype.kind in "fi"

    def is_nonzero(self) -> builtins.bool:
        """Whether the only element is not zero."""
        return bool(self)

    def is_same_size(self, other: Tensor) -> builtins.bool:
        """Whether the shapes are equal."""
        return self.array.shape == expect_tensor(other, "is_same_size", "other").array.shape

    def is_set_to(self, tensor: Tensor) -> builtins.bool:
        """Whether both are the same elements of the same memory, in the same order."""
        here, there = self.array, expect_tensor(tensor, "is_set_to", "tensor").array
        same = address(here) == address(there) and here.dtype == there.dtype and here.shape == there.shape
        return same and self.stride() == tensor.stride()

    def storage_offset(self) -> builtins.int:
        """How many elements after the first of the tensor that this is a view of it begins."""
        if self._view is None:
            return 0
        return (address(self.array) - address(self._view.base.array)) // self.array.itemsize

    def data_ptr(self) -> builtins.int:
        """The address of the first element."""
        return address(self.array)

    def get_device(self) -> builtins.int:
        """The number of the GPU that the tensor is on; -1 for the CPU."""
        return -1 if self.is_cpu else 0

    # -------------------------------------------------------------------------------- its part in the tape
    @property
    def grad_fn(self) -> tape.Node | None:
        return tape.face(self.node, self._slot)

    @property
    def is_leaf(self) -> builtins.bool:
        return self.node is None

    @property
    def output_nr(self) -> builtins.int:
        """Which of its call's results this is."""
        return self._slot

    @property
    def retains_grad(self) -> builtins.bool:
        return self._retains

    @property
    def volatile(self) -> builtins.bool:
        """torch's old word for no_grad: always False."""
        warnings.warn("volatile was removed (Variable.volatile is always False)", stacklevel=2)
        return False

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
            tape.leaf_hooks()
            if self._hooks is None:
                self._hooks = {}
            hooks = self._hooks
        else:
            hooks = tape.listeners_of(node).hooks.setdefault(self._slot, {})
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook` with this leaf after a backward has added to its .grad."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self.node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        tape.leaf_hooks()
        if self._later is None:
            self._later = {}
        handle = RemovableHandle(self._later)
        self._later[handle.id] = hook
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
        if gradient is None and inputs is None and not create_graph:  # a training step: straight to the tape
            tape.backward(((self, autograd.start(self, None)),), retain_graph)
            return
        if isinstance(gradient, (list, tuple)) and len(gradient) == 1:
            (gradient,) = gradient
        autograd.backward((self,), None if gradient is None else (gradient,), retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """A tensor that shares the memory, and that nothing was recorded of."""
        other = wrap(self.array)
        other._writes = self.version
        return other

    def detach_(self) -> Tensor:
        """Forget how this tensor was computed."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._edge, self._requires = None, False
        return self

    @property
    def data(self) -> Tensor:
        other = wrap(self.array)
        if self.is_inference():
            other._writes = self._writes
        return other

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
        if type(self.array) is not np.ndarray:
            if force:
                return devices.host(self.array)
            raise TypeError(NO_NUMPY)
        return self.array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What CuPy, Numba and torch need to share the memory of a tensor on a GPU."""
        if self.is_cpu:
            raise AttributeError(
                "Can't get __cuda_array_interface__ on non-CUDA tensor type: torch.FloatTensor If CUDA data is "
                "required use tensor.cuda() to copy tensor to device memory."
            )
        if self.requires_grad:
            raise RuntimeError(
                "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use "
                "var.detach() to get Variable that doesn't require grad."
            )
        return self.array.__cuda_array_interface__

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> np.ndarray:
        array = self.numpy()
        return np.array(array, dtype, copy=copy) if dtype is not None or copy else array

    def __dlpack__(self, **options: Any) -> Any:
        """A capsule that shares the memory with another library."""
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        if self.is_cpu:
            return self.array.__dlpack__(**{k: v for k, v in options.items() if k != "stream"})
        wanted, copy = options.get("dl_device"), options.get("copy")
        if wanted is not None and tuple(wanted) != self.__dlpack_device__():
            if wanted[0] != dlpack.ON_CPU or copy is False:
                raise BufferError(f"a tensor on cuda:0 cannot be shared with DLPack's device {tuple(wanted)}")
            return self.cpu().__dlpack__(**{k: v for k, v in options.items() if k not in ("copy", "dl_device")})
        a = self.array.copy() if copy else self.array
        if options.get("stream") not in (None, 1, -1):
            devices.synchronize()  # the other stream does not wait for ours
        return dlpack.capsule(a, a.address, a.shape, a.strides, a.dtype, dlpack.ON_CUDA)

    def __dlpack_device__(self) -> tuple:
        return self.array.__dlpack_device__() if self.is_cpu else (dlpack.ON_CUDA, 0)

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
        create.tell_of_number(self)
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
        return iter(join.unbind(self))

    def __reversed__(self) -> Tensor:
        return self.flip(0) if self.array.ndim else self

    def __contains__(self, element: Any) -> builtins.bool:
        if isinstance(element, (Tensor, *Number)):
            return bool(arithmetic.eq(self, element).any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        return printing.tensor_repr(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        if self.array.ndim == 0 and type(self) is Tensor:
            return self.array.item().__format__(spec)
        return object.__format__(self, spec)

    __hash__ = object.__hash__  # by identity, which defining __eq__ takes away

    def __reduce_ex__(self, protocol):  # the record is left behind: what comes out is a leaf
        return rebuild, (
            type(self),
            devices.host(self.array),
            self.requires_grad,
            {k: v for k, v in self.__dict__.items() if k not in STATE},
            devices.of(self.array),
        )

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment.  If "
                "you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage"
            )
        if id(self) not in memo:
            other = memo[id(self)] = rebuild(type(self), _copied(self.array, memo), self._requires, {})
            other.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items() if k not in STATE})
            if self.grad is not None:
                other.grad = wrap(_copied(self.grad.array, memo))
        return memo[id(self)]

    # -------------------------------------------------------------------------------- types and devices
    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """The tensor with another dtype or on another device: to(dtype), to(device, dtype), to(other); itself if
        nothing changes.
        """
        first = args[0] if args else None
        if type(first) is dtypes.dtype and len(args) == 1 and not kwargs:  # as most calls are
            return cast(self, first.numpy)
        one = isinstance(first, (dtypes.dtype, builtins.type, TensorBase))  # what stands for both
        names = (("other",) if one else ("device", "dtype")) + ("non_blocking", "copy")
        given = dict(zip(names, args, strict=False))
        if kwargs or len(args) > 1:
            wrong = [n for n in kwargs if n in given or n not in TO or n == "dtype" and one]
            wrong += [n for n in ("non_blocking", "copy") if n in given and not isinstance(given[n], bool)]
            if wrong or len(args) > len(names):
                raise TypeError(
                    f"to() received an invalid combination of arguments - got {wrong or len(args)}: it takes "
                    f"{', '.join(TO)}, or a tensor in place of the first two"
                )
            given |= kwargs
        other, dtype, device = given.get("other"), given.get("dtype"), given.get("device")
        if isinstance(other, TensorBase):
            dtype, device = dtypes.of(other.array.dtype), devices.of(other.array)
        elif other is not None:
            dtype = other
        if dtype is not None and not isinstance(dtype, dtypes.dtype) and dtype not in dtypes.PYTHON:
            raise TypeError(
                f"to() received an invalid combination of arguments - got ({type(dtype).__name__}): expected a dtype, "
                "a device or a tensor"
            )
        copy = given.get("copy", False)
        dtype = dtypes.PYTHON.get(dtype, dtype)
        if device is not None and (device := devices.settled(device)) is not devices.of(self.array):
            moved = run(Moved, (self,), (self.array,), device=device)
            return moved if dtype is None else cast(moved, dtype.numpy)
        if dtype is None or dtype.numpy == self.array.dtype:
            return self.clone() if copy else self
        return cast(self, dtype.numpy)

    def type(self, dtype: Any = None, non_blocking: builtins.bool = False) -> Any:
        """The name of the type ('torch.FloatTensor'), or the tensor with another type."""
        if dtype is None:
            return f"torch.{'' if self.is_cpu else 'cuda.'}{create.TYPED[self.dtype]}"
        if isinstance(dtype, (str, builtins.type)):
            name = dtype if isinstance(dtype, str) else repr(dtype).split("'")[1]
            where = "cuda" if name.startswith("torch.cuda.") else "cpu"
            devices.check(where)
            name = name.replace("torch.cuda.", "torch.")
            if name not in TYPES:
                raise ValueError(f"invalid type: '{name}'")
            return self.to(where, TYPES[name])
        if not isinstance(dtype, dtypes.dtype):
            raise TypeError("dtype must be a type, str, or dtype object")
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """The tensor with the type of another, on its device."""
        return self.to(expect_tensor(other, "type_as", "other"))

    float, double = converter(dtypes.float32), converter(dtypes.float64)
    long, int, short = converter(dtypes.int64), converter(dtypes.int32), converter(dtypes.int16)
    char, byte, bool = converter(dtypes.int8), converter(dtypes.uint8), converter(dtypes.bool)
    half, bfloat16 = converter(dtypes.float16), converter(dtypes.bfloat16)
    cfloat, cdouble = converter(dtypes.complex64), converter(dtypes.complex128)

    def cpu(self, memory_format: Any = None) -> Tensor:
        """The tensor on the CPU: itself, if it is there."""
        return self.to(devices.CPU)

    def cuda(self, device: Any = None, non_blocking: builtins.bool = False, memory_format: Any = None) -> Tensor:
        """The tensor on the GPU: itself, if it is there."""
        device = "cuda" if device is None else device
        if devices.device(device).type != "cuda":
            raise RuntimeError(f"Invalid device, must be cuda device: {device}")
        return self.to(device)

    def pin_memory(self, device: Any = None) -> Tensor:
        """The tensor: memory that the GPU can read by itself is not kept apart here, so that copies wait for it."""
        if not self.is_cpu:
            raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
        return self

    def record_stream(self, stream: Any) -> None:
        """Nothing to remember: all streams are one, in which memory is used again only after what came before."""
        if self.is_cpu:
            raise RuntimeError("record_stream is for tensors on a GPU, and this one is on the CPU")

    def apply_(self, callable: Callable) -> Tensor:
        """Every element becomes what a Python function makes of it, one by one; nothing is recorded."""
        if self.requires_grad:
            raise RuntimeError("Can't call apply_() on Variable that requires grad. Use var.detach().apply_() instead.")
        if not self.is_cpu:
            raise TypeError("apply_ is only implemented on CPU tensors")
        new = [callable(x) for x in self.array.ravel().tolist()]
        return self.copy_(wrap(np.array(new, self.array.dtype).reshape(self.array.shape)))

    def map_(self, tensor: Tensor, callable: Callable) -> Tensor:
        """Every element becomes what a Python function makes of it and of the other tensor's."""
        if not (self.is_cpu and tensor.is_cpu):
            raise TypeError("map_ is only implemented on CPU tensors")
        others = iter(shapes.expand(expect_tensor(tensor, "map_", "tensor"), self.array.shape).array.ravel().tolist())
        if self.requires_grad or tensor.requires_grad:
            raise RuntimeError("Can't call map_() on Variable that requires grad. Use var.detach().map_() instead.")
        return self.apply_(lambda x: callable(x, next(others)))

    def resize_(self, *sizes: Any, memory_format: Any = None) -> Tensor:
        """Another shape for this tensor itself: the numbers that follow its first one in memory, and undefined ones
        after them if need be.
        """
        shape = create.shaped(sizes, {}, "resize_")
        if self.requires_grad:
            raise RuntimeError("cannot resize variables that require grad")
        a, size = self.array, Size(shape).numel()
        if a.shape == shape:
            return self
        memory = memory_of(a) if type(a) is np.ndarray else a
        if memory.dtype == a.dtype and (memory.flags.c_contiguous or memory.flags.f_contiguous):
            flat = (memory if memory.flags.c_contiguous else memory.T).reshape(-1)
            flat = flat[(address(a) - address(memory)) // a.itemsize :]
        else:
            flat = contiguous(a).reshape(-1)
        if size > flat.size:
            flat = np.concatenate([flat, np.empty(size - flat.size, flat.dtype, like=flat)])
        self.array = flat[:size].reshape(shape)
        self.wrote()
        return self

    def set_(self, source: Any = None, storage_offset: Any = 0, size: Any = None, stride: Any = ()) -> Tensor:
        """Make this tensor share the memory of `source`, in its shape, or in `size` steps of `stride` from an offset;
        without a source it becomes empty.
        """
        tape.check_recordable(self, False)
        if source is None:
            self.array, self._writes = np.empty(0, self.array.dtype, like=self.array), None
        elif not isinstance(source, Tensor):
            raise NotImplementedError("set_(): tinyrnn's tensors have no storages to exchange; set_() takes a tensor")
        elif source.array.dtype != self.array.dtype:
            raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}")
        else:
            if size is not None:
                steps = stride or create.empty(size).stride()
                source = shapes.as_strided(source.detach(), size, steps, storage_offset)
            self.array, self._writes = source.array, source.version
        self.wrote()
        return self

    def resize_as_(self, the_template: Tensor, memory_format: Any = None) -> Tensor:
        """resize_ to the shape of another tensor."""
        return self.resize_(expect_tensor(the_template, "resize_as_", "the_template").array.shape)

    def _itself(self) -> Tensor:
        """The tensor itself: there are no complex numbers."""
        return self

    conj = resolve_conj = resolve_neg = _itself
    real = property(_itself)

    @property
    def imag(self) -> Tensor:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")

    if TYPE_CHECKING:  # mypy fails on names that are imported into a class

        def __getattr__(self, name: str) -> Any: ...

    # -------------------------------------------------------------------------------- arithmetic and comparisons
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            add, addbmm, addcdiv, addcmul, addmm, addmv, addr, allclose, arctan2, atan2, baddbmm, bitwise_and,
            bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor, bmm, ceil, copysign, dist,
            div, divide, dot, eq, equal, fix, float_power, floor, floor_divide, fmax, fmin, fmod, frac, gcd, ge, ger,
            greater, greater_equal, gt, heaviside, hypot, inner, isclose, isfinite, isinf, isnan, isneginf, isposinf,
            isreal, kron, lcm, ldexp, le, lerp, less, less_equal, logaddexp, logaddexp2, logical_and, logical_not,
            logical_or, logical_xor, lt, matmul, mm, mul, multiply, mv, nan_to_num, ne, neg, negative, nextafter,
            not_equal, outer, positive, pow, remainder, round, sgn, sign, signbit, sub, subtract, true_divide, trunc,
            vdot, xlogy,
        )
        # fmt: on
    __add__ = __radd__ = arithmetic.operator(arithmetic.Add, "add")
    __sub__ = arithmetic.operator(arithmetic.Sub, "sub", NO_BOOL)
    __rsub__ = arithmetic.operator(arithmetic.Rsub, "rsub", NO_BOOL, swapped=True)
    __mul__ = __rmul__ = arithmetic.operator(arithmetic.Mul, "mul")
    __truediv__ = arithmetic.operator(arithmetic.Div, "div", "f")
    __pow__ = operand(methods.pow)
    __rpow__ = operand(arithmetic.rpow)
    __floordiv__ = operand(methods.floor_divide)
    __rfloordiv__ = operand(arithmetic.rfloordiv)
    __mod__ = operand(methods.remainder)
    __rmod__ = operand(arithmetic.rmod)
    __ne__ = operand(methods.ne)
    __lt__ = operand(methods.lt)
    __le__ = operand(methods.le)
    __gt__ = operand(methods.gt)
    __ge__ = operand(methods.ge)
    __and__ = __rand__ = operand(methods.bitwise_and)
    __or__ = __ror__ = operand(methods.bitwise_or)
    __xor__ = __rxor__ = operand(methods.bitwise_xor)
    __lshift__ = operand(methods.bitwise_left_shift)
    __rshift__ = operand(methods.bitwise_right_shift)
    __rlshift__ = operand(lambda self, other: binary.bitwise_left_shift(other, self))
    __rrshift__ = operand(lambda self, other: binary.bitwise_right_shift(other, self))
    __matmul__ = operand(methods.matmul, TensorBase)
    __rmatmul__ = operand(lambda self, other: linear.matmul(other, self), TensorBase)
    __neg__ = methods.neg
    __pos__ = methods.positive

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = create.as_tensor(other)
        return arithmetic.eq(self, other) if isinstance(other, (TensorBase, *Number)) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return self.reciprocal() * other
        return arithmetic.rdiv(self, other) if isinstance(other, Number) else NotImplemented

    def __invert__(self) -> Tensor:
        if self.array.dtype.kind == "f":
            raise TypeError(
                f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, got {self.dtype}"
            )
        return self.bitwise_not()

    # -------------------------------------------------------------------------------- functions of each element
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            abs, absolute, acos, acosh, arccos, arccosh, arcsin, arcsinh, arctan, arctanh, asin, asinh, atan, atanh,
            clamp, clamp_max, clamp_min, clip, cos, cosh, deg2rad, erf, erfc, erfinv, exp, exp2, expm1, log, log10,
            log1p, log2, logit, masked_fill, maximum, minimum, rad2deg, reciprocal, relu, rsqrt, sigmoid, sin, sinc,
            sinh, sqrt, square, tan, tanh, digamma, lgamma,
        )
        # fmt: on
    __abs__ = methods.abs

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, other elsewhere."""
        return elementwise.where(condition, self, other)

    # -------------------------------------------------------------------------------- reductions, order
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            all, amax, amin, aminmax, any, argmax, argmin, argsort, bincount, corrcoef, count_nonzero, cov, cummax,
            cummin, cumprod, cumsum, diff, histc, isin, kthvalue, logcumsumexp, logsumexp, max, mean, median, min,
            mode, msort, nanmean, nanmedian, nanquantile, nansum, norm, prod, quantile, renorm, sort, std, sum,
            sum_to_size, topk, unique, unique_consecutive, var,
        )
        # fmt: on
    softmax, log_softmax = rows.softmax, rows.log_softmax

    # -------------------------------------------------------------------------------- shape
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            as_strided, broadcast_to, chunk, clone, contiguous, diag, diag_embed, diagflat, diagonal, dsplit, expand,
            expand_as, flatten, flip, fliplr, flipud, hsplit, moveaxis, movedim, permute, ravel, repeat,
            repeat_interleave, reshape, reshape_as, roll, rot90, split_with_sizes, squeeze, swapaxes, swapdims, t,
            tensor_split, tile, trace, transpose, tril, triu, unbind, unflatten, unfold, unsafe_chunk, unsafe_split,
            unsqueeze, view, view_as, vsplit,
        )
        # fmt: on

    def split(self, split_size: Any, dim: builtins.int = 0) -> tuple:
        """Consecutive parts along `dim`, as views: see tinyrnn.split."""
        return join.split(self, split_size, dim)

    @property
    def T(self) -> Tensor:
        if self.array.ndim == 0:
            told = "Tensor.T is deprecated on 0-D tensors. This function is the identity in these cases."
            warn_once("T of no dimensions", told)
        elif self.array.ndim != 2:
            warn_once(
                "T",
                "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it "
                "will throw an error in a future release. Consider `x.mT` to transpose batches of matrices or "
                "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the dimensions of a tensor.",
            )
        return self.permute(tuple(reversed(range(self.array.ndim))))

    @property
    def H(self) -> Tensor:
        if self.array.ndim not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.array.ndim}-D tensor.")
        return self.permute(tuple(reversed(range(self.array.ndim))))

    @property
    def mT(self) -> Tensor:
        if self.array.ndim == 1:
            raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor.")
        return self.transpose(-2, -1) if self.array.ndim else self

    mH = mT

    # -------------------------------------------------------------------------------- indexing
    __getitem__, __setitem__ = indexing.getitem, indexing.setitem
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            argwhere, bernoulli, diagonal_scatter, gather, index_add, index_copy, index_fill, index_put, index_reduce,
            index_select, masked_scatter, masked_select, multinomial, narrow, nonzero, put, scatter, scatter_add,
            scatter_reduce, select, select_scatter, slice_scatter, take, take_along_dim,
        )
        # fmt: on
    index_put_ = scattering.index_put_

    # -------------------------------------------------------------------------------- written into this tensor
    if not TYPE_CHECKING:
        # fmt: off
        from .ops.methods import (
            abs_, absolute_, acos_, acosh_, add_, addbmm_, addcdiv_, addcmul_, addmm_, addmv_, addr_, arccos_,
            arccosh_, arcsin_, arcsinh_, arctan2_, arctan_, arctanh_, asin_, asinh_, atan2_, atan_, atanh_, baddbmm_,
            bitwise_and_, bitwise_left_shift_, bitwise_not_, bitwise_or_, bitwise_right_shift_, bitwise_xor_, ceil_,
            clamp_, clamp_max_, clamp_min_, clip_, copysign_, cos_, cosh_, deg2rad_, digamma_, div_, divide_, eq_,
            erf_, erfc_, erfinv_, exp2_, exp_, expm1_, fix_, float_power_, floor_, floor_divide_, fmod_, frac_, gcd_,
            ge_, greater_, greater_equal_, gt_, heaviside_, hypot_, lcm_, ldexp_, le_, lerp_, less_, less_equal_,
            lgamma_, log10_, log1p_, log2_, log_, logical_and_, logical_not_, logical_or_, logical_xor_, logit_, lt_,
            masked_fill_, mul_, multiply_, nan_to_num_, ne_, neg_, negative_, nextafter_, not_equal_, pow_, rad2deg_,
            reciprocal_, relu_,
            remainder_, round_, rsqrt_, sgn_, sigmoid_, sign_, sin_, sinc_, sinh_, sqrt_, square_, sub_, subtract_,
            tan_, tanh_, true_divide_, trunc_, xlogy_, cumprod_, cumsum_, fill_diagonal_, index_add_, index_copy_,
            index_fill_, index_reduce_, masked_scatter_, put_, renorm_, scatter_, scatter_add_, scatter_reduce_, tril_,
            triu_,
        )
        # fmt: on
    __iadd__, __isub__, __imul__ = operand(methods.add_), operand(methods.sub_), operand(methods.mul_)
    __itruediv__, __ifloordiv__ = operand(methods.div_), operand(methods.floor_divide_)
    __ipow__, __imod__ = operand(methods.pow_), operand(methods.remainder_)
    __iand__, __ior__, __ixor__ = map(operand, (methods.bitwise_and_, methods.bitwise_or_, methods.bitwise_xor_))
    __ilshift__, __irshift__ = operand(methods.bitwise_left_shift_), operand(methods.bitwise_right_shift_)

    def fill_(self, value: Any) -> Tensor:
        """Every element becomes `value`, a number or a 0-d tensor."""
        if not isinstance(value, TensorBase):
            return self._filled(Filled, wrap(converted(value, self.array.dtype, "fill_")))
        if value.array.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.array.ndim} dimensions."
            )
        return self.copy_(value)

    def zero_(self) -> Tensor:
        """Every element becomes zero."""
        return self._filled(Zero, wrap(np.zeros((), self.array.dtype)))

    def _filled(self, op: builtins.type, value: Tensor) -> Tensor:
        if tape.is_grad_enabled() and self.requires_grad:
            return self._replaced(op, value)
        check_writable(self, False, several=True)
        copyto(self.array, value.array)
        self.wrote()
        return self

    def copy_(self, other: Any, non_blocking: builtins.bool = False) -> Tensor:
        """Every element becomes that of `other` (a tensor or a number), which is broadcast and cast."""
        return self._replaced(Replaced, other)

    def _replaced(self, op: builtins.type, other: Any) -> Tensor:
        source = other if isinstance(other, TensorBase) else wrap(np.asarray(number(other, "copy_", "other")))
        if type(source.array) is not type(self.array):
            source = source.to(self.device)  # type: ignore[attr-defined, union-attr]
        here, there = self.array, source.array
        if check_broadcast(here, there) != here.shape:
            raise RuntimeError(
                f"output with shape {list(here.shape)} doesn't match the broadcast shape {list(there.shape)}"
            )
        if tape.is_grad_enabled() and (self.requires_grad or source.requires_grad):
            check_writable(self, source.requires_grad)
            tape.check_apart(here, there)
            source = run(op, (self, source), (here, there))
        return write(self, source)

    def uniform_(
        self, *bounds: builtins.float, generator: random.Generator | None = None, **named: builtins.float
    ) -> Tensor:
        """Uniform numbers in [from, to), which are 0 and 1 unless given."""
        given = _bounds(bounds, named, "uniform_")
        low, high = given.get("from", 0.0), given.get("to", 1.0)
        return self._drawn(lambda g, shape: g.uniform(shape, low, high, self.array.dtype.type), generator)

    def normal_(
        self, mean: builtins.float = 0.0, std: builtins.float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Normal numbers."""
        whole = self.array.flags.c_contiguous
        return self._drawn(lambda g, shape: g.normal(shape, mean, std, self._drawable(), whole), generator)

    def exponential_(self, lambd: builtins.float = 1.0, *, generator: random.Generator | None = None) -> Tensor:
        """Exponentially distributed numbers with rate `lambd`."""
        return self._drawn(lambda g, shape: g.exponential(shape, lambd, self._drawable()), generator)

    def log_normal_(
        self, mean: builtins.float = 1.0, std: builtins.float = 2.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """e to the power of normal numbers."""
        return self._drawn(lambda g, shape: g.log_normal(shape, mean, std, self._drawable()), generator)

    def geometric_(self, p: builtins.float, *, generator: random.Generator | None = None) -> Tensor:
        """The number of trials up to the first success, each with probability `p`."""
        return self._drawn(lambda g, shape: g.geometric(shape, p, self.array.dtype), generator)

    def cauchy_(
        self, median: builtins.float = 0.0, sigma: builtins.float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Cauchy-distributed numbers."""
        return self._drawn(lambda g, shape: g.cauchy(shape, median, sigma, self.array.dtype), generator)

    def bernoulli_(self, p: Any = 0.5, *, generator: random.Generator | None = None) -> Tensor:
        """1 with probability `p` (a number, or a tensor of probabilities), else 0."""
        if isinstance(p, TensorBase):
            array = devices.host(shapes.expand(p, self.array.shape).array).transpose(memory_order(self.array))
            return self._drawn(lambda g, shape: g.bernoulli_from(array), generator)
        return self._drawn(lambda g, shape: g.bernoulli(shape, p), generator)

    def random_(
        self, *bounds: builtins.int | None, generator: random.Generator | None = None, **named: builtins.int | None
    ) -> Tensor:
        """Integers: random_(), random_(to) or random_(from, to)."""
        given = _bounds(bounds if len(bounds) != 1 or named else (0, *bounds), named, "random_")
        if given.keys() == {"from"}:
            raise TypeError("random_() takes no bounds, `to`, or `from` and `to`; got `from` alone")
        low, high = (
            None if given.get(name) is None else draw.bound(given[name], "random_", name) for name in ("from", "to")
        )
        return self._drawn(lambda g, shape: g.random_(shape, self.array.dtype.type, low, high), generator)

    def _drawable(self) -> np.dtype:
        """The type to draw in: where there is nothing to draw, torch does not mind integers."""
        return self.array.dtype if self.array.size else np.dtype(np.float32)

    def _drawn(self, draw: Callable, generator: random.Generator | None) -> Tensor:
        """Overwritten with what `draw(generator, shape)` gives, in the order of the elements in memory."""
        check_writable(self, False)
        order = memory_order(self.array)
        drawn = np.asarray(draw(random.drawing(generator, self.device), tuple(self.array.shape[i] for i in order)))
        return self.copy_(wrap(drawn.astype(self.array.dtype, copy=False).transpose(np.argsort(order))))

    def unsqueeze_(self, dim: builtins.int) -> Tensor:
        """A dimension of size one more, in this tensor itself."""
        return self._reshaped(shapes.unsqueeze, dim)

    def squeeze_(self, dim: Any = None) -> Tensor:
        """Without its dimensions of size one, in this tensor itself."""
        return self._reshaped(shapes.squeeze, dim)

    def t_(self) -> Tensor:
        """Transposed, in this tensor itself."""
        return self._reshaped(shapes.t)

    def transpose_(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """With two dimensions exchanged, in this tensor itself."""
        return self._reshaped(shapes.transpose, dim0, dim1)

    swapdims_ = transpose_

    def swapaxes_(self, axis0: builtins.int, axis1: builtins.int) -> Tensor:
        """With two dimensions exchanged, in this tensor itself: transpose_ by NumPy's name."""
        return self.transpose_(axis0, axis1)

    def _reshaped(self, shape: Callable, *args: Any) -> Tensor:
        tape.check_recordable(self, False)
        with tape.set_grad_enabled(self.node is not None):
            view = shape(self, *args)
        self.array = view.array
        if view._edge is not None:
            tape.attach(self, view._node, view._slot)
        self.wrote()
        return self

    # -------------------------------------------------------------------------------- new tensors like this one
    def new_tensor(
        self, data: Any, *, dtype: dtypes.dtype | None = None, requires_grad: builtins.bool = False, device: Any = None
    ) -> Tensor:
        """A tensor from data, of this tensor's type."""
        return create.finish(create.from_data(data, dtype or self.dtype), requires_grad, device or self.device)

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Zeros of another shape, of this tensor's type."""
        return create.zeros(*size, **create.beside(self.array, {"dtype": self.dtype, **options}))

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Ones of another shape, of this tensor's type."""
        return create.ones(*size, **create.beside(self.array, {"dtype": self.dtype, **options}))

    def new_empty(self, *size: Any, **options: Any) -> Tensor:
        """An uninitialised tensor of another shape, of this tensor's type."""
        return create.empty(*size, **create.beside(self.array, {"dtype": self.dtype, **options}))

    def new_empty_strided(self, size: Any, stride: Any, **options: Any) -> Tensor:
        """An uninitialised tensor of another shape, with the given steps in memory, of this tensor's type."""
        return create.empty_strided(size, stride, **create.beside(self.array, {"dtype": self.dtype, **options}))

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """`fill_value` in another shape, of this tensor's type."""
        return create.full(size, fill_value, **create.beside(self.array, {"dtype": self.dtype, **options}))

    def new(self, *args: Any) -> Tensor:
        """A tensor of this tensor's type, from sizes or data."""
        return getattr(create, create.TYPED[self.dtype])(*args).to(self.device)


class Replaced(tape.Op):
    """Other content for a tensor: the gradient is that content's, and zero for what was there."""

    label = "torch::autograd::CopyBackwards"

    @staticmethod
    def forward(a, b):
        return np.array(np.broadcast_to(tape.converted_to(a.dtype, b), a.shape), like=a), ()

    @staticmethod
    def backward(saved, needs, g):
        return np.zeros_like(g) if needs[0] else None, g


class Moved(tape.Op):
    """The same numbers on another device."""

    label = "ToCopyBackward0"

    @staticmethod
    def forward(a, *, device):
        return devices.put(a, device), (devices.of(a),)

    @staticmethod
    def backward(saved, needs, g):
        return devices.put(g, saved[0])


NO_NUMPY = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
Filled, Zero = Replaced.called("FillBackward2"), Replaced.called("ZeroBackward0")
STATE = {"array", "grad", "_grad", "_requires", "_edge", "_view", "_writes", "_hooks", "_later", "_retains"}

TO = "device", "dtype", "non_blocking", "copy", "memory_format"  # what Tensor.to takes


TYPES = {f"torch.{name}": d for d, name in create.TYPED.items()}
TYPES |= {"torch.HalfTensor": dtypes.float16, "torch.BFloat16Tensor": dtypes.bfloat16}


def set_default_tensor_type(t: Any) -> None:
    """set_default_dtype by the name or class of a type of tensors (torch.DoubleTensor): torch's old form."""
    name = t if isinstance(t, str) else repr(t).split("'")[1] if isinstance(t, type) else ""
    if on_gpu := name.startswith("torch.cuda."):
        try:
            devices.check("cuda")
        except devices.NoDevice as error:
            raise TypeError(f"type {name} not available: {error}") from None
        name = name.replace("cuda.", "")
    if name not in TYPES:
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {t!r}")
    warnings.warn(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use torch.set_default_dtype() and "
        "torch.set_default_device() as alternatives.",
        stacklevel=2,
    )
    dtypes.set_default_dtype(TYPES[name])
    devices.set_default_device("cuda" if on_gpu else None)


def typename(obj: Any) -> str:
    """'torch.FloatTensor' for a tensor, else the object's class with its module."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if isinstance(obj, type) else type(obj)
    name = repr(kind).split("'")[1]
    return name.removeprefix("builtins.")


def asked_of(name: str) -> Callable:
    """The function that asks a tensor by its method `name`."""

    def function(input: Tensor) -> Any:
        return getattr(expect_tensor(input, name), name)()

    function.__name__ = function.__qualname__ = name
    function.__doc__ = getattr(Tensor, name).__doc__ or f"Tensor.{name}(), of `input`."
    return function


is_complex, is_conj, is_inference, is_nonzero, is_signed, detach, get_device = map(
    asked_of, ("is_complex", "is_conj", "is_inference", "is_nonzero", "is_signed", "detach", "get_device")
)


def is_same_size(input: Tensor, other: Tensor) -> builtins.bool:
    """Whether the shapes of two tensors are equal."""
    return expect_tensor(input, "is_same_size").is_same_size(other)


def is_tensor(obj: Any) -> builtins.bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> builtins.bool:
    """Whether the elements are floating-point numbers."""
    return expect_tensor(input, "is_floating_point").is_floating_point()


def numel(input: Tensor) -> builtins.int:
    """The number of elements."""
    return expect_tensor(input, "numel").array.size


def _bounds(given: tuple, named: dict[str, Any], call: str) -> dict[str, Any]:
    """The bounds of random numbers by name: `from` and `to` are torch's words, of which one is Python's too."""
    if len(given) > 2:
        raise TypeError(f"{call}() takes from 0 to 2 positional arguments but {len(given)} were given")
    found = dict(zip(("from", "to"), given, strict=False))
    for name, bound in named.items():
        if name in found or name not in ("from", "to"):
            why = f"multiple values for argument '{name}'" if name in found else f"an unexpected keyword '{name}'"
            raise TypeError(f"{call}() got {why}; it takes `from` and `to`")
        found[name] = bound
    return found


def _copied(a: Any, memo: dict) -> Any:
    """A copy of an array.  Within one deepcopy, arrays that share memory have copies that do."""
    memory = memory_of(a) if type(a) is np.ndarray else a
    if memory.dtype != a.dtype or not a.size:
        return a.copy(order="K")
    key = "memory", id(memory)
    if memory is a and key not in memo and a.flags.c_contiguous:  # as most are
        copy = a.copy()
        memo[key] = copy.reshape(-1), memory
        return copy
    where = window(memory, a)
    if key not in memo:
        flat = np.empty(where[0], a.dtype, like=a)
        frames(where, flat)[0][...] = memory
        memo[key] = flat, memory  # which is held: another array could have its id
    return frames(where, memo[key][0])[1]


def rebuild(
    cls: type, array: np.ndarray, requires_grad: bool, attributes: dict, device: devices.device | None = None
) -> Any:
    """A tensor from its pickled parts."""
    tensor: Any = object.__new__(cls)
    tensor.array = devices.put(array, device)
    tensor._requires = requires_grad
    tensor.__dict__.update(attributes)
    return tensor


tape.results_are(Tensor)
