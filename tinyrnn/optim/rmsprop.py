"""RMSprop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .optimizer import (
    Optimizer,
    Updates,
    as_number,
    check,
    check_capturable,
    closure_loss,
    counter,
    learning_rate,
    zeros_like,
)


class RMSprop(Optimizer):
    """p -= lr * gradient / (root of the running mean of its square + eps).

    Tieleman and Hinton 2012, lecture 6.5; `centered` subtracts the squared mean (Graves 2013,
    https://arxiv.org/abs/1308.0850); with `momentum`, steps of the past go on.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check("momentum value", momentum, momentum >= 0.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        check("alpha value", alpha, alpha >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss, updates = closure_loss(closure), Updates(self.state)
        for group in self.param_groups:
            check_capturable(group)
            alpha, momentum, centered = group["alpha"], group["momentum"], group["centered"]
            numbers = (as_number(group["lr"]), alpha, 1 - alpha, group["eps"], group["weight_decay"])
            for p in group["params"]:
                if p._grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"], state["square_avg"] = counter(), zeros_like(p)
                    if momentum > 0:
                        state["momentum_buffer"] = zeros_like(p)
                    if centered:
                        state["grad_avg"] = zeros_like(p)
                formula, used = "rmsprop", [state["square_avg"]]
                if centered:
                    formula, used = f"{formula}_centered", [*used, state["grad_avg"]]
                if momentum > 0:
                    formula, used = f"{formula}_momentum", [*used, state["momentum_buffer"]]
                arrays = [s.array for s in used]
                updates.add(formula, p, arrays, (*numbers, momentum) if momentum > 0 else numbers, group["maximize"])
                state["step"].array += 1
        updates.run()
        return loss
