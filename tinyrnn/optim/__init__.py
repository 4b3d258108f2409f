"""Optimizers, under torch's names; their updates are derived from the table of scalar formulas."""

from typing import Any

from . import lr_scheduler, optimizer, swa_utils
from .adagrad import Adagrad
from .adam import Adam
from .adamw import AdamW
from .lbfgs import LBFGS
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD
from .variants import ASGD, Adadelta, Adamax, NAdam, RAdam, Rprop

__all__ = [
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "lr_scheduler",
    "optimizer",
    "swa_utils",
]


def __getattr__(name: str) -> Any:
    """torch's other optimizers are refused by name."""
    from ..facade import missing

    raise AttributeError(missing(f"torch.optim.{name}"))
