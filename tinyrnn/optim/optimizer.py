"""The base of all optimizers: parameter groups, state, and how a derived update runs over a parameter."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from .. import tape
from ..hooks import RemovableHandle
from ..kernels.formulas import UPDATES
from ..tensor import Tensor


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
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + params.type()
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._post_hooks: OrderedDict[int, Callable] = OrderedDict()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have hooks run around the `step` of every optimizer, also a user's own."""
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {number}", *(f"    {k}: {group[k]}" for k in sorted(group) if k != "params")]
        return "\n".join([*lines, ")"])

    def __getstate__(self) -> dict:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._pre_hooks, self._post_hooks = OrderedDict(), OrderedDict()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to be optimized, with options of their own."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering "
                "of tensors in sets will change "
                "between runs. Please use a list instead."
            )
        params = list(params)
        if params and isinstance(params[0], tuple):
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + type(p).__name__)
            if not p.is_leaf and not p.retains_grad:
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        group["params"] = params
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or make them zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    if set_to_none:
                        p.grad = None
                    else:
                        p.grad.detach_().zero_()

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters once; `closure`, if given, computes the loss anew and is called first."""
        raise NotImplementedError

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) before each step."""
        return _register(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call hook(optimizer, args, kwargs) after each step."""
        return _register(self._post_hooks, hook)

    # -------------------------------------------------------------------------------- saving and loading
    def state_dict(self) -> dict[str, Any]:
        """The state of each parameter, by number, and the groups with numbers in place of parameters."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            groups.append(
                {
                    **{k: v for k, v in group.items() if k != "params"},
                    "params": [numbers[id(p)] for p in group["params"]],
                }
            )
        return {"state": {numbers[id(p)]: s for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state_dict, also torch's; parameters are matched by their numbers."""
        given = deepcopy(state_dict["param_groups"])
        if len(given) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(self.param_groups, given, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        by_number = {
            n: p
            for a, b in zip(self.param_groups, given, strict=True)
            for p, n in zip(a["params"], b["params"], strict=True)
        }
        state: defaultdict[Tensor, Any] = defaultdict(dict)
        for number, entries in state_dict["state"].items():
            p = by_number[number]
            state[p] = {k: _fitted(k, v, p) for k, v in entries.items()}
        self.state = state
        self.param_groups = [{**b, "params": a["params"]} for a, b in zip(self.param_groups, given, strict=True)]


def _fitted(name: str, value: Any, p: Tensor) -> Any:
    """A copy of an entry of the state, in the parameter's type unless it counts steps."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    return (
        value.detach().clone() if name == "step" or not p.is_floating_point() else value.detach().to(p.dtype, copy=True)
    )


def _register(hooks: OrderedDict, hook: Callable) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _hooked(step: Callable) -> Callable:
    if hasattr(step, "hooked"):
        return step

    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if not self._pre_hooks and not self._post_hooks:
            return step(self, *args, **kwargs)
        for hook in list(self._pre_hooks.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                args, kwargs = changed
        result = step(self, *args, **kwargs)
        for hook in list(self._post_hooks.values()):
            hook(self, args, kwargs)
        return result

    wrapper.__name__, wrapper.__doc__ = step.__name__, step.__doc__
    wrapper.hooked = True  # type: ignore[attr-defined]
    return wrapper


def closure_loss(closure: Callable | None) -> Any:
    """What the closure returns, computed with recording on."""
    if closure is None:
        return None
    with tape.enable_grad():
        return closure()


def as_number(value: Any) -> float:
    """An option that may be a one-element tensor, as a Python number."""
    return value.item() if isinstance(value, Tensor) else value


def check(name: str, value: Any, good: bool) -> None:
    """torch's ValueError for an option out of range."""
    if not good:
        raise ValueError(f"Invalid {name}: {value}")


def update(
    formula: str, p: Tensor, state: Iterable[Tensor], numbers: tuple[float, ...], maximize: bool = False
) -> None:
    """Run a derived update: `p` and the tensors in `state` are overwritten."""
    from ..kernels.cpu import map

    g = p.grad.array
    if g.dtype != p.array.dtype:
        g = g.astype(p.array.dtype)
    target = np.ascontiguousarray(p.array)
    map.update(UPDATES[formula], (target, -g if maximize else g, *(s.array for s in state)), numbers)
    if target is not p.array:
        p.array[...] = target
    p.version[0] += 1
