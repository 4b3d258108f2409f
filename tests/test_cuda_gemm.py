"""Matrix products on the device, in the simulator: every size and layout, held to NumPy in float64.

Most are of a tile that is smaller than those of the product, which are as parameters of the same code; each of those
has its turn too.
"""

import ctypes
import itertools

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

from test_gemm import BATCHES, check  # noqa: E402

import tinyrnn  # noqa: E402
from tinyrnn.kernels import allowed  # noqa: E402
from tinyrnn.kernels.cuda import cublas, gemm, ptx  # noqa: E402
from tinyrnn.kernels.cuda.array import download, upload  # noqa: E402
from tinyrnn.kernels.cuda.gemm import FLOAT32, FLOAT64, TF32, Tile  # noqa: E402

TINY = Tile(16, 16, 8, 2, 2, 1.0)
TYPES = ["float32", "float64"]
pytestmark = pytest.mark.usefixtures("gpu")


@pytest.fixture
def planned(monkeypatch):
    """planned(tile, parts=1): what every product of floating-point numbers is computed with, here a tiny tile."""

    def plan(tile, parts=1):
        monkeypatch.setattr(gemm, "plan", lambda *_: (tile, parts))

    plan(TINY)
    return plan


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(dtype)


# How a matrix may lie in memory; each makes an array of the device with the same numbers.
def plain(x):
    return upload(x)


def transposed(x):
    return upload(np.ascontiguousarray(x.swapaxes(-1, -2))).swapaxes(-1, -2)


def wide(x):
    """Some of the columns of a wider matrix."""
    room = np.full((*x.shape[:-1], x.shape[-1] + 5), np.nan, x.dtype)
    room[..., 2:-3] = x
    return upload(room)[..., 2:-3]


def stepped(x):
    """Every second row and every third column."""
    room = np.full((*x.shape[:-2], 2 * x.shape[-2], 3 * x.shape[-1]), np.nan, x.dtype)
    room[..., ::2, ::3] = x
    return upload(room)[..., ::2, ::3]


LAYOUTS = [plain, transposed, wide, stepped]


def product(a, b, left=plain, right=plain):
    return download(gemm.matmul(left(a), right(b)))


# ------------------------------------------------------------------------------------------ what comes out
@pytest.mark.parametrize("dtype", TYPES)
def test_products_of_all_sizes_and_layouts_are_numpys(planned, dtype):
    random = np.random.default_rng(1)
    for left, right in itertools.product(LAYOUTS, LAYOUTS):
        m, k, n = random.integers(0, 20, 3)
        a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
        check(product(a, b, left, right), a, b)


SHAPES = [
    (1, 40, 17),
    (33, 1, 2),
    (16, 16, 16),
    (17, 17, 17),
    (1, 1, 1),
    (40, 0, 3),
    (0, 4, 5),
    (5, 4, 0),
    (0, 0, 0),
    (35, 25, 20),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_at_the_edges_of_a_tile_are_numpys(planned, shape, dtype):
    m, k, n = shape
    a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
    check(product(a, b), a, b)
    check(product(a, b, transposed, transposed), a, b)


TILES = [(tile, "float32") for tile in FLOAT32] + [(tile, "float64") for tile in FLOAT64]


@pytest.mark.parametrize("tile, dtype", TILES, ids=lambda x: x if isinstance(x, str) else f"{x.rows}x{x.columns}")
def test_each_tile_gives_numpys_products(planned, tile, dtype):
    planned(tile)
    m, k, n = tile.rows // 2 + 9, 2 * tile.depth + 3, 37
    a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
    check(product(a, b), a, b)
    bias = normal(m, dtype=dtype)
    check(download(gemm.linear(transposed(b.T), wide(a), upload(bias))), b.T, a.T, bias.astype(np.float64))


def test_more_tiles_than_one_of_the_largest(planned):
    planned(FLOAT32[-1])
    a, b = normal(3, 5), normal(5, 130)
    check(product(a, b), a, b)
    check(product(b.T.copy(), a.T.copy()), b.T, a.T)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_of_k_are_added(planned, parts):
    planned(TINY, parts)
    for k in (0, 5, 16, 40):
        a, b, bias = normal(18, k), normal(k, 9), normal(9)
        check(product(a, b), a, b)
        check(download(gemm.linear(upload(a), upload(b.T), upload(bias))), a, b, bias.astype(np.float64))
    a, b = normal(2, 3, 20), normal(2, 20, 3)
    check(product(a, b), a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_batches_broadcast_as_numpys(planned, dtype):
    for seed, (of_a, of_b) in enumerate(BATCHES[:-1]):
        for (m, k, n), left, right in [((2, 3, 4), plain, stepped), ((1, 4, 2), transposed, wide)]:
            a, b = normal(*of_a, m, k, dtype=dtype, seed=seed), normal(*of_b, k, n, dtype=dtype, seed=seed)
            check(product(a, b, left, right), a, b)
    a, b = normal(4, 3, 2, dtype=dtype), normal(2, 4, 2, 3, dtype=dtype)
    row = upload(a[0, :1])
    check(
        download(gemm.matmul(np.broadcast_to(row, (5, 2)), upload(b)[0, 0])), np.broadcast_to(a[0, :1], (5, 2)), b[0, 0]
    )


def test_more_axes_than_a_launch_has_are_taken_one_by_one(planned):
    a, b = normal(2, 1, 2, 1, 2, 3, 4), normal(2, 1, 2, 1, 4, 2)
    assert len(a.shape) - 2 > gemm.AXES
    check(product(a, b, wide, stepped), a, b)


def test_rows_that_one_matrix_multiplies_are_one_matrix():
    fold = gemm.folded
    assert fold(3, 4, [(2, 48, 0), (5, 12, 0), (4, 9, 0)]) == (3, 4, [(2, 48, 0), (5, 12, 0), (4, 9, 0)])
    assert fold(3, 4, [(2, 60, 0), (5, 12, 0)]) == (30, 4, [])
    assert fold(3, 4, [(2, 60, 7), (5, 12, 0)]) == (15, 4, [(2, 60, 7)])
    assert fold(1, 0, [(2, 60, 0), (5, 12, 0)]) == (10, 12, [])
    assert fold(3, 4, [(2, 60, 10), (1, 9, 9), (5, 12, 2)]) == (3, 4, [(10, 12, 2)])
    assert fold(3, 4, [(2, 0, 10), (5, 0, 2)]) == (3, 4, [(10, 0, 2)])


@pytest.mark.parametrize("dtype", TYPES)
def test_linear_is_numpys(planned, dtype):
    for shape in ((4,), (2, 3, 4), (2, 0, 4), (0, 4), (3, 1, 2, 4), (17, 4)):
        x, w, bias = normal(*shape, dtype=dtype), normal(5, 4, dtype=dtype), normal(5, dtype=dtype)
        exact = bias.astype(np.float64)
        check(download(gemm.linear(upload(x), upload(w))), x, w.T)
        check(download(gemm.linear(upload(x), upload(w), upload(bias))), x, w.T, exact)
        check(download(gemm.linear(upload(x), upload(w), upload(bias.repeat(2))[::2])), x, w.T, exact)
        check(download(gemm.linear(upload(x), upload(w), upload(bias[:1]))), x, w.T, exact[0])
        spread = np.broadcast_to(upload(bias[:1]), (5,))
        check(download(gemm.linear(upload(x), upload(w), spread)), x, w.T, exact[0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_wrap_around_as_numpys(dtype):
    random, limits = np.random.default_rng(3), np.iinfo(dtype)
    for of_a, of_b, left, right in [
        ((3,), (), plain, transposed),
        ((2, 1), (1, 3), stepped, plain),
        ((), (), wide, wide),
    ]:
        a = random.integers(limits.min, limits.max, (*of_a, 5, 6), dtype, endpoint=True)
        b = random.integers(limits.min, limits.max, (*of_b, 6, 4), dtype, endpoint=True)
        if (left, right) == (wide, wide):
            left = right = lambda x: upload(np.concatenate([x, x], -1))[..., : x.shape[-1]]
        if left is stepped:
            left = lambda x: upload(x.repeat(2, -1))[..., ::2]
        found = product(a, b, left, right)
        assert found.dtype == dtype
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, np.matmul(a, b))
    np.testing.assert_array_equal(product(np.ones((2, 0), dtype), np.ones((0, 3), dtype)), np.zeros((2, 3), dtype))


def test_nan_and_infinity_go_where_they_belong(planned):
    for parts, special in itertools.product((1, 2), (np.nan, np.inf, -np.inf)):
        planned(TINY, parts)
        a, b = np.abs(normal(19, 21)), np.abs(normal(21, 18))
        a[3, 20], b[20, 0] = special, 0.0  # infinity times zero
        found = product(a, b, transposed, plain)
        assert np.isfinite(np.delete(found, 3, 0)).all()
        np.testing.assert_array_equal(found[3], [np.nan] + [special] * 17)


# ------------------------------------------------------------------------------------------ tensor cores
def rounded(x):
    """float32 as a tensor core takes it: 10 bits after the point."""
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


@pytest.mark.parametrize("tile", [Tile(16, 16, 8, 2, 2, 1.0, True), *TF32], ids=lambda t: f"{t.rows}x{t.columns}")
def test_tensor_cores_multiply_rounded_numbers(planned, tile):
    planned(tile)
    a, b = normal(tile.rows // 2 + 5, tile.depth + 3), normal(tile.depth + 3, 41)
    check(product(a, b), rounded(a), rounded(b))
    check(product(a, b, transposed, transposed), rounded(a), rounded(b))
    assert np.abs(product(a, b) - a.astype(np.float64) @ b).max() > 1e-4


def test_rounding_to_tf32_keeps_infinity_and_nan():
    for x, expected in [
        (np.inf, np.inf),
        (-np.inf, -np.inf),
        (1 + 2**-11, 1 + 2**-10),
        (1 + 2**-12, 1.0),
        (-3.0, -3.0),
    ]:
        assert ptx.tf32.emulation(np.float32(x)) == np.float32(expected)
    assert np.isnan(ptx.tf32.emulation(np.float32(np.nan)))


def test_a_program_has_to_allow_tf32(monkeypatch):
    monkeypatch.setattr(allowed, "tf32", False)
    assert not any(tile.tensor for real in (np.float32, np.float64) for tile in gemm.tiles_for(real))
    tinyrnn.set_float32_matmul_precision("medium")
    assert set(TF32) < set(gemm.tiles_for(np.float32))
    assert not any(tile.tensor for tile in gemm.tiles_for(np.float64))
    tinyrnn.backends.cuda.matmul.allow_tf32 = False
    assert gemm.tiles_for(np.float32) == FLOAT32 and tinyrnn.get_float32_matmul_precision() == "highest"


# ------------------------------------------------------------------------------------------ the order of things
@pytest.mark.parametrize("tile", [TINY, Tile(16, 16, 8, 2, 2, 1.0, True)], ids=["plain", "tensor"])
def test_the_threads_of_a_block_wait_for_one_another(gpu, planned, tile):
    """Another order of the threads gives the same bits, and none reads what another writes without a barrier."""
    planned(tile, 2)
    gpu.strict, a, b = True, normal(7, 43), normal(43, 5)
    found = []
    for gpu.seed in (1, 2, 3):
        found.append(product(a, b, plain, transposed).tobytes())
    assert len(set(found)) == 1


# ------------------------------------------------------------------------------------------ which kernel
def test_the_plan_keeps_a_large_device_busy():
    shapes = (8, 10, 20), (1, 2048, 512), (4096, 2048, 512), (2048, 512, 16384), (10, 512, 4096)
    plans = {shape: gemm.plan(132, FLOAT32, 4, *shape, 1) for shape in shapes}
    tensor, _ = gemm.plan(132, FLOAT32 + TF32, 4, 4096, 4096, 4096, 1)
    batch = gemm.plan(132, FLOAT32, 4, 64, 64, 64, 256)
    assert [tile.rows for tile, _ in plans.values()] == [16, 16, 128, 128, 16]
    assert [parts for _, parts in plans.values()][0::2] == [1, 1, 16]
    assert plans[2048, 512, 16384][1] > 1  # a weight's gradient: few numbers, long sums
    assert tensor == TF32[-1] and batch == (FLOAT32[2], 1)


# ------------------------------------------------------------------------------------------ cuBLAS
class StandIn:
    """The functions of cuBLAS that are called, as its documentation has them, over the simulator's memory."""

    def __init__(self, gpu):
        self.gpu, self.modes = gpu, []

    def cublasSetMathMode(self, handle, mode):
        self.modes.append(mode)
        return 0

    def matrix(self, dtype, address, rows, columns, leading, read=True):
        """Column by column, `leading` numbers apart."""
        assert leading >= max(1, rows)
        room = np.zeros(leading * (columns - 1) + rows, dtype)
        self.gpu.download(address, room)
        view = np.lib.stride_tricks.as_strided(room, (rows, columns), (room.itemsize, leading * room.itemsize))
        return room, view

    def gemm(
        self,
        dtype,
        _,
        transa,
        transb,
        m,
        n,
        k,
        alpha,
        a,
        lda,
        stride_a,
        b,
        ldb,
        stride_b,
        beta,
        c,
        ldc,
        stride_c,
        count,
    ):
        m, n, k, lda, ldb, ldc = (x.value for x in (m, n, k, lda, ldb, ldc))
        for i in range(count.value):
            x, y, z = (
                p.value + i * step.value * dtype().itemsize for p, step in ((a, stride_a), (b, stride_b), (c, stride_c))
            )
            _, left = self.matrix(dtype, x, *((k, m) if transa else (m, k)), lda)
            _, right = self.matrix(dtype, y, *((n, k) if transb else (k, n)), ldb)
            room, out = self.matrix(dtype, z, m, n, ldc)
            old = beta._obj.value * out if beta._obj.value else 0
            out[:] = alpha._obj.value * (left.T if transa else left) @ (right.T if transb else right) + old
            self.gpu.upload(z, room)
        return 0

    def cublasSgemmStridedBatched_64(self, *arguments):
        return self.gemm(np.float32, *arguments)

    def cublasDgemmStridedBatched_64(self, *arguments):
        return self.gemm(np.float64, *arguments)


@pytest.mark.parametrize("dtype", TYPES)
def test_cublas_is_asked_for_the_same_product(gpu, planned, monkeypatch, dtype):
    stand_in = StandIn(gpu)
    monkeypatch.setattr(cublas, "Cuda", type(gpu))
    gpu.call = lambda name: None
    monkeypatch.setattr(cublas, "WORTH", 1)
    monkeypatch.setattr(cublas, "library", lambda: (stand_in, ctypes.c_void_p()))
    dense = plain, transposed, wide
    for left, right in itertools.product(dense, dense):
        for of_a, of_b in [((), ()), ((3,), (3,)), ((3,), ()), ((), (3,))]:
            a, b = normal(*of_a, 4, 6, dtype=dtype), normal(*of_b, 6, 5, dtype=dtype)
            check(product(a, b, left, right), a, b)
    assert len(stand_in.modes) == 36
    for left, right in [(stepped, plain), (plain, stepped)]:
        a, b = normal(4, 6, dtype=dtype), normal(6, 5, dtype=dtype)
        check(product(a, b, left, right), a, b)
    assert len(stand_in.modes) == 36
    x, w, bias = normal(2, 3, 4, dtype=dtype), normal(5, 4, dtype=dtype), normal(5, dtype=dtype)
    check(download(gemm.linear(upload(x), upload(w), upload(bias))), x, w.T, bias.astype(np.float64))
    check(product(x[0, :1], w.T.copy()), x[0, :1], w.T)
    check(product(x[0, :, :1], w.T[:1].copy()), x[0, :, :1], w.T[:1])
    monkeypatch.setattr(allowed, "tf32", True)
    product(x[0], w.T.copy())
    assert set(stand_in.modes[:-1]) == {0} and stand_in.modes[-1] == (3 if dtype == "float32" else 0)


def test_cublas_is_left_out_where_it_is_not_or_not_worth_it(gpu, monkeypatch):
    matrix = gemm.Matrix(0, 4096, 1)
    monkeypatch.setattr(cublas, "Cuda", type(gpu))
    gpu.call = lambda name: None
    monkeypatch.setattr(cublas, "library", lambda: None)
    assert not cublas.takes(np.float32, (4096, 4096, 4096), [], matrix, matrix)
    monkeypatch.setattr(cublas, "library", lambda: (None, None))
    assert cublas.takes(np.float32, (4096, 4096, 4096), [], matrix, matrix)
    assert not cublas.takes(np.int64, (4096, 4096, 4096), [], matrix, matrix)
    assert not cublas.takes(np.float32, (64, 64, 64), [], matrix, matrix)
    with pytest.raises(RuntimeError, match="cublasStatus_t 13"):
        cublas.check(13, "cublasSgemm")


# ------------------------------------------------------------------------------------------ machine code
def test_the_machine_code_is_what_one_expects():
    pytest.importorskip("nvidia.cu13")
    from offline import instructions

    found = instructions(gemm.tiled(np.float32, FLOAT32[-1]), (9, 0))
    assert found.count("FFMA") >= 128 and found.count("LDS.128") >= 8 and "LDGSTS.E" in found and "STG.E.128" in found
    found = instructions(gemm.tiled(np.float32, TF32[-1]), (9, 0))
    assert found.count("HMMA.1688.F32.TF32") >= 16 and "FFMA" not in found
