"""Order: what was recorded, and what runs when.

Every differentiable call goes through `record`, as a rule by `run`, which hands NumPy arrays to an op (tinyrnn.ops:
calculus).  `record` wraps what comes out in tensors and, if a gradient can flow, notes the call as a `Node`.
`backward` walks the nodes newest first, without recursion: a node is always older than the nodes that used its results.

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
* A gradient may have the broadcast shape or the promoted type: the tape sums and casts it to the input's.  It may be a
  `Part`, where most of it is zero.
* If the op `piles`, needs may have a `Pile` in place of True: what is put on it is not returned (gradients.py).

Who holds whom: a tensor its node, a node the nodes (or leaves) that its gradients go to, a view its base.  Nothing
points the other way, so a graph goes when its last tensor goes, without the garbage collector.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import traceback
import warnings
import weakref
from collections.abc import Collection, Iterable, Sequence
from heapq import heappop, heappush
from operator import is_not
from sys import getrefcount
from typing import Any, Literal

import numpy as np

from .devices import array_types, of, put
from .grad_mode import (  # noqa: F401  (the tape's users find the switches here)
    anomaly,
    current,
    enable_grad,
    inference_mode,
    inferring,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .gradients import Part, Pile, add_to, fitted, sum_of
from .strides import contiguous, copyto, dense, frames, order, overlaps, places, separate, span, window


class Op:
    """Base of all ops: see the contract above."""

    bare = False  # whether it saves numbers and shapes only, so that nothing is freed by a backward
    view = False  # a view op's results share the memory of its first input; it is bare
    splits = False  # a view op with several results, which cannot be written to while they are recorded
    keeps: tuple = ()  # for each saved value the inputs whose gradients need it; () if all are needed always
    label: str | None = None  # what `grad_fn` shows, if tinyrnn.titles does not tell it from the op's own name
    piles = False  # whether its backward looks for piles in `needs`
    last_first = False  # whether torch's gradients reach the last inputs before the first ones

    @classmethod
    def called(cls, label: str) -> type[Op]:
        """The same op under another of torch's names."""
        return type(cls.__name__, (cls,), {"label": label, "__doc__": cls.__doc__})

    @staticmethod
    def forward(*inputs, **parameters):
        raise TypeError("an Op defines forward")

    @staticmethod
    def backward(saved, needs, *gradients):
        raise TypeError("an Op defines backward")


# ---------------------------------------------------------------------------------------- tensors
class View:
    """That a tensor shares the memory of `base`, which is no view itself."""

    __slots__ = ("base", "seen", "forbidden")

    def __init__(self, base: TensorBase, seen: int, forbidden: str | None):
        self.base = base
        self.seen = seen  # the version of the memory that the view's node knows of
        self.forbidden = forbidden  # how it was made, if writes to it cannot be recorded


NO_GRAD, INFERENCE, SEVERAL, CUSTOM = "no_grad", "inference", "several", "custom"


class Untracked(list):
    """The number of writes to what was made in inference mode: nobody counts them, so nothing of it may be saved."""

    def __getitem__(self, i):
        if current.inference:
            return super().__getitem__(i)
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Make a clone() outside of inference_mode and use that, or "
            "make the tensor inside no_grad() instead."
        )


UNTRACKED: list[int] = Untracked([0])


class TensorBase:
    """What the tape knows of a tensor; tinyrnn.tensor.Tensor adds the vocabulary."""

    array: Any  # of one of devices.array_types
    _grad: Any = None
    _requires: bool = False  # a leaf that collects a gradient
    _edge: tuple | None = None  # (the call that made it, which of its results this is, shape, dtype)
    _view: View | None = None
    _writes: list[int] | None = None  # [number of writes], shared by all that share the memory
    _hooks: dict | None = None  # of a leaf
    _later: dict | None = None  # hooks of a leaf that run after its .grad was filled
    _retains: bool = False

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor: True for leaves made so, and for what is computed from them."""
        if self._requires or self._edge is not None:
            return True
        if self._view is None:
            return False
        base = self._view.base
        return base._requires or base._edge is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError(f"requires_grad must be a bool, not {type(value).__name__}")
        if not value and self.node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed "
                "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and self.array.dtype.kind != "f":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if value and self.is_inference() and not current.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        if self._edge is None:
            self._requires = value

    @property
    def _node(self) -> Node | None:
        """The call that made this tensor."""
        return None if self._edge is None else self._edge[0]

    @property
    def _slot(self) -> int:
        """Which of its call's results this tensor is."""
        return 0 if self._edge is None else self._edge[1]

    @property
    def node(self) -> Node | None:
        """`_node`; for a view of a base that was written to since, a new one."""
        view = self._view
        if view is not None and view.forbidden is None:
            refresh(self)
        return self._node

    @property
    def version(self) -> list[int]:
        """[number of writes to the memory], shared by all tensors that share it."""
        if self._writes is None:
            self._writes = [0]
        return self._writes

    def wrote(self) -> None:
        """Count a write to the memory."""
        wrote((self,))

    @property
    def _version(self) -> int:
        """How often the memory was written to."""
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter.")
        return self.version[0]

    def is_inference(self) -> bool:
        """Whether the tensor was made in inference mode."""
        return type(self._writes) is Untracked

    @property
    def grad(self) -> Any:
        """The gradient that backward added up for this leaf (or tensor with retain_grad), or None."""
        if self._grad is None and self._edge is not None and not self._retains:
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Backward does not fill "
                "it: call .retain_grad() on this tensor before, or look at the .grad of the leaf.",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            here, there = self.array, value.array
            if type(here) is not type(there):
                raise RuntimeError(
                    f"attempting to assign a gradient with device type '{of(there).type}' to a tensor with device type "
                    f"'{of(here).type}'. Please ensure that the gradient and the tensor are on the same device"
                )
            if (here.shape, here.dtype) != (there.shape, there.dtype):
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(there.shape)}' and dtype {there.dtype} to a "
                    f"tensor of size '{list(here.shape)}' and dtype {here.dtype}: they must be the same"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None


Tensor: type[TensorBase] = TensorBase  # the class of results, told by tinyrnn.tensor
_new = object.__new__


def results_are(cls: type[TensorBase]) -> None:
    """Tell the tape which class its results have."""
    global Tensor
    Tensor = cls


def wrote(tensors: Iterable[TensorBase]) -> None:
    """Count a write to the memory of each."""
    global last_write
    for t in tensors:
        version = t._writes
        if version is None:
            t._writes = [1]
        else:
            version[0] += 1
    last_write = next(_sequence)


def wrap(array: np.ndarray) -> Any:
    """A tensor that holds `array` itself, and that nothing was recorded of."""
    tensor = _new(Tensor)
    tensor.array = array if array.shape or type(array) in array_types else np.asarray(array)
    if inferring and current.inference:
        tensor._writes = UNTRACKED
    return tensor


# ---------------------------------------------------------------------------------------- nodes
_sequence = itertools.count()
last_write = -1  # the moment of it, in any thread: nothing that a later node saved was written to
FREED = ("freed",)


class Node:
    """One recorded call: the op, what it saved, and where its gradients go.

    `inputs` holds, per input of the op, None or its edge (where to, slot, shape, dtype): the gradient goes to result
    `slot` of another node, or to a leaf tensor, for which slot is None; it has the shape and dtype of that input.
    """

    __slots__ = "op", "inputs", "saved", "watched", "sequence", "outputs", "listeners", "__dict__", "__weakref__"
    op: Any
    inputs: tuple
    saved: tuple
    watched: tuple  # see `noted`
    sequence: int
    outputs: int
    listeners: Listeners | None
    label: Any = None  # what `name` says, for all results or by number, if it is not told by the op
    lines: traceback.StackSummary | None = None  # of the program, innermost last, if anomalies were looked for

    def moved(self, array: np.ndarray, tensor: TensorBase) -> None:
        """A result was written into `tensor`: if it was saved, it is saved there from now on."""
        if any(a is array for a in self.saved):
            self.saved = tuple(tensor.array if a is array else a for a in self.saved)
            version, watched = tensor.version, self.watched
            others = [watched[i : i + 4] for i in range(0, len(watched), 4) if watched[i + 3] is not array]
            self.watched = *itertools.chain(*others), version, version[0], ~tensor._slot, tensor.array

    def name(self, slot: int = 0) -> str:
        """What torch calls the call that gave result `slot`."""
        label = self.label.get(slot) if type(self.label) is dict else self.label
        label = label or getattr(self.op, "label", None)
        if label is not None or not isinstance(self.op, type):
            return label or self.op.title()
        from .titles import title

        return title(self.op, self.saved, [e and e[2] for e in self.inputs])

    @property
    def next_functions(self) -> tuple:
        return tuple(
            (None, 0) if e is None else (AccumulateGrad(e[0]), 0) if e[1] is None else (face(e[0], e[1]), e[1])
            for e in self.inputs
        )

    def __repr__(self) -> str:
        return f"<{shown(self)} object at {id(self):#x}>"

    def check_unchanged(self) -> None:
        """Raise torch's error if a saved tensor was written to."""
        watched = self.watched
        for i in range(0, len(watched), 4):
            version, expected, number, array = watched[i : i + 4]
            if version[0] != expected:
                edge: Any = None if number is None else (self, ~number) if number < 0 else self.inputs[number]
                raise modified(array, edge and edge[:2], version[0], expected)


def modified(array: np.ndarray, source: tuple | None, version: int, expected: int) -> RuntimeError:
    """torch's error for a tensor that was saved and then written to; `source` is the start of its edge, or None."""
    origin = ""
    if source is not None and source[1] is not None:
        origin = f", which is output {source[1]} of {source[0].name().partition('Backward')[0]},"
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[torch.{KINDS.get(array.dtype.str[1:], array.dtype.name)}Tensor {list(array.shape)}]{origin} is at version "
        f"{version}; expected version {expected} instead. Hint: save a copy, clone(), before the write, or write into "
        "a new tensor."
    )


class Listeners:
    """What wants to see the gradients of a node's results."""

    __slots__ = "hooks", "retained"

    def __init__(self):
        self.hooks: dict[int, dict] = {}  # slot -> hooks on that result's gradient
        self.retained: list = []  # weak references to the results whose gradient is kept


def noted(op, inputs: tuple, saved: tuple, outputs: int, watched: tuple = ()) -> Node:
    """A new node; `watched`: for each tensor among what was saved its version, the version's value now, the number of
    the input (~slot of a result, None for another tensor) and the array, one after the other in a single tuple: nodes
    live long, and what the collector of garbage looks at again and again costs more than what makes it.
    """
    node = _new(Node)  # a class that is called costs more
    node.op = op
    node.inputs = inputs
    node.saved = saved
    node.outputs = outputs
    node.watched = watched
    node.listeners = None
    node.sequence = next(_sequence)  # after the nodes of the inputs, some of which were made only now
    if anomaly.enabled:
        node.lines = calling_lines()
    return node


def listeners_of(node: Node) -> Listeners:
    if node.listeners is None:
        node.listeners = Listeners()
    return node.listeners


KINDS = {
    "f4": "Float", "f8": "Double", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char", "u1": "Byte", "b1": "Bool",
}  # fmt: skip


def shown(node: Node, slot: int = 0) -> str:
    """A node's name as it is printed: without torch's C++ namespace."""
    return node.name(slot).rpartition("::")[2]


@functools.cache
def _class_called(name: str) -> type[Node]:
    return type(name, (Node,), {"__slots__": (), "__module__": __name__})


def face(node: Node | None, slot: int = 0) -> Node | None:
    """The node as programs see it: of a class that has torch's name for the call."""
    if node is not None:
        node.__class__ = _class_called(shown(node, slot))
    return node


def entitled(result: Any, label: str) -> Any:
    """`result` of several calls, the last of which is shown under torch's name for the whole."""
    if result._edge is not None:
        result._edge[0].label = label
    return result


class AccumulateGrad:
    """What stands at the end of a path in `next_functions`: a leaf and its .grad."""

    next_functions = ()

    def __init__(self, variable: TensorBase):
        self.variable = variable

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and self.variable is other.variable

    def __hash__(self) -> int:
        return hash(id(self.variable))

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


def run(op, inputs: Sequence[Any], arrays: Iterable[Any], besides: Sequence[Any] = (), **parameters) -> Any:
    """Call `op` on `arrays` (of the tensors `inputs`, perhaps cast; None where absent) and record it if need be."""
    return record(op, inputs, op.forward(*arrays, **parameters), besides)


def record(op, inputs: Sequence[Any], called: tuple, besides: Sequence[Any] = ()) -> Any:
    """The results of a call as tensors: `called` is what op.forward gave, results and what is saved.

    A node is made of it if a gradient can flow, to one of the tensors `inputs` (None where absent).  `besides` are
    tensors that a node needs too, masks and indices: a write to one is noticed, as to what is saved of the inputs.
    Every call of every program comes through here: what could be a call of `edge` is in line.
    """
    out, saved = called
    several = type(out) is tuple
    node: Node | None = None
    kept: Collection[int] = ()  # the ids of what is saved
    if current.enabled:
        edges: list = []
        recorded = False
        for t in inputs:
            if t is None:
                edges.append(None)
                continue
            view = t._view
            if view is not None and view.seen != t._writes[0]:
                refresh(t)
            way = t._edge
            if way is None:
                if t._requires:
                    a = t.array
                    way = t, None, a.shape, a.dtype
                elif view is not None and t.requires_grad:  # its base does: a node, but no gradient goes there
                    recorded = True
            edges.append(way)
        if recorded or any(edges):
            watched: tuple = ()
            if saved and not op.bare:
                if op.keeps and None in edges:
                    saved = needed(saved, op.keeps, edges)
                kept = {*map(id, saved)}
                for number, t in enumerate(inputs):
                    if t is not None and id(t.array) in kept:
                        version = t._writes
                        if version is None:
                            version = t._writes = [0]
                        watched += version, version[0], number, t.array
                for t in besides:
                    version = t.version
                    watched += version, version[0], None, t.array
            node = noted(op, tuple(edges), saved, len(out) if several else 1, watched)
    if several:
        return tuple([_result(op, inputs, node, a, slot, kept) for slot, a in enumerate(out)])
    return _result(op, inputs, node, out, 0, kept)


def edge(t: TensorBase) -> tuple | None:
    """The edge of a tensor, as in Node.inputs; None if it requires no gradient."""
    if t._view is not None:
        refresh(t)
    return t._edge or ((t, None, t.array.shape, t.array.dtype) if t._requires else None)


def needed(saved: tuple, keeps: tuple, edges: list) -> tuple:
    """What is needed of `saved`: None in place of what only inputs without a gradient use."""
    kept = list(saved)
    for k in unneeded(keeps, tuple(map(bool, edges))):
        kept[k] = None
    return tuple(kept)


@functools.cache
def unneeded(keeps: tuple, flows: tuple[bool, ...]) -> tuple[int, ...]:
    """The numbers of the saved values that no gradient needs, where `flows` tells which inputs get one."""
    return tuple(k for k, users in enumerate(keeps) if not any(flows[i] for i in users))


def _result(op, inputs: Sequence[Any], node: Node | None, array: Any, slot: int, kept: Collection[int]) -> Any:
    """A result as a tensor; `kept`: the ids of what the node saved."""
    tensor = _new(Tensor)
    tensor.array = own = array if array.shape or type(array) in array_types else np.asarray(array)
    if node is not None and (dtype := own.dtype).kind == "f":
        tensor._edge = node, slot, own.shape, dtype
        if kept and id(array) in kept:
            tensor._writes = version = [0]
            node.watched += version, 0, ~slot, own
    if op.view:
        look(tensor, inputs[0], SEVERAL if op.splits else None)
    if inferring and current.inference and tensor._writes is None:
        tensor._writes = UNTRACKED
    return tensor


def apply(op, *inputs, **parameters) -> Any:
    """`run` for inputs that need no cast."""
    return run(op, inputs, [None if t is None else t.array for t in inputs], **parameters)


# ---------------------------------------------------------------------------------------- views
def look(tensor: TensorBase, source: TensorBase, forbidden: str | None) -> None:
    """Note that `tensor` is a view of `source`, if it shares its memory."""
    there = source.array
    base = tensor.array.base
    shares = base is there or (base is not None and base is there.base)  # the quick answer, for most views
    if not shares and tensor.array.size and not np.may_share_memory(tensor.array, there):
        return  # the copy that a reshape had to make
    version = source._writes
    if version is None:
        version = source._writes = [0]
    tensor._writes = version
    if type(version) is Untracked:
        return
    view = source._view
    if not current.enabled:
        forbidden = INFERENCE if current.inference else NO_GRAD
    elif forbidden is None and view is not None:
        forbidden = view.forbidden
    tensor._view = View(source if view is None else view.base, version[0], forbidden)


def refresh(tensor: TensorBase) -> None:
    """Give a view a new node if the memory was written to since its node was made."""
    view = tensor._view
    version = tensor._writes
    if view is None or version is None or view.seen == version[0]:
        return
    base = view.base
    if tensor._edge is None and base._edge is None and not base._requires:
        return
    if view.forbidden is not None:
        raise refused(tensor, "its base or another view of its base has been modified inplace")
    if tensor.array.dtype == base.array.dtype:
        attach(tensor, noted(AsStrided, (edge(base),), (window(base.array, tensor.array),), 1))
    view.seen = version[0]


def refused(tensor: TensorBase, happened: str) -> RuntimeError:
    """torch's error for a view of which a write, which `happened` to it, cannot be recorded."""
    assert tensor._view is not None
    made = tensor._view.forbidden
    if made in (NO_GRAD, INFERENCE):
        mode = f"{made} mode and {happened} " + ("with grad mode enabled" if made == NO_GRAD else "in normal mode")
        return RuntimeError(
            f"A view was created in {mode}: make the view and write to the memory both inside that mode, or both "
            "outside."
        )
    name = f"Output {tensor._slot} of {tensor._node.name()}" if tensor._node is not None else "A tensor"
    why = (
        "This view is the output of a function that returns multiple views: use an out-of-place operation instead."
        if made == SEVERAL
        else "This view was created inside a custom Function, whose backward would be bypassed: clone() it first."
    )
    return RuntimeError(f"{name} is a view and {happened}. {why}")


class AsStrided(Op):
    """A view of a base that was written to, found again by its place in memory."""

    @staticmethod
    def backward(saved, needs, g):
        size, _, view = saved[0]
        flat = np.zeros(size, g.dtype, like=g)
        around, inside = frames(saved[0], flat)
        if separate(inside):
            inside[...] = g
        else:  # several of the view's elements are one of the base's
            np.add.at(flat, put(places(*view, g.itemsize), of(g)), g)
        return around


class CopySlices(Op):
    """The base after one of its views was overwritten: the old base around the view's new content."""

    label = "torch::autograd::CopySlices"

    @staticmethod
    def backward(saved, needs, g):
        around, inside = frames(saved[0], np.empty(saved[0][0], g.dtype, like=g))
        around[...] = g
        new = inside.copy()
        inside[...] = 0
        return around, new


# ---------------------------------------------------------------------------------------- writes
def attach(tensor: TensorBase, node: Node | None, slot: int = 0) -> None:
    """Make the tensor result `slot` of `node`."""
    if node is None:
        tensor._edge = None
        return
    tensor._edge = node, slot, tensor.array.shape, tensor.array.dtype
    if tensor._retains:
        listeners_of(node).retained.append(weakref.ref(tensor))


def retain(tensor: TensorBase) -> None:
    """Keep the gradient of a tensor that is not a leaf, in .grad, when backward comes by."""
    node = tensor.node
    if node is not None and not tensor._retains:
        refresh(tensor)  # an error, if its history is lost
        tensor._retains = True
        attach(tensor, node, tensor._slot)


SHARED = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
    "clone() the tensor before performing the operation."
)


def check_writable(target: TensorBase, recorded: bool, several: bool = False) -> None:
    """Raise torch's error if `target` cannot be written to now; `recorded`: what is written has a gradient itself;
    `several`: its elements may share places, for all get one value.
    """
    if not several and overlaps(target.array):
        raise RuntimeError(SHARED)
    if type(target._writes) is Untracked and not current.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a "
            "normal tensor before doing inplace update."
        )
    if not target.array.flags.writeable:
        raise RuntimeError("this tensor's memory is read-only (it came from a read-only NumPy array): clone() it first")
    check_recordable(target, recorded)


def check_recordable(target: TensorBase, recorded: bool) -> None:
    """The part of check_writable that is about the tape, not the memory."""
    if not current.enabled or not (recorded or target.requires_grad):
        return
    view = target._view
    if view is None:
        if target._requires and target._edge is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return
    if view.forbidden is not None:
        raise refused(target, "is being modified inplace")
    if target.requires_grad and view.base._edge is None:
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    refresh(target)


def check_apart(target: np.ndarray, value: np.ndarray) -> None:
    """Raise torch's error if what is written lies across the memory that it is written to."""
    if not np.may_share_memory(target, value) or not dense(target) or not dense(value):
        return
    steps = [[s for n, s in zip(a.shape, a.strides, strict=True) if n > 1] for a in (target, value)]
    if span(target) != span(value) or steps[0] != steps[1]:
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )


def write(target: Any, value: TensorBase, checked: bool = False) -> Any:
    """Overwrite the content of `target` with `value`, a tensor of its shape, and record that.  Returns `target`.

    If `target` is no view, `value` is a result that nobody else holds: `target` takes its place on the tape.  It may
    hold the target's own array, in which its op has changed something.  `checked`: whether check_writable has passed.
    """
    if not checked:
        check_writable(target, value.requires_grad)
    changed = value.array is target.array
    if not changed:
        check_apart(target.array, value.array)
    recorded = current.enabled and (value.requires_grad or target.requires_grad) and target.array.dtype.kind == "f"
    if recorded and value.array.dtype != target.array.dtype and value.requires_grad:
        value = run(Cast, (value,), (value.array,), dtype=target.array.dtype)
    place = rewritten(target, value) if recorded else None
    if not changed:
        copyto(target.array, converted_to(target.array.dtype, value.array))
    target.wrote()
    if place is not None:
        attach(*place)
        if value._edge is not None and (changed or target._view is None):
            value._edge[0].moved(value.array, target)
    return target


def rewritten(target: TensorBase, value: TensorBase) -> tuple[TensorBase, Node | None, int]:
    """The tensor that changes its place on the tape when `target` becomes `value`, and the place: node and slot."""
    view = target._view
    if view is None:
        return target, value._node, value._slot
    edges = edge(view.base), edge(value)
    return view.base, noted(CopySlices, edges, (window(view.base.array, target.array),), 1), 0


def astype(a: np.ndarray, dtype: np.dtype, order: Literal["C", "K"] = "K") -> np.ndarray:
    """A copy of an array as another type; as in torch, nothing is said of numbers that do not fit."""
    if a.dtype.kind != "f" or (dtype.kind == "f" and dtype.itemsize >= a.dtype.itemsize):  # all do
        return a.astype(dtype, order)
    with np.errstate(all="ignore"):
        return a.astype(dtype, order)


def converted_to(dtype: np.dtype, a: np.ndarray) -> np.ndarray:
    """The elements of an array as `dtype`, lying in memory as they did; the array itself if it has that type."""
    return a if a.dtype == dtype else astype(a, dtype, order(a))


class Cast(Op):
    """The same numbers in another type; the tape casts the gradient back."""

    @staticmethod
    def forward(a, *, dtype):
        return astype(a, dtype, order(a)), ()

    @staticmethod
    def backward(saved, needs, g):
        return g


# ---------------------------------------------------------------------------------------- the walk
@np.errstate(all="ignore")
def backward(
    roots: Sequence[tuple[TensorBase, np.ndarray]],
    retain_graph: bool | None = False,
    wanted: Sequence[TensorBase] | None = None,
    since: int = -1,
) -> list[np.ndarray | None]:
    """Walk back from `roots`, pairs of a tensor and the gradient of it.

    With `wanted` None, every leaf that was reached adds the gradient to its .grad, at the end: if
    anything fails on the way, no leaf has changed.  Otherwise only what leads to the wanted tensors is
    walked, of the calls that were recorded after the moment `since`, and the gradients of these are returned (None
    where none flows).

    A leaf's hooks run as soon as its gradient is complete.  With `since`, this is a part of another walk, which calls
    the hooks of what is wanted.
    """
    pending: dict[Node, list] = {}  # the gradients of the results of the nodes that are still to be walked
    heap: list[tuple[int, Node]] = []  # these nodes, the newest first
    leaves: dict[int, list] = {}  # id -> [leaf, gradient, whether the array is ours, whether its hooks ran]
    caught: dict[tuple[Any, int], np.ndarray | None] = {}  # (node, or id of a leaf; slot) -> gradient
    piles: dict[int, Pile] = {}  # of leaves that have a gradient, by id
    sums: set[tuple[Node, int]] = set()  # the results whose gradient is a sum that nobody else holds
    edges: Any = []
    results: Any = []
    for t, given in roots:
        if t._view is not None:
            refresh(t)
        edges.append(t._edge or (t, None, t.array.shape, t.array.dtype))
        results.append(given)
    leads = None
    if wanted is not None:
        caught = {(t.node or id(t), t._slot): None for t in wanted}
        leads = _leading([e[0] for e in edges if e[1] is not None], caught, since)
    awaited = _awaited(edges) if leads is None and hooked else None
    gradients = results  # what came in, and is not ours
    node: Any = None
    saved: Any
    freed, looking = not retain_graph, anomaly.enabled

    while True:
        for edge, g in zip(edges, results, strict=True):
            if edge is None or g is None:
                continue
            target, slot, shape, dtype = edge
            if g.shape != shape or g.dtype is not dtype or not shape:  # no axes: it may be a NumPy scalar
                if type(g) is not Part:
                    if (
                        slot is None
                        and g.ndim == 2
                        and g.shape[1:] == shape
                        and id(target) in leaves
                        and g.dtype == dtype
                    ):
                        pile = piles.get(id(target)) or _pile(piles, leaves, id(target))
                        pile.add_sum(g)  # of a bias that is added to rows, step by step
                        continue
                    g = fitted(g, shape, dtype)
                elif slot is None and id(target) not in leaves:
                    g = g.whole(shape, dtype)
                elif slot is not None and (target not in pending or pending[target][slot] is None):
                    g = g.whole(shape, dtype)
                    sums.add((target, slot))
            if slot is not None:
                slots = pending.get(target)
                if slots is None:
                    if leads is not None and target not in leads and (target, slot) not in caught:
                        continue
                    heappush(heap, (-target.sequence, target))
                    if target.outputs == 1:
                        pending[target] = [g]
                        continue
                    pending[target] = slots = [None] * target.outputs
                held = slots[slot]
                if held is None:
                    slots[slot] = g
                elif (target, slot) in sums:
                    add_to(held, g)
                else:
                    slots[slot] = sum_of(held, g)
                    sums.add((target, slot))
                continue
            entry = leaves.get(id(target))
            if entry is None:
                if leads is None or (id(target), 0) in caught:
                    base = g.base
                    alone = getrefcount(g) <= HELD_HERE and (
                        base is None
                        or type(base) is np.ndarray
                        and getrefcount(base) == HELD_ONCE
                        and base.size == g.size
                    )
                    leaves[id(target)] = [target, g, alone, False]
            elif entry[2]:
                add_to(entry[1], g)
            else:
                entry[1], entry[2] = sum_of(entry[1], g), True
        if awaited:
            for edge in reversed(edges) if node is not None and node.op.last_first else edges:
                if edge is not None and id(edge[0]) in awaited:
                    awaited[id(edge[0])] -= 1
                    if not awaited[id(edge[0])] and id(edge[0]) in leaves:
                        if id(edge[0]) in piles:
                            piles[id(edge[0])].settle()
                        _complete(leaves[id(edge[0])])
        if not heap:
            break
        results = g = None  # an array must not outlive its use until the next round
        node = heappop(heap)[1]
        gradients = pending.pop(node)
        if node.listeners is not None and node.sequence > since:
            _show(node.listeners, node, gradients)
        if leads is not None:
            for slot, g in enumerate(gradients):
                if g is not None and (node, slot) in caught:
                    caught[node, slot] = g
            if node not in leads:
                edges = results = ()
                continue
        edges, saved = node.inputs, node.saved
        try:
            if saved is FREED:
                raise RuntimeError(TWICE)
            if node.sequence < last_write:
                node.check_unchanged()
            op = node.op
            if None not in edges:
                needs = (True,) * len(edges)
            else:
                needs = tuple(map(is_not, edges, NONES))
                if True not in needs:  # its inputs were views made inside no_grad
                    edges = results = ()
                    continue
            if leaves and op.piles and not looking:
                needs = _asked(edges, leaves, piles)
            if node.outputs == 1:
                results = op.backward(saved, needs, gradients[0])
            else:
                results = op.backward(saved, needs, *gradients)
            if type(results) is not tuple:
                results = (results,)
            if looking:
                check_numbers(node, results)
        except Exception:
            if looking:
                tell_lines(node)
            raise
        if freed and saved and (node.watched or not node.op.bare and _frees(node.op, saved)):
            node.saved, node.watched = FREED, ()
        saved = None

    arrived: Collection[list] = leaves.values()
    for pile in piles.values():
        pile.settle()
    if wanted is not None or hooked:
        arrived = [entry for entry in arrived if entry[0]._requires or entry[0]._edge is not None]
    if hooked and since < 0:
        for entry in arrived:
            _complete(entry, into_grad=wanted is None)
        arrived = [entry for entry in arrived if entry[1] is not None]  # what is not added yet
    if wanted is not None:
        caught.update({(id(entry[0]), 0): entry[1] for entry in arrived})
        return [caught[t.node or id(t), t._slot] for t in wanted]
    for leaf, g, _, _ in arrived:
        if leaf._grad is not None or leaf._edge is not None or leaf.array.shape != g.shape:
            check_room(leaf, g)
    with _accumulating:
        for leaf, g, ours, _ in arrived:
            if leaf._requires or leaf._edge is not None:
                _accumulate(leaf, g, ours)
    return []


def _pile(piles: dict[int, Pile], leaves: dict[int, list], key: int) -> Pile:
    """A new pile for a leaf that has a gradient."""
    pile = piles[key] = Pile(leaves[key], leaves)
    return pile


def _asked(edges: tuple, leaves: dict[int, list], piles: dict[int, Pile]) -> tuple:
    """Which inputs want a gradient: True or False, or a pile for the leaves that have one."""
    asked: list = []
    for e in edges:
        if e is None or e[1] is not None:
            asked.append(e is not None)
        else:
            key = id(e[0])
            asked.append(piles.get(key) or key not in leaves or _pile(piles, leaves, key))
    return tuple(asked)


hooked = False  # whether a leaf was ever given a hook: before, nobody waits for a single leaf's gradient


def leaf_hooks() -> None:
    """Say that there are hooks on leaves."""
    global hooked
    hooked = True


def _awaited(edges: Sequence) -> dict[int, int]:
    """How many gradients each leaf that has hooks will get, by its id."""
    counts: dict[int, int] = {}
    seen: set[Node] = set()
    stack = list(edges)
    while stack:
        edge = stack.pop()
        if edge is None:
            continue
        target = edge[0]
        if edge[1] is None:
            if target._hooks or target._later:
                counts[id(target)] = counts.get(id(target), 0) + 1
        elif target not in seen:
            seen.add(target)
            stack.extend(target.inputs)
    return counts


def _complete(entry: list, into_grad: bool = True) -> None:
    """Run the hooks of a leaf whose gradient is complete, once; those that ask for its .grad find it added there."""
    leaf, g, ours, complete = entry
    if complete or not (leaf._requires or leaf._edge is not None):
        return
    entry[3] = True
    if leaf._hooks:
        entry[1], entry[2] = g, ours = _call_hooks(leaf._hooks, g), False
    if leaf._later and into_grad:
        check_room(leaf, g)
        accumulate(leaf, g, ours)
        entry[1] = None
        for hook in list(leaf._later.values()):
            hook(leaf)


def _holders() -> tuple[int, int]:
    """What getrefcount says, in a loop like that of `backward`, of a gradient that only its op's results hold, and of
    the base of a view that nothing but the view and a variable holds."""
    for _, g in zip((None,), (np.empty(2)[:1],), strict=True):
        base = g.base
        return getrefcount(g), getrefcount(base)
    raise AssertionError


HELD_HERE, HELD_ONCE = map(min, _holders(), (4, 3))  # a tracer, while this is imported, may be a holder too

TWICE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved "
    "tensors after calling backward."
)


NONES = itertools.repeat(None)  # as many as `map` asks for
PLAIN = {int, float, bool, str, type(None)}  # what ops save beside arrays, for the most part


def _frees(op, saved: tuple) -> bool:
    """Whether a second walk is an error: arrays were freed, or torch frees what it keeps for a write."""
    return op is CopySlices or _holds_arrays(saved)


def _holds_arrays(saved: tuple) -> bool:
    kinds = {*map(type, saved)}
    if not kinds.isdisjoint(array_types):
        return True
    if kinds <= PLAIN:
        return False
    return any(_holds_arrays(a) if type(a) is tuple else isinstance(a, (np.ndarray, np.generic)) for a in saved)


def _leading(starts: list[Node], goals: dict, since: int = -1) -> set[Node]:
    """The nodes, newer than `since`, from which one of the goals, pairs of a node (or the id of a leaf) and a slot, can
    be reached.
    """
    nodes: set[Node] = set()
    stack = starts
    while stack:
        node = stack.pop()
        if node not in nodes and node.sequence > since:
            nodes.add(node)
            stack.extend([e[0] for e in node.inputs if e is not None and e[1] is not None])
    leads: set[Node] = set()
    for node in sorted(nodes, key=lambda n: n.sequence):
        for e in node.inputs:
            if e is not None:
                target, slot = (id(e[0]), 0) if e[1] is None else e[:2]
                if target in leads or (target, slot) in goals:
                    leads.add(node)
    return leads


def moment() -> int:
    """A number that what was recorded before is below, and what is recorded from now on above."""
    return next(_sequence)


def border(results: Sequence[TensorBase], since: int) -> tuple:
    """Where the gradients of `results` leave the calls that were recorded after the moment `since`: entries of
    Node.inputs, to older nodes and to leaves.
    """
    found: dict[tuple, tuple] = {}
    seen: set[Node] = set()
    stack: list = [t._node for t in results]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for edge in node.inputs:
            if edge is not None and edge[1] is not None and edge[0].sequence > since and not again(edge[0], since):
                stack.append(edge[0])
            elif edge is not None:
                found[edge[0], edge[1]] = edge
    return tuple(found.values())


def again(node: Node, since: int) -> bool:
    """Whether a node stands for a view from before the moment `since` that was only brought up to date."""
    base = node.inputs[0] if node.op is AsStrided else None
    return base is not None and (base[1] is None or base[0].sequence <= since)


def at(edge: tuple) -> Any:
    """A tensor that stands where an entry of Node.inputs leads to: the leaf, or one without content."""
    if edge[1] is None:
        return edge[0]
    tensor = wrap(np.empty(0, edge[3]))
    tensor._edge = edge
    return tensor


def check_room(leaf: TensorBase, g: np.ndarray) -> None:
    """Raise torch's errors if `g` cannot be added to the .grad of `leaf`."""
    if not leaf._requires and leaf._edge is None:
        return
    if leaf._edge is not None:
        raise RuntimeError("leaf variable has been moved into the graph interior: it was written to in place")
    held = leaf.array if leaf._grad is None else leaf._grad.array
    for array, what in ((leaf.array, "tensor"), (held, "tensor's .grad")):
        if array.shape != g.shape:
            raise RuntimeError(
                f"The size of the gradient {list(g.shape)} must match the size of the {what} {list(array.shape)}: was "
                "its .data replaced?"
            )
    if leaf._grad is not None and overlaps(held):
        raise RuntimeError(SHARED)


# ---------------------------------------------------------------------------------------- what went wrong
PACKAGE = os.path.dirname(os.path.abspath(__file__))
OURS = (os.path.join(PACKAGE, ""), "<frozen runpy")


def calling_lines() -> traceback.StackSummary:
    """Where the program is, without the engine's own frames."""
    stack = traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False)
    stack.reverse()
    return traceback.StackSummary.from_list([frame for frame in stack if not frame.filename.startswith(OURS)])


def check_numbers(node: Node, results: tuple) -> None:
    """Raise torch's RuntimeError, and say which line recorded the call, if a gradient is NaN."""
    if not anomaly.check_nan:
        return
    for k, g in enumerate(results):
        if g is not None and node.inputs[k] is not None and np.isnan(g.values if type(g) is Part else g).any():
            lines = node.lines
            where = f" It is the backward of {lines[-1].filename}:{lines[-1].lineno}: {lines[-1].line}" if lines else ""
            raise RuntimeError(f"Function '{shown(node)}' returned nan values in its {k}th output.{where}")


def tell_lines(node: Node) -> None:
    """Warn where the forward call was that belongs to a backward which failed."""
    lines = node.lines
    if lines is None:
        found = "No forward pass information available. Enable detect anomaly during forward pass for more information."
    else:
        found = f"Traceback of forward call that caused the error:\n{''.join(lines.format())}"
    # The program's own line: beyond `backward`, its errstate, and the method or function that was called.
    warnings.warn(f"Error detected in {shown(node)}. {found}", stacklevel=5)


_accumulating = threading.Lock()


def _after_fork() -> None:
    """In a child process: another thread of the parent may have held the lock, and is not here to open it."""
    global _accumulating
    _accumulating = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def accumulate(tensor: TensorBase, g: np.ndarray, ours: bool) -> None:
    """Add `g` to the tensor's .grad; the array becomes the .grad itself if it is ours to give away."""
    with _accumulating:
        _accumulate(tensor, g, ours)


def _accumulate(tensor: TensorBase, g: np.ndarray, ours: bool) -> None:
    # A new .grad lies in memory as the tensor does (in order, if that leaves gaps): programs take .view(-1) of both.
    held = tensor._grad
    if held is not None:
        held.array += g
        held.wrote()
        return
    a = tensor.array
    if not ours or not (g.strides == a.strides or g.flags.c_contiguous and a.flags.c_contiguous):
        came = g
        if not a.flags.c_contiguous:
            g = np.empty_like(a, order="K" if dense(a) else "C")
            g[...] = came
        else:
            g = came.copy() if came.flags.c_contiguous else contiguous(came)
    grad = tensor._grad = _new(Tensor)
    grad.array = g
    if inferring and current.inference:
        grad._writes = UNTRACKED


def _show(listeners: Listeners, node: Node, gradients: list) -> None:
    """Call the hooks on the results of a node, and keep the gradients that are to be kept."""
    for slot, hooks in list(listeners.hooks.items()):
        gradients[slot] = _call_hooks(hooks, gradients[slot])
    for tensor in [reference() for reference in listeners.retained]:
        if tensor is not None and tensor._node is node and gradients[tensor._slot] is not None:
            accumulate(tensor, gradients[tensor._slot], False)


def _call_hooks(hooks: dict | None, g: np.ndarray | None) -> Any:
    """Run hooks on a gradient; each may return a tensor to put in its place."""
    if not hooks or g is None:
        return g
    g = g.copy()  # a hook may change it, and others may hold it
    with no_grad():
        for hook in list(hooks.values()):
            new = hook(wrap(g))
            if new is None:
                continue
            if not isinstance(new, TensorBase):
                raise TypeError(f"expected Variable, but hook returned '{type(new).__name__}'")
            for what, was, got in (("size", g.shape, new.array.shape), ("type", g.dtype, new.array.dtype)):
                if was != got:
                    name = getattr(hook, "__name__", type(hook).__name__)
                    raise RuntimeError(f"hook '{name}' has changed the {what} of value (was {was} got {got})")
            g = new.array
    return g
