"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape import wrap
from .optimizer import Optimizer, as_number, check, closure_loss, update


class Adam(Optimizer):
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980: steps in units of the gradient's running mean and deviation.

    `weight_decay` is added to the gradient, or, if `decoupled_weight_decay`, shrinks the parameter as in AdamW;
    `amsgrad` divides
    by the largest deviation so far (Reddi et al. 2018).
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check("learning rate", lr, as_number(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check("beta parameter at index 0", betas[0], 0.0 <= betas[0] < 1.0)
        check("beta parameter at index 1", betas[1], 0.0 <= betas[1] < 1.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
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

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss = closure_loss(closure)
        for group in self.param_groups:
            lr, (beta1, beta2), eps = as_number(group["lr"]), group["betas"], group["eps"]
            decay, decoupled, amsgrad = group["weight_decay"], group["decoupled_weight_decay"], group["amsgrad"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = wrap(np.zeros((), np.float32))
                    for name in ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])):
                        state[name] = wrap(np.zeros(p.array.shape, p.array.dtype))
                state["step"].array += 1
                step = state["step"].array.item()
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
                moments = (state["exp_avg"], state["exp_avg_sq"])
                if amsgrad:
                    update("adam_amsgrad", p, (*moments, state["max_exp_avg_sq"]), numbers, group["maximize"])
                else:
                    update("adam", p, moments, numbers, group["maximize"])
        return loss


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
