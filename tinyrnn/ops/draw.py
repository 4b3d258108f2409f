"""Constructors that draw from the random stream."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, random
from ..devices import host, of, put
from ..strides import memory_order
from .common import Op, TensorBase, cast, check_broadcast, expect_tensor, into, number, run, unsupported, wrap
from .create import beside, full_of, kind_of, laid_out, place, shaped


def generator_of(options: dict) -> random.Generator:
    generator = options.pop("generator", None)
    if generator is None:
        return random.default_generator
    out = options.get("out")
    return random.drawing(generator, of(place(options) if out is None else out.array))


def as_it_lies(out: Any, shape: tuple[int, ...], draw: Callable) -> np.ndarray:
    """draw(shape), whose elements are drawn in the order in which those of `out` lie in memory, as in torch."""
    if in_one_piece(out, shape):
        return draw(shape)
    axes = memory_order(out.array)
    return draw(tuple([shape[i] for i in axes])).transpose(np.argsort(axes))


def rand(*size: Any, **options: Any) -> Any:
    """Uniform numbers in [0, 1)."""
    generator, shape = generator_of(options), shaped(size, options, "rand")
    dtype = kind_of(options, dtypes.get_default_dtype().numpy)
    drawn = as_it_lies(options.get("out"), shape, lambda shape: generator.uniform(shape, 0.0, 1.0, dtype.type))
    return full_of(drawn, "rand", **options)


def randn(*size: Any, **options: Any) -> Any:
    """Standard normal numbers."""
    shape = shaped(size, options, "randn")
    return normal_numbers(shape, in_one_piece(options.get("out"), shape), options)


def normal_numbers(shape: tuple[int, ...], whole: bool, options: dict) -> Any:
    """Standard normal numbers, for contiguous memory or not: see `in_one_piece`."""
    generator, dtype = generator_of(options), kind_of(options, dtypes.get_default_dtype().numpy)
    drawn = as_it_lies(options.get("out"), shape, lambda shape: generator.normal(shape, 0.0, 1.0, dtype, whole))
    return full_of(drawn, "randn", **options)


def in_one_piece(out: Any, shape: tuple[int, ...]) -> bool:
    """Whether normal numbers are drawn for elements that lie in order, which torch draws otherwise than others."""
    return out is None or out.array.shape != shape or out.array.flags.c_contiguous


def drawn_like(input: Any, call: str, draw: Callable, options: dict) -> Any:
    """draw(shape, whether the elements lie in order, options) for a tensor like `input`, as that lies in memory."""
    options.setdefault("dtype", expect_tensor(input, call).dtype)
    a = input.array
    axes, options = laid_out(a, options), beside(a, options)
    if axes is None:
        return draw(a.shape, True, options)
    grad = options.pop("requires_grad", False)
    drawn = draw(tuple(a.shape[i] for i in axes), False, options)
    return wrap(drawn.array.transpose(np.argsort(axes))).requires_grad_(grad)


def rand_like(input: Any, **options: Any) -> Any:
    """Uniform numbers in [0, 1), of the shape and type of `input`."""
    return drawn_like(input, "rand_like", lambda shape, in_order, options: rand(shape, **options), options)


def randn_like(input: Any, **options: Any) -> Any:
    """Standard normal numbers, of the shape and type of `input`."""
    return drawn_like(input, "randn_like", normal_numbers, options)


def bound(x: Any, call: str, name: str) -> int:
    """A bound of random integers: an int, or a tensor of one integer."""
    try:
        return operator.index(x)
    except TypeError:
        raise TypeError(f"{call}(): argument '{name}' must be int, not {type(x).__name__}") from None


def randint(*bounds: Any, **options: Any) -> Any:
    """Integers from low (0 unless given) to high - 1: randint(high, size) or randint(low, high, size)."""
    names: tuple[str, ...] = ("low", "high", "size")
    named = {n: options.pop(n) for n in names if n in options}
    if len(bounds) + len(named) < 3 and "low" not in named:
        names = names[1:]
    given = {**dict(zip(names, bounds, strict=False)), **named}
    if len(bounds) + len(named) != len(given) or set(given) != set(names):
        raise TypeError(
            f"randint() takes (high, size) or (low, high, size), got {len(bounds)} of them and {set(named)}"
        )
    low, high = (bound(given.get(name, 0), "randint", name) for name in ("low", "high"))
    size = given["size"]
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    generator = generator_of(options)
    dtype = kind_of(options, np.dtype(np.int64))
    if dtype.kind != "f" and low < high:
        least, most = random.whole_numbers(dtype)
        if low < least or high - 1 > most:
            name = "from" if low < least else "to - 1"
            raise RuntimeError(f"{name} is out of bounds for torch.{dtype}: randint({low}, {high})")
    shape = shaped((size,), {}, "randint")
    drawn = as_it_lies(options.get("out"), shape, lambda shape: generator.integers(low, high, shape))
    return full_of(drawn.astype(dtype, copy=False), "randint", **options)


def randint_like(input: Any, *bounds: Any, **options: Any) -> Any:
    """Integers from low (0 unless given) to high - 1, of the shape and type of `input`."""
    expect_tensor(input, "randint_like")
    named = {name: options.pop(name) for name in ("low", "high") if name in options}
    if len(bounds) + len(named) not in (1, 2):
        raise TypeError(
            f"randint_like() takes (input, high) or (input, low, high), got {len(bounds) + len(named)} bounds"
        )
    low, high = (
        (0, *bounds, *named.values())[-2:] if "low" not in named else (named["low"], named.get("high", *bounds[:1]))
    )
    low, high = (int(v.array.item()) if isinstance(v, TensorBase) else v for v in (low, high))
    low, high = bound(low, "randint_like", "low"), bound(high, "randint_like", "high")
    draw = lambda shape, in_order, options: randint(low, high, shape, **options)  # noqa: E731
    return drawn_like(input, "randint_like", draw, options)


def randperm(n: int, **options: Any) -> Any:
    """The integers 0 to n - 1 in random order."""
    generator = generator_of(options)
    n, kind = bound(n, "randperm", "n"), kind_of(options, np.dtype(np.int64))
    if n - 1 > random.whole_numbers(kind)[1]:
        raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow: randperm({n})")
    return full_of(generator.permutation(n).astype(kind, copy=False), "randperm", **options)


class Drawn(Op):
    """Numbers drawn with parameters that are tensors, which get no gradient but zero."""

    label = "NormalBackward0"

    @staticmethod
    def forward(*parameters, draw):
        return draw(*parameters), [None if p is None else p.shape for p in parameters]

    @staticmethod
    def backward(saved, needs, g):
        return tuple(None if shape is None else np.zeros(shape, g.dtype, like=g) for shape in saved)


def normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> Any:
    """Normal numbers: of tensors of means and standard deviations, or of numbers and a size."""
    generator = generator_of(options)
    if size is None:
        if not isinstance(mean, TensorBase) and not isinstance(std, TensorBase):
            raise TypeError("normal(): numbers as mean and std need a size")
        out = options.pop("out", None)
        if options:
            raise TypeError(f"normal(): got an unexpected keyword argument '{next(iter(options))}' beside tensors")
        given = [v if isinstance(v, TensorBase) else None for v in (mean, std)]
        dtype = next(t.array.dtype for t in given if t is not None)
        arrays = [
            np.asarray(number(v, "normal", name), dtype) if t is None else t.array
            for v, t, name in zip((mean, std), given, ("mean", "std"), strict=True)
        ]
        if not np.all(arrays[1] >= 0):
            raise RuntimeError(f"normal expects all elements of std >= 0.0, got {host(arrays[1]).min()}")
        if dtype.kind != "f" and out is None:
            raise unsupported("normal_kernel", dtype)
        if out is not None and expect_tensor(out, "normal", "out").array.dtype.kind != "f":
            raise unsupported("normal_kernel", out.array.dtype)
        target = [out.array] if out is not None and given[1] is None else []  # which torch broadcasts with
        shape, where = check_broadcast(*arrays, *target), of(next(t.array for t in given if t is not None))
        dtype = dtype if out is None else out.array.dtype

        def draw(mean, std):
            whole = in_one_piece(out, shape)
            drawn = as_it_lies(out, shape, lambda shape: generator.normal(shape, 0.0, 1.0, dtype, whole))
            return (put(drawn, where) * std + mean).astype(dtype)

        return into(out, run(Drawn, given, arrays, draw=draw), "normal")
    dtype = kind_of(options, dtypes.get_default_dtype().numpy)
    shape, out = shaped((size,), {}, "normal"), options.get("out")
    whole = in_one_piece(out, shape)
    drawn = as_it_lies(out, shape, lambda shape: generator.normal(shape, float(mean), float(std), dtype.type, whole))
    return full_of(drawn, "normal", **options)


BERNOULLI = Drawn.called("BernoulliBackward0")


def bernoulli(input: Any, p: Any = None, *, generator: random.Generator | None = None, out: Any = None) -> Any:
    """1 with the probability that each element gives, or with probability `p`, else 0."""
    a, source = expect_tensor(input, "bernoulli").array, random.drawing(generator, input.device)
    if p is not None:
        p = number(p, "bernoulli", "p")
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        return drawn_into(out, wrap(put(source.bernoulli(a.shape, p).astype(a.dtype), of(a))))
    if a.dtype.kind != "f":
        raise unsupported("bernoulli_tensor", a.dtype)

    def draw(p):
        axes = range(p.ndim) if in_one_piece(out, p.shape) else memory_order(out.array)
        drawn = source.bernoulli_from(host(p).transpose(axes)).transpose(np.argsort(axes))
        return put(drawn.astype(p.dtype), of(p))

    return drawn_into(out, run(BERNOULLI, (input,), (a,), draw=draw))


def drawn_into(out: Any, result: Any) -> Any:
    """`into` for zeros and ones, which any type can hold."""
    return into(
        out, result if out is None else cast(result, expect_tensor(out, "bernoulli", "out").array.dtype), "bernoulli"
    )


def multinomial(
    input: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: random.Generator | None = None,
    out: Any = None,
) -> Any:
    """Indices drawn with the probabilities (not necessarily normalised) in each row of `input`: (..., num_samples)
    int64.
    """
    weights = expect_tensor(input, "multinomial").array
    count = bound(num_samples, "multinomial", "num_samples")
    drawn = random.drawing(generator, input.device).multinomial(host(weights), count, replacement)
    if out is not None and expect_tensor(out, "multinomial", "out").array.dtype != np.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {dtypes.word(out.array.dtype)}")
    return into(out, wrap(put(drawn, of(weights))), "multinomial")
