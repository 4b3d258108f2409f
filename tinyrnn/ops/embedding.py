"""Rows of a table by their numbers: one by one, or in bags."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..devices import check_same, host, put
from ..kernels import twin
from ..strides import contiguous
from ..tape import check_writable, entitled, no_grad
from .common import Op, expect_tensor, number, on_host, run, wrap
from .rows import kind

kernels = twin("index")


class Embedding(Op):
    """Rows of a table (V, W) by indices of any shape; the row `padding` gets no gradient."""

    piles = True

    @staticmethod
    def forward(table, *, ids, padding, scaled):
        return kernels.gather_rows(table, ids), (table.shape, ids, padding, scaled)

    @staticmethod
    def backward(saved, needs, g):
        shape, ids, padding, scaled = saved
        ids, g = contiguous(ids).reshape(-1), contiguous(g).reshape(ids.size, shape[1])
        if needs[0] is not True and not scaled:
            needs[0].add_rows(ids, g, padding)
            return None
        out = spread_rows(shape, ids, g, scaled)
        if padding is not None:
            out[padding] = 0
        return out


def spread_rows(shape: tuple[int, int], ids: np.ndarray, g: np.ndarray, scaled: bool) -> np.ndarray:
    """The gradient of a table from those of the rows that `ids` name; `scaled`: divided by how often each is named."""
    out = np.zeros(shape, g.dtype, like=g)
    kernels.scatter_add_rows(out, ids, g)
    if scaled:
        out /= np.maximum(np.bincount(ids, minlength=shape[0]), 1).astype(g.dtype)[:, None]
    return out


def indices_into(input: Any, table: np.ndarray, call: str) -> np.ndarray:
    """The indices in `input`, int64 or int32, checked against the rows of `table`."""
    ids = expect_tensor(input, call).array
    if ids.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.type()} instead (while checking arguments for {call})"
        )
    wrong = kernels.outside(ids, table.shape[0])
    if wrong >= 0:
        found = host(ids).reshape(-1)[wrong]
        raise IndexError(f"index out of range in self: {call}() got index {found}; the table has {table.shape[0]} rows")
    return ids


def refuse_sparse(sparse: bool, call: str) -> None:
    if sparse:
        raise NotImplementedError(f"{call}: sparse=True is not supported by tinyrnn, whose gradients are dense")


def renormalise(weight: Any, ids: np.ndarray, most: float, norm_type: float) -> None:
    """Scale the rows that `ids` name down, in place, to a norm of at most `most`."""
    most, norm_type = number(most, "embedding", "max_norm"), number(norm_type, "embedding", "norm_type")
    used = np.unique(ids)
    rows = weight.array[used]
    with no_grad():
        check_writable(weight, False)
        norms = wrap(rows).norm(float(norm_type), 1).array
    factors = np.where(norms > most, float(most) / (norms.astype(np.float64) + 1e-7), 1.0)
    weight.array[used] = rows * factors.astype(rows.dtype)[:, None]
    weight.wrote()


def row_number(padding_idx: int | None, rows: int, call: str) -> int | None:
    """The padding row as a number from 0."""
    if padding_idx is None:
        return None
    if padding_idx and not -rows <= padding_idx < rows:
        raise AssertionError(f"Padding_idx must be within num_embeddings ({call}(): {padding_idx} for {rows} rows)")
    return padding_idx % max(rows, 1)


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """The rows of `weight` (V, W) that the indices in `input` (int64 or int32, any shape) name: (*input.shape, W).

    The row `padding_idx` gets no gradient; `scale_grad_by_freq` divides that of a row by how often it is named.
    max_norm: rows that are named and have a larger norm (of order `norm_type`) are first scaled down, in `weight`.
    Raises IndexError for an index outside the table, RuntimeError for indices that are not integers.
    """
    expect_tensor(input, "embedding")
    table = expect_tensor(weight, "embedding", "weight").array
    padding = row_number(padding_idx, table.shape[0] if table.ndim else 0, "embedding")
    refuse_sparse(sparse, "embedding()")
    if table.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, got shape {list(table.shape)}")
    ids = indices_into(input, table, "embedding")
    if max_norm is not None:
        renormalise(weight, ids, max_norm, norm_type)
    how = {"padding": padding, "scaled": bool(scale_grad_by_freq)}
    return run(Embedding, (weight,), (table,), (input,), ids=ids, **how)


# ------------------------------------------------------------------------------------------ bags
@on_host
class LargestOfBag(Op):
    """The largest element of each column within each bag; zeros for a bag without rows."""

    @staticmethod
    def forward(table, *, ids, starts, full, bags):
        out = np.zeros((bags, table.shape[1]), table.dtype, like=table)
        rows = np.zeros(out.shape, np.int64)
        if len(full):
            chosen = table[ids]
            out[full] = np.maximum.reduceat(chosen, starts)
            of = np.repeat(np.arange(len(full)), np.diff([*starts, len(ids)]))
            equal = chosen == out[full][of]
            places = np.where(equal, np.arange(len(ids))[:, None], len(ids))
            rows[full] = ids[np.minimum(np.minimum.reduceat(places, starts), len(ids) - 1)]
        return out, (table.shape, rows, full)

    @staticmethod
    def backward(saved, needs, g):
        shape, rows, full = saved
        out = np.zeros(shape, g.dtype, like=g)
        np.add.at(out, (rows[full], np.arange(shape[1])), g[full])
        return out


class Bags(Op):
    """The sum of the rows in each bag, each times its weight if there are weights."""

    keeps = ((1,), (0,))

    @staticmethod
    def forward(table, weights, *, ids, bags, count, scaled):
        return kernels.add_bags(table, ids, bags, count, weights), (table, weights, table.shape, ids, bags, scaled)

    @staticmethod
    def backward(saved, needs, g):
        table, weights, shape, ids, bags, scaled = saved
        rows = kernels.gather_rows(contiguous(g), bags)
        dtable = dweights = None
        if needs[0]:
            dtable = spread_rows(shape, ids, rows if weights is None else rows * weights[:, None], scaled)
        if needs[1]:
            dweights = (rows * kernels.gather_rows(table, ids)).sum(1)
        return dtable, dweights


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """The sum, mean or largest element of the rows of `weight` (V, W) in each of B bags: (B, W).

    input (B, N): a bag in each row; or (N), with `offsets` (B) saying where each bag begins, and with
    include_last_offset also where the last one ends.  Indices equal to `padding_idx` count nothing.
    per_sample_weights, of the input's shape: what rows are multiplied by, for mode='sum'.  The rest: see embedding.
    """
    call = "embedding_bag"
    expect_tensor(input, call), expect_tensor(weight, call, "weight")
    if weight.array.dtype == np.int64 and input.is_floating_point():
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        weight, input = input, weight
    check_same(input.array, weight.array)
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
            f"same shape as the input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        starts = np.arange(input.shape[0]) * input.shape[1]
    elif input.ndim == 1:
        if offsets is None or expect_tensor(offsets, call, "offsets").ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor" + (" but got None" if offsets is None else ""))
        check_same(input.array, offsets.array)
        starts = host(offsets.array)
        if starts.dtype not in (np.int64, np.int32):
            raise RuntimeError(f"expected offsets to be Long or Int, but got {kind(offsets)} ({call}())")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    refuse_sparse(sparse, "embedding_bag()")
    here = weight.device  # the bags are counted on the CPU
    try:
        ids = host(indices_into(input, weight.array, call)).reshape(-1)
    except IndexError as error:  # torch's class for the same mistake differs between the two functions
        raise RuntimeError(str(error)) from None
    if max_norm is not None:
        renormalise(weight, put(ids, here), max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}')."
        )
    starts, end = starts.astype(np.int64), len(ids)
    if input.ndim == 1:
        if include_last_offset:
            if not len(starts):
                raise RuntimeError("include_last_offset: numBags should be at least 1")
            end = min(end, starts[-1])
            starts = starts[:-1]
        if len(starts) and starts[0] != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {starts[0]}"
            )
        if len(starts) and starts[-1] > len(ids):
            raise RuntimeError(f"offsets[-1] can not be greater than input's length {len(ids)} but got {starts[-1]}")
    sizes = np.diff([*starts, end])
    of = np.repeat(np.arange(len(starts)), np.maximum(sizes, 0))
    padding, kept = row_number(padding_idx, weight.shape[0], call), None
    if padding is not None or len(of) != len(ids):
        kept = np.flatnonzero(ids[: len(of)] != padding) if padding is not None else np.arange(len(of))
        ids, of = ids[kept], of[kept]
    counts = np.bincount(of, minlength=len(starts))
    if mode == "max":
        full = np.flatnonzero(counts)
        first = np.searchsorted(of, full)
        bags = {"ids": ids, "starts": first, "full": full, "bags": len(starts)}
        return run(LargestOfBag, (weight,), (weight.array,), (input,), **bags)
    factors = None
    if per_sample_weights is not None:
        if per_sample_weights.dtype != weight.dtype:
            raise RuntimeError(
                f"expected scalar type {kind(weight)} but found {kind(per_sample_weights)} ({call}(): "
                "per_sample_weights)"
            )
        factors = per_sample_weights.reshape(-1)
        factors = factors if kept is None else factors[wrap(put(kept, here))]
    arrays = weight.array, None if factors is None else factors.array
    how = {"ids": put(ids, here), "bags": put(of, here), "count": len(starts), "scaled": bool(scale_grad_by_freq)}
    summed = run(Bags, (weight, factors), arrays, (input,), **how)
    if mode == "mean":
        summed = summed / wrap(put(np.maximum(counts, 1).astype(weight.array.dtype)[:, None], here))
    return entitled(summed, "EmbeddingBagBackward0")
