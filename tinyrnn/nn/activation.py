"""Activation functions as modules: each keeps the arguments of a function of nn.functional, and calls it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..ops import create
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class Activation(Module):
    """Base: the arguments of __init__ become attributes, which `function` gets after its input, in this order."""

    function: Callable[..., Any]
    silent = False  # whether it prints no arguments
    _arguments: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        if "function" in vars(cls) and "_arguments" not in vars(cls):
            code = cls.__init__.__code__
            cls._arguments = code.co_varnames[1 : code.co_argcount]

    def __init__(self) -> None:
        super().__init__()

    def keep(self, **arguments: Any) -> None:
        """Begin as a Module with these attributes."""
        Module.__init__(self)
        for name, value in arguments.items():
            setattr(self, name, value)

    def forward(self, input: Any) -> Any:
        return type(self).function(input, *[getattr(self, name) for name in self._arguments])

    def extra_repr(self) -> str:
        if self.silent:
            return ""
        names = [name for name in self._arguments if name != "inplace"]
        words = [f"{name}={getattr(self, name)}" for name in names]
        return ", ".join(words + ["inplace=True"] * (len(names) < len(self._arguments) and self.inplace))


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = F.tanh


class Sigmoid(Activation):
    """1 / (1 + e ** -input)."""

    function = F.sigmoid


class LogSigmoid(Activation):
    """log(sigmoid(input)), with no underflow."""

    function = F.logsigmoid


class Softsign(Activation):
    """input / (1 + |input|)."""

    function = F.softsign


class Tanhshrink(Activation):
    """input - tanh(input)."""

    function = F.tanhshrink


class ReLU(Activation):
    """max(input, 0)."""

    function = F.relu

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class SELU(Activation):
    """A scaled ELU that keeps mean zero and variance one (Klambauer et al. 2017)."""

    function = F.selu

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class SiLU(Activation):
    """input * sigmoid(input)."""

    function = F.silu

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class Mish(Activation):
    """input * tanh(softplus(input)) (Misra 2019)."""

    function = F.mish

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class Hardsigmoid(Activation):
    """(input + 3) / 6, but not below 0 and not above 1."""

    function, silent = F.hardsigmoid, True

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class Hardswish(Activation):
    """input * Hardsigmoid()(input) (Howard et al. 2019)."""

    function, silent = F.hardswish, True

    def __init__(self, inplace: bool = False):
        self.keep(inplace=inplace)


class LeakyReLU(Activation):
    """input where it is positive, negative_slope * input elsewhere."""

    function = F.leaky_relu

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.keep(negative_slope=negative_slope, inplace=inplace)


class ELU(Activation):
    """input where it is positive, alpha * (e ** input - 1) elsewhere (Clevert et al. 2015)."""

    function = F.elu

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.keep(alpha=alpha, inplace=inplace)


class CELU(Activation):
    """input where it is positive, alpha * (e ** (input / alpha) - 1) elsewhere (Barron 2017)."""

    function = F.celu

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.keep(alpha=alpha, inplace=inplace)


class Threshold(Activation):
    """input where it is above `threshold`, `value` elsewhere."""

    function = F.threshold

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.keep(threshold=threshold, value=value, inplace=inplace)


class Hardtanh(Activation):
    """input, but not below min_val and not above max_val."""

    function, _arguments = F.hardtanh, ("min_val", "max_val", "inplace")

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ):
        for old, value in (("min", min_value), ("max", max_value)):
            if value is not None:
                message = f"keyword argument `{old}_value` is deprecated and renamed to `{old}_val`"
                warnings.warn(message, FutureWarning, stacklevel=2)
        min_val = min_val if min_value is None else min_value
        max_val = max_val if max_value is None else max_value
        if max_val <= min_val:
            raise AssertionError(f"max_val ({max_val}) must be greater than min_val ({min_val})")
        self.keep(min_val=min_val, max_val=max_val, inplace=inplace)


class ReLU6(Hardtanh):
    """input, but not below 0 and not above 6."""

    def __init__(self, inplace: bool = False):
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class GELU(Activation):
    """input * Phi(input), Phi the normal distribution function, or its 'tanh' approximation."""

    function = F.gelu

    def __init__(self, approximate: str = "none"):
        self.keep(approximate=approximate)

    def forward(self, input: Any) -> Any:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Activation):
    """log(1 + e ** (beta * input)) / beta; input itself where beta * input > threshold."""

    function = F.softplus

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.keep(beta=beta, threshold=threshold)


class Hardshrink(Activation):
    """input, but 0 between -lambd and lambd."""

    function = F.hardshrink

    def __init__(self, lambd: float = 0.5):
        self.keep(lambd=lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(Activation):
    """input, moved towards 0 by `lambd`, but not beyond."""

    function = F.softshrink

    def __init__(self, lambd: float = 0.5):
        self.keep(lambd=lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class GLU(Activation):
    """The first half of `dim` times the sigmoid of the second (Dauphin et al. 2017)."""

    function = F.glu

    def __init__(self, dim: int = -1):
        self.keep(dim=dim)


class RReLU(Activation):
    """input where it is positive, times a random slope elsewhere, in evaluation their mean (Xu et al. 2015)."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False):
        self.keep(lower=lower, upper=upper, inplace=inplace)

    def forward(self, input: Any) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """input where it is positive, weight * input elsewhere; the weight is learned (He et al. 2015).

    num_parameters: 1, or the number of channels (dimension 1), each with a weight of its own.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(create.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All weights are what `init` said."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _AlongDimension(Module):
    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDimension):
    """e ** input, divided by its sum along `dim`."""

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim, _stacklevel=5)


class LogSoftmax(_AlongDimension):
    """The logarithm of softmax along `dim`."""

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmin(_AlongDimension):
    """Softmax of -input."""

    def forward(self, input: Any) -> Any:
        return F.softmin(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Any) -> Any:
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3, _stacklevel=5)
