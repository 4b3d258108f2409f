"""torch's names, answered by tinyrnn, for one program and for nobody else.

`python -m tinyrnn run program.py` replaces `builtins.__import__` by a function that looks at the file in which an
import stands. In the program and in the modules beside it, `torch` is a namespace that shows tinyrnn's names under
torch's; everywhere else the import goes on to Python. `torch` never enters `sys.modules`, so a library that looks
for torch (by an import, by `find_spec`, in `sys.modules`) finds what it would have found without us. The sources are
not rewritten, so lines, tracebacks and cached bytecode are what they are under plain Python.
"""

import builtins
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

from .einops import LAYERS

PACKAGE = os.path.dirname(os.path.abspath(__file__))

# The modules of tinyrnn that are torch's, by torch's names. All others (the tape, the kernels) are the engine's own.
_SHARED = """
    accelerator amp autograd autograd.anomaly_mode autograd.function autograd.functional autograd.gradcheck
    autograd.graph backends compiler cuda distributed distributions func jit linalg multiprocessing nn nn.attention
    nn.functional nn.init nn.parallel nn.parameter nn.utils nn.utils.clip_grad nn.utils.convert_parameters nn.utils.rnn
    nn.utils.stateless nn.utils.weight_norm optim optim.adagrad optim.adam optim.adamw optim.lbfgs optim.lr_scheduler
    optim.optimizer optim.rmsprop optim.sgd optim.swa_utils profiler random return_types serialization special testing
    types utils utils.checkpoint utils.data utils.data.dataloader utils.data.dataset utils.data.distributed
    utils.data.sampler utils.dlpack
"""
# Modules of torch that are objects here.
_OBJECTS = """
    backends.cpu backends.cuda backends.cudnn backends.mha backends.mkl backends.mkldnn backends.mps backends.openmp cpu
    cuda.amp mps version xpu
"""
# Modules of torch whose names stand elsewhere in tinyrnn.
_ELSEWHERE = {
    "amp": "amp.autocast_mode amp.grad_scaler cuda.amp.autocast_mode cuda.amp.grad_scaler",
    "autograd": "autograd.grad_mode autograd.variable",
    "compiler": "_dynamo _dynamo.eval_frame",
    "cuda": "cuda.memory cuda.random",
    "distributions": """distributions.bernoulli distributions.categorical distributions.distribution
        distributions.independent distributions.kl distributions.laplace distributions.log_normal distributions.normal
        distributions.one_hot_categorical distributions.uniform""",
    "hooks": "utils.hooks",
    "nn": """nn.modules nn.modules.activation nn.modules.batchnorm nn.modules.container nn.modules.distance
        nn.modules.dropout nn.modules.flatten nn.modules.instancenorm nn.modules.linear nn.modules.loss
        nn.modules.module nn.modules.normalization nn.modules.padding nn.modules.pooling nn.modules.rnn
        nn.modules.sparse""",
    "nn.parallel": "nn.parallel.data_parallel nn.parallel.distributed",
    "nn.adaptive": "nn.modules.adaptive",
    "nn.transformer": "nn.modules.transformer",
    "nn.tuples": "nn.modules.utils",
    "profiler": "autograd.profiler",
    "tensor": "functional _tensor",
    "utils.data.collate": "utils.data._utils utils.data._utils.collate",
}
ALIASES = {f"torch.{alias}": name for name, aliases in _ELSEWHERE.items() for alias in aliases.split()}
# As attributes these are functions, which hide the modules that they are from.
FUNCTIONS = {"torch.autograd.gradcheck", "torch.nn.utils.weight_norm"}
MODULES = frozenset([*("torch." + name for name in [*_SHARED.split(), *_OBJECTS.split()]), *ALIASES])

# Libraries made of torch's own tensors: a program that runs on tinyrnn cannot use them.
COMPANIONS = frozenset(["functorch", "torch_geometric", "torchaudio", "torchdata", "torchtext", "torchvision"])

REASONS = [
    (
        r"(?i)conv|pool|upsample|interpolate|fold|pixel|grid_sample|(batch|instance)norm[23]d|vision",
        "convolutions and images are out of scope",
    ),
    (r"(?i)distributed|dataparallel|\.rpc|\.elastic", "training on several machines is out of scope"),
    (r"\.(jit|fx|onnx|export|_dynamo|_inductor|_C)\b", "torch's compilers are out of scope"),
    (
        r"(?i)sparse|quantiz|complex|fft|half\b|bfloat16|float16",
        "tensors are dense, of the types float32, float64, bool and integers",
    ),
    (r"tensorboard|profiler", "the tools around torch are out of scope"),
    (r"^(torch\w+|functorch)$", "it works on torch's own tensors"),
]


NOTHING = object()


class Version(str):
    """The version of torch whose vocabulary this is, compared by its numbers as torch's is (also with a tuple)."""

    RELEASE = (2, 13, 0)

    def _order(self, other) -> int:
        if isinstance(other, str):
            other = re.findall(r"\d+", other.partition("+")[0])
        theirs = tuple(map(int, other))
        ours = (*self.RELEASE, 1)  # a "+build" stands above its plain release
        return (ours > theirs) - (ours < theirs)

    def __lt__(self, other):
        return self._order(other) < 0

    def __le__(self, other):
        return self._order(other) <= 0

    def __gt__(self, other):
        return self._order(other) > 0

    def __ge__(self, other):
        return self._order(other) >= 0


def missing(name: str) -> str:
    """The sentence that says that a name of torch is not here, and why where there is a reason."""
    reason = next((f": {reason}" for pattern, reason in REASONS if re.search(pattern, name)), "")
    return f"{name} is not in tinyrnn{reason}"


def namespace(name: str, module: Any) -> ModuleType:
    """A module called `name` (torch's) that shows the names of tinyrnn's `module`, looked up when first asked for."""
    face = ModuleType(name, module.__doc__)
    public = getattr(module, "__all__", None) or [
        each for each, value in vars(module).items() if not each.startswith("_") and not isinstance(value, ModuleType)
    ]

    public = [e for e in public if not isinstance(getattr(module, e, None), ModuleType) or f"{name}.{e}" in MODULES]

    def lookup(attribute: str) -> Any:
        part = f"{name}.{attribute}"
        value: Any = NOTHING if part not in MODULES or part in FUNCTIONS else submodule(part)
        if value is NOTHING:
            value = getattr(module, attribute, NOTHING)
        if value is NOTHING or (isinstance(value, ModuleType) and part not in MODULES):  # or a module of the engine's
            raise AttributeError(missing(part), name=attribute, obj=face)
        setattr(face, attribute, value)
        return value

    submodules = [each.rpartition(".")[2] for each in MODULES if each.rpartition(".")[0] == name]
    vars(face).update(
        __getattr__=lookup,
        __all__=public,
        __file__=getattr(module, "__file__", None),
        __dir__=lambda: sorted({*public, *filter(functools.partial(hasattr, face), submodules)}),
    )
    if name in ("torch", "torch.version"):
        vars(face).update(__version__=Version("{}.{}.{}+tinyrnn".format(*Version.RELEASE)))
    return face


@functools.cache
def submodule(name: str) -> Any:
    """The namespace that answers for torch's module `name`, or NOTHING."""
    counterpart = "tinyrnn." + ALIASES.get(name, name.removeprefix("torch."))
    try:
        return namespace(name, importlib.import_module(counterpart))
    except ModuleNotFoundError as error:
        if error.name != counterpart and not counterpart.startswith(f"{error.name}."):
            raise  # tinyrnn's own import failed: not ours to hide
    parent, _, last = counterpart.rpartition(".")  # an object of switches (backends.cudnn) serves as well as a module
    value = getattr(importlib.import_module(parent), last, NOTHING)
    return value if value is NOTHING else namespace(name, value)


@functools.cache
def torch() -> ModuleType:
    """The namespace that answers `import torch`."""
    return namespace("torch", importlib.import_module("tinyrnn"))


def resolve(name: str) -> Any:
    """What `name` ("torch.nn.Linear") stands for; AttributeError, with a sentence, where there is nothing."""
    return functools.reduce(getattr, name.split(".")[1:], torch())


def imported(name: str, names: Iterable[str] = ()) -> Any:
    """The module `name` of torch, with `names` in it; ModuleNotFoundError or ImportError where it is not here."""
    root = name.partition(".")[0]
    try:
        if root != "torch":
            raise AttributeError(missing(root))
        module = submodule(name) if name in MODULES else resolve(name)
        if module is NOTHING or not isinstance(module, ModuleType):
            raise AttributeError(missing(name))
    except AttributeError as error:
        raise ModuleNotFoundError(str(error), name=name) from None
    for each in names:
        if each != "*" and not hasattr(module, each):
            raise ImportError(missing(f"{name}.{each}"), name=name)
    return module


class Elsewhere(ModuleType):
    """A module of torch's whose names stand in `home`, another of tinyrnn's."""

    def __init__(self, name: str, home: ModuleType):
        super().__init__(name, home.__doc__)
        self._home = home

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return getattr(self._home, name, None) or [each for each in vars(self._home) if not each.startswith("_")]
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        return getattr(self._home, name)


def answer_imports() -> None:
    """Have `import tinyrnn.nn.modules.rnn` and its like find what torch has there, in a program that names tinyrnn."""
    modules: dict[str, Any] = sys.modules
    for name in sorted([*_OBJECTS.split(), *(alias.removeprefix("torch.") for alias in ALIASES)]):
        parent, _, last = f"tinyrnn.{name}".rpartition(".")
        home = ALIASES.get(f"torch.{name}")
        if home is not None:
            vars(modules[parent]).setdefault(last, Elsewhere(f"tinyrnn.{name}", modules[f"tinyrnn.{home}"]))
        modules[f"tinyrnn.{name}"] = vars(modules[parent])[last]


class Program:
    """Which files are the program's: its own, the modules beside it, and those on paths that it adds to sys.path.

    `libraries` are the search paths that were there before the program started.
    """

    def __init__(self, file: str, libraries: Iterable[str]):
        self.file = os.path.abspath(file)
        self.directory = os.path.dirname(os.path.realpath(file))
        self.libraries = {PACKAGE, *map(os.path.abspath, libraries)} - {self.directory}
        self.owns = functools.cache(self._owns)

    def _owns(self, file: str) -> bool:
        if (file := os.path.abspath(file)) == self.file:
            return True
        paths = [PACKAGE, self.directory, *(os.path.abspath(path) for path in sys.path if isinstance(path, str))]
        home = max((path for path in paths if file.startswith(os.path.join(path, ""))), key=len, default=None)
        inside = file.removeprefix(self.directory).split(os.sep)
        return home is not None and home not in self.libraries and not {"site-packages", "dist-packages"} & {*inside}

    def asks(self, frame: FrameType | None) -> bool:
        """Whether the code that runs in `frame` is the program's (code without a file belongs to its caller)."""
        while frame and not frame.f_globals.get("__file__"):
            frame = frame.f_back
        return frame is not None and self.owns(frame.f_globals["__file__"])


def answer(program: Program) -> None:
    """From now on, `import torch` in the program's own files is answered by tinyrnn."""
    python_import, python_import_module = builtins.__import__, importlib.import_module
    python_find_spec = importlib.util.find_spec

    def ours(name: str) -> bool:
        root = name.partition(".")[0]
        return (root == "torch" or root in COMPANIONS) and program.asks(sys._getframe(2))

    def program_import(name, globals=None, locals=None, fromlist=(), level=0):
        if level == 0 and ours(name):
            module = imported(name, fromlist or ())
            return module if fromlist else torch()
        if name == "einops.layers.torch" and fromlist and program.asks(sys._getframe(1)):
            name = LAYERS
        return python_import(name, globals, locals, fromlist, level)

    @functools.wraps(python_import_module)
    def import_module(name, package=None):
        if name == "einops.layers.torch" and program.asks(sys._getframe(1)):
            name = LAYERS
        return imported(name) if ours(name) else python_import_module(name, package)

    @functools.wraps(python_find_spec)
    def find_spec(name, package=None):
        if not ours(name):
            return python_find_spec(name, package)
        try:
            return ModuleSpec(name, None, origin=imported(name).__file__)
        except ModuleNotFoundError:
            return None

    builtins.__import__ = program_import
    importlib.import_module, importlib.util.find_spec = import_module, find_spec
