"""The random stream: torch's on the CPU, bit for bit.

A `Generator` is a Mersenne Twister (MT19937) and what torch makes of its words.  From equal seeds, or
from equal states, it draws what `torch.Generator` draws on an x86 processor with AVX2, and stands
at the same place in the stream afterwards.  Its methods take shapes and NumPy dtypes and return new
C-ordered arrays; functions that return tensors are built on them elsewhere.  A generator may be used
by several threads: each call takes its words in one piece.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike

from .devices import CPU, gpu, settled
from .devices import device as Device

if TYPE_CHECKING:
    from .tensor import Tensor

Shape = int | tuple[int, ...]

DEFAULT_SEED = 67280421310721

# torch's CPUGeneratorImplState, as get_state() shows it.  `left` counts the words left in the block,
# the one to be asked for next included; `normal_y` is a normal sample that waits for the next call.
STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal_y", "normal_is_valid"],
        "formats": ["u8", "i4", "i4", "u8", "(624,)u8", "f8", "i4"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": 5056,
    }
)

CHUNK = 1 << 14  # uniform numbers made at a time, while their words are in the cache

# What torch's messages call a type: C++'s name for it, and torch's own.
_NAMES = {
    np.dtype(np.bool_): ("bool", "Bool"),
    np.dtype(np.uint8): ("unsigned char", "Byte"),
    np.dtype(np.int8): ("signed char", "Char"),
    np.dtype(np.int16): ("short int", "Short"),
    np.dtype(np.int32): ("int", "Int"),
    np.dtype(np.int64): ("long int", "Long"),
    np.dtype(np.float32): ("float", "Float"),
    np.dtype(np.float64): ("double", "Double"),
}


@cache
def _kernels() -> Any:
    from .kernels.cpu import random  # Numba is imported when the first number is drawn

    return random


class Generator:
    """A stream of random numbers: torch.Generator.

    `Generator()` starts from the seed 67280421310721, as torch's does.  One of device="cuda" draws the same numbers, on
    the CPU too, for tensors on the GPU.
    """

    def __init__(self, device: str | int | Device | None = "cpu"):
        self._device = CPU if device is None else settled(device)
        self._lock = threading.RLock()
        _alive.add(self)
        self.manual_seed(DEFAULT_SEED)

    @property
    def device(self) -> Device:
        return self._device

    # ------------------------------------------------------------------------------ seed and state

    def manual_seed(self, seed: int) -> Self:
        """Start the stream anew from `seed`, from -2**63 to 2**64 - 1; a negative one counts from 2**64."""
        if isinstance(seed, np.integer):
            raise TypeError(f"an integer is required: manual_seed got {type(seed).__name__}")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"Overflow when unpacking long long: manual_seed takes -2**63 to 2**64 - 1, got {seed}")
        seed %= 2**64
        key = [seed % 2**32]  # only these 32 bits matter
        for i in range(1, 624):
            key.append((1812433253 * (key[-1] ^ key[-1] >> 30) + i) % 2**32)
        with self._lock:
            self._seed = seed
            self._key = np.array(key, np.uint32)
            self._position = 0  # words taken from the block; 0: the key is the seed's, no block was made of it yet
            self._waiting: float | None = None  # the second normal sample of a pair
        return self

    def seed(self) -> int:
        """Start the stream anew from a seed that nobody knows, and return that."""
        seed = secrets.randbits(64)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor, (5056,), with torch's layout: torch's generator accepts it."""
        from .tape import wrap

        return wrap(np.frombuffer(self._pack(), np.uint8).copy())

    def set_state(self, new_state: Tensor) -> Self:
        """Go on where the generator stood whose `get_state()` this is, torch's own included.

        Raises TypeError unless `new_state` is a uint8 tensor on the CPU, RuntimeError if no generator can be so.
        """
        from .tape import TensorBase

        if not isinstance(new_state, TensorBase):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        array = new_state.array
        if array.dtype != np.uint8:
            raise TypeError(f"RNG state must be a torch.ByteTensor, but its elements are {array.dtype}")
        if new_state.device != CPU:
            raise TypeError(f"RNG state must be a torch.ByteTensor on the CPU, but it is on {new_state.device}")
        if not array.flags.c_contiguous:
            raise RuntimeError(f"RNG state must be contiguous, but its strides are {array.strides}")
        if array.size != STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE.itemsize} "
                f"but found the input RNG state size to be {array.size}"
            )
        self._unpack(array.tobytes())
        return self

    def clone_state(self) -> Generator:
        """A new generator in the same state."""
        return _unpacked(self._pack(), self._device)

    def __reduce__(self) -> tuple:
        return _unpacked, (self._pack(), self._device)

    def _pack(self) -> bytes:
        state = np.zeros((), STATE)
        with self._lock:
            state["seed"], state["seeded"], state["key"] = self._seed, True, self._key
            state["left"], state["next"] = 625 - self._position if self._position else 1, self._position
            if self._waiting is not None:
                state["normal_y"], state["normal_is_valid"] = self._waiting, True
        return state.tobytes()

    def _unpack(self, raw: bytes) -> None:
        state = np.frombuffer(raw, STATE)[0]
        left, position = int(state["left"]), int(state["next"])
        if not state["seeded"] or (left, position) != (1, 0) and not (0 < position <= 624 and left == 625 - position):
            raise RuntimeError(
                f"Invalid mt19937 state: seeded={state['seeded']}, {left} words left in the block after {position}"
            )
        with self._lock:
            self._seed = int(state["seed"])
            self._key = state["key"].astype(np.uint32)
            self._position = position
            self._waiting = float(state["normal_y"]) if state["normal_is_valid"] else None

    # ---------------------------------------------------------------------------------- words

    def _words(self, n: int) -> np.ndarray:
        """The next `n` words of the stream, uint32."""
        words = np.empty(n, np.uint32)
        with self._lock:
            self._position = _kernels().words(self._key, self._position, words)
        return words

    def _remainders(self, n: int, modulus: int, wide: bool) -> np.ndarray:
        """`n` words, or pairs of words if `wide`, modulo `modulus`: int64, wrapping."""
        if not wide:
            words = self._words(n)
            words %= np.uint32(modulus)
            return words.astype(np.int64)
        words = self._words(2 * n)
        pairs = words[0::2].astype(np.uint64)
        pairs <<= np.uint64(32)
        pairs |= words[1::2]
        if modulus < 2**64:
            pairs %= np.uint64(modulus)
        return pairs.view(np.int64)

    # ------------------------------------------------------------------------- uniform, normal

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Uniform on [low, high): Tensor.uniform_.  Takes one word for a float32, two for a float64."""
        dtype = _floating(dtype, "check_uniform_bounds")
        name, title = _NAMES[dtype]
        limit = _largest(dtype)
        for bound, value in (("from", low), ("to", high)):
            if not -limit <= value <= limit:
                raise RuntimeError(f"{bound} is out of bounds for {name}")
        if not low <= high:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
        if not high - low <= limit:
            raise RuntimeError(
                f"uniform_ expects to-from <= std::numeric_limits<{title}>::max(), but found to={high:g} "
                f"and from={low:g} which result in to-from to exceed the limit"
            )
        out = np.empty(shape, dtype)
        flat, each, ends = out.reshape(-1), dtype.itemsize // 4, (dtype.type(low), dtype.type(high))
        kernels = _kernels()
        fill = kernels.uniform32 if each == 1 else kernels.uniform64
        words = np.empty(each * min(flat.size, CHUNK), np.uint32)
        with self._lock:
            for start in range(0, flat.size, CHUNK):
                part = flat[start : start + CHUNK]
                drawn = words[: each * part.size]
                self._position = kernels.words(self._key, self._position, drawn)
                fill(drawn, *ends, part)
        return out

    def normal(
        self,
        shape: Shape,
        mean: float = 0.0,
        std: float = 1.0,
        dtype: DTypeLike = np.float32,
        contiguous: bool = True,
    ) -> np.ndarray:
        """Normal: Tensor.normal_.

        From 16 samples on, torch fills contiguous memory in blocks of 16, and draws a last block anew
        that ends where the array ends if 16 does not divide its size.  Fewer samples, and those for
        memory that is not contiguous, it draws one by one, by pairs whose second waits for the next call.
        """
        dtype = _floating(dtype, "normal_kernel_cpu")
        if not std >= 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
        size = _size(shape)
        if size < 16 or not contiguous:
            return _cast(self._normal_one_by_one(size, mean, std), dtype).reshape(shape)
        blocks = size // 16
        fill = _kernels().normal_blocks32 if dtype == np.float32 else _kernels().normal_blocks64
        u = self.uniform(size if size % 16 == 0 else size + 16, dtype=dtype)
        out = u[:size]
        fill(out[: 16 * blocks].reshape(blocks, 2, 8), dtype.type(mean), dtype.type(std))
        if size % 16:
            last = u[size:]
            fill(last.reshape(1, 2, 8), dtype.type(mean), dtype.type(std))
            out[-16:] = last
        return out.reshape(shape)

    def _normal_one_by_one(self, n: int, mean: float, std: float) -> np.ndarray:
        with self._lock:
            waiting = [] if self._waiting is None else [self._waiting]
            pairs = np.empty(((n - len(waiting) + 1) // 2, 2))
            _kernels().normal_pairs(self.uniform(pairs.shape, dtype=np.float64), pairs)
            samples = np.concatenate([waiting, pairs.reshape(-1)])
            self._waiting = float(samples[n]) if samples.size > n else None
        samples = samples[:n]
        _kernels().scale(samples, float(mean), float(std))
        return samples

    # -------------------------------------------------------------------------------- integers

    def integers(self, low: int, high: int, shape: Shape, dtype: DTypeLike = np.int64) -> np.ndarray:
        """Whole numbers from `low` to `high` - 1: torch.randint."""
        return self.random_(shape, dtype, low, high)

    def random_(self, shape: Shape, dtype: DTypeLike, low: int | None = None, high: int | None = None) -> np.ndarray:
        """Whole numbers: Tensor.random_.

        With neither bound, from 0 to the type's largest value, and to 2**24 or 2**53 for float32 and
        float64; with `high` alone, from 0 to `high` - 1; with `low` alone, from there to the type's
        largest value.  Raises RuntimeError for bounds that the type cannot hold, and for those between
        which a float type skips whole numbers.
        """
        dtype = np.dtype(dtype)
        n = _size(shape)
        smallest, largest = whole_numbers(dtype)
        if low is None and high is None:
            return self._remainders(n, largest + 1, wide=dtype.itemsize == 8).astype(dtype).reshape(shape)
        low = 0 if low is None else low
        for bound in (low, 0 if high is None else high):
            if not -(2**63) <= bound < 2**63:
                raise ValueError(f"Overflow when unpacking long long: random_ takes -2**63 to 2**63 - 1, got {bound}")
        if high is not None and low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        last = largest if high is None else high - 1
        for bound_name, bound in (("from", low), ("to - 1", last)):
            if not smallest <= bound <= largest:
                reason = f": it is {bound}, and whole numbers go from {smallest} to {largest}"
                raise RuntimeError(f"{bound_name} is out of bounds for {_NAMES[dtype][0]}{reason}")
        modulus = last - low + 1
        numbers = self._remainders(n, modulus, wide=modulus >= 2**28)
        if modulus < 2**64:  # all 64 bits are taken as they are
            numbers += low
        return numbers.astype(dtype, copy=False).reshape(shape)

    def random_int64(self) -> int:
        """A number from 0 to 2**63 - 1: torch.empty((), dtype=torch.int64).random_().item(), the seed of samplers."""
        return int(self.random_((), np.int64))

    def permutation(self, n: int) -> np.ndarray:
        """The numbers from 0 to n - 1 in random order, int64 (n,): torch.randperm.

        Raises RuntimeError if n is negative, NotImplementedError from 214,748,364 on, where torch shuffles otherwise.
        """
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
        if n >= (2**32 - 1) // 20:
            raise NotImplementedError(f"randperm: n must be less than {(2**32 - 1) // 20}, but it is {n}")
        out = np.arange(n)
        _kernels().shuffle(self._words(max(n - 1, 0)), out)
        return out

    # ------------------------------------------------------------------------- other distributions

    def bernoulli(self, shape: Shape, p: float) -> np.ndarray:
        """True with probability `p`: Tensor.bernoulli_(p), and dropout's mask.  Takes two words each."""
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
        return np.less(self.uniform(shape, dtype=np.float64), p, out=np.empty(shape, bool))

    def bernoulli_from(self, p: np.ndarray) -> np.ndarray:
        """True with probability `p[i]` for each i: torch.bernoulli(p).

        Takes two words each if `p` is float64, else one.
        """
        dtype = _floating(p.dtype, "bernoulli_tensor_cpu_p_")
        if not ((p >= 0) & (p <= 1)).all():
            raise RuntimeError(
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false: bernoulli takes probabilities from 0 to 1, "
                f"and got some from {p.min():g} to {p.max():g}"
            )
        return np.less(self.uniform(p.shape, dtype=dtype), p, out=np.empty(p.shape, bool))

    def exponential(self, shape: Shape, rate: float = 1.0, dtype: DTypeLike = np.float32) -> np.ndarray:
        """Exponential with density rate exp(-rate x): Tensor.exponential_."""
        dtype = np.dtype(dtype)
        _continuous("Exponential", dtype, _NAMES[dtype][1])
        if not rate > 0:
            raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
        return self._transformed(_kernels().exponential, shape, dtype, rate)

    def log_normal(
        self, shape: Shape, mean: float = 1.0, std: float = 2.0, dtype: DTypeLike = np.float32
    ) -> np.ndarray:
        """exp of normal samples, drawn one by one: Tensor.log_normal_."""
        dtype = _floating(dtype, "log_normal_cpu")
        if not std > 0:
            raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
        samples = self._normal_one_by_one(_size(shape), mean, std)
        _kernels().exp(samples)
        return _cast(samples, dtype).reshape(shape)

    def geometric(self, shape: Shape, p: float, dtype: DTypeLike = np.float32) -> np.ndarray:
        """The number of trials up to the first success, each a success with probability `p`: Tensor.geometric_."""
        dtype = np.dtype(dtype)
        if dtype.kind == "b":
            raise NotImplementedError("\"geometric_cpu\" not implemented for 'Bool'")
        if not 0 < p < 1:
            raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
        return self._transformed(_kernels().geometric, shape, dtype, p)

    def cauchy(
        self, shape: Shape, median: float = 0.0, sigma: float = 1.0, dtype: DTypeLike = np.float32
    ) -> np.ndarray:
        """Cauchy about `median`, with half of it within `sigma`: Tensor.cauchy_."""
        dtype = np.dtype(dtype)
        if not sigma > 0:
            raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
        _continuous("Cauchy", dtype, _NAMES[dtype][0])
        return self._transformed(_kernels().cauchy, shape, dtype, median, sigma)

    def _transformed(self, transform: Any, shape: Shape, dtype: np.dtype, *parameters: float) -> np.ndarray:
        u = self.uniform(_size(shape), dtype=np.float64)
        transform(u, *map(float, parameters))
        return _cast(u, dtype).reshape(shape)

    def multinomial(self, probs: np.ndarray, n: int, replacement: bool = False) -> np.ndarray:
        """`n` indices for each row of weights `probs`, (C,) or (B, C), drawn in proportion to them: torch.multinomial.

        Returns int64, (n,) or (B, n).  One index, or several without replacement, are those of the
        largest weights divided by exponential samples (Efraimidis and Spirakis, 2006), largest first.
        Raises RuntimeError for weights that are negative, infinite or NaN, for a row that sums to 0, and
        if `n` exceeds what there is to draw from: without replacement, a row's positive weights.
        """
        if not 1 <= probs.ndim <= 2:
            raise RuntimeError(f"prob_dist must be 1 or 2 dim, but its shape is {probs.shape}")
        if probs.dtype.kind != "f":
            raise RuntimeError(
                f"multinomial only supports floating-point dtypes for input, got: {_NAMES[probs.dtype][1]}"
            )
        categories = probs.shape[-1]
        if n <= 0:
            raise RuntimeError(f"cannot sample n_sample <= 0 samples: n_sample is {n}")
        if not replacement and n > categories:
            raise RuntimeError(
                "cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
                f"n_sample is {n}, the size {categories}"
            )
        if categories > 2**24:
            raise RuntimeError(f"number of categories cannot exceed 2^24, but it is {categories}")
        rows = probs.reshape(-1, categories) if categories else np.atleast_2d(probs)
        if not len(rows):
            return np.empty((0, n), np.int64)
        picked = self._with_replacement(rows, n) if replacement and n > 1 else self._without_replacement(rows, n)
        return picked.reshape(*probs.shape[:-1], n)

    def _without_replacement(self, rows: np.ndarray, n: int) -> np.ndarray:
        from .ops.order import foremost

        least, most = rows.min(initial=math.inf), rows.max(initial=0.0)  # NaN where there is one
        if not (least >= 0 and most < math.inf):
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        if most == 0 or (len(rows) > 1 and not rows.any(axis=1).all()):
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        if rows.flags.c_contiguous:
            samples = self.exponential(rows.shape, dtype=rows.dtype)
        else:
            axes = _memory_order(rows)  # in which torch gives them out
            samples = self.exponential(rows.transpose(axes).shape, dtype=rows.dtype).transpose(np.argsort(axes))
        keys = rows / samples
        if n == 1:
            return keys.argmax(axis=1)
        # Where positive ones run out, the others as topk has them.
        return np.ascontiguousarray(foremost(keys, 1, n, largest=True, sorted=True))

    def _with_replacement(self, rows: np.ndarray, n: int) -> np.ndarray:
        if not (rows >= 0).all():
            raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
        if not np.isfinite(rows).all():
            raise RuntimeError("invalid multinomial distribution (encountering probability entry = infinity or NaN)")
        totals = np.cumsum(rows, axis=1, dtype=rows.dtype)
        if totals.shape[1] == 0 or not (totals[:, -1] > 0).all():
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        totals /= totals[:, -1:].copy()
        totals[:, -1] = 1
        u = self.uniform((len(rows), n), dtype=np.float64)
        return np.stack([np.searchsorted(t, v) for t, v in zip(totals.astype(np.float64), u, strict=True)])


# A process forks while no thread draws, so that the child finds each generator whole, and its lock open.
_alive: weakref.WeakSet[Generator] = weakref.WeakSet()
_forking = threading.local()


def _before_fork() -> None:
    _forking.held = list(_alive)
    for generator in _forking.held:
        generator._lock.acquire()


def _after_fork_in_parent() -> None:
    for generator in _forking.held:
        generator._lock.release()
    del _forking.held


def _after_fork_in_child() -> None:
    for generator in _alive:
        generator._lock = threading.RLock()
    del _forking.held


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _unpacked(raw: bytes, device: Device = CPU) -> Generator:
    generator = Generator(device)
    generator._unpack(raw)
    return generator


def _size(shape: Shape) -> int:
    return math.prod(shape) if isinstance(shape, tuple) else int(shape)


def _floating(dtype: DTypeLike, function: str) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise NotImplementedError(f"\"{function}\" not implemented for '{_NAMES[dtype][1]}'")
    return dtype


@cache
def _largest(dtype: np.dtype) -> float:
    return float(np.finfo(dtype).max)


def _continuous(distribution: str, dtype: np.dtype, name: str) -> None:
    if dtype.kind != "f":
        raise RuntimeError(
            f"{distribution} distribution is a continuous probability distribution. "
            f"dtype must be a floating point but you specified {name}"
        )


@cache
@cache
def whole_numbers(dtype: np.dtype) -> tuple[int, int]:
    """The smallest and the largest whole number of `dtype`; for a float type, of those without gaps."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        return -largest, largest
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _cast(samples: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 samples as `dtype`: too large ones become infinite, or wrap around."""
    with np.errstate(over="ignore"):
        return samples.astype(dtype) if dtype.kind == "f" else samples.astype(np.int64).astype(dtype)


def _memory_order(a: np.ndarray) -> tuple[int, ...]:
    """The axes of `a`, farthest strides first; as they are if `a` was broadcast."""
    axes = range(a.ndim)
    return tuple(axes) if 0 in a.strides else tuple(sorted(axes, key=lambda axis: -abs(a.strides[axis])))


# -------------------------------------------------------------------------------------- the default

default_generator = Generator()
default_generator.seed()


def drawing(generator: Generator | None, where: Device) -> Generator:
    """The generator to draw from for a tensor on a device; torch's RuntimeError if it is one of another device."""
    if generator is None:
        return default_generator
    if generator.device.type != where.type:
        raise RuntimeError(f"Expected a '{where.type}' device type for generator but found '{generator.device.type}'")
    return generator


def manual_seed(seed: Any) -> Generator:
    """Start the default generator anew from int(seed), and return it."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Start the default generator anew from a seed that nobody knows, and return that."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state: `Generator.get_state`."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the default generator's state: `Generator.set_state`."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Within the block draw as one pleases: after it the default generator stands where it stood before.

    The GPU, if `devices` names it, has the same generator as the CPU, which is always forked.
    """
    if not enabled or device_type == "meta":
        yield
        return
    if device_type not in (None, "cpu", "cuda"):
        raise RuntimeError(f"{_caller}: tinyrnn has no module of `{device_type}`")
    if devices := list(devices or ()):
        gpu(f"{_caller}: {_devices_kw}={devices}")
    state = default_generator._pack()
    try:
        yield
    finally:
        default_generator._unpack(state)
