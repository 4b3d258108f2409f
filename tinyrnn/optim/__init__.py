"""Optimizers, under torch's names; their updates are derived from the table of scalar formulas."""

from . import optimizer
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "optimizer"]
