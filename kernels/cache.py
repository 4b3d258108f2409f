"""Where machine code and derived source live on disk.

Machine code is kept per function, but what a function compiles to also depends on the functions it calls.  So
everything is kept in one directory whose name is a hash of all sources of the CPU's kernels, the Python, Numba and
llvmlite versions and the host CPU; the name of a file of code for a GPU holds a hash of the GPU's.  Whatever changes,
another name is looked for, and old code cannot be found.

Derived source is written there as well, to be read and so that tracebacks have lines; the name of a derived module
holds a hash of its text.

The base directory is NUMBA_CACHE_DIR if set, else the user's cache directory.  Where neither can be written, a
temporary directory serves this process alone.  Nothing here is needed to run: what cannot be written is done without,
and what is missing or damaged counts as not there.
"""

import atexit
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from functools import cache
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
    """A hash of all that decides what machine code a kernel of the CPU becomes."""
    import llvmlite.binding
    import numba
    import numpy

    digest = hashlib.sha256()
    for library in (numba, llvmlite, numpy):
        digest.update(f"{library.__name__} {library.__version__}\n".encode())
    digest.update(f"{sys.version} {platform.machine()} {llvmlite.binding.get_host_cpu_name()}\n".encode())
    root = Path(__file__).parent
    for source in sorted([*root.glob("*.py"), *root.glob("cpu/*.py")]):
        digest.update(f"{source.relative_to(root)}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@cache
def directory() -> Path:
    """The cache directory of exactly this source, these versions and this CPU; made if needed."""
    try:
        path = base().absolute() / f"kernels-{fingerprint()}"
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        pass
    try:
        path = Path(tempfile.mkdtemp(prefix="tinyrnn-kernels-"))
    except OSError:
        return Path(os.devnull, "kernels")  # every attempt to write there fails
    atexit.register(_remove, path, os.getpid())
    return path


def _remove(path: Path, owner: int) -> None:
    """Remove a temporary directory when the process that made it ends, not when one forked from it does."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def digest(text: str) -> str:
    """A short name for `text`: two texts that differ have two names."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(name: str, content: bytes) -> Path:
    """Write a file of the cache directory, whole or not at all."""
    path = directory() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleared the cache meanwhile
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError:  # a full disk, say: the next process has to do the work again
        pass
    return path


def keep(name: str, content: bytes) -> None:
    """`write`, so that `recall` can tell whether it is all still there."""
    write(name, hashlib.sha256(content).digest() + content)


def recall(name: str) -> bytes | None:
    """What was kept under `name`; None if it is not there, or damaged."""
    try:
        data = (directory() / name).read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def load_source(name: str, text: str) -> ModuleType:
    """Run derived source `text` as a module of its own, with a file in the cache directory for people to read."""
    name = f"{re.sub(r'[^0-9A-Za-z_]', '_', name)}_{digest(text)}"
    path = write(f"{name}.py", text.encode())
    module = ModuleType(f"tinyrnn_derived.{name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(text, path, "exec"), module.__dict__)
    return module
