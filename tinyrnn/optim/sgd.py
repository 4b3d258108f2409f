"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .optimizer import Optimizer, Updates, as_number, check, check_fused, closure_loss, learning_rate, zeros_like


class SGD(Optimizer):
    """p -= lr * v, with v = momentum * v + (1 - dampening) * (gradient + weight_decay * p).

    With nesterov, p -= lr * (gradient + momentum * v) (Sutskever et al. 2013).  In the first step v is the gradient
    itself.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check("learning rate", lr, not learning_rate(lr) < 0.0)
        check("momentum value", momentum, not momentum < 0.0)
        check("weight_decay value", weight_decay, not as_number(weight_decay) < 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        check_fused(fused, foreach)

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss, updates = closure_loss(closure), Updates(self.state)
        for group in self.param_groups:
            lr, decay, momentum = as_number(group["lr"]), as_number(group["weight_decay"]), group["momentum"]
            fresh = set()  # whose first step it is, also where they come again
            for p in group["params"]:
                if p._grad is None:
                    continue
                if momentum == 0:
                    updates.add("sgd_plain", p, (), (lr, decay), group["maximize"])
                    continue
                state = self.state[p]
                first = state.get("momentum_buffer") is None or p in fresh
                if first:
                    fresh.add(p)
                    state["momentum_buffer"] = zeros_like(p)
                keep = 1.0 if first else 1.0 - group["dampening"]
                formula = "sgd_nesterov" if group["nesterov"] else "sgd"
                buffer = state["momentum_buffer"].array
                updates.add(formula, p, (buffer,), (lr, decay, momentum, keep), group["maximize"])
        updates.run()
        return loss
