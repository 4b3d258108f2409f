"""Adam."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .optimizer import (
    Optimizer,
    Updates,
    as_number,
    check,
    check_capturable,
    check_fused,
    closure_loss,
    counter,
    learning_rate,
    zeros_like,
)


class Adam(Optimizer):
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980: steps in units of the gradient's running mean and deviation.

    `weight_decay` is added to the gradient, or, if `decoupled_weight_decay`, shrinks the parameter as in AdamW;
    `amsgrad` divides by the largest deviation so far (Reddi et al. 2018).
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        if foreach and not capturable and any(isinstance(v, Tensor) for v in (lr, *betas)):
            raise ValueError("lr or betas as a Tensor are not supported for capturable=False and foreach=True")
        beta1, beta2 = map(as_number, betas)
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check("beta parameter at index 0", beta1, 0.0 <= beta1 < 1.0)
        check("beta parameter at index 1", beta2, 0.0 <= beta2 < 1.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        if not any(all(isinstance(b, kind) for b in betas) for kind in (float, Tensor)):
            raise ValueError(f"betas must be either both floats or both Tensors, but got {betas}")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(b.squeeze() if isinstance(b, Tensor) else b for b in betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )
        check_fused(fused, foreach)

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss, updates, states = closure_loss(closure), Updates(self.state), self.state
        for group in self.param_groups:
            check_capturable(group)
            lr, (beta1, beta2) = as_number(group["lr"]), map(as_number, group["betas"])
            decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
            eps, amsgrad, maximize = group["eps"], group["amsgrad"], group["maximize"]
            formula = "adam_amsgrad" if amsgrad else "adam"
            before = None  # the step of the parameter before: as a rule they have all done as many
            for p in group["params"]:
                if p._grad is None:
                    continue
                state = states[p]
                if not state:
                    state["step"] = counter()
                    state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
                    if amsgrad:
                        state["max_exp_avg_sq"] = zeros_like(p)
                count = state["step"].array
                step = count.item() + 1
                if step != before:
                    before = step
                    numbers = (
                        lr / (1 - beta1**step),
                        1 - beta1,
                        beta2,
                        1 - beta2,
                        eps,
                        0.0 if decoupled else decay,
                        1 - lr * decay if decoupled else 1.0,
                        math.sqrt(1 - beta2**step),
                    )
                moments: tuple = state["exp_avg"].array, state["exp_avg_sq"].array
                if amsgrad:
                    moments += (state["max_exp_avg_sq"].array,)
                updates.add(formula, p, moments, numbers, maximize)
                count[()] = step
        updates.run()
        return loss
