"""Order: what was recorded, and what runs when.

Every differentiable call goes through `run`.  It hands NumPy arrays to an op (tinyrnn.ops: calculus),
wraps what comes out in tensors and, if a gradient can flow, notes the call as a `Node`.  `backward` walks
the nodes newest first, without recursion: a node is always older than the nodes that used its results.

The contract of an op, without exception:

    class Mul(Op):
        @staticmethod
        def forward(a, b):               # arrays (None where an input is absent), then keyword parameters
            return a * b, (a, b)         # the result, or a tuple of results; and what the backward needs
        @staticmethod
        def backward(saved, needs, g):   # what was saved; which inputs want a gradient; a gradient per result
            a, b = saved                 # (None for a result that was not used, if there are several)
            return g * b, g * a          # a gradient or None per input; a lone one need not be wrapped

* An op saves its inputs and results as they came: the tape knows them by identity, and notices when one of
  them is changed in place before the backward.
* `keeps`, where an op has it, tells for each saved value the inputs whose gradients need it: ((1,), (0,)) for Mul.
  What no gradient needs is not kept.
* A gradient is the incoming one, a view of it, or a fresh array that nobody else holds.
* A gradient may have the broadcast shape or the promoted type: the tape sums and casts it to the input's.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class Op:
    """Base of all ops: see the contract above."""

    view = False  # a view op's results share the memory of its first input
    splits = False  # a view op with several results, which cannot be written to while they are recorded
    keeps: tuple = ()  # for each saved value the inputs whose gradients need it; () if all are needed always

    @staticmethod
    def forward(*inputs, **parameters):
        raise TypeError("an Op defines forward")

    @staticmethod
    def backward(saved, needs, *gradients):
        raise TypeError("an Op defines backward")


# ------------------------------------------------------------------------------------------ recording on and off
class _Mode(threading.local):
    enabled = True  # operations are recorded
    inference = False


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _mode.enabled


def is_inference_mode_enabled() -> bool:
    return _mode.inference


class set_grad_enabled(contextlib.ContextDecorator):
    """Record operations, or do not: from the call on, inside a `with` block, or in a decorated function."""

    def __init__(self, mode: bool):
        self.before, self.mode = _mode.enabled, bool(mode)
        _mode.enabled = self.mode

    def __call__(self, function):
        _mode.enabled = self.before  # a decorator changes nothing outside the function
        return super().__call__(function)

    def _recreate_cm(self):
        return type(self)(self.mode)

    def __enter__(self):
        _mode.enabled = self.mode

    def __exit__(self, *exception):
        _mode.enabled = self.before


class _Switch(contextlib.ContextDecorator):
    """no_grad and enable_grad: as a `with` block or a decorator, with or without parentheses."""

    mode = False

    def __new__(cls, function=None):
        self = super().__new__(cls)
        return self if function is None else self(function)

    def _recreate_cm(self):
        return type(self)()

    def __enter__(self):
        self.before = _mode.enabled
        _mode.enabled = self.mode

    def __exit__(self, *exception):
        _mode.enabled = self.before


class no_grad(_Switch):
    """Nothing is recorded inside; results do not require a gradient."""


class enable_grad(_Switch):
    """Operations are recorded inside, also within no_grad."""

    mode = True


class inference_mode(contextlib.ContextDecorator):
    """As no_grad.  (torch's tensors made inside can never be recorded later; here they can.)"""

    def __new__(cls, mode=True):
        self = super().__new__(cls)
        self.mode = mode
        if callable(mode):
            self.mode = True
            return self(mode)
        return self

    def _recreate_cm(self):
        return type(self)(self.mode)

    def __enter__(self):
        self.before = _mode.enabled, _mode.inference
        if self.mode:
            _mode.enabled, _mode.inference = False, True
        else:
            _mode.enabled, _mode.inference = True, False

    def __exit__(self, *exception):
        _mode.enabled, _mode.inference = self.before


# ------------------------------------------------------------------------------------------ tensors, as the tape
# sees them
class View:
    """How a tensor came from the one whose memory it shares: the view ops, one after the other."""

    __slots__ = ("base", "path", "history", "forbidden")

    def __init__(self, base: TensorBase, path: tuple, forbidden: str | None):
        self.base, self.path, self.forbidden = base, path, forbidden
        self.history = base._history  # of the base, when this view's node was made


class TensorBase:
    """What the tape knows of a tensor; tinyrnn.tensor.Tensor adds the vocabulary."""

    array: np.ndarray
    grad: Any = None
    _requires: bool = False  # a leaf that collects a gradient
    _node: Node | None = None  # the call that made it
    _slot: int = 0  # which of the node's results it is
    _view: View | None = None
    _version: list[int] | None = None  # [number of writes], shared by all that share the memory
    _history: int = 0  # how often the node changed because of a write
    _hooks: dict | None = None  # of a leaf
    _retains: bool = False

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor: True for leaves made so, and for what is computed from them."""
        if self._view is not None:
            refresh(self)
        return self._requires or self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not value and self.requires_grad and self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and self.array.dtype.kind != "f":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if self._node is None:
            self._requires = bool(value)

    @property
    def version(self) -> list[int]:
        if self._version is None:
            self._version = [0]
        return self._version


Tensor: type[TensorBase] = TensorBase  # the class of results, told by tinyrnn.tensor
_new = object.__new__


def results_are(cls: type[TensorBase]) -> None:
    """Tell the tape which class its results have."""
    global Tensor
    Tensor = cls


def wrap(array: np.ndarray) -> Any:
    """A tensor that holds `array` itself, and that nothing was recorded of."""
    tensor = _new(Tensor)
    tensor.array = array if type(array) is np.ndarray else np.asarray(array)
    return tensor


# ------------------------------------------------------------------------------------------ nodes
_sequence = itertools.count()
FREED = ("freed",)


class Node:
    """One recorded call: the op, what it saved, and where its gradients go.

    `inputs` holds, per input of the op, None or (where to, slot, shape, dtype): the gradient goes to result `slot` of
    another node, or to a leaf tensor; it has the shape and dtype of that input.
    """

    __slots__ = ("op", "saved", "watched", "inputs", "needs", "sequence", "outputs", "hooks", "retained", "__weakref__")

    def __init__(self, op, inputs: Sequence[TensorBase | None], saved: tuple, outputs: int):
        self.op = op
        self.saved = saved
        self.outputs = outputs
        self.sequence = next(_sequence)
        self.hooks: dict[int, dict] | None = None  # slot -> hooks on that result's gradient
        self.retained: list | None = None  # (slot, tensor) whose gradient is kept
        self.watched: list | None = None  # (input number or ~slot, its version, what it should be)
        edges: list = []
        for t in inputs:
            if t is None:
                edges.append(None)
            elif t._node is not None:
                edges.append((t._node, t._slot, t.array.shape, t.array.dtype))
            elif t._requires:
                edges.append((t, 0, t.array.shape, t.array.dtype))
            else:
                edges.append(None)
        self.inputs = edges
        self.needs = [e is not None for e in edges]

    def watch(self, number: int, tensor: TensorBase) -> None:
        version = tensor.version
        if self.watched is None:
            self.watched = []
        self.watched.append((number, version, version[0], tensor.array))

    def name(self) -> str:
        return f"{self.op.__name__}Backward0"

    @property
    def next_functions(self) -> tuple:
        return tuple(
            (e[0] if isinstance(e[0], Node) else AccumulateGrad(e[0]), e[1]) if e else (None, 0) for e in self.inputs
        )

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    def changed(self, number: int, version: list[int], expected: int, array: np.ndarray) -> RuntimeError:
        """torch's error for a saved tensor that was written to."""
        if number < 0:
            origin = f", which is output {~number} of {self.name()},"
        else:
            edge = self.inputs[number]
            origin = f", which is output {edge[1]} of {edge[0].name()}," if edge and isinstance(edge[0], Node) else ""
        kind = {"f4": "Float", "f8": "Double", "i8": "Long", "b1": "Bool"}.get(array.dtype.str[1:], array.dtype.name)
        return RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{kind}Tensor {list(array.shape)}]{origin} is at version {version[0]}; expected version {expected} "
            "instead. Hint: save a copy, clone(), before the write, or write into a new tensor."
        )


class AccumulateGrad:
    """What stands at the end of a path in `next_functions`: a leaf and its .grad."""

    def __init__(self, variable: TensorBase):
        self.variable = variable

    def name(self) -> str:
        return "AccumulateGrad"


def run(op, inputs: Sequence[Any], arrays: Iterable[Any], **parameters) -> Any:
    """Call `op` on `arrays` (of the tensors `inputs`, perhaps cast; None where absent) and record it if need be."""
    out, saved = op.forward(*arrays, **parameters)
    node = None
    if _mode.enabled:
        for t in inputs:
            if t is not None and (t._requires or t._node is not None or (t._view is not None and t.requires_grad)):
                for other in inputs:
                    if other is not None and other._view is not None:
                        refresh(other)
                node = Node(op, inputs, saved, len(out) if type(out) is tuple else 1)
                if op.keeps:
                    needs = node.needs
                    needed = [any(needs[i] for i in users) for users in op.keeps]
                    saved = node.saved = tuple([a if keep else None for a, keep in zip(saved, needed, strict=True)])
                for a in saved:
                    if type(a) is np.ndarray:
                        for number, t in enumerate(inputs):
                            if t is not None and t.array is a:
                                node.watch(number, t)
                                break
                break
    if type(out) is tuple:
        return tuple(_result(op, inputs, parameters, node, a, slot) for slot, a in enumerate(out))
    return _result(op, inputs, parameters, node, out, 0)


def _result(op, inputs, parameters, node: Node | None, array, slot: int) -> Any:
    tensor = _new(Tensor)
    tensor.array = array if type(array) is np.ndarray else np.asarray(array)
    if node is not None and tensor.array.dtype.kind == "f":
        tensor._node = node
        if slot:
            tensor._slot = slot
        for a in node.saved:
            if a is array:
                node.watch(~slot, tensor)
    if op.view:
        source = inputs[0]
        if np.may_share_memory(tensor.array, source.array):
            tensor._version = source.version
            step = (op, parameters, slot)
            forbidden = f"Output {slot} of {op.__name__}" if op.splits else None
            if source._view is None:
                tensor._view = View(source, (step,), forbidden or (None if _mode.enabled else "no_grad"))
            else:
                v = source._view
                forbidden = forbidden or v.forbidden or (None if _mode.enabled else "no_grad")
                tensor._view = View(v.base, (*v.path, step), forbidden)
    return tensor


def apply(op, *inputs, **parameters) -> Any:
    """`run` for inputs that need no cast."""
    return run(op, inputs, [None if t is None else t.array for t in inputs], **parameters)


# ------------------------------------------------------------------------------------------ views and writes
def refresh(view: TensorBase) -> None:
    """Give a view a new node if the tensor it looks at was written to since the view was made."""
    v = view._view
    assert v is not None
    if v.history == v.base._history:
        return
    with enable_grad():
        t: Any = v.base
        for op, parameters, slot in v.path:
            t = apply(op, t, **parameters)
            if type(t) is tuple:
                t = t[slot]
    view._node, view._slot, v.history = t._node, t._slot, v.base._history


class WriteView(Op):
    """The base after one of its views was overwritten: the old base around the view's new content.

    The gradient is laid out in memory as the base is, so that the view ops give views of it too.
    """

    @staticmethod
    def backward(saved, needs, g):
        path, layout = saved
        around = np.empty([g.shape[i] for i in layout], g.dtype).transpose(np.argsort(layout))
        around[...] = g
        inside = follow(path, around)
        new = inside.copy()
        inside[...] = 0
        return around, new


def follow(path: tuple, array: np.ndarray) -> np.ndarray:
    """The view ops of `path`, applied to a bare array."""
    for op, parameters, slot in path:
        array = op.forward(array, **parameters)[0]
        if type(array) is tuple:
            array = array[slot]
    return array


def check_writable(target: TensorBase, recorded: bool) -> None:
    """Raise torch's error if `target` cannot be written to now; `recorded`: what is written has a gradient itself."""
    array, view = target.array, target._view
    if array.size and any(stride == 0 and size > 1 for size, stride in zip(array.shape, array.strides, strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )
    if not array.flags.writeable:
        raise RuntimeError("this tensor's memory is read-only (it came from a read-only NumPy array): clone() it first")
    if not _mode.enabled or not (recorded or target.requires_grad):
        return
    if view is None:
        if target._requires and target._node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    elif view.base._requires and view.base._node is None:
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    elif view.forbidden == "no_grad":
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Make the "
            "view and write to it both inside no_grad, or both outside."
        )
    elif view.forbidden:
        raise RuntimeError(
            f"{view.forbidden} is a view and is being modified inplace. This view is the output of a function "
            "that returns multiple views. Such functions do not allow the output views to be modified inplace. "
            "You should replace the inplace operation by an out-of-place one."
        )


def write(target: Any, value: TensorBase) -> Any:
    """Overwrite the content of `target` with `value`, a tensor of its shape, and record that.  Returns `target`."""
    check_writable(target, value.requires_grad)
    np.copyto(target.array, value.array, casting="unsafe")
    target.version[0] += 1
    if _mode.enabled and (value.requires_grad or target.requires_grad):
        if value.array.dtype != target.array.dtype and value.requires_grad:
            value = run(Cast, (value,), (value.array,), dtype=target.array.dtype)
        view = target._view
        if view is None:
            target._node, target._slot = value._node, value._slot
            target._history += 1
        else:
            base = view.base
            layout = tuple(np.argsort([-stride for stride in base.array.strides], kind="stable"))
            base._node, base._slot = Node(WriteView, (base, value), (view.path, layout), 1), 0
            base._history += 1
        if target._retains:
            target._retains = False
            retain(target)
    return target


class Cast(Op):
    """The same numbers in another type; the tape casts the gradient back."""

    @staticmethod
    def forward(a, *, dtype):
        return a.astype(dtype), ()

    @staticmethod
    def backward(saved, needs, g):
        return g


def retain(tensor: TensorBase) -> None:
    """Keep the gradient of a tensor that is not a leaf, in .grad, when backward comes by."""
    if tensor.requires_grad and tensor._node is not None and not tensor._retains:
        tensor._retains = True
        node = tensor._node
        node.retained = [*(node.retained or ()), (tensor._slot, tensor)]


# ------------------------------------------------------------------------------------------ the walk
def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `g` over the axes along which an input of `shape` was broadcast."""
    from .kernels.cpu import reduce

    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    return reduce.sum(g, axes).reshape(shape)


_accumulating = threading.Lock()


def backward(
    roots: Sequence[tuple[TensorBase, np.ndarray]],
    retain_graph: bool = False,
    wanted: Sequence[TensorBase] | None = None,
) -> list[np.ndarray | None]:
    """Walk back from `roots`, pairs of a tensor and the gradient of it.

    With `wanted` None, every leaf that was reached adds the gradient to its .grad, at the end: if
    anything fails on the way, no leaf has changed.  Otherwise only what leads to the wanted tensors is
    walked, and the gradients of these are returned (None where none flows).
    """
    pending: dict[Node, list] = {}
    heap: list[tuple[int, Node]] = []
    leaves: dict[int, list] = {}  # id -> [leaf, gradient, whether the array is ours to add to]
    catch: dict[tuple[int, int], np.ndarray | None] = {}  # (id of a node, slot) -> gradient
    leads = None
    if wanted is not None:
        for t in wanted:
            if t.requires_grad and t._node is not None:
                catch[id(t._node), t._slot] = None
        leads = _leading([t._node for t, _ in roots if t._node is not None], wanted)

    def send(target, slot: int, g, ours: bool) -> None:
        if type(target) is Node:
            slots = pending.get(target)
            if slots is None:
                if leads is not None and id(target) not in leads and (id(target), slot) not in catch:
                    return
                slots = pending[target] = [None] * target.outputs
                heapq.heappush(heap, (-target.sequence, target))
            slots[slot] = g if slots[slot] is None else slots[slot] + g
        else:
            entry = leaves.get(id(target))
            if entry is None:
                leaves[id(target)] = [target, g, ours]
            elif entry[2] and type(entry[1]) is np.ndarray:
                np.add(entry[1], g, out=entry[1])
            else:
                entry[1], entry[2] = entry[1] + g, True

    with np.errstate(all="ignore"):
        for tensor, g in roots:
            send(tensor._node or tensor, tensor._slot, g, False)
        while heap:
            node = heapq.heappop(heap)[1]
            gradients = pending.pop(node)
            if node.hooks:
                for slot, hooks in node.hooks.items():
                    gradients[slot] = _call_hooks(hooks, gradients[slot])
            if node.retained:
                for slot, tensor in node.retained:
                    if gradients[slot] is not None:
                        _accumulate(tensor, gradients[slot], False)
            if catch:
                for slot, g in enumerate(gradients):
                    if g is not None and (id(node), slot) in catch:
                        catch[id(node), slot] = g
            if leads is not None and id(node) not in leads:
                continue
            saved = node.saved
            if saved is FREED:
                raise RuntimeError(
                    "Trying to backward through the graph a second time (or directly access saved "
                    "tensors after they have "
                    "already been freed). Saved intermediate values of the graph are freed when you "
                    "call .backward() or "
                    "autograd.grad(). Specify retain_graph=True if you need to backward through the "
                    "graph a second time or "
                    "if you need to access saved tensors after calling backward."
                )
            if node.watched:
                for entry in node.watched:
                    if entry[1][0] != entry[2]:
                        raise node.changed(*entry)
            results = node.op.backward(saved, node.needs, *gradients)
            if not retain_graph and any(type(a) is np.ndarray for a in saved):
                node.saved = FREED
                node.watched = None
            if type(results) is not tuple:
                results = (results,)
            for edge, g in zip(node.inputs, results, strict=True):
                if edge is None or g is None:
                    continue
                target, slot, shape, dtype = edge
                ours = True
                if g.shape != shape:
                    g = unbroadcast(g, shape)
                elif type(g) is not np.ndarray or g.base is not None or any(g is other for other in gradients):
                    ours = False
                if g.dtype != dtype:
                    g, ours = g.astype(dtype), True
                send(target, slot, g, ours)
            del saved, results  # an array must not outlive its use until the next round

        if wanted is not None:
            return [
                catch.get((id(t._node), t._slot))
                if t._node is not None
                else _call_hooks(t._hooks, leaves[id(t)][1])
                if id(t) in leaves
                else None
                for t in wanted
            ]
        for leaf, g, ours in leaves.values():
            hooked = _call_hooks(leaf._hooks, g)
            _accumulate(leaf, hooked, ours and hooked is g)
    return []


def _leading(starts: list[Node], wanted: Sequence[TensorBase]) -> set[int]:
    """The ids of the nodes from which a wanted tensor can be reached."""
    nodes: dict[int, Node] = {}
    stack = list(starts)
    while stack:
        node = stack.pop()
        if id(node) not in nodes:
            nodes[id(node)] = node
            stack.extend(e[0] for e in node.inputs if e is not None and type(e[0]) is Node)
    goals = {(id(t._node or t), t._slot) for t in wanted}
    leads: set[int] = set()
    for node in sorted(nodes.values(), key=lambda n: n.sequence):
        if any(e is not None and ((id(e[0]), e[1]) in goals or id(e[0]) in leads) for e in node.inputs):
            leads.add(id(node))
    return leads


def _accumulate(tensor: TensorBase, g: np.ndarray, ours: bool) -> None:
    with _accumulating:
        if tensor.grad is None:
            tensor.grad = wrap(g if ours else np.array(g))
        else:
            tensor.grad.array += g
            tensor.grad.version[0] += 1


def _call_hooks(hooks: dict | None, g: np.ndarray | None) -> Any:
    """Run hooks on a gradient; each may return a tensor to put in its place."""
    if not hooks or g is None:
        return g
    with no_grad():
        for hook in list(hooks.values()):
            new = hook(wrap(g))
            if new is not None:
                if not isinstance(new, TensorBase) or new.array.shape != g.shape:
                    what = f"shape {new.array.shape}" if isinstance(new, TensorBase) else type(new).__name__
                    raise RuntimeError(
                        f"a hook must return None or a tensor of the gradient's shape {g.shape}, got {what}"
                    )
                g = new.array
    return g
