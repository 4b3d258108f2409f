from torch import nn

from . import deep

__all__ = ["deep", "nn"]
