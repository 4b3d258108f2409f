# ruff: noqa: E402, F401, I001  (the vocabulary: imports are the content, and the path must be set before them)
# fmt: off
"""A minimal reverse-mode autodiff engine for sequence models that speaks torch's vocabulary.

    import tinyrnn as torch
    from tinyrnn import nn
"""
import warnings as _warnings
from math import e, inf, nan, pi
from pathlib import Path as _Path

# In a checkout, kernels/ stands beside this folder: it is the subpackage tinyrnn.kernels.
if (_root := _Path(__file__).parent.parent) and (_root / "kernels" / "formulas.py").exists():
    __path__.append(str(_root))

# NumPy warns of overflow and NaN in plain arithmetic; torch, and our own kernels, do not.
_warnings.filterwarnings("ignore", r"(overflow|invalid value|divide by zero) encountered", RuntimeWarning, r"tinyrnn\.")

from . import (
    accelerator,
    amp,
    autograd,
    backends,
    cuda,
    nn,
    optim,
    random,
    utils,
)
from .devices import device
from .dtypes import (
    bool,
    double,
    dtype,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    result_type,
    set_default_dtype,
    short,
    uint8,
)
from .ops.arithmetic import (
    add, addcdiv, addcmul, allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, ceil, div, eq, equal, floor,
    floor_divide, ge, gt,
    isclose, isfinite, isinf, isnan, le, lerp, logical_and, logical_not, logical_or, logical_xor, lt, mul, ne, neg,
    pow, remainder, round,
    sign, sub, trunc,
)
from .ops.create import (
    BoolTensor, ByteTensor, CharTensor, DoubleTensor, FloatTensor, IntTensor, LongTensor, ShortTensor, arange,
    as_tensor, asarray, bernoulli,
    empty, empty_like, eye, from_numpy, full, full_like, linspace, meshgrid, multinomial, normal, ones, ones_like,
    rand, rand_like, randint,
    randn, randn_like, randperm, tensor, zeros, zeros_like,
)
from .ops.elementwise import (
    abs, clamp, cos, cosh, erf, exp, expm1, log, log1p, masked_fill, maximum, minimum, reciprocal, relu, rsqrt,
    sigmoid, sin, sinh, sqrt,
    square, tan, tanh, where,
)
from .ops.index import (
    argsort, gather, index_select, masked_select, narrow, nonzero, scatter, scatter_add, select, sort, topk, unique,
)
from .ops.linear import addmm, baddbmm, bmm, dot, einsum, matmul, mm, mv, outer
from .ops.reduce import (
    all, amax, amin, any, argmax, argmin, cumsum, logsumexp, max, mean, min, norm, std, sum, var,
)
from .ops.rows import log_softmax, softmax
from .ops.shape import (
    cat, chunk, clone, flatten, flip, movedim, permute, repeat_interleave, reshape, roll, split, squeeze, stack, t,
    transpose, tril, triu,
    unbind, unflatten, unsqueeze,
)
from .printing import get_printoptions, set_printoptions
from .random import (
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)
from .serialization import load, save
from .tape import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)
from .switches import compile, get_num_threads, set_num_threads, use_deterministic_algorithms
from .tensor import Size, Tensor, is_floating_point, is_tensor, numel

__version__ = "0.1.0"

float = float32
int = int32
clip, concat, concatenate = clamp, cat, cat
subtract, multiply, divide, true_divide, negative, absolute = sub, mul, div, div, neg, abs
greater, greater_equal, less, less_equal = gt, ge, lt, le
