"""The base of all optimizers: parameter groups, state, and how a derived update runs over a parameter."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from .. import tape
from ..devices import host
from ..dtypes import get_default_dtype
from ..hooks import RemovableHandle
from ..kernels import twin
from ..kernels.formulas import UPDATES
from ..strides import overlaps
from ..tape import wrap
from ..tensor import Tensor

maps = twin("map")


class _Required:
    """The default of an option without one."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Parameters in groups, each with options of its own, and a state for each parameter.

    params    tensors, pairs (name, tensor), or dicts with a key "params" and options that differ from the defaults
    defaults  the options of groups that do not name them
    """

    def __init__(self, params: Any, defaults: dict[str, Any]):
        self.defaults = defaults
        self._pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._post_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._hook_step()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + params.type()
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def _hook_step(self) -> None:
        """Have hooks run around the `step` of this class, which may be a user's own."""
        if not hasattr(type(self).step, "hooked"):
            type(self).step = _hooked(type(self).step)  # type: ignore[method-assign]

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for number, group in enumerate(self.param_groups):
            lines = [f"Parameter Group {number}", *(f"    {k}: {group[k]}" for k in sorted(group) if k != "params")]
            text += "\n" + "\n".join(lines) + "\n"
        return text + ")"

    def __getstate__(self) -> dict:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict) -> None:
        """Take over what was pickled, or a loaded state; groups saved before an option existed get its default."""
        self.__dict__.update(state)
        self.__dict__.setdefault("_pre_hooks", OrderedDict())
        self.__dict__.setdefault("_post_hooks", OrderedDict())
        self._hook_step()
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to be optimized, with options of their own; the dict itself becomes the group."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = param_group
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        group["params"] = [p[1] if isinstance(p, tuple) else p for p in params]
        if names:
            if len(names) != len(params):
                raise ValueError(
                    "all optimizer params should be with/without names. Some param names are missing: "
                    f"{len(names)} names for {len(params)} params"
                )
            group["param_names"] = names
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + type(p).__name__)
            if not p.is_leaf and not p.retains_grad:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if group.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}: differentiable=True is not supported: steps leave no record"
            )
        ids = {id(p) for p in group["params"]}
        if len(ids) != len(group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if 'param_names' in group else 'without'} names to the optimizer"
                )
            if any(id(p) in ids for p in other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or make them zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p._grad = None
                elif p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad.detach_()
                    else:
                        p.grad.requires_grad_(False)
                    p.grad.zero_()

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters once; `closure`, if given, computes the loss anew and is called first."""
        raise NotImplementedError

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) before each step; it may return other (args, kwargs)."""
        return _register(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) after each step."""
        return _register(self._post_hooks, hook)

    # -------------------------------------------------------------------------------- saving and loading
    def state_dict(self) -> dict[str, Any]:
        """The state of each parameter, by number, and the groups with numbers in place of parameters."""
        numbers: dict[int, int] = {}
        groups, first = [], 0
        for group in self.param_groups:
            numbers |= {id(p): number for number, p in enumerate(group["params"], first)}  # the last, if it comes twice
            first += len(group["params"])
            options = {k: v for k, v in group.items() if k != "params"}
            groups.append({**options, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)] if isinstance(p, Tensor) else p: entries for p, entries in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of a state_dict, also of torch's; parameters are matched by their numbers."""
        given = deepcopy(state_dict["param_groups"])
        if len(given) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(given)}, the optimizer has "
                f"{len(self.param_groups)}"
            )
        by_number: dict[Any, Tensor] = {}
        for own, group in zip(self.param_groups, given, strict=True):
            if len(own["params"]) != len(group["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"{len(group['params'])} parameters, the optimizer's group has {len(own['params'])}"
                )
            by_number |= zip(group["params"], own["params"], strict=True)
            group["params"] = own["params"]
            if "param_names" in own:
                group.setdefault("param_names", own["param_names"])
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, entries in state_dict["state"].items():
            if key in by_number:
                state[by_number[key]] = _fitted(entries, by_number[key])
            else:
                state[key] = entries
        self.__setstate__({"state": state, "param_groups": given})


def _fitted(value: Any, p: Tensor, name: Any = None) -> Any:
    """A copy of what a parameter's state holds, its tensors of the parameter's type and device; "step" stays so."""
    if isinstance(value, Tensor):
        if name == "step":
            return value.detach().clone()
        return value.detach().to(p.device, p.dtype if p.is_floating_point() else None, copy=True)
    if isinstance(value, dict):
        return {k: _fitted(v, p, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_fitted(v, p) for v in value)
    if name == "step" and isinstance(value, (int, float)):  # torch before 1.12 counted in Python numbers
        return counter(value)
    return deepcopy(value)


def _register(hooks: OrderedDict, hook: Callable) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _hooked(step: Callable) -> Callable:
    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        for hook in list(self._pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
        result = step(*args, **kwargs)
        for hook in list(self._post_hooks.values()):
            hook(self, args, kwargs)
        return result

    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


# ------------------------------------------------------------------------------------------ what the optimizers share
def closure_loss(closure: Callable | None) -> Any:
    """What the closure returns, computed with recording on."""
    if closure is None:
        return None
    with tape.enable_grad():
        return closure()


def as_number(value: Any) -> Any:
    """An option that may be a one-element tensor, as a number: one of the tensor's precision, which torch keeps."""
    return host(value.array).reshape(())[()] if isinstance(value, Tensor) else value


def check(name: str, value: Any, good: bool) -> None:
    """torch's ValueError for an option out of range."""
    if not good:
        raise ValueError(f"Invalid {name}: {value}")


def learning_rate(lr: Any) -> Any:
    """The learning rate as a number, after torch's check of a tensor's size."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Tensor lr must be 1-element, but it has {lr.numel()} elements")
    return as_number(lr)


def check_fused(fused: bool | None, foreach: bool | None) -> None:
    """Both name a way of doing the step that torch has; there is one here, but they exclude each other."""
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def check_capturable(group: dict[str, Any]) -> None:
    """torch's error: capturable is for steps that become part of a CUDA graph."""
    if group["capturable"] and any(p.is_cpu for p in group["params"]):
        raise AssertionError("If capturable=True, params and state_steps must be on supported devices, not on the CPU.")


def counter(steps: float = 0) -> Tensor:
    """The number of steps done, as torch keeps it: a 0-d tensor of the default type."""
    return wrap(np.array(steps, get_default_dtype().numpy))


def zeros_like(p: Tensor) -> Tensor:
    """The state of a parameter before the first step."""
    return wrap(np.zeros(p.array.shape, p.array.dtype, like=p.array))


class Updates:
    """Derived updates of parameters, put off so that all that share a formula and its numbers are one launch."""

    def __init__(self, states: dict[Any, Any]) -> None:
        self._states = states  # the optimizer's
        self._launches: list[tuple[tuple, list[tuple]]] = []  # (formula, numbers, ...) and the arrays of each parameter
        self._alike: tuple = ()  # the former of the last of them
        self._arrays: list[tuple] = []  # and the latter
        self._params: list[Tensor] = []

    def add(
        self, formula: str, p: Tensor, state: Iterable[np.ndarray], numbers: tuple[float, ...], maximize: bool = False
    ) -> None:
        """Have `p` and the arrays in `state` overwritten by `run`."""
        own, g = p.array, p._grad.array
        if maximize:
            g = np.asarray(-g, like=own)  # of no axes, it would be a number
        alike = formula, numbers, own.dtype, type(own)
        if alike != self._alike:
            self._alike, self._arrays = alike, []
            self._launches.append((alike, self._arrays))
        self._arrays.append((own, g, *state))
        self._params.append(p)

    def run(self) -> None:
        """Do all updates that were added.

        Raises RuntimeError if a gradient or a state has another shape than its parameter.
        """
        twice = len({*self._params}) < len(self._params)  # some in one group: one update after the other
        for (formula, numbers, *_), groups in self._launches:
            if twice or not maps.update(UPDATES[formula], groups, numbers):
                self._check_shapes(formula, groups)
                for arrays in groups:
                    if not maps.update(UPDATES[formula], [arrays], numbers):
                        update_copies(formula, arrays, numbers)
        tape.wrote(self._params)

    def _check_shapes(self, formula: str, groups: Sequence[tuple]) -> None:
        """Refuse a parameter whose elements share memory, or with a gradient or a state of another shape; the steps
        counted are taken back."""
        for own, *others in groups:
            why = tape.SHARED if overlaps(own) else ""
            for a in others:
                if a.shape != own.shape:
                    shapes = f"a parameter of shape {list(own.shape)} has a gradient or a state of shape"
                    why = f"{formula}: {shapes} {list(a.shape)}"
            if why:
                for p in self._params:
                    if "step" in self._states.get(p, ()):
                        self._states[p]["step"].array -= 1
                raise RuntimeError(why)


def update_copies(formula: str, arrays: Sequence[np.ndarray], numbers: tuple[float, ...]) -> None:
    """The update of arrays that are not contiguous, or of several types."""
    copies = [np.array(a, arrays[0].dtype, order="C", like=a) for a in arrays]
    maps.update(UPDATES[formula], [copies], numbers)
    for k, (a, new) in enumerate(zip(arrays, copies, strict=True)):
        if k != 1:
            a[...] = new


def update(
    formula: str, p: Tensor, state: Iterable[Tensor], numbers: tuple[float, ...], maximize: bool = False
) -> None:
    """The update of a single parameter, at once."""
    updates = Updates({})
    updates.add(formula, p, [s.array for s in state], numbers, maximize)
    updates.run()
