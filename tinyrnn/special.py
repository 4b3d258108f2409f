"""torch.special: the functions that are there under another name too."""

from .ops.arithmetic import round
from .ops.binary import xlogy
from .ops.elementwise import erf, erfc, erfinv, exp2, expm1, log1p, logit, sinc
from .ops.elementwise import sigmoid as expit
from .ops.gamma import digamma, lgamma
from .ops.reduce import logsumexp
from .ops.rows import log_softmax, softmax

gammaln, psi = lgamma, digamma

__all__ = [
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "log1p",
    "log_softmax",
    "logit",
    "logsumexp",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlogy",
]
