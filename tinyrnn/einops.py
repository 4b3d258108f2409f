"""einops for our tensors (Rogozhnikov 2022, "Einops: clear and reliable tensor manipulations with Einstein-like
notation", ICLR): `rearrange`, `reduce`, `repeat`, `pack`, `unpack` and `einsum` work on them as they are, and
`einops.layers.tinyrnn` is what `einops.layers.torch` is for torch.

einops finds the library of a tensor among the subclasses of its AbstractBackend.  Ours is defined when einops is
imported, before or after tinyrnn; a program that does not use einops does not import it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

BACKENDS, LAYERS = "einops._backends", "einops.layers.tinyrnn"


def define(backends: ModuleType) -> None:
    """Give einops a backend for our tensors: the one for torch's, with our library in torch's place."""

    class Backend(backends.TorchBackend):  # type: ignore[name-defined, misc]
        framework_name = "tinyrnn"

        def __init__(self) -> None:
            self.torch = sys.modules["tinyrnn"]

        def is_float_type(self, x: Any) -> bool:
            return x.is_floating_point()

        def layers(self) -> ModuleType:
            return import_module(LAYERS)

    backends.TinyrnnBackend = Backend  # type: ignore[attr-defined]  # a subclass that nobody holds goes again


class AfterThat(Loader):
    """A loader of einops's own module, after which `define` is called."""

    def __init__(self, own: Loader):
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.own.exec_module(module)
        define(module)


class Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == LAYERS:
            return spec_from_file_location(name, Path(__file__).with_name("einops_layers.py"))
        if name != BACKENDS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = AfterThat(spec.loader)
        return spec


def answer_einops() -> None:
    """Have einops know our tensors, whether it is imported already or will be, if ever."""
    sys.meta_path.insert(0, Finder())
    if BACKENDS in sys.modules:
        define(sys.modules[BACKENDS])
