"""cuBLAS, where it is installed and a product is large: a thin binding to its products of batches of matrices."""

import ctypes
import functools
import threading
from typing import Any

import numpy as np

from .. import allowed
from .driver import Cuda, driver
from .memory import pool

WORTH = 1 << 27  # multiplications from which on it is used
DEFAULT, TENSOR_FLOAT = 0, 3  # cublasMath_t: float32 as it is, or TF32
_one_at_a_time = threading.Lock()  # the handle is shared by all threads, and a call lets others run


@functools.cache
def functions() -> Any:
    """The library, or None if it is not there."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    try:
        found = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
    except (RuntimeError, OSError):  # it is not there, or cannot be loaded
        return None
    return found if hasattr(found, "cublasSgemmStridedBatched_64") else None


NO_MEMORY = 3  # cublasStatus_t
_made: list[tuple | None] = []  # the library and its handle, or None if it makes none, once that is known


def library() -> Any:
    """The library and a handle for the device, or None if it is not there, or has no memory to work in now."""
    if not _made and (found := functions()) is not None:
        handle = ctypes.c_void_p()
        status = found.cublasCreate_v2(ctypes.byref(handle))
        if status == NO_MEMORY:
            pool().empty()
            status = found.cublasCreate_v2(ctypes.byref(handle))
            if status == NO_MEMORY:
                return None
        _made.append(None if status else (found, handle))  # it may be of another version than the driver
    return _made[0] if _made else None


def is_there() -> bool:
    """Whether there is a library, for this thread too, which may not have used the device yet."""
    driver().call("cuCtxGetCurrent")  # makes the device's context this thread's
    return library() is not None


def check(status: int, call: str) -> None:
    if status:
        raise RuntimeError(f"CUDA error: {call} returned cublasStatus_t {status}")


def way(rows: int, columns: int, matrix) -> tuple[int, int] | None:
    """(1 if the numbers of a row are neighbours else 0, the step between rows or columns); None if neither are."""
    if (matrix.column == 1 or columns == 1) and matrix.row >= columns:
        return 1, matrix.row
    if (matrix.row == 1 or rows == 1) and matrix.column >= rows:
        return 0, matrix.column
    return None


def takes(real, shape: tuple[int, int, int], axes, left, right) -> bool:
    """Whether a product, as gemm.launch has it, is one for cuBLAS, and it is there."""
    m, n, k = shape
    return (
        np.dtype(real).kind == "f"
        and len(axes) <= 1
        and m * n * k * (axes[0][0] if axes else 1) >= WORTH
        and way(m, k, left) is not None
        and way(k, n, right) is not None
        and isinstance(driver(), Cuda)
        and is_there()
    )


def multiply(real, c: int, shape: tuple[int, int, int], axes, left, right, adds: bool) -> None:
    """c = a @ b, or c += a @ b, for what it takes."""
    found, handle = library()
    mode = TENSOR_FLOAT if allowed.tf32 and real is np.float32 else DEFAULT
    (m, n, k), (count, a_step, b_step) = shape, axes[0] if axes else (1, 0, 0)
    (a_rows, a_long), (b_rows, b_long) = way(m, k, left), way(k, n, right)
    call, kind = f"cublas{'SD'[real is np.float64]}gemmStridedBatched_64", np.ctypeslib.as_ctypes_type(real)
    wide, at, one, start = ctypes.c_int64, ctypes.c_void_p, ctypes.byref(kind(1)), ctypes.byref(kind(adds))
    # To cuBLAS, matrices lie column by column, and a result that lies row by row is c.T = b.T @ a.T.
    with _one_at_a_time:
        check(found.cublasSetMathMode(handle, mode), "cublasSetMathMode")
        status = getattr(found, call)(
            handle, 1 - b_rows, 1 - a_rows, wide(n), wide(m), wide(k), one, at(right.address), wide(b_long),
            wide(b_step), at(left.address), wide(a_long), wide(a_step), start, at(c), wide(n), wide(m * n), wide(count),
        )  # fmt: skip
    check(status, call)
