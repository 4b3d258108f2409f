"""Modules and parameters in sequences and dictionaries, where a Module sees them."""

from __future__ import annotations

import itertools
import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self

from ..tensor import Tensor
from .module import Module, indented, typename
from .parameter import Parameter


def position(index: Any, length: int) -> int:
    """An index as a number from 0, negative ones counted from the end as lists do."""
    index = operator.index(index)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range")
    return index % length


def iterable(values: Any, call: str) -> Iterable[Any]:
    if not isinstance(values, Iterable) or isinstance(values, Tensor):
        raise TypeError(f"{call} should be called with an iterable, but got {type(values).__name__}")
    return values


def pairs(items: Any, container: str, call: str) -> Iterator[tuple[Any, Any]]:
    """The pairs of a sequence of pairs, checked one by one."""
    if not isinstance(items, Iterable):
        raise TypeError(f"{call} should be called with an iterable of key/value pairs, but got {type(items).__name__}")
    for number, pair in enumerate(items):
        if not isinstance(pair, Iterable):
            raise TypeError(
                f"{container} update sequence element #{number} should be Iterable; is {type(pair).__name__}"
            )
        pair = tuple(pair)
        if len(pair) != 2:
            raise ValueError(f"{container} update sequence element #{number} has length {len(pair)}; 2 is required")
        yield pair


# -------------------------------------------------------------------------------------------------------------- modules
class _ModuleSequence(Module):
    """What Sequential and ModuleList have in common."""

    def _key(self, index: Any) -> str:
        """The name of the module at an index: its number, or what an OrderedDict called it."""
        return next(itertools.islice(self._modules, position(index, len(self)), None))

    def __setitem__(self, index: int, module: Module | None) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        """Take modules out; those that stay are numbered anew."""
        for key in list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]:
            del self._modules[key]
        self._modules = {str(i): module for i, module in enumerate(self._modules.values())}

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._slice(list(self._modules.items())[index])
        return self._modules[self._key(index)]

    def _slice(self, items: list[tuple[str, Any]]) -> Self:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def append(self, module: Module | None) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def _insert(self, index: int, module: Module) -> None:
        for i in range(len(self), index, -1):
            self._modules[str(i)] = self._modules[str(i - 1)]
        self._modules[str(index)] = module

    def pop(self, key: int | slice) -> Any:
        """Take out the module at an index, or those of a slice, and return what was taken."""
        taken = self[key]
        del self[key]
        return taken


class Sequential(_ModuleSequence):
    """Modules called one after the other, each with what the one before returned.

    Sequential(Linear(4, 8), Tanh(), Linear(8, 2))
    Sequential(OrderedDict(hidden=Linear(4, 8), act=Tanh(), out=Linear(8, 2)))
    """

    def __init__(self, *args: Any):
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else enumerate(args)
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def _slice(self, items: list[tuple[str, Any]]) -> Self:
        return type(self)(OrderedDict(items))

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at `index`; IndexError unless -len(self) <= index <= len(self)."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        self._insert(index + len(self) if index < 0 else index, module)
        return self

    def extend(self, sequential: Iterable[Any]) -> Self:
        """Add modules at the end."""
        for module in list(sequential):
            self.append(module)
        return self

    def __add__(self, other: Any) -> Sequential:
        return Sequential(*self, *self._sequential(other))

    def __iadd__(self, other: Any) -> Self:
        return self.extend(self._sequential(other))

    @staticmethod
    def _sequential(other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return other

    def __mul__(self, other: int) -> Sequential:
        """The same modules several times over: they share their parameters."""
        return Sequential(*list(self) * self._factor(other))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        return self.extend(list(self) * (self._factor(other) - 1))

    def _factor(self, other: Any) -> int:
        if not isinstance(other, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(other)}")
        if other <= 0:
            raise ValueError(f"Non-positive multiplication factor {other} for {type(self)}")
        return other


class ModuleList(_ModuleSequence):
    """A list of modules, to be called as the forward of the module that holds it sees fit."""

    def __init__(self, modules: Iterable[Any] | None = None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _slice(self, items: list[tuple[str, Any]]) -> Self:
        return type(self)(module for _, module in items)

    def insert(self, index: int, module: Module) -> None:
        """Add a module before the one at `index`; IndexError unless 0 <= index <= len(self)."""
        if not 0 <= index <= len(self):
            raise IndexError(f"ModuleList.insert: expected an index from 0 to {len(self)}, got {index}")
        if not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._insert(index, module)

    def extend(self, modules: Iterable[Any]) -> Self:
        """Add modules at the end."""
        for module in list(iterable(modules, "ModuleList.extend")):
            self.append(module)
        return self

    def __iadd__(self, modules: Iterable[Any]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Any]) -> ModuleList:
        return ModuleList(itertools.chain(self, other))

    def __repr__(self) -> str:
        """As Module's, but a run of equal modules is one line: `(0-3): 4 x Linear(...)`."""
        lines = []
        start = 0
        for text, run in itertools.groupby(map(repr, self)):
            n = len(list(run))
            name = f"({start})" if n == 1 else f"({start}-{start + n - 1})"
            lines.append(indented(f"{name}: " + (f"{n} x " if n > 1 else "") + text))
            start += n
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{self._get_name()}()"


class ModuleDict(Module):
    """A dictionary of modules, in the order in which they were put in."""

    def __init__(self, modules: Any = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module | None) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Take one module out and return it."""
        return self._modules.pop(key)

    def keys(self) -> KeysView[str]:
        return self._modules.keys()

    def items(self) -> Any:
        return self._modules.items()

    def values(self) -> ValuesView[Any]:
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Put in the modules of a mapping or of a sequence of pairs."""
        if isinstance(modules, (Mapping, ModuleDict)):
            modules = modules.items()
        for key, module in pairs(modules, "ModuleDict", "ModuleDict.update"):
            self[key] = module


# ----------------------------------------------------------------------------------------------------------- parameters
def as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def described(name: Any, value: Any, kind: str) -> str:
    """A line of what a ParameterList or ParameterDict prints."""
    if not isinstance(value, Parameter):
        return f"  ({name}): Object of type: {type(value).__name__}"
    return f"  ({name}): Parameter containing: [{kind} of size {'x'.join(map(str, value.shape))}]"


class ParameterList(Module):
    """A list of parameters.  A tensor becomes a Parameter when it is put in; other values stay what they are."""

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, str(position(index, len(self))))

    def __setitem__(self, index: int, param: Any) -> None:
        setattr(self, str(position(index, len(self))), as_parameter(param))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(i)) for i in range(len(self)))

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        setattr(self, str(self._size), as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end."""
        for value in list(iterable(values, "ParameterList.extend")):
            self.append(value)
        return self

    def __iadd__(self, parameters: Iterable[Any]) -> Self:
        return self.extend(parameters)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")

    def extra_repr(self) -> str:
        return "\n".join(described(i, value, str(getattr(value, "dtype", ""))) for i, value in enumerate(self))


class ParameterDict(Module):
    """A dictionary of parameters.  A tensor becomes a Parameter when it is put in; other values stay what they are."""

    def __init__(self, parameters: Any = None):
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    @staticmethod
    def _attribute(key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(
                f"Index given to ParameterDict cannot be used as a key as it is not a string (type is "
                f"'{type(key).__name__}')."
            )
        return key

    def __getitem__(self, key: str) -> Any:
        return getattr(self, self._attribute(key))

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, self._attribute(key), as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, self._attribute(key))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """Another ParameterDict of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value at `key`, which is put in if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Take all values out."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take one value out and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last pair out and return it."""
        if not self._keys:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value at `key`, or `default`."""
        return self[key] if key in self._keys else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new ParameterDict with `default` at each of the keys."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> KeysView[str]:
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Put in a sequence of pairs or a mapping; a mapping that is not an OrderedDict, in the order of its keys."""
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            parameters = parameters.items()
        elif isinstance(parameters, Mapping):
            parameters = sorted(parameters.items())
        for key, value in list(pairs(parameters, "ParameterDict", "ParametersDict.update")):
            self[key] = value

    def __or__(self, other: Any) -> ParameterDict:
        copy = self.copy()
        copy.update(other)
        return copy

    def __ror__(self, other: Any) -> Any:
        copy = other.copy()
        copy.update(self.items())
        return copy

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")

    def extra_repr(self) -> str:
        return "\n".join(described(k, v, v.type() if isinstance(v, Tensor) else "") for k, v in self.items())
