"""The nodes of the tape, under torch's name for the module."""

from ..tape import AccumulateGrad, Node

__all__ = ["AccumulateGrad", "Node"]
