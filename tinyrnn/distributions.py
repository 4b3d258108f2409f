"""Probability distributions that programs sample actions and latent variables from, under torch's names.

Each tells the logarithm of a value's probability, differentiably, so that a policy gradient (Williams, 1992,
https://doi.org/10.1007/BF00992696) is `(-distribution.log_prob(action) * reward).backward()`; those with `rsample` are
sampled differentiably too (Kingma and Welling, 2013, https://arxiv.org/abs/1312.6114, section 2.4).

Shapes are torch's: the parameters are broadcast to a batch of distributions (`batch_shape`; the last dimension of a
Categorical's parameter is its categories), and a sample has the shape sample_shape + batch_shape + event_shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from numbers import Number
from typing import Any, NamedTuple

from .dtypes import finfo, get_default_dtype
from .grad_mode import enable_grad, no_grad
from .nn.functional import binary_cross_entropy_with_logits, log_softmax, softmax
from .ops import draw
from .ops.common import check_broadcast
from .ops.create import arange, eye, full_like, tensor, zeros_like
from .ops.elementwise import clamp, exp, expm1, log, log1p, sigmoid
from .ops.index import one_hot
from .ops.reduce import logsumexp
from .tensor import Size, Tensor

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Independent", "Laplace", "LogNormal",
    "MixtureSameFamily", "Normal", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Uniform", "kl_divergence",
    "register_kl",
]  # fmt: skip


class Constraint(NamedTuple):
    """Which values are allowed: as torch writes it, and a function that tells it for each."""

    text: str
    check: Callable[[Any], Any]

    def __repr__(self) -> str:
        return self.text


REAL = Constraint("Real()", lambda x: x == x)
NOT_NEGATIVE = Constraint("GreaterThanEq(lower_bound=0.0)", lambda x: x >= 0)
POSITIVE = Constraint("GreaterThan(lower_bound=0.0)", lambda x: x > 0)
UNIT = Constraint("Interval(lower_bound=0.0, upper_bound=1.0)", lambda x: (x >= 0) & (x <= 1))
SIMPLEX = Constraint("Simplex()", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6))
VECTOR = Constraint("IndependentConstraint(Real(), 1)", lambda x: (x == x).all(-1))
BOOLEAN = Constraint("Boolean()", lambda x: (x == 0) | (x == 1))
ONE_HOT = Constraint("OneHot()", lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1))


class Distribution:
    """Base of all: the shapes, sampling without a gradient, and the check of parameters and values.

    ValueError for a parameter or value outside what `arg_constraints` and `support` allow, unless validate_args=False.
    """

    arg_constraints: Any = {}  # name of a parameter -> Constraint
    support: Any = REAL
    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments, from now on."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            for name, constraint in self.arg_constraints.items():
                if name not in vars(self) and isinstance(getattr(type(self), name), cached_property):
                    continue  # it will be computed from another
                value = getattr(self, name)
                if not constraint.check(value).all():
                    raise ValueError(
                        f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of "
                        f"distribution {self!r} to satisfy the constraint {constraint.text}, but found invalid "
                        f"values:\n{value}"
                    )

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters, broadcast."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one distribution: () but for Independent and those with one-hot samples."""
        return self._event_shape

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distributions as a batch of this shape, to which the parameters are expanded."""
        batch_shape, own = Size(batch_shape), len(self._batch_shape)
        given = {name: vars(self)[name] for name in self.arg_constraints if name in vars(self)}
        grown = {name: value.expand((*batch_shape, *value.shape[own:])) for name, value in given.items()}
        return self._of_shape(batch_shape, _instance, **grown)

    def _of_shape(self, batch_shape: Any, instance: Any, **attributes: Any) -> Any:
        """Another distribution of this kind, or `instance`, with these attributes."""
        kind = next(each for each in type(self).__mro__ if getattr(each, "__module__", None) == __name__)
        if kind is Distribution:
            raise NotImplementedError(f"{type(self).__name__} defines no expand()")
        if instance is None and type(self).__init__ is not kind.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {kind.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        new = object.__new__(type(self)) if instance is None else instance
        for name, value in attributes.items():
            setattr(new, name, value)
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Random values (sample_shape + batch_shape), without a gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Random values (sample_shape + batch_shape) that are differentiable functions of the parameters."""
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or of the density, at `value`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy of each distribution in the batch, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """e to the entropy."""
        return self.entropy().exp()

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a value not above `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The number that a value stays below with probability `value`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All the values of a discrete distribution."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def _validate_sample(self, value: Any) -> None:
        if not self._validate_args:
            return
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape, batch = tuple(value.shape), self._extended_shape()
        if shape[len(shape) - len(self._event_shape) :] != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.size()} vs {self._event_shape}."
            )
        for i, j in zip(reversed(shape), reversed(batch), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {batch}.")
        if not self.support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({self.support.text}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        shown = {name: vars(self)[name] for name in self.arg_constraints if name in vars(self)}
        items = (f"{name}: {value if value.numel() == 1 else value.size()}" for name, value in shown.items())
        return f"{type(self).__name__}({', '.join(items)})"


def together(*values: Any) -> list[Tensor]:
    """Numbers and tensors as tensors of one shape."""
    for value in values:
        if not isinstance(value, (Tensor, Number)):
            raise ValueError("Input arguments must all be instances of Number or torch.Tensor.")
    dtype, device = next(
        ((value.dtype, value.device) for value in values if isinstance(value, Tensor)), (get_default_dtype(), None)
    )
    tensors = [value if isinstance(value, Tensor) else tensor(value, dtype=dtype, device=device) for value in values]
    shape = check_broadcast(*(each.array for each in tensors))
    return [each if each.array.shape == shape else each.expand(shape) for each in tensors]


def lazy(function: Callable) -> cached_property:
    """A property that is computed when first asked for, recorded even if that is in no_grad()."""
    return cached_property(enable_grad()(function))


def check_one(probs: Any, logits: Any) -> None:
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def inside(probs: Tensor) -> Tensor:
    """Probabilities that are not quite 0 or 1, so that their logarithms are finite."""
    eps = finfo(probs.dtype).eps
    return clamp(probs, min=eps, max=1 - eps)


class Categorical(Distribution):
    """Whole numbers from 0 to K-1; `probs` or `logits` have shape (*batch_shape, K), and need not be normalised."""

    arg_constraints = {"probs": SIMPLEX, "logits": VECTOR}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        check_one(probs, logits)
        given = logits if probs is None else probs
        if given.dim() < 1:
            name = "logits" if probs is None else "probs"
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logsumexp(logits, dim=-1, keepdim=True)
        super().__init__(given.shape[:-1], (), validate_args)

    @property
    def _param(self) -> Tensor:
        return self.probs if "probs" in vars(self) else self.logits

    @property
    def _num_events(self) -> int:
        return self._param.shape[-1]

    @lazy
    def logits(self) -> Tensor:
        return log(inside(self.probs))

    @lazy
    def probs(self) -> Tensor:
        return softmax(self.logits, dim=-1)

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        last = self._num_events - 1
        text = f"IntegerInterval(lower_bound=0, upper_bound={last})"
        return Constraint(text, lambda x: (x % 1 == 0) & (x >= 0) & (x <= last))

    @property
    def param_shape(self) -> Size:
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.probs.new_full(self._batch_shape, math.nan)

    @property
    def variance(self) -> Tensor:
        return self.mean

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            return draw.multinomial(rows, math.prod(sample_shape), True).T.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        value = value.long().unsqueeze(-1)
        shape = check_broadcast(value.array, self.logits.array[..., :1])
        logits = self.logits.expand(*shape[:-1], self._num_events)
        return logits.gather(-1, value.expand(shape)).squeeze(-1)

    def entropy(self) -> Tensor:
        logits = clamp(self.logits, min=finfo(self.logits.dtype).min)  # 0 * -inf is no number
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All the values (K, 1, ...), expanded to (K, *batch_shape)."""
        values = arange(self._num_events, device=self._param.device).view(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class Bernoulli(Distribution):
    """1 with probability `probs`, or with the probability whose logarithm of odds is `logits`, else 0."""

    arg_constraints = {"probs": UNIT, "logits": REAL}
    support = BOOLEAN
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        check_one(probs, logits)
        if probs is not None:
            (self.probs,) = together(probs)
        else:
            (self.logits,) = together(logits)
        super().__init__(self._param.shape, (), validate_args)

    @property
    def _param(self) -> Tensor:
        return self.probs if "probs" in vars(self) else self.logits

    @lazy
    def logits(self) -> Tensor:
        probs = inside(self.probs)
        return probs.log() - (-probs).log1p()  # type: ignore[misc]

    @lazy
    def probs(self) -> Tensor:
        return sigmoid(self.logits)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        return (self.probs >= 0.5).to(self.probs.dtype).masked_fill(self.probs == 0.5, math.nan)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return draw.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        logits, value = together(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Both values (2, 1, ...), expanded to (2, *batch_shape)."""
        values = arange(2, dtype=self._param.dtype, device=self._param.device).view(-1, *(1,) * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class Normal(Distribution):
    """The bell curve of mean `loc` and standard deviation `scale`."""

    arg_constraints = {"loc": REAL, "scale": POSITIVE}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev.pow(2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return draw.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = draw.normal(self.loc.new_zeros(shape), self.loc.new_ones(shape))
        return self.loc + eps * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + log(self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a value not above `value`."""
        self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) * self.scale.reciprocal() / math.sqrt(2)).erf())

    def icdf(self, value: Tensor) -> Tensor:
        """The number that a value stays below with probability `value`."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)


class Uniform(Distribution):
    """Evenly between `low` and `high`, which is not drawn."""

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None):
        self.low, self.high = together(low, high)
        super().__init__(self.low.shape, (), validate_args)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:  # type: ignore[override]
        return {
            "low": Constraint(f"LessThan(upper_bound={self.high})", lambda x: x < self.high),
            "high": Constraint(f"GreaterThan(lower_bound={self.low})", lambda x: x > self.low),
        }

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        text = f"Interval(lower_bound={self.low}, upper_bound={self.high})"
        return Constraint(text, lambda x: (x >= self.low) & (x <= self.high))

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low).pow(2) / 12

    @property
    def mode(self) -> Tensor:
        return self.high * math.nan

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn = draw.rand(self._extended_shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + drawn * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        within = (self.low <= value).type_as(self.low) * (self.high > value).type_as(self.low)
        return log(within) - log(self.high - self.low)

    def entropy(self) -> Tensor:
        return log(self.high - self.low)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a value not above `value`."""
        self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        """The number that a value stays below with probability `value`."""
        return value * (self.high - self.low) + self.low


class Laplace(Distribution):
    """Two exponential distributions back to back at `loc`, of mean distance `scale` from it."""

    arg_constraints = {"loc": REAL, "scale": POSITIVE}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale.pow(2)

    @property
    def stddev(self) -> Tensor:
        return 2**0.5 * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        drawn = self.loc.new_empty(shape).uniform_(finfo(self.loc.dtype).eps - 1, 1)
        return self.loc - self.scale * drawn.sign() * log1p(-drawn.abs())

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return -log(2 * self.scale) - (value - self.loc).abs() / self.scale

    def entropy(self) -> Tensor:
        return 1 + log(2 * self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 0.5 - 0.5 * (value - self.loc).sign() * expm1(-(value - self.loc).abs() / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        term = value - 0.5
        return self.loc - self.scale * term.sign() * log1p(-2 * term.abs())


class Exponential(Distribution):
    """How long until something happens that happens `rate` times in a unit of time on average, whenever it did last."""

    arg_constraints = {"rate": POSITIVE}
    support = NOT_NEGATIVE
    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = together(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def stddev(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        return zeros_like(self.rate)

    @property
    def variance(self) -> Tensor:
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.rate.new_empty(self._extended_shape(sample_shape)).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return log(self.rate) - self.rate * value

    def entropy(self) -> Tensor:
        return 1 - log(self.rate)

    def cdf(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return 1 - exp(-(self.rate * value))

    def icdf(self, value: Tensor) -> Tensor:
        return -log1p(-1 * value) / self.rate


class LogNormal(Distribution):
    """e to a number that is distributed as Normal(loc, scale)."""

    arg_constraints = {"loc": REAL, "scale": POSITIVE}
    support = POSITIVE
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None):
        self.base_dist = Normal(loc, scale, validate_args)
        super().__init__(self.base_dist.batch_shape, (), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._of_shape(batch_shape, _instance, base_dist=self.base_dist.expand(batch_shape))

    @property
    def loc(self) -> Tensor:
        return self.base_dist.loc

    @property
    def scale(self) -> Tensor:
        return self.base_dist.scale

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale.pow(2)
        return square.expm1() * (2 * self.loc + square).exp()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            return self.base_dist.sample(sample_shape).exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        exponent = value.log()
        return -exponent + self.base_dist.log_prob(exponent)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc

    def cdf(self, value: Tensor) -> Tensor:
        return self.base_dist.cdf(value.log())

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf(value).exp()


class OneHotCategorical(Distribution):
    """A Categorical whose values are vectors of zeros with a one in the place of the number."""

    arg_constraints = {"probs": SIMPLEX, "logits": VECTOR}
    support = ONE_HOT
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._of_shape(batch_shape, _instance, _categorical=self._categorical.expand(batch_shape))

    @property
    def probs(self) -> Tensor:
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        return self._categorical.logits

    @property
    def param_shape(self) -> Size:
        return self._categorical.param_shape

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return self._one_hot(self._categorical.mode)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def _one_hot(self, numbers: Tensor) -> Tensor:
        return one_hot(numbers, self._categorical._num_events).to(self.probs.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._one_hot(self._categorical.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        return self._categorical.log_prob(value.max(-1)[1])

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All the values (K, 1, ..., K), expanded to (K, *batch_shape, K)."""
        n = self._categorical._num_events
        values = eye(n, dtype=self.probs.dtype, device=self.probs.device).view(n, *(1,) * len(self._batch_shape), n)
        return values.expand(n, *self._batch_shape, n) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """A OneHotCategorical whose samples pass their gradient on to the probabilities, as if they were these
    (Bengio, Leonard and Courville, 2013, https://arxiv.org/abs/1308.3432).
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Independent(Distribution):
    """The last `reinterpreted_batch_ndims` dimensions of a batch of distributions as one, of values that are drawn
    independently of each other: log_prob and entropy are their sums.
    """

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ):
        batch = base_distribution.batch_shape
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(batch)}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        cut = len(batch) - reinterpreted_batch_ndims
        super().__init__(batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        n = self.reinterpreted_batch_ndims
        base = self.base_dist.expand((*batch_shape, *self._event_shape[:n]))
        return self._of_shape(batch_shape, _instance, base_dist=base, reinterpreted_batch_ndims=n)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_enumerate_support and not self.reinterpreted_batch_ndims > 0

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        inner, n = self.base_dist.support, self.reinterpreted_batch_ndims
        if not n:
            return inner
        return Constraint(f"IndependentConstraint({inner.text}, {n})", lambda x: inner.check(x).flatten(-n).all(-1))

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._total(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._total(self.base_dist.entropy())

    def _total(self, each: Tensor) -> Tensor:
        n = self.reinterpreted_batch_ndims
        return each.flatten(-n).sum(-1) if n else each

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if self.reinterpreted_batch_ndims > 0:
            raise NotImplementedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamily(Distribution):
    """Values of one of K distributions of a kind, which a Categorical chooses: a mixture density network's output
    (Bishop, 1994, https://publications.aston.ac.uk/id/eprint/373/), from which handwriting is drawn (Graves, 2013,
    https://arxiv.org/abs/1308.0850).

    mixture_distribution    a Categorical of K categories; its batch_shape is broadcast
    component_distribution  a distribution of batch_shape (*batch_shape, K)
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of torch.distributions.Categorical"  # as torch
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution needs to be an instance of torch.distributions.Distribution")
        *batch, count = component_distribution.batch_shape or (None,)
        chosen, shape = mixture_distribution.batch_shape, Size(batch)
        if any(1 != m != n != 1 for m, n in zip(reversed(chosen), reversed(shape), strict=False)):
            raise ValueError(
                f"`mixture_distribution.batch_shape` ({chosen}) is not compatible with "
                f"`component_distribution.batch_shape`({shape})"
            )
        if (categories := mixture_distribution.logits.shape[-1]) != count:
            raise ValueError(
                f"`mixture_distribution component` ({categories}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({count})"
            )
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        super().__init__(shape, component_distribution.event_shape, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        count = self._mixture_distribution._num_events
        return self._of_shape(
            batch_shape,
            _instance,
            _mixture_distribution=self._mixture_distribution.expand(batch_shape),
            _component_distribution=self._component_distribution.expand((*batch_shape, count)),
        )

    @property
    def mixture_distribution(self) -> Categorical:
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        return self._component_distribution

    @property
    def support(self) -> Constraint:  # type: ignore[override]
        inner, events = self._component_distribution.support, len(self._event_shape)

        def check(x: Tensor) -> Tensor:
            return inner.check(self._beside(x)).flatten(x.dim() - events).all(-1)

        return Constraint(f"MixtureSameFamilyConstraint({inner.text})", check)

    def _beside(self, value: Tensor) -> Tensor:
        """A value (..., *event_shape) with an axis for the components."""
        return value.unsqueeze(-1 - len(self._event_shape))

    def _average(self, each: Tensor) -> Tensor:
        """The mean over the components of (*batch_shape, K, *event_shape), weighted by their probabilities."""
        probs, events = self._mixture_distribution.probs, len(self._event_shape)
        return (probs.reshape(*probs.shape, *(1,) * events) * each).sum(-1 - events)

    @property
    def mean(self) -> Tensor:
        return self._average(self._component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        within = self._average(self._component_distribution.variance)
        return within + self._average((self._component_distribution.mean - self._beside(self.mean)).pow(2))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            chosen = self._mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            each = self._component_distribution.sample(sample_shape)
            index = chosen.reshape(*chosen.shape, *(1,) * (1 + len(self._event_shape)))
            along = chosen.dim()
            return each.gather(along, index.expand(*chosen.shape, 1, *self._event_shape)).squeeze(along)

    def log_prob(self, value: Tensor) -> Tensor:
        self._validate_sample(value)
        each = self._component_distribution.log_prob(self._beside(value))
        return logsumexp(each + log_softmax(self._mixture_distribution.logits, dim=-1), dim=-1)

    def cdf(self, value: Tensor) -> Tensor:
        return self._average(self._component_distribution.cdf(self._beside(value)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n  {self._mixture_distribution},\n  {self._component_distribution})"


# ----------------------------------------------------------------------------------- Kullback and Leibler's divergence
DIVERGENCES: dict[tuple[type, type], Callable] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """Decorates the function (p, q) that kl_divergence calls for distributions of these types."""

    def note(function: Callable) -> Callable:
        DIVERGENCES[type_p, type_q] = function
        return function

    return note


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expectation under p of log p - log q (batch_shape); NotImplementedError for a pair without a formula."""
    for first in type(p).__mro__:
        for second in type(q).__mro__:
            if (first, second) in DIVERGENCES:
                return DIVERGENCES[first, second](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


@register_kl(Categorical, Categorical)
def _(p, q):
    terms = p.probs * (p.logits - q.logits)
    terms = terms.masked_fill((q.probs == 0).expand_as(terms), math.inf)
    return terms.masked_fill((p.probs == 0).expand_as(terms), 0).sum(-1)


@register_kl(Bernoulli, Bernoulli)
def _(p, q):
    softplus = lambda x: binary_cross_entropy_with_logits(x, x.detach() * 0, reduction="none")
    yes = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    yes = yes.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0)
    no = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return yes + no.masked_fill(q.probs == 1, math.inf).masked_fill(p.probs == 1, 0)


@register_kl(Normal, Normal)
def _(p, q):
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Uniform, Uniform)
def _(p, q):
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), math.inf)


@register_kl(Uniform, Normal)
def _(p, q):
    width = p.high - p.low
    ratio = (math.sqrt(math.pi * 2) * q.scale / width).log()
    return ratio + 0.5 * (width.pow(2) / 12 + ((p.high + p.low - 2 * q.loc) / 2).pow(2)) / q.scale.pow(2)


@register_kl(Laplace, Laplace)
def _(p, q):
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + apart / q.scale + ratio * (-apart / p.scale).exp() - 1


@register_kl(Laplace, Normal)
def _(p, q):
    square = q.scale.pow(2)
    ratio = p.scale.pow(2) / square
    apart = 0.5 * p.loc.pow(2) - p.loc * q.loc + 0.5 * q.loc.pow(2)
    return -0.5 * (2 * ratio / math.pi).log() + ratio + apart / square - 1


@register_kl(Normal, Laplace)
def _(p, q):
    apart = p.loc - q.loc
    steps = apart / p.scale
    near = math.sqrt(2 / math.pi) * p.scale * (-0.5 * steps.pow(2)).exp()
    far = apart * (math.sqrt(0.5) * steps).erf()
    return -(p.scale / q.scale).log() + (near + far) / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


@register_kl(Laplace, Exponential)
@register_kl(Laplace, Uniform)
@register_kl(Normal, Exponential)
@register_kl(Normal, Uniform)
def _(p, q):
    return full_like(p.loc, math.inf)


@register_kl(Exponential, Uniform)
def _(p, q):
    return full_like(p.rate, math.inf)


@register_kl(Exponential, Normal)
def _(p, q):
    variance, square = q.scale.pow(2), p.rate.pow(2)
    apart = square.reciprocal() - q.loc / p.rate + q.loc.pow(2) * 0.5
    return 0.5 * (square * variance * 2 * math.pi).log() - 1 + apart / variance


@register_kl(Uniform, Exponential)
def _(p, q):
    result = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return result.masked_fill(p.low < 0, math.inf)


@register_kl(Exponential, Exponential)
def _(p, q):
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(LogNormal, LogNormal)
def _(p, q):
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p, q):
    return kl_divergence(p._categorical, q._categorical)


@register_kl(Independent, Independent)
def _(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence of Independents with other reinterpreted_batch_ndims")
    return p._total(kl_divergence(p.base_dist, q.base_dist))
