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
    compiler,
    cuda,
    distributed,
    distributions,
    func,
    jit,
    linalg,
    nn,
    optim,
    profiler,
    random,
    special,
    testing,
    utils,
)
from .amp import autocast, is_autocast_enabled
from .compiler import compile
from .autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled, set_anomaly_enabled
from .devices import device, get_default_device, set_default_device
from .einops import answer_einops as _answer_einops
from .facade import answer_imports as _answer_imports
from .dtypes import (
    bfloat16, bool, can_cast, cdouble, cfloat, chalf, complex32, complex64, complex128, contiguous_format, double,
    dtype, finfo, float16, float32, float64, get_default_dtype, half, iinfo, int8, int16, int32, int64, layout, long,
    memory_format, preserve_format, promote_types, result_type, set_default_dtype, short, strided, uint8, uint16,
    uint32, uint64,
)
from .ops.arithmetic import (
    add, allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, ceil, div, divide, eq, equal,
    fix, floor, floor_divide, frac, ge, greater, greater_equal, gt, isclose, isfinite, isinf, isnan, le, less,
    less_equal, logical_and, logical_not, logical_or, logical_xor, lt, mul, multiply, nan_to_num, ne, neg, negative,
    not_equal, positive, pow, remainder, round, rsub, sgn, sign, sub, subtract, true_divide, trunc,
)
from .ops.binary import (
    arctan2, atan2, bitwise_left_shift, bitwise_right_shift, copysign, float_power, fmax, fmin, fmod, gcd, heaviside,
    hypot, isneginf, isposinf, isreal, lcm, ldexp, logaddexp, logaddexp2, nextafter, signbit, xlogy,
)
from .ops.create import (
    BoolTensor, ByteTensor, CharTensor, DoubleTensor, FloatTensor, IntTensor, LongTensor, ShortTensor, arange,
    as_tensor, asarray, empty, empty_like, empty_strided, eye, from_dlpack, from_numpy, frombuffer, full, full_like,
    inclusive_range as range, linspace, logspace, meshgrid, ones, ones_like, scalar_tensor, tensor, zeros, zeros_like,
)
from .ops.cumulative import (
    cummax, cummin, cumprod, cumsum, diff, logcumsumexp, vander,
)
from .nn.functional import (
    bilinear, celu, celu_, cosine_similarity, group_norm, hardshrink, layer_norm, pairwise_distance, prelu, rms_norm,
    rrelu, rrelu_, selu, selu_, threshold, threshold_,
)
from .ops.diagonal import (
    diag, diag_embed, diagflat, diagonal, trace, tril, tril_indices, triu, triu_indices,
)
from .ops.distances import cdist
from .ops.draw import (
    bernoulli, multinomial, normal, rand, rand_like, randint, randint_like, randn, randn_like, randperm,
)
from .ops.einsum import einsum
from .ops.elementwise import (
    abs, absolute, acos, acosh, arccos, arccosh, arcsin, arcsinh, arctan, arctanh, asin, asinh, atan, atanh, clamp,
    clamp_max, clamp_min, clip, cos, cosh, deg2rad, erf, erfc, erfinv, exp, exp2, expm1, log, log10, log1p, log2, logit,
    masked_fill, maximum, minimum, rad2deg, reciprocal, relu, rsqrt, sigmoid, sin, sinc, sinh, sqrt, square, tan, tanh,
    where,
)
from .ops.gamma import digamma, lgamma
from .ops.index import (
    argwhere, index_select, masked_select, narrow, nonzero, select, unravel_index,
)
from .ops.join import (
    block_diag, cat, chunk, column_stack, dsplit, dstack, hsplit, hstack, row_stack, split, split_with_sizes, stack,
    tensor_split, unbind, unsafe_chunk, unsafe_split, vsplit, vstack,
)
from .ops.linear import (
    addbmm, addmm, addmv, addr, baddbmm, bmm, chain_matmul, dist, dot, ger, inner, kron, matmul, mm, mv, outer,
    tensordot, vdot,
)
from .ops.order import (
    argsort, bucketize, cartesian_prod, combinations, isin, kthvalue, median, mode, msort, nanmedian, searchsorted,
    sort, topk, unique, unique_consecutive,
)
from .ops.rearrange import (
    clone, flip, fliplr, flipud, repeat_interleave, roll, rot90, tile,
)
from .ops.pooling import (
    adaptive_avg_pool1d, adaptive_max_pool1d_with_indices as adaptive_max_pool1d, avg_pool1d, max_pool1d,
    max_pool1d_with_indices,
)
from .ops.reduce import (
    all, amax, amin, aminmax, any, argmax, argmin, count_nonzero, logsumexp, max, mean, min, nanmean, nansum, norm,
    prod, std, std_mean, sum, var, var_mean,
)
from .ops.rows import log_softmax, softmax
from .ops.scatter import (
    diagonal_scatter, gather, index_add, index_copy, index_fill, index_put, index_put_, index_reduce,
    masked_scatter, put, scatter, scatter_add, scatter_reduce, select_scatter, slice_scatter, take, take_along_dim,
)
from .ops.shape import (
    as_strided, atleast_1d, atleast_2d, atleast_3d, broadcast_shapes, broadcast_tensors, broadcast_to, flatten,
    moveaxis, movedim, permute, ravel, reshape, squeeze, swapaxes, swapdims, t, transpose, unflatten, unsqueeze,
)
from .ops.statistics import (
    bincount, corrcoef, cov, cumulative_trapezoid, histc, nanquantile, quantile, renorm, trapezoid, trapz,
)
from .ops.ternary import addcdiv, addcmul, lerp
from .ops.methods import (
    abs_, acos_, acosh_, addmv_, arccos_, arccosh_, arcsin_, arcsinh_, arctan_, arctanh_, asin_, asinh_, atan_,
    atanh_, ceil_, clamp_, clamp_max_, clamp_min_, clip_, cos_, cosh_, deg2rad_, erf_, erfc_, exp2_, exp_, expm1_,
    fix_, floor_, frac_, gcd_, lcm_, ldexp_, log10_, log1p_, log2_, log_, logit_, nan_to_num_, neg_, negative_,
    rad2deg_, reciprocal_, relu_, round_, rsqrt_, sigmoid_, sin_, sinc_, sinh_, sqrt_, square_, tan_, tanh_, trunc_,
    xlogy_,
)
from .printing import get_printoptions, set_printoptions
from .random import (
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)
from .serialization import load, save
from .tape import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)
from .switches import (
    are_deterministic_algorithms_enabled, get_deterministic_debug_mode, get_float32_matmul_precision,
    get_num_interop_threads, get_num_threads, is_deterministic_algorithms_warn_only_enabled, is_warn_always_enabled,
    set_deterministic_debug_mode, set_float32_matmul_precision, set_flush_denormal, set_num_interop_threads,
    set_num_threads, set_warn_always, use_deterministic_algorithms, version,
)
from .tensor import (
    Size, Tensor, detach, get_device, is_complex, is_conj, is_floating_point, is_inference, is_nonzero, is_same_size,
    is_signed, is_tensor, numel, set_default_tensor_type, typename,
)

__version__ = "0.1.0"

float = float32
int = int32
newaxis = None
concat, concatenate = cat, cat
fill_, zero_ = Tensor.fill_, Tensor.zero_
mps, xpu, cpu = backends.devices["mps"], backends.devices["xpu"], backends.devices["cpu"]
version.__version__ = __version__

_answer_imports()
_answer_einops()


def __getattr__(name: str):
    """The error for a name of torch's that is not here says why, where there is a reason."""
    from .facade import missing

    if name == "multiprocessing":  # imported when asked for: Python's takes a while
        import importlib

        return importlib.import_module("tinyrnn.multiprocessing")
    if name == "OutOfMemoryError":
        return cuda.OutOfMemoryError
    raise AttributeError(missing(f"torch.{name}"), name=name)
