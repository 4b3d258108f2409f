"""`python -m tinyrnn run --list-missing`: which of torch's names a program uses that are not here, without running it.

Names are followed from the imports of torch through attributes (`nn.Embedding.from_pretrained`). What a variable holds
is known where it is always given the same kind of thing: the result of a function of torch's that makes a tensor, or a
layer (`self.rnn = nn.LSTM(...)`). Of such variables the methods are looked at, too.
"""

import ast
import builtins
import functools
import inspect
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tinyrnn import facade

# Functions and methods of torch's whose result is no tensor, or not always one.
NO_TENSOR = set(
    re.findall(
        r"\w+",
        """
    size dim ndimension numel nelement item tolist numpy backward max min topk sort split chunk unbind type data_ptr
    stride storage_offset element_size equal allclose register_hook nonzero unique unique_consecutive median nanmedian
    mode kthvalue aminmax cummax cummin var_mean std_mean get_device is_tensor meshgrid tensor_split get_printoptions
    new broadcast_tensors where split_with_sizes hsplit vsplit dsplit frexp atleast_1d atleast_2d atleast_3d
    einsum_path broadcast_shapes storage retain_grad manual_seed seed initial_seed save load""",
    )
)
TENSOR_ATTRIBUTES = {"data", "grad", "T", "mT", "H", "mH", "real"}
PENDING = object()  # the kind of a variable that is being asked for


def absent(name: str) -> str | None:
    """The sentence that says what is missing of the dotted `name`, if it is one of torch's and something is."""
    root = name.partition(".")[0]
    if root in facade.COMPANIONS:
        return facade.missing(root)
    if root != "torch":
        return None
    for end in [at.start() for at in re.finditer(r"\.|$", name)]:
        try:
            part = name[:end]
            if part not in facade.MODULES or facade.submodule(part) is facade.NOTHING:
                facade.resolve(part)
        except AttributeError:
            return facade.missing(part)
    return None


def list_missing(path: str) -> list[str]:
    """The program's lines that name something of torch that tinyrnn lacks, as "path:line: sentence"."""
    with io.open_code(path) as source:
        tree = ast.parse(source.read(), path)
    lines = {(line, sentence) for line, name in Reader(tree).uses() if (sentence := absent(name))}
    return [f"{path}:{line}: {sentence}" for line, sentence in sorted(lines)]


class Reader:
    """A program's text: what its names mean in torch, and what its variables hold."""

    def __init__(self, tree: ast.Module):
        self.nodes = list(ast.walk(tree))
        self.meaning: dict[str, str] = {}  # the program's name -> torch's
        self.imports: list[tuple[int, str]] = []  # line, name in torch
        self.stars: list[str] = []
        self.home: dict[
            ast.AST, tuple[ast.AST, ...]
        ] = {}  # node -> the functions and classes around it, outermost first
        self.given: dict[tuple[ast.AST, str], list] = defaultdict(list)  # (where, variable) -> values; None: unknown
        self.known: dict[tuple[ast.AST, str], Any] = {}
        self.own: set[str] = set()  # attributes that the program itself gives to something
        self.read_imports()
        self.place(tree, (tree,))
        for node in self.nodes:
            self.read_assignments(node)

    # -------------------------------------------------------------------------------- names
    def read_imports(self) -> None:
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports.append((node.lineno, alias.name))
                    root = alias.name.partition(".")[0]
                    self.meaning[alias.asname or root] = alias.name if alias.asname else root
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    name = node.module if alias.name == "*" else f"{node.module}.{alias.name}"
                    self.imports.append((node.lineno, name))
                    if alias.name == "*":
                        self.stars.append(node.module)
                    else:
                        self.meaning[alias.asname or alias.name] = name
        # A name that the program also assigns (`for data, target in loader`) may mean something else.
        self.assigned = set(self.meaning)
        for node in self.nodes:
            for name in bound(node):
                self.meaning.pop(name, None)
                self.assigned.add(name)

    def dotted(self, node: ast.AST) -> str | None:
        """Torch's name for an expression such as `nn.Linear`, if it is one."""
        if isinstance(node, ast.Name):
            if node.id in self.meaning:
                return self.meaning[node.id]
            if node.id in self.assigned or hasattr(builtins, node.id):
                return None
            homes = [f"{star}.{node.id}" for star in self.stars if star.partition(".")[0] == "torch"]
            return next((name for name in homes if not absent(name)), None)
        if isinstance(node, ast.Attribute) and (base := self.dotted(node.value)):
            return f"{base}.{node.attr}"
        return None

    def uses(self) -> Iterator[tuple[int, str]]:
        """Line and name of all that the program uses of torch's."""
        yield from self.imports
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                line = node.end_lineno or node.lineno
                if name := self.dotted(node):
                    yield line, name
                elif self.kind(node.value) is Tensor() and self.lacks(Tensor(), node.attr):
                    yield line, f"torch.Tensor.{node.attr}"
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                stars = [star for star in self.stars if star.partition(".")[0] == "torch"]
                unbound = node.id not in self.assigned and not hasattr(builtins, node.id)
                if unbound and stars == self.stars != [] and all(absent(f"{star}.{node.id}") for star in stars):
                    yield node.lineno, f"{stars[-1]}.{node.id}"
            elif isinstance(node, ast.Call):
                yield from self.calls(node)

    def calls(self, node: ast.Call) -> Iterator[tuple[int, str]]:
        """What a call uses: getattr(torch, "name"), or a method of a layer."""
        function, args = node.func, node.args
        if isinstance(function, ast.Name) and function.id == "getattr" and len(args) == 2:
            base = self.dotted(args[0])
            if base and isinstance(args[1], ast.Constant):
                yield node.lineno, f"{base}.{args[1].value!s}"
        if isinstance(function, ast.Attribute):
            kind = self.kind(function.value)
            if isinstance(kind, type) and kind is not Tensor() and self.lacks(kind, function.attr):
                yield function.end_lineno or node.lineno, f"torch.nn.{kind.__name__}.{function.attr}"

    def lacks(self, kind: type, name: str) -> bool:
        """Whether objects of a class of ours have no such attribute, as far as the program and the class tell."""
        known = kind.__name__ in CONTAINERS or name in self.own or hasattr(kind, name)
        return not (known or name in given_by(kind))

    # -------------------------------------------------------------------------------- what variables hold
    def place(self, node: ast.AST, around: tuple[ast.AST, ...]) -> None:
        """Note which functions and classes stand around each node."""
        self.home[node] = around
        inner = (*around, node) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else around
        for child in ast.iter_child_nodes(node):
            self.place(child, inner)

    def variable(self, node: ast.AST) -> tuple[ast.AST, str] | None:
        """Where the variable lives that a name or `self.x` stands for."""
        around = self.home.get(node, ())
        if isinstance(node, ast.Name):
            scopes = [s for s in around if not isinstance(s, ast.ClassDef) or s is around[-1]]
            if isinstance(node.ctx, ast.Store):
                return scopes[-1], node.id
            return next(((s, node.id) for s in reversed(scopes) if (s, node.id) in self.given), None)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            owner = next((s for s in reversed(around) if isinstance(s, ast.ClassDef)), None)
            return (owner, f"self.{node.attr}") if owner is not None else None
        return None

    def read_assignments(self, node: ast.AST) -> None:
        """Note the values that a statement gives to variables, and the attributes that it makes."""
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            self.own.add(node.attr)
        elif isinstance(node, ast.Call) and last_name(node.func) in MAKERS:
            self.own.update(str(a.value) for a in node.args if isinstance(a, ast.Constant))
        if isinstance(node, ast.Assign):
            pairs: list = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            pairs = [(node.target, node.annotation)]
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            pairs = [(node.target, node.iter)]  # a row of a tensor is a tensor
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            for arg in (*arguments, node.args.vararg, node.args.kwarg):
                if arg is not None:
                    self.given[node, arg.arg].append(arg.annotation)
            return
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            for name in node.names:
                for scope in self.home[node]:
                    self.given[scope, name].append(None)
            return
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            pairs = [(node.optional_vars, None)]
        elif isinstance(node, ast.NamedExpr):
            pairs = [(node.target, node.value)]
        else:
            return
        for target, value in pairs:
            for part in [target] if isinstance(target, (ast.Name, ast.Attribute)) else ast.walk(target):
                if (place := self.variable(part)) and isinstance(getattr(part, "ctx", None), ast.Store):
                    self.given[place].append(value if part is target else None)

    def held(self, place: tuple[ast.AST, str]) -> Any:
        """The kind of thing that a variable holds; None if that is not always the same, or not known."""
        if place not in self.known:
            self.known[place] = PENDING
            kinds = {self.kind(value) for value in self.given.get(place, ())} - {PENDING}
            self.known[place] = kinds.pop() if len(kinds) == 1 else None
        return self.known[place]

    def kind(self, node: ast.AST | None) -> Any:
        """The class that an expression's value (or a type hint) is of: Tensor, a layer's class, or None if unknown."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            if name := self.dotted(node):
                return Tensor() if name == "torch.Tensor" else None
            if place := self.variable(node):
                return self.held(place)
            if isinstance(node, ast.Attribute) and node.attr in TENSOR_ATTRIBUTES:
                return Tensor() if self.kind(node.value) is Tensor() else None
            return None
        if isinstance(node, ast.BinOp):
            return next((k for k in (self.kind(node.left), self.kind(node.right)) if k in (Tensor(), PENDING)), None)
        if isinstance(node, ast.UnaryOp):
            return None if isinstance(node.op, ast.Not) else self.kind(node.operand)
        if isinstance(node, ast.Subscript):
            return k if (k := self.kind(node.value)) in (Tensor(), PENDING) else None
        if not isinstance(node, ast.Call):
            return None
        if name := self.dotted(node.func):
            return made_by(name)
        if isinstance(node.func, ast.Attribute) and (k := self.kind(node.func.value)) in (Tensor(), PENDING):
            return k if node.func.attr not in NO_TENSOR and hasattr(Tensor(), node.func.attr) else None
        layer = self.kind(node.func)
        return Tensor() if isinstance(layer, type) and layer.__name__ in ONE_RESULT else None


ONE_RESULT = {"Linear", "Embedding", "Dropout", "LayerNorm", "ReLU", "Tanh", "Sigmoid", "Softmax", "LogSoftmax", "GELU"}


MAKERS = {"add_module", "register_module", "register_buffer", "register_parameter", "setattr"}  # by their names
CONTAINERS = ("ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential")  # whose names are keys


def last_name(node: ast.AST) -> str:
    """The last part of the name of what is called."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@functools.cache
def given_by(kind: type) -> set[str]:
    """The attributes that the methods of a class of ours give to its objects."""
    classes = [c for c in kind.__mro__ if c.__module__.startswith("tinyrnn.")]
    return {name for c in classes for name in re.findall(r"\bself\.(\w+)", inspect.getsource(c))}


def Tensor() -> Any:
    return facade.resolve("torch.Tensor")


def made_by(name: str) -> Any:
    """What a call of torch's `name` gives: a layer's class, Tensor, or None if unknown or not torch's."""
    if not name.startswith("torch."):
        return None
    try:
        value = facade.resolve(name)
    except AttributeError:
        return None
    if isinstance(value, type):
        known = issubclass(value, (Tensor(), facade.resolve("torch.nn.Module")))
        makes_tensor = known and issubclass(value, Tensor()) or name.rpartition(".")[2].endswith("Tensor")
        return Tensor() if makes_tensor else value if known else None
    last = name.rpartition(".")[2]
    ours = inspect.isfunction(value) and value.__module__.startswith(("tinyrnn.ops", "tinyrnn.nn.functional"))
    return Tensor() if ours and last not in NO_TENSOR and not last.startswith("is_") else None


def bound(node: ast.AST) -> list[str]:
    """The names that a node binds, imports apart."""
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs)) and node.name:
        return [node.name]
    return []
