"""Loops over arrays, printed: what a thread does with one element of each, for any layout of the arrays.

A `Body` says what is read, computed and written; `run` launches one of its kernels:

    flat      all arrays lie in the same order without gaps, or are one number for all
    strided   any steps that are not negative, along as few axes as the arrays can be walked by (`walk_of`)

A strided kernel tells the position along each axis from an element's number by multiplications: division by a size is
(i * multiplier) >> shift, exact for numbers below 2 ** 31; larger arrays are cut (Granlund and Montgomery 1994,
"Division by invariant integers using multiplication").
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import cache
from .array import Array, empty, empty_as
from .driver import driver
from .jit import Kernel

LARGEST = 2**31 - 1  # elements of one strided launch

HEADER = '''"""{title}"""
from numba import cuda
from numba.cuda import types
from numpy import float32, float64, int8, int16, int32, int64, uint8{real}

from tinyrnn.kernels.cuda.functions import *
from tinyrnn.kernels.cuda.jit import device, kernel, pointer, several
{constants}

@device
def element({names}):
{element}


@kernel
def {name}(n: types.int64, {parameters}):
{body}
'''

FLAT = """\
hop = cuda.gridsize(1)
i = cuda.grid(1)
while i + {last} * hop < n:
{read}
{write}
    i += {together} * hop
while i < n:
    {results} = element({at_i})
{write_i}
    i += hop"""

TOGETHER = 16  # bytes of an array that a thread of a flat kernel reads before it writes: it waits for memory once


class Input(NamedTuple):
    """What is read: `name` in the statements; its type in memory, None for a number; the type to compute in."""

    name: str
    memory: str | None
    type: str


class Result(NamedTuple):
    """What is written: an expression of the statements' names; its type; the type in memory."""

    value: str
    type: str
    memory: str


@dataclass(frozen=True, eq=False)
class Body:
    """What happens to each element.  Types have NumPy's names; all integers are computed with as int64."""

    name: str
    title: str
    inputs: tuple[Input, ...]  # arrays and numbers, in the order in which `run` takes them
    statements: tuple[str, ...]
    results: tuple[Result, ...]
    real: str = ""  # the type that `real`, inf and nan have in the statements, if they use these names


# ---------------------------------------------------------------------------------------------------
# Printing
# ---------------------------------------------------------------------------------------------------
def computed(dtype: Any) -> str:
    """The type that numbers of a type in memory are computed with."""
    dtype = np.dtype(dtype)
    return "int64" if dtype.kind in "iu" else dtype.name


def loaded(text: str, memory: str, type: str) -> str:
    """The number that `text` reads from memory, in another type, never an integer of what is none."""
    if type == "bool":
        return f"{text} != 0"
    return text if memory == type else f"{type}({text})"


def stored(value: str, type: str, memory: str) -> str:
    """What is written for a value: NumPy's casts, those of a machine of the x86 family."""
    if memory == "bool" and type != "bool":
        return f"({value}) != 0"
    if np.dtype(memory).kind in "iu" and type.startswith("float"):
        value = f"to_{'int64' if memory == 'int64' else 'int32'}({value})"
    return value if memory in ("bool", "float32", "float64", type) else f"{memory}({value})"


def indented(lines: Iterable[str], depth: int = 1) -> str:
    return "\n".join("    " * depth + line for line in lines)


def print_kernel(body: Body, axes: int) -> str:
    """The source of the kernel for arrays that are walked along so many axes; for 0, of the flat one."""
    parameters, values = [], [stored(*r) for r in body.results]
    kind = f"several(types.int64, {axes})"
    for k, x in enumerate(body.inputs):
        if x.memory is None:
            parameters.append(f"{x.name}: types.{'boolean' if x.type == 'bool' else x.type}")
        else:
            parameters += [f"in{k}: pointer('{x.memory}')", f"in{k}_steps: {kind if axes else 'types.int64'}"]
    for k, r in enumerate(body.results):
        parameters += [f"out{k}: pointer('{r.memory}')", *([f"out{k}_steps: {kind}"] if axes else [])]
    if axes > 1:
        parameters.insert(0, f"sizes: several(types.int64, {3 * axes - 3})")
    return HEADER.format(
        title=body.title,
        real=f", {body.real} as real" if body.real else "",
        constants='\ninf, nan = real("inf"), real("nan")\n' if body.real else "",
        names=", ".join([x.name for x in body.inputs]),
        element=indented([*body.statements, f"return {', '.join(values)}"]),
        name=f"{body.name}_{f'{axes}_axes' if axes else 'flat'}",
        parameters=", ".join(parameters),
        body=indented((print_strided(body, axes) if axes else print_flat(body)).splitlines()),
    )


def read(body: Body, places: Sequence[str]) -> str:
    """The arguments of `element`; `places` say where in each array, and are not read for numbers."""
    return ", ".join(
        x.name if x.memory is None else loaded(f"in{k}[{place}]", x.memory, x.type)
        for k, (x, place) in enumerate(zip(body.inputs, places, strict=True))
    )


def print_flat(body: Body) -> str:
    widest = max(np.dtype(x.memory).itemsize for x in (*body.inputs, *body.results) if x.memory is not None)
    together = min(4, TOGETHER // widest)
    outs, reads, writes = range(len(body.results)), [], []
    for j in range(together):
        i = f"(i + {j} * hop)" if j else "i"
        results = ", ".join(f"r{k}_{j}" for k in outs)
        reads.append(f"{results} = element({read(body, [f'{i} * in{k}_steps' for k in range(len(body.inputs))])})")
        writes += [f"out{k}[{i}] = r{k}_{j}" for k in outs]
    return FLAT.format(
        last=together - 1,
        together=together,
        read=indented(reads),
        write=indented(writes),
        results=", ".join(f"r{k}_0" for k in outs),
        at_i=read(body, [f"i * in{k}_steps" for k in range(len(body.inputs))]),
        write_i=indented(f"out{k}[i] = r{k}_0" for k in outs),
    )


def print_strided(body: Body, axes: int) -> str:
    """`sizes` holds what `divisor` gives for each axis but the first."""

    def at(name: str) -> str:
        return " + ".join(f"k{axis} * {name}_steps[{axis}]" for axis in range(axes))

    text = ["k0 = i"]
    for axis in range(axes - 1, 0, -1):
        size, multiplier, shift = (f"sizes[{3 * axis - 3 + j}]" for j in range(3))
        text += [f"above = (k0 * {multiplier}) >> {shift}", f"k{axis} = k0 - above * {size}", "k0 = above"]
    outs = range(len(body.results))
    given = read(body, [at(f"in{k}") for k in range(len(body.inputs))])
    text.append(f"{', '.join(f'r{k}' for k in outs)} = element({given})")
    text += [f"out{k}[{at(f'out{k}')}] = r{k}" for k in outs]
    return "for i in range(cuda.grid(1), n, cuda.gridsize(1)):\n" + indented(text)


@functools.cache
def kernel_of(body: Body, axes: int = 0) -> Kernel:
    text = print_kernel(body, axes)
    module = cache.load_source(f"cuda_{body.name}", text)
    return next(k for k in vars(module).values() if isinstance(k, Kernel))


# ---------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------
Layout = tuple[tuple[int, ...], tuple[int, ...], int]  # the shape of an array, its strides, its itemsize


class Walk(NamedTuple):
    """How arrays are walked together: the sizes of the axes, the innermost of the first array last, and the steps of
    each array along them, in elements.
    """

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    is_flat: bool


def run(body: Body, inputs: Sequence[Any], outs: Sequence[Array]) -> None:
    """Launch.  `inputs` are arrays, which broadcast to the shape of the results, and numbers; `outs` are of one shape
    and lie in memory alike; where one is an input too, it is the same view of it.
    """
    first = outs[0]
    n, shape = first.size, first.shape
    if not n:
        return
    if first.flags.c_contiguous:
        arguments: list[Any] = []
        for x in inputs:
            if type(x) is not Array:
                arguments.append(x)
            elif x.size == 1:
                arguments += (x.address, 0)
            elif x.shape == shape and x.flags.c_contiguous:
                arguments += (x.address, 1)
            else:
                break
        else:
            launch(kernel_of(body), n, [*arguments, *outs])
            return
    arrays = [*outs, *[x for x in inputs if type(x) is Array]]
    walk = walk_of(shape, len(outs), tuple([(a.shape, a.strides, a.itemsize) for a in arrays]))
    run_along(body, walk, inputs, outs, [a.address for a in arrays], [a.itemsize for a in arrays])


def run_along(
    body: Body, walk: Walk, inputs: Sequence[Any], outs: Sequence[Array], addresses: list[int], itemsizes: list[int]
) -> None:
    """Launch; what is too large for one launch is cut in two, along its longest axis."""
    n = math.prod(walk.sizes)
    if n > LARGEST and not walk.is_flat:
        axis = max(range(len(walk.sizes)), key=walk.sizes.__getitem__)
        half = walk.sizes[axis] // 2
        offsets = [half * along[axis] * itemsize for along, itemsize in zip(walk.steps, itemsizes, strict=True)]
        later = [address + offset for address, offset in zip(addresses, offsets, strict=True)]
        for size, where in ((half, addresses), (walk.sizes[axis] - half, later)):
            part = walk._replace(sizes=(*walk.sizes[:axis], size, *walk.sizes[axis + 1 :]))
            run_along(body, part, inputs, outs, where, itemsizes)
        return
    walked = list(zip(addresses, [s[0] for s in walk.steps] if walk.is_flat else walk.steps, strict=True))
    along = iter(walked[len(outs) :])
    arguments: list[Any] = [divisors(walk.sizes[1:])] if len(walk.sizes) > 1 else []
    for x in inputs:
        arguments += next(along) if type(x) is Array else (x,)
    for address, steps in walked[: len(outs)]:
        arguments += (address,) if walk.is_flat else (address, steps)
    launch(kernel_of(body, 0 if walk.is_flat else len(walk.sizes)), n, arguments)


def launch(kernel: Kernel, n: int, arguments: Iterable[Any]) -> None:
    device = driver()
    kernel.launch(device.blocks(n, device.threads), device.threads, n, *arguments)


@functools.cache
def divisors(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([number for size in sizes for number in divisor(size)])


@functools.cache
def divisor(size: int) -> tuple[int, int, int]:
    """(size, multiplier, shift): i // size == (i * multiplier) >> shift for 0 <= i < 2 ** 31."""
    shift = 31 + (size - 1).bit_length()
    return size, -(-(1 << shift) // size), shift


@functools.lru_cache(4096)
def walk_of(shape: tuple[int, ...], outs: int, layouts: tuple[Layout, ...]) -> Walk:
    """The walk of arrays that broadcast to `shape`, along as few axes as there can be; the first `outs` are results."""
    steps = [steps_of(*layout, len(shape)) for layout in layouts]
    axes = [k for k, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda k: -steps[0][k])
    merged: list[tuple[int, tuple[int, ...]]] = []  # the size of an axis, and each array's step along it
    for k in axes:
        size, inner = shape[k], tuple([s[k] for s in steps])
        if merged and all(outer == size * step for outer, step in zip(merged[-1][1], inner, strict=True)):
            size *= merged.pop()[0]
        merged.append((size, inner))
    merged = merged or [(1, (1,) * len(layouts))]
    sizes = tuple([size for size, _ in merged])
    first = merged[0][1]
    is_flat = len(sizes) == 1 and set(first[:outs]) == {1} and {0, 1}.issuperset(first)
    return Walk(sizes, tuple(zip(*[along for _, along in merged], strict=True)), is_flat)


def steps_of(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, ndim: int) -> tuple[int, ...]:
    """The steps of an array, in elements, along the axes of a shape that it broadcasts to."""
    own = [stride // itemsize if size != 1 else 0 for stride, size in zip(strides, shape, strict=True)]
    return (*(0,) * (ndim - len(shape)), *own)


# ---------------------------------------------------------------------------------------------------
# Where results lie
# ---------------------------------------------------------------------------------------------------
def kept(arrays: Sequence[Array], shape: tuple[int, ...], dtype: Any, order: str = "K") -> Array:
    """A new array for results.  With order "K", its axes lie as NumPy's ufuncs have them, as those of the inputs do."""
    if order == "C" or (order != "F" and all(a.flags.c_contiguous for a in arrays)):
        return empty(shape, dtype)
    if order == "K":
        axes = order_of(tuple([(a.shape, a.strides) for a in arrays]))
    elif order == "F" or all(a.flags.f_contiguous for a in arrays):
        axes = tuple(range(len(shape)))[::-1]
    else:
        return empty(shape, dtype)
    return empty_as(arrays[0], shape, dtype, axes)


@functools.lru_cache(4096)
def order_of(layouts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]) -> tuple[int, ...]:
    """The axes of what NumPy's ufuncs make of arrays of these shapes and strides, as they lie in memory."""
    byte = np.empty((), np.int8)
    given = [np.lib.stride_tricks.as_strided(byte, *layout) for layout in layouts]  # never read
    flags = [*[("readonly",)] * len(given), ("writeonly", "allocate")]
    strides = np.nditer((*given, None), ("zerosize_ok",), flags).operands[-1].strides
    return tuple(sorted(range(len(strides)), key=lambda k: -strides[k]))
