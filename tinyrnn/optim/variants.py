"""Adadelta, Adamax, NAdam, RAdam, ASGD and Rprop: what each keeps for a parameter, and the numbers of its step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import get_default_dtype
from ..tape import wrap
from ..tensor import Tensor
from .optimizer import (
    Optimizer,
    as_number,
    check,
    check_capturable,
    closure_loss,
    counter,
    learning_rate,
    update,
    zeros_like,
)


class EachParameter(Optimizer):
    """Base: `_start` says what is kept for a parameter beside the number of steps, `_update` does one step."""

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        raise NotImplementedError

    def step(self, closure: Callable | None = None) -> Any:
        """Update the parameters that have a gradient."""
        loss = closure_loss(closure)
        for group in self.param_groups:
            check_capturable(group)
            lr = float(as_number(group["lr"]))
            for p in group["params"]:
                if p._grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = counter()
                    state.update(self._start(p, group))
                state["step"].array += 1
                self._update(p, state, group, lr, state["step"].item())
        return loss


def check_betas(betas: tuple[float, float]) -> None:
    for k in (0, 1):
        check(f"beta parameter at index {k}", betas[k], 0.0 <= betas[k] < 1.0)


def number_tensor(value: float) -> Tensor:
    """A number in the state, as torch keeps it: a 0-d tensor of the default type."""
    return wrap(np.array(value, get_default_dtype().numpy))


class Adadelta(EachParameter):
    """p -= lr * gradient * (root of the mean of squared steps) / (root of the mean of squared gradients).

    Zeiler 2012, https://arxiv.org/abs/1212.5701; both are running means, with `rho`.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("rho value", rho, 0.0 <= rho <= 1.0)
        check("epsilon value", eps, eps >= 0.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        options |= {"capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        super().__init__(params, options)

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        numbers = (lr, group["rho"], 1 - group["rho"], group["eps"], group["weight_decay"])
        update("adadelta", p, (state["square_avg"], state["acc_delta"]), numbers, group["maximize"])


class Adamax(EachParameter):
    """Adam that divides by the largest gradient, which fades, in place of the deviation.

    Kingma and Ba 2015, algorithm 2, https://arxiv.org/abs/1412.6980.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check_betas(betas)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach}
        options |= {"maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, options)

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        beta1, beta2 = group["betas"]
        numbers = (lr / (1 - beta1**step), 1 - beta1, beta2, group["eps"], group["weight_decay"])
        update("adamax", p, (state["exp_avg"], state["exp_inf"]), numbers, group["maximize"])


class NAdam(EachParameter):
    """Adam with Nesterov's momentum (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

    `weight_decay` is added to the gradient, or, if `decoupled_weight_decay`, shrinks the parameter.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check_betas(betas)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        check("momentum_decay value", momentum_decay, momentum_decay >= 0.0)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        options |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach}
        options |= {"capturable": capturable, "differentiable": differentiable}
        super().__init__(params, options)

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"mu_product": number_tensor(1), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        (beta1, beta2), decay, decoupled = group["betas"], group["weight_decay"], group["decoupled_weight_decay"]
        now, after = (beta1 * (1.0 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (step, step + 1))
        state["mu_product"].array *= now
        product = state["mu_product"].item()
        numbers = (
            lr * (1.0 - now) / (1.0 - product),
            lr * after / (1.0 - product * after),
            1 - beta1,
            beta2,
            1 - beta2,
            1 - beta2**step,
            group["eps"],
            0.0 if decoupled else decay,
            1 - lr * decay if decoupled else 1.0,
        )
        update("nadam", p, (state["exp_avg"], state["exp_avg_sq"]), numbers, group["maximize"])


class RAdam(EachParameter):
    """Adam that does not divide by the deviation while too few gradients were seen to know it.

    Liu et al. 2020, https://arxiv.org/abs/1908.03265.  `weight_decay` is added to the gradient, or, if
    `decoupled_weight_decay`, shrinks the parameter.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("epsilon value", eps, eps >= 0.0)
        check_betas(betas)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        options |= {"foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, options | {"differentiable": differentiable})

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        (beta1, beta2), decay, decoupled = group["betas"], group["weight_decay"], group["decoupled_weight_decay"]
        correction1, correction2 = 1 - beta1**step, 1 - beta2**step
        most = 2 / (1 - beta2) - 1  # how many gradients the running mean holds in the end, and now
        held = most - 2 * step * beta2**step / correction2
        known = held > 5.0
        rectified = math.sqrt((held - 4) * (held - 2) * most / ((most - 4) * (most - 2) * held)) if known else 1.0
        numbers = (
            lr / correction1 * rectified,
            1 - beta1,
            beta2,
            1 - beta2,
            math.sqrt(correction2),
            group["eps"],
            0.0 if decoupled else decay,
            1 - lr * decay if decoupled else 1.0,
        )
        formula = "radam_known" if known else "radam"
        update(formula, p, (state["exp_avg"], state["exp_avg_sq"]), numbers, group["maximize"])


class ASGD(EachParameter):
    """Gradient descent with a step that falls, and the average of the parameters since step t0, in the state "ax".

    Polyak and Juditsky 1992; the average is not what the model computes with.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("weight_decay value", weight_decay, weight_decay >= 0.0)
        options = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach}
        options |= {"maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, options)

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"eta": number_tensor(as_number(group["lr"])), "mu": number_tensor(1), "ax": zeros_like(p)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        eta = state["eta"].item()
        numbers = (eta, 1 - group["lambd"] * eta, group["weight_decay"], state["mu"].item())
        update("asgd", p, (state["ax"],), numbers, group["maximize"])
        # Rounded to the default type also where the state has another, as after load_state_dict.
        state["eta"].array[...] = number_tensor(lr / (1 + group["lambd"] * lr * step) ** group["alpha"]).array
        state["mu"].array[...] = number_tensor(1 / max(1, step - group["t0"])).array


class Rprop(EachParameter):
    """Steps of a size of their own for each element, by the sign of the gradient alone.

    Riedmiller and Braun 1993.  The size is multiplied by etas[0] where the sign changed, by etas[1] where it did not.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check("learning rate", lr, learning_rate(lr) >= 0.0)
        check("eta values", f"{etas[0]}, {etas[1]}", 0.0 < etas[0] < 1.0 < etas[1])
        options = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize}
        super().__init__(params, options | {"differentiable": differentiable, "capturable": capturable})

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        size = np.full(p.array.shape, as_number(group["lr"]), p.array.dtype, like=p.array)
        return {"prev": zeros_like(p), "step_size": wrap(size)}

    def _update(self, p: Tensor, state: dict[str, Any], group: dict[str, Any], lr: float, step: float) -> None:
        numbers = (*group["etas"], *group["step_sizes"])
        update("rprop", p, (state["prev"], state["step_size"]), numbers, group["maximize"])
