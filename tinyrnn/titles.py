"""What torch calls the calls: the names of `grad_fn`, where one op of ours stands for several of torch's.

They are asked for when a tensor is printed, and cost nothing before.  A call's op may have its own `label`, and the
last of several calls that are one in torch is given one by `tape.entitled`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def linear(saved: tuple, shapes: list) -> str:
    x = saved[0] if saved and hasattr(saved[0], "ndim") else None
    ndim = x.ndim if x is not None else len(shapes[0]) if shapes[0] is not None else 2
    biased = shapes[2] is not None
    if ndim == 2:
        return "Addmm" if biased else "Mm"
    if biased and ndim > 2 and x is not None and not x.flags.c_contiguous:
        return "Add"
    return "View" if biased else "Squeeze4" if ndim == 1 else "UnsafeView"


def matmul(saved: tuple, shapes: list) -> str:
    dims: Any = saved[2] if len(saved) > 2 else tuple(2 if shape is None else len(shape) for shape in shapes)
    return {(1, 1): "Dot", (2, 1): "Mv", (1, 2): "Squeeze4", (2, 2): "Mm"}.get(dims, "UnsafeView")


def indexed(saved: tuple, shapes: list) -> str:
    """Of several basic indices the last one that does something."""
    name = "Slice"
    for i in saved[1] if len(saved) > 1 else ():
        if i is None:
            name = "Unsqueeze"
        elif not isinstance(i, slice):
            name = "Select"
        elif i != slice(None) and i != slice(None, None, 1):
            name = "Slice"
    return name


def total(saved: tuple, shapes: list) -> str:
    """torch tells sums over all elements from those along dimensions."""
    return "Sum" if len(saved) < 3 or len(saved[1]) == len(saved[0]) and not saved[2] else "Sum1"


def power(saved: tuple, shapes: list) -> str:
    base, exponent = (getattr(a, "ndim", 1) for a in saved[:2]) if len(saved) > 1 else (1, 0)
    return "Pow2" if shapes[0] is None and not base else "Pow1" if exponent or shapes[1] is not None else "Pow"


def scattered(saved: tuple, shapes: list) -> str:
    return (
        "ScatterAdd"
        if "add" in [a for a in saved if isinstance(a, str)]
        else "Scatter1"
        if not shapes[1]
        else "Scatter"
    )


def by_divisor(name: str, saved: tuple, shapes: list) -> str:
    """torch tells a tensor as the divisor from a number."""
    several = len(saved) > 1 and saved[1].ndim > 0
    return f"{name}1" if shapes[1] is not None or several else name


def recurrence(saved: tuple, shapes: list) -> str:
    return "MkldnnRnnLayer" if any(len(getattr(a, "states", ())) == 2 for a in saved) else "Stack"


TITLES: dict[str, str | Callable[[tuple, list], str]] = {
    "Absolute": "Abs", "Cast": "ToCopy", "Clamp": "Clamp1", "Copy": "Clone", "Deg2rad": "Deg2Rad", "Dropout": "Mul",
    "CTC": "CtcLoss", "Fmod": lambda saved, shapes: by_divisor("Fmod", saved, shapes), "Gather": "Index",
    "GeluTanh": "Gelu", "LargestOfBag": "EmbeddingBag", "LayerNorm": "NativeLayerNorm", "Linear": linear,
    "Log1p": "Log1P", "LogSumExp": "Logsumexp",
    "Logsigmoid": "LogSigmoid", "MatMul": matmul, "NanMedian": "Nanmedian", "Norm": "LinalgVectorNorm", "Pow": power,
    "Prelu": "PreluKernel", "Prod": lambda saved, shapes: "Prod" if len(shapes[0]) == 1 else "Prod1",
    "RReLU": "RreluWithNoise", "Rad2deg": "Rad2Deg", "Recurrence": recurrence, "LargeStep": recurrence,
    "Remainder": lambda saved, shapes: by_divisor("Remainder", saved, shapes), "RoundedDiv": "Div2",
    "Scatter": scattered, "Selu": "Elu", "Slice": indexed,
    "Square": "Pow", "Sum": total, "TakeAlong": "Gather",
    "Triangle": lambda saved, shapes: "Triu" if saved[0] else "Tril",
    "Variance": lambda saved, shapes: "Std" if len(saved) > 1 and saved[1] is not None else "Var",
}  # fmt: skip

LOSSES = {
    "binary_cross_entropy": "BinaryCrossEntropyBackward0",
    "binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogitsBackward0",
    "cross_entropy": "NllLossBackward0",
    "huber_loss": "HuberLossBackward0",
    "mse_loss": "MseLossBackward0",
    "nll_loss": "NllLossBackward0",
    "smooth_l1_loss": "SmoothL1LossBackward0",
}


def title(op: Any, saved: tuple, shapes: list) -> str:
    """The name of a call of `op`, from what it saved and the shapes of the inputs that want a gradient (else None)."""
    name = TITLES.get(op.__name__)
    if name is None:
        return f"{op.__name__}Backward0"
    if callable(name):
        name = name(saved, shapes)
    number = name[-1] if name[-1].isdigit() else ""
    return f"{name.removesuffix(number)}Backward{number or 0}"
