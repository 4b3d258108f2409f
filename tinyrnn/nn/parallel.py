"""A model on several devices, or processes: here there is one."""

from .layers import DataParallel, DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]
