"""Adagrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape import wrap
from ..tensor import Tensor
from .optimizer import Optimizer, Updates, as_number, check, check_fused, closure_loss, counter, learning_rate


class Adagrad(Optimizer):
    """p -= lr / (1 + steps * lr_decay) * gradient / (root of the sum of its squares so far + eps).

    Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html; the sum starts at `initial_accumulator_value`.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("lr_decay value", lr_decay, lr_decay >= 0.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        check("initial_accumulator_value value", initial_accumulator_value, initial_accumulator_value >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        check_fused(fused, foreach)
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p)

    def _start(self, p: Tensor) -> dict[str, Any]:
        """The state of a parameter before the first step."""
        start = self.defaults["initial_accumulator_value"]
        self.state[p] = {"step": counter(), "sum": wrap(np.full(p.array.shape, start, p.array.dtype, like=p.array))}
        return self.state[p]

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss, updates = closure_loss(closure), Updates(self.state)
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is None:
                    continue
                state = self.state[p] or self._start(p)
                lr = as_number(group["lr"]) / (1 + state["step"].item() * group["lr_decay"])
                numbers = lr, group["eps"], group["weight_decay"]
                updates.add("adagrad", p, (state["sum"].array,), numbers, group["maximize"])
                state["step"].array += 1
        updates.run()
        return loss
