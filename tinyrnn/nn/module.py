"""Module: a tree of parameters, buffers and submodules with a forward; and hooks around the call and its backward.

An attribute lives in exactly one place: a Parameter in `_parameters`, a registered tensor in `_buffers`, a Module in
`_modules`, anything else in the object's `__dict__`.  Everything here follows from walking these three dictionaries.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, Self

from .. import tape
from ..devices import device as Device
from ..dtypes import dtype as Dtype
from ..hooks import RemovableHandle
from ..tensor import Tensor
from .backward_hooks import Border, typename
from .parameter import Buffer, Parameter

EXTRA_STATE = "_extra_state"


# ---------------------------------------------------------------------------------------------------------------- words
class _IncompatibleKeys(NamedTuple):
    """What load_state_dict could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"


def indented(text: str, by: int = 2) -> str:
    """`text` with every line but the first moved to the right."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * by + line if line.strip() else "" for line in rest)])


def quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


# ---------------------------------------------------------------------------------------------------------------- hooks
class _ForwardHook(NamedTuple):
    function: Callable[..., Any]
    with_kwargs: bool
    always: bool = False  # also after an error

    def __call__(self, module: Module, args: tuple, kwargs: dict, *result: Any) -> Any:
        keywords = (kwargs,) if self.with_kwargs else ()
        return self.function(module, args, *keywords, *result)


# --------------------------------------------------------------------------------------------------------------- module
class Module:
    """Base class of all layers and models.

    A subclass calls `super().__init__()`, assigns parameters and submodules as attributes, and defines `forward`:

        class Tagger(Module):
            def __init__(self, vocabulary, hidden, tags):
                super().__init__()
                self.embed = Embedding(vocabulary, hidden)
                self.lstm = LSTM(hidden, hidden, batch_first=True)
                self.out = Linear(hidden, tags)

            def forward(self, tokens):
                return self.out(self.lstm(self.embed(tokens))[0])
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Module | None]
    _forward_pre_hooks: OrderedDict[int, _ForwardHook]
    _forward_hooks: OrderedDict[int, _ForwardHook]
    _backward_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _backward_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, tuple[Callable[..., Any], bool]]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]
    _hooked = False  # whether a hook around the call was ever registered here
    _version = 1  # goes into state_dicts, as torch's does

    def __init__(self) -> None:
        self.__dict__.update(  # all at once, and not through __setattr__, which looks for them
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_pre_hooks=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _backward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
        )

    # ---- calling ----
    def forward(self, *input: Any) -> Any:
        """What the module computes.  A subclass defines it; call the module itself, so that its hooks run."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooked:
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        result = None
        called = set()
        try:
            for hook in (*_of_all["_forward_pre_hooks"].values(), *self._forward_pre_hooks.values()):
                new = hook(self, args, kwargs)
                if new is None:
                    continue
                if not hook.with_kwargs:
                    args = new if isinstance(new, tuple) else (new,)
                elif isinstance(new, tuple) and len(new) == 2:
                    args, kwargs = new
                else:
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {new}."
                    )
            pre, post = (
                (*_of_all[kind].values(), *getattr(self, kind).values())
                for kind in ("_backward_pre_hooks", "_backward_hooks")
            )
            border = Border(self, pre, post) if pre or post else None
            if border:
                args = border.enter(args)
            result = self.forward(*args, **kwargs)
            for number, hook in (*_of_all["_forward_hooks"].items(), *self._forward_hooks.items()):
                called.add(number)
                new = hook(self, args, kwargs, result)
                if new is not None:
                    result = new
            return border.leave(result) if border else result
        except Exception:
            for number, hook in (*_of_all["_forward_hooks"].items(), *self._forward_hooks.items()):
                if hook.always and number not in called:
                    try:
                        new = hook(self, args, kwargs, result)
                        if new is not None:
                            result = new
                    except Exception as error:
                        warnings.warn(
                            "module forward hook with ``always_call=True`` raised an exception that was "
                            f"silenced as another error was raised in forward: {error}",
                            stacklevel=3,
                        )
            raise

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before every forward; what it returns, if not None, takes the place of `args`.

        with_kwargs: call `hook(module, args, kwargs)`, which may return a pair (args, kwargs).
        prepend: run it before the hooks that are there.
        """
        return self._register(self._forward_pre_hooks, _ForwardHook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after every forward; what it returns, if not None, becomes the output.

        with_kwargs: call `hook(module, args, kwargs, output)`.  prepend: run it before the hooks that are there.
        always_call: also when the forward, or another hook, raises an error.
        """
        return self._register(self._forward_hooks, _ForwardHook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are known; it may return others."""
        return self._register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        Both are tuples, with None where a positional argument or a result is no tensor or has no gradient.  What the
        hook returns, if not None, takes the place of `grad_input`.
        """
        return self._register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The old name of register_full_backward_hook.

        (torch's own shows the gradients of the module's last node only, whatever its inputs are, and is deprecated.)
        """
        return self.register_full_backward_hook(hook)

    def _register(self, hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
        self._hooked = True
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    # ---- attributes ----
    def __getattr__(self, name: str) -> Any:  # only for what is not in __dict__ or the class
        attributes = self.__dict__
        for kind in ("_parameters", "_modules", "_buffers"):
            members = attributes.get(kind)
            if members is not None and name in members:
                return members[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in attributes:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in attributes:
                raise AttributeError("cannot assign module before Module.__init__() call")
            if name in self._parameters:
                raise self._not_assignable(value, "parameter", name, "torch.nn.Parameter or None")
            self._forget(name, "_modules")
            self._modules[name] = value
        elif name in attributes.get("_parameters", ()):
            if value is not None:
                raise self._not_assignable(value, "parameter", name, "torch.nn.Parameter or None")
            self._parameters[name] = None
        elif name in attributes.get("_modules", ()):
            if value is not None:
                raise self._not_assignable(value, "child module", name, "torch.nn.Module or None")
            self._modules[name] = None
        elif name in attributes.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise self._not_assignable(value, "buffer", name, "torch.nn.Buffer, torch.Tensor or None")
            if isinstance(value, Buffer):
                self.register_buffer(name, value, value.persistent)
            else:
                self._buffers[name] = value
        elif isinstance(value, Tensor) and isinstance(value, Buffer):
            if "_buffers" not in attributes:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            self.register_buffer(name, value, value.persistent)
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for members in (self._parameters, self._buffers, self._modules):
            if name in members:
                del members[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers}
        return sorted(name for name in names if not name[:1].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @staticmethod
    def _not_assignable(value: Any, kind: str, name: str, expected: str) -> TypeError:
        return TypeError(f"cannot assign '{typename(value)}' as {kind} '{name}' ({expected} expected)")

    def _forget(self, name: str, keep: str) -> None:
        """Take `name` away from every place but the one it is about to be put into."""
        for kind in {"_parameters", "_modules", "_buffers"} - {keep}:
            self.__dict__[kind].pop(name, None)
        self._non_persistent_buffers_set.discard(name)
        self.__dict__.pop(name, None)

    def _check_name(self, name: Any, kind: str, members: dict[str, Any], show: bool = False) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if show else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in members and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, as `self.name = param` does; None keeps the name for a parameter that is not there."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name(name, "parameter", self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                f"explicitly. To express '{name}' as a function of another Tensor, compute the value in "
                "the forward() method."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module's state and is not trained; saved only if `persistent`."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule, as `self.name = module` does; None keeps the name for a module that is not there."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules, show=True)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Another name of add_module."""
        self.add_module(name, module)

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "encoder.layers.0"; AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else ():
            module = module._get(name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "encoder.layers.0.weight"; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        param = self.get_submodule(path)._get(name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as "norm.running_mean"; AttributeError if there is none."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        buffer = module._get(name)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return buffer

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a path such as "encoder.layers.0"; strict: only where there is one."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict:
            parent._get(name)
        if not isinstance(getattr(parent, name, module), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def _get(self, name: str) -> Any:
        if not hasattr(self, name):
            raise AttributeError(f"{type(self).__name__} has no attribute `{name}`")
        return getattr(self, name)

    # ---- walking the tree ----
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their paths, parents first; a shared one once, unless told otherwise."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        seen, stack = set(), [self]
        while stack:
            module = stack.pop()
            if module not in seen:
                if remove_duplicate:
                    seen.add(module)
                yield module
                if module._modules:
                    stack += [m for m in reversed(module._modules.values()) if m is not None]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly below this one, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else ((prefix, self),)
        for path, module in modules:
            members = getattr(module, kind)
            if path and members:
                path += "."
            for name, member in members.items():
                if member is not None and id(member) not in seen:
                    if remove_duplicate:
                        seen.add(id(member))
                    yield path + name, member

    def _members(self, kind: str, recurse: bool) -> Iterator[Any]:
        """As _named_members, without the names: programs ask for their parameters in every step of training."""
        modules = self.modules() if recurse else (self,)
        found = dict.fromkeys(chain.from_iterable([getattr(module, kind).values() for module in modules]))
        found.pop(None, None)
        yield from found

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths; a shared one once, under its first path, unless told otherwise.

        prefix: put before every path, with a dot.  recurse: also those of submodules.
        """
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, a shared one once; without `recurse`, only those of this module itself."""
        return self._members("_parameters", recurse)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths: see named_parameters."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers: see parameters."""
        return self._members("_buffers", recurse)

    # ---- changing the whole tree ----
    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below this one, and then on this one: for instance to initialise a model."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set this module and all below it to training mode (dropout at work, ...), or to evaluation mode."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters collect gradients, or freeze them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for param in self.parameters():
            if set_to_none:
                param._grad = None
            elif param.grad is not None:
                param.grad.detach_().zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Put `fn(t)` in the place of what every parameter, gradient and buffer holds."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is not None:
                with tape.no_grad():
                    new = fn(data := param.data)
                    grad = None if param.grad is None else fn(param.grad)
                if new is not data:
                    param.data = new
                if grad is not param.grad:
                    param.grad = grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(
        self,
        *args: Any,
        device: Any = None,
        dtype: Dtype | None = None,
        tensor: Tensor | None = None,
        non_blocking: bool = False,
    ) -> Self:
        """Change device and floating-point type: to(device), to(dtype), to(device, dtype), to(tensor).

        In place: parameters stay the same objects, and integers stay integers.  Raises TypeError for a dtype that is
        not floating point.
        """
        for value in (*args, tensor):
            if isinstance(value, Dtype):
                dtype = value
            elif isinstance(value, Tensor):
                device, dtype = value.device, value.dtype
            elif isinstance(value, (str, Device)) or type(value) is int:
                device = value
            elif value is not None and not isinstance(value, bool):
                raise TypeError(
                    "Module.to() received an invalid combination of arguments: expected a device, a dtype "
                    f"or a tensor, got {typename(value)}"
                )
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )
        return self._apply(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def float(self) -> Self:
        """Turn what is floating point into float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Self:
        """Turn what is floating point into float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Self:
        """Refused: tinyrnn has no float16."""
        raise RuntimeError("Module.half(): tinyrnn has no 16-bit floating point; use float() or double()")

    def bfloat16(self) -> Self:
        """Refused: tinyrnn has no bfloat16."""
        raise RuntimeError("Module.bfloat16(): tinyrnn has no 16-bit floating point; use float() or double()")

    def type(self, dst_type: Dtype | str) -> Self:
        """Turn everything, integers too, into a type: a dtype, or a name such as "torch.DoubleTensor"."""
        return self._apply(lambda t: t.type(dst_type))

    def share_memory(self) -> Self:
        """Put parameters, their gradients and buffers where other processes can have them: Tensor.share_memory_."""
        from ..multiprocessing import share

        own = [*self.parameters(), *self.buffers()]
        share(own + [tensor.grad for tensor in own if tensor.grad is not None])
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Accepted and without effect: layers are compiled from the start."""

    # ---- state ----
    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by path, in an OrderedDict; they share memory with the module's.

        destination: a dictionary to write into.  prefix: put before every path, as it is.  keep_vars: the parameters
        themselves instead of detached tensors.
        """
        if args:
            warnings.warn("Positional args are being deprecated, use kwargs instead.", FutureWarning, stacklevel=2)
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            return self.state_dict(**{"destination": destination, "prefix": prefix, "keep_vars": keep_vars, **given})
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            if hook(self, destination, prefix, metadata) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _persistent(self) -> dict[str, Tensor]:
        """What of this module itself is saved."""
        buffers = {name: b for name, b in self._buffers.items() if name not in self._non_persistent_buffers_set}
        return {name: t for name, t in (*self._parameters.items(), *buffers.items()) if t is not None}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put what this module itself has into a state_dict; a subclass may extend it."""
        for name, tensor in self._persistent().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not Module.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state_dict into the parameters and buffers.  Returns the missing and the unexpected keys.

        strict: there must be none.  assign: the tensors of the state_dict take the place of the module's.
        Raises RuntimeError with a list of all that does not fit, TypeError if `state_dict` is no mapping.  What fits
        has been copied by then, as in torch.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None) or {}
        keys = _IncompatibleKeys([], [])
        errors: list[str] = []

        def load(module: Module, state: Mapping[str, Any], prefix: str) -> None:
            local = dict(metadata.get(prefix[:-1], {}), **({"assign_to_params_buffers": True} if assign else {}))
            module._load_from_state_dict(state, prefix, local, True, keys.missing_keys, keys.unexpected_keys, errors)
            for name, child in module._modules.items():
                if child is not None:
                    path = f"{prefix}{name}."
                    load(child, {key: value for key, value in state.items() if key.startswith(path)}, path)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "a load_state_dict post-hook must return None: to change the missing or "
                        "unexpected keys, change the lists that it is given"
                    )

        load(self, OrderedDict(state_dict), "")
        if strict:
            if keys.unexpected_keys:
                errors.insert(0, f"Unexpected key(s) in state_dict: {quoted(keys.unexpected_keys)}. ")
            if keys.missing_keys:
                errors.insert(0, f"Missing key(s) in state_dict: {quoted(keys.missing_keys)}. ")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(errors))
        return keys

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take what belongs to this module itself out of a state_dict; a subclass may extend it."""
        for hook, with_module in self._load_state_dict_pre_hooks.values():
            module = (self,) if with_module else ()
            hook(*module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        persistent = self._persistent()
        for name, target in persistent.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            if error := self._load(name, target, state_dict[key], key, assign):
                error_msgs.append(error)

        extra = prefix + EXTRA_STATE
        has_extra = type(self).set_extra_state is not Module.set_extra_state
        if has_extra and extra in state_dict:
            self.set_extra_state(state_dict[extra])
        elif has_extra and strict:
            missing_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and not (has_extra and key == extra):
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else persistent):
                        unexpected_keys.append(key)

    def _load(self, name: str, target: Tensor, source: Any, key: str, assign: bool) -> str | None:
        """Copy `source` into `target`, or put it in its place.  Returns what went wrong, if anything."""
        if not isinstance(source, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(source)}"
            )
        if target.shape == () and source.shape == (1,):
            source = source[0]
        if source.shape != target.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {source.shape} from checkpoint, the shape in "
                f"current model is {target.shape}."
            )
        try:
            with tape.no_grad():
                if not assign:
                    target.copy_(source)
                elif isinstance(target, Parameter) and not isinstance(source, Parameter):
                    setattr(self, name, Parameter(source, target.requires_grad))
                else:
                    setattr(self, name, source.requires_grad_(target.requires_grad))
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are {target.shape} and '
                f"whose dimensions in the checkpoint are {source.shape}, an exception occurred : {error.args}."
            )
        return None

    def get_extra_state(self) -> Any:
        """What a subclass wants in its state_dict beyond tensors.  It defines set_extra_state too."""
        raise RuntimeError(f"{type(self).__name__} defines no get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Take back what get_extra_state gave."""
        raise RuntimeError(f"{type(self).__name__} defines no set_extra_state")

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's part of a state_dict is made."""
        handle = RemovableHandle(self._state_dict_pre_hooks)
        self._state_dict_pre_hooks[handle.id] = hook
        return handle

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` when this module and all below it are in.

        It may change the state_dict, and returns None.
        """
        handle = RemovableHandle(self._state_dict_hooks)
        self._state_dict_hooks[handle.id] = hook
        return handle

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call a hook before this module takes its part of a state_dict.

        It gets (module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs), and may
        change the state_dict and the lists.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """The same, for hooks that are not given the module."""
        handle = RemovableHandle(self._load_state_dict_pre_hooks)
        self._load_state_dict_pre_hooks[handle.id] = (hook, with_module)
        return handle

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` when this module and all below it are loaded.

        It may change the two lists of keys, and returns None.
        """
        handle = RemovableHandle(self._load_state_dict_post_hooks)
        self._load_state_dict_post_hooks[handle.id] = hook
        return handle

    # ---- printing ----
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands in the parentheses when the module is printed, beside its submodules."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        lines = extra_lines + children
        if not lines:
            return f"{self._get_name()}()"
        if len(extra_lines) == 1 and not children:
            return f"{self._get_name()}({extra_lines[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


# ------------------------------------------------------------------------------------------------- hooks of all modules
_of_all: dict[str, OrderedDict[int, Any]] = {
    kind: OrderedDict() for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
}


def _register_for_all(kind: str, hook: Any) -> RemovableHandle:
    """A hook that runs for every module, before its own."""
    Module._hooked = True
    handle = RemovableHandle(_of_all[kind])
    _of_all[kind][handle.id] = hook
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Module.register_forward_pre_hook for all modules."""
    return _register_for_all("_forward_pre_hooks", _ForwardHook(hook, False))


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Module.register_forward_hook for all modules."""
    return _register_for_all("_forward_hooks", _ForwardHook(hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Module.register_full_backward_pre_hook for all modules."""
    return _register_for_all("_backward_pre_hooks", hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Module.register_full_backward_hook for all modules."""
    return _register_for_all("_backward_hooks", hook)
