"""Where machine code and derived source live on disk.

Numba keys a cached function by the file that defines it, not by the functions it calls: editing a
helper would leave stale machine code behind.  So everything is kept in one directory whose name is a
hash of all kernel sources, the Python, Numba and llvmlite versions and the host CPU.  Whatever
changes, a new directory is used, and old code cannot be found.

Derived source is written there as well, as ordinary modules: it is cached like any other kernel, and
its tracebacks have lines.

The base directory is NUMBA_CACHE_DIR if set, else the user's cache directory.  Where neither can be
written, a temporary directory serves this process alone.
"""

import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType


def base() -> Path:
    """The directory that holds every version's caches."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tinyrnn"


def fingerprint() -> str:
    """A hash of all that decides what machine code a kernel becomes."""
    import llvmlite.binding

    digest = hashlib.sha256()
    for name in ("numba", "llvmlite", "numpy"):
        digest.update(f"{name} {version(name)}\n".encode())
    digest.update(f"{sys.version} {platform.machine()} {llvmlite.binding.get_host_cpu_name()}\n".encode())
    root = Path(__file__).parent
    for source in sorted(root.rglob("*.py")):
        digest.update(f"{source.relative_to(root)}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@cache
def directory() -> Path:
    """The cache directory of exactly this source, these versions and this CPU; made if needed."""
    path = base() / f"kernels-{fingerprint()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError:
        return Path(tempfile.mkdtemp(prefix="tinyrnn-kernels-"))


def digest(text: str) -> str:
    """A short name for `text`: two texts that differ have two names."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_source(name: str, text: str) -> Path:
    """Write derived source `text` as `name`.py into the cache directory, whole or not at all.

    A file that already says the same is left alone, so that its cached machine code stays valid.
    """
    path = directory() / f"{name}.py"
    try:
        if path.read_text(encoding="utf-8") == text:
            return path
    except OSError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleared the cache meanwhile
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}-", suffix=".py")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def load_source(name: str, text: str) -> ModuleType:
    """Import derived source `text` as a module of its own, from its file in the cache directory."""
    path = write_source(name, text)
    spec = importlib.util.spec_from_file_location(f"tinyrnn_derived.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
