"""amp.GradScaler: a loss times a large number, so that small gradients of half precision are not lost (Micikevicius et
al. 2018, https://arxiv.org/abs/1710.03740).  float32 has no need of it, and powers of two do it no harm.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from . import devices
from .grad_mode import no_grad
from .tensor import Tensor

FRESH, UNSCALED, STEPPED = "fresh", "unscaled", "stepped"  # what became of an optimizer since the last update()


class GradScaler:
    """Multiplies losses by a scale, divides the gradients by it before the optimizer's step, and leaves the step out
    where one of them is infinite or NaN.

    update() then makes the scale smaller, by `backoff_factor`; after `growth_interval` steps without, it grows by
    `growth_factor`.  It is switched off, with a warning, on "cuda" without a GPU, as torch's is.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        self._enabled = enabled
        if enabled and devices.device(device).type == "cuda" and not devices.has_gpu():
            told = "GradScaler is enabled, but CUDA is not available. Disabling."
            warnings.warn(told, stacklevel=2 + (type(self) is not GradScaler))
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError(f"The growth factor must be > 1.0, but is {growth_factor}.")
        if backoff_factor >= 1.0:
            raise AssertionError(f"The backoff factor must be < 1.0, but is {backoff_factor}.")
        self._scale, self._steps = float(init_scale), 0  # the latter: without infinite gradients, one after the other
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._stages: dict[Any, str] = {}  # optimizer -> FRESH, UNSCALED or STEPPED
        self._infinite: dict[Any, bool] = {}  # whether a gradient was, of those that were looked at

    def is_enabled(self) -> bool:
        return self._enabled

    def scale(self, outputs: Any) -> Any:
        """A tensor, or each of several, times the scale; ValueError for anything else."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, (list, tuple)):
            return type(outputs)([self.scale(x) for x in outputs])
        if isinstance(outputs, Iterable):
            return map(self.scale, outputs)
        raise ValueError(f"outputs must be a Tensor or an iterable of Tensors, not {type(outputs).__name__}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer's parameters by the scale, to clip them, say.

        RuntimeError if that was done since the last update().
        """
        if not self._enabled:
            return
        stage = self._stages.get(optimizer, FRESH)
        if stage == UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage == STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        with no_grad():
            if grads:
                self._infinite[optimizer] = not all(g.isfinite().all().item() for g in grads)
            for g in grads:
                g.mul_(1.0 / self._scale)
        self._stages[optimizer] = UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args, **kwargs), unless a gradient is infinite or NaN; None then.

        RuntimeError for a closure, and for a second call before update(); AssertionError if there are no gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        stage = self._stages.get(optimizer, FRESH)
        if stage == STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == FRESH:
            self.unscale_(optimizer)
        if optimizer not in self._infinite:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None if self._infinite[optimizer] else optimizer.step(*args, **kwargs)
        self._stages[optimizer] = STEPPED
        return result

    def update(self, new_scale: Any = None) -> None:
        """Change the scale by what became of the steps since the last update(), or to `new_scale`.

        AssertionError if no gradients were looked at since.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._infinite:
            raise AssertionError("No inf checks were recorded prior to update.")
        elif any(self._infinite.values()):
            self._scale, self._steps = self._scale * self._backoff_factor, 0
        else:
            self._steps += 1
            if self._steps == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale, self._steps = grown if math.isfinite(grown) else self._scale, 0
        self._stages, self._infinite = {}, {}

    def get_scale(self) -> float:
        """The scale; 1.0 if switched off."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale and how it changes, under torch's names; empty if switched off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict(); RuntimeError for that of a scaler that was switched off."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._steps = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
