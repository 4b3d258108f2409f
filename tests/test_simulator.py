"""The simulator of a GPU: it computes what the GPU would, and mistakes of all kinds do not go unnoticed.

Mutants are kernels with a device function too few: where `right` calls a barrier, `wrong` calls nothing.
"""

import ctypes
import faulthandler
import gc
import math
import os
import signal
import warnings
import weakref
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("numba_cuda")
pytest.importorskip("greenlet")

from numba import cuda  # noqa: E402
from numba import types as numba_types  # noqa: E402
from simulator import Simulator, simulated  # noqa: E402
from simulator_cuda import CASTS, Program  # noqa: E402
from simulator_threads import Fault  # noqa: E402

from tinyrnn.kernels.cuda import driver as drivers  # noqa: E402
from tinyrnn.kernels.cuda import memory, ptx  # noqa: E402
from tinyrnn.kernels.cuda.array import download, empty, upload, zeros  # noqa: E402
from tinyrnn.kernels.cuda.jit import device, float32, float64, int32, int64, kernel, pointer, several  # noqa: E402

EVERYONE = 0xFFFFFFFF
SEEDS = range(5)
F32, F64, I32, I64, U8 = pointer(float32), pointer(float64), pointer(int32), pointer(int64), pointer(np.uint8)


def run(kernel, blocks, threads, *arguments, seed=0, strict=False, shared=0, cooperative=False):
    """Launch on copies of the arrays, which are the results."""
    with simulated(seed, strict=strict):
        given = [upload(a) if isinstance(a, np.ndarray) else a for a in arguments]
        kernel.launch(blocks, threads, *given, shared=shared, cooperative=cooperative)
        return [download(a) for a, before in zip(given, arguments, strict=True) if isinstance(before, np.ndarray)]


@device
def nothing():
    pass


@device
def threads_meet():
    cuda.syncthreads()


@device
def lanes_meet():
    cuda.syncwarp()


@device
def blocks_meet():
    cuda.cg.this_grid().sync()


# ---------------------------------------------------------------------------------- threads by themselves
@kernel
def add_up(x: F32, n: int64, steps: several(int64, 2), a: float32, out: F64, seen: I64):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = a * x[i * steps[0]] + steps[1]
        seen[i] += 1


def test_a_loop_over_all_threads():
    x = np.arange(200, dtype=np.float32)
    out, seen = run(add_up, 3, 16, x, 100, (2, 5), 0.1, np.zeros(100), np.zeros(100, np.int64))[1:]
    assert (seen == 1).all() and (out == x[::2] * np.float32(0.1) + np.float32(5)).all()


@kernel
def places(out: I64):
    t, b, n, m = cuda.threadIdx, cuda.blockIdx, cuda.blockDim, cuda.gridDim
    k = ((b.z * m.y + b.y) * m.x + b.x) * n.x * n.y * n.z + (t.z * n.y + t.y) * n.x + t.x
    x, y = cuda.grid(2)
    out[k] = ((x * 1000 + y) * 1000 + cuda.gridsize(2)[1]) * 1000 + cuda.laneid


def test_every_thread_knows_its_place():
    (out,) = run(places, (2, 3, 2), (5, 4, 3), np.zeros(12 * 60, np.int64))
    z, y, x, c, b, a = np.indices((2, 3, 2, 3, 4, 5)).reshape(6, -1)
    expected = (((x * 5 + a) * 1000 + y * 4 + b) * 1000 + 12) * 1000 + (c * 20 + b * 5 + a) % 32
    assert (out == expected).all()


def functions_of(real):
    numbers = pointer(real)

    @kernel
    def calculate(x: numbers, y: real, out: numbers):
        a = x[0]
        out[0], out[1], out[2], out[3] = math.exp(a), math.log(y), real(1) / y, math.sqrt(-a)
        out[4], out[5], out[6] = math.erf(y), math.pow(a, real(2)), math.fmod(a, real(0))
        out[7], out[8], out[9] = max(math.nan, a), min(a, real(math.nan)), max(real(1), real(2), real(3))
        out[10], out[11], out[12] = a * a, abs(-a), -real(1) / y
        out[13], out[14] = math.floor(a - real(0.5)), cuda.fma(a, a, -(a * a))

    return calculate


@pytest.mark.parametrize("real, n", [(float32, 100.1), (float64, 1000.1)], ids=str)
def test_mathematics_have_the_precision_of_the_numbers_and_raise_nothing(real, n):
    kind = np.dtype(real.name).type
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = run(functions_of(real), 1, 1, np.array([n], kind), 0.0, np.zeros(15, kind))[1]
    a, inf, nan = kind(n), math.inf, math.nan
    error = Fraction(float(a)) ** 2 - Fraction(float(a * a))
    expected = np.array([inf, -inf, inf, nan, 0, a**2, nan, a, a, 3, a * a, a, -inf, math.floor(n - 0.5), error], kind)
    np.testing.assert_array_equal(out, expected)
    assert error != 0


@kernel
def overflow(x: F32):
    x[0] = math.exp(x[0])
    cuda.syncthreads()
    x[1] = math.exp(x[1]) / x[2]


def test_threads_that_wait_for_one_another_get_no_warnings_either():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(overflow, 1, 1, np.array([100, 1, 0], np.float32))[0].tolist() == [math.inf, math.inf, 0]


def narrow(dtype):
    numbers = pointer(dtype)

    @kernel
    def whole_numbers(x: numbers, out: I64):
        out[0], out[1], out[2], out[3] = x[0] + x[0], x[0] * x[0] * x[0], x[0] // 7, -x[0] - x[0]
        local = cuda.local.array(2, np.int32)
        local[1] = 2**31 - 1
        out[4] = local[1] + local[1]

    return whole_numbers


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_integers_have_64_bits_while_they_are_computed_with(dtype):
    x = np.array([np.iinfo(dtype).max - 1], dtype)
    out = run(narrow(dtype), 1, 1, x, np.zeros(5, np.int64))[1]
    wide = x.astype(np.int64)[0]
    with np.errstate(over="ignore"):
        assert out.tolist() == [wide + wide, wide * wide * wide, wide // 7, -wide - wide, 2**32 - 2]


@pytest.mark.parametrize("name", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
def test_casts_cut_numbers_as_compiled_code_does(name):
    cast, dtype = CASTS[getattr(numba_types, name)], np.dtype(name)
    for x in (0, -1, 2**31, -(2**31) - 1, 2**32 + 5, 2**63 - 1, -(2**63)):
        assert cast(x) == np.int64(x).astype(dtype), (name, x)
    assert cast(np.float32(2.75)) == 2


def test_the_function_of_a_kernel_stays_as_it_is():
    before = dict(add_up.function.__globals__)
    run(add_up, 1, 1, np.zeros(1, np.float32), 1, (0, 0), 0.0, np.zeros(1), np.zeros(1, np.int64))
    after = add_up.function.__globals__
    assert before.keys() <= after.keys() and all(after[k] is v for k, v in before.items())


# ---------------------------------------------------------------------------------- memory
@kernel
def touch(x: F32, read: int64, write: int64, out: F32):
    out[write] = x[read]


@pytest.mark.parametrize(
    "read, write, good", [(2, 4, True), (3, 0, False), (-1, 0, False), (0, 5, False), (0, -1, False)]
)
def test_a_pointer_ends_where_its_allocation_does(read, write, good):
    x, out = np.ones(3, np.float32), np.zeros(5, np.float32)
    if good:
        assert run(touch, 1, 1, x, read, write, out)[1][write] == 1
        return
    with pytest.raises(IndexError):
        run(touch, 1, 1, x, read, write, out)


def test_what_was_freed_and_what_never_was_are_no_addresses():
    with simulated() as simulator:
        out = zeros(5, np.float32)
        x = upload(np.ones(3, np.float32))
        address = x.address
        touch.launch(1, 1, address, 0, 0, out)
        del x
        for wrong in (address, out.address - 64, 64, address + (1 << 40)):
            with pytest.raises(Fault, match="of which 0 are allocated"):
                touch.launch(1, 1, wrong, 0, 0, out)
        with pytest.raises(Fault, match="no address of float32"):
            touch.launch(1, 1, out.address + 2, 0, 0, out)
        with pytest.raises(IndexError):
            touch.launch(1, 1, 0, 0, 0, out)  # a null pointer may be given, but not be read
        with pytest.raises(Fault, match="20 are allocated"):
            simulator.zero(out.address, 21)


@kernel
def gather_unwritten(x: F32, k: I64, out: F64):
    shared, local = cuda.shared.array(3, float32), cuda.local.array((2, 2), float64)
    numbers = cuda.shared.array(1, int32)
    out[0], out[1], out[2], out[3], out[4] = x[1], k[0], shared[2], local[1, 1], numbers[0]
    out[5] = cuda.shared.array(0, float32)[3]


def test_what_was_never_written_is_not_0():
    with simulated():
        out = zeros(6)
        gather_unwritten.launch(1, 1, empty(2, np.float32), empty(1, np.int64), out, shared=16)
        found = download(out)
    assert np.isnan(found[[0, 2, 3, 5]]).all() and found[1] == -1 and found[4] == 0x7F7F7F7F


@pytest.mark.parametrize("wrong", [(0.0, 1), (np.float32(0), 1), (0, np.True_)], ids=str)
def test_numbers_that_a_launch_on_a_gpu_refuses(wrong):
    with simulated():
        x = zeros(2, np.float32)
        touch.launch(1, 1, x, np.int64(0), 1, x)
        with pytest.raises(TypeError):
            touch.launch(1, 1, x, *wrong, x)
        with pytest.raises(TypeError, match="no address"):
            touch.launch(1, 1, np.int64(x.address), 0, 1, x)


@device
def follow(addresses, k):
    """The numbers at an address that lies in memory."""


follow.emulation = lambda addresses, k: cuda.numbers(addresses[k], np.float32)


@kernel
def through_a_table(addresses: I64, k: int64, i: int64, out: F32):
    out[0] = follow(addresses, k)[i]


def test_addresses_in_memory_lead_to_numbers():
    with simulated():
        x, y, out = upload(np.ones(3, np.float32)), upload(np.full(5, 2, np.float32)), zeros(1, np.float32)
        addresses = upload(np.array([x.address, y.address + 8, y.address + 1000]))
        through_a_table.launch(1, 1, addresses, 1, 2, out)
        assert download(out)[0] == 2
        for k, i, error in ((1, 3, IndexError), (0, 3, IndexError), (2, 0, Fault)):
            with pytest.raises(error):
                through_a_table.launch(1, 1, addresses, k, i, out)


@kernel
def beyond(out: F32, at: int64, whose: int64):
    shared, local, numbers = cuda.shared.array(3, float32), cuda.local.array(3, float32), cuda.shared.array(3, int32)
    if whose == 0:
        out[0] = shared[at]
    elif whose == 1:
        out[0] = local[at]
    else:
        out[0] = numbers[at]


@pytest.mark.parametrize("whose", range(3))
def test_shared_and_local_arrays_end_too(whose):
    run(beyond, 1, 1, np.zeros(1, np.float32), 2, whose)
    with pytest.raises(IndexError):
        run(beyond, 1, 1, np.zeros(1, np.float32), 3, whose)


@kernel
def two_on_a_line(out: F32):
    a, b = cuda.shared.array(4, float32), cuda.shared.array(4, float32)
    t = cuda.threadIdx.x
    for again in range(2):
        c = cuda.shared.array(4, float32)
        if again == 0:
            a[t], b[t], c[t] = 1, 2, 3
    cuda.syncthreads()
    out[t] = a[3 - t] + 10 * b[3 - t] + 100 * c[3 - t]


def test_two_shared_arrays_on_one_line_are_two():
    assert run(two_on_a_line, 1, 4, np.zeros(4, np.float32))[0].tolist() == [321.0] * 4


@device
def at_once(numbers, at, n):
    """What is read or written at once lies where a GPU finds it: emulations of such instructions ask."""


at_once.emulation = lambda numbers, at, n: cuda.aligned(numbers, at, n)


@kernel
def in_vectors(x: F32, at: int64, n: int64, where: int64):
    loose, tight = cuda.shared.array(32, float32), cuda.shared.array(32, float32, 16)
    if where == 0:
        at_once(x, at, n)
    elif where == 1:
        at_once(cuda.shared.array(0, float32, 16), at, n)
    elif where == 2:
        at_once(tight, at, n)
    elif where == 3:
        at_once(loose, at, n)
    else:
        at_once(cuda.shared.array(0, float32), at, n)


@pytest.mark.parametrize("at, n, where, good", [
    (4, 4, 0, True), (2, 4, 0, False), (2, 2, 0, True), (28, 4, 0, True), (32, 4, 0, False), (-4, 4, 0, False),
    (8, 4, 1, True), (6, 4, 1, False), (8, 4, 2, True), (5, 4, 2, False), (4, 4, 3, False), (5, 1, 3, True),
    (8, 4, 4, False), (5, 1, 4, True),
])  # fmt: skip
def test_several_numbers_at_once_lie_at_a_multiple_of_their_size(at, n, where, good):
    arguments = in_vectors, 1, 1, np.zeros(32, np.float32), at, n, where
    if good:
        run(*arguments, shared=128)
    else:
        with pytest.raises((Fault, IndexError)):
            run(*arguments, shared=128)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="ends a process")
def test_the_host_cannot_touch_the_device():
    """A process that reads the memory, or writes to it, before or after a launch, is ended."""
    with simulated():
        x = upload(np.ones(3, np.float32))
        run_before = x.address
        touch.launch(1, 1, x, 0, 1, x)
        for attempt in (ctypes.string_at, lambda address, size: ctypes.memset(address, 0, size)):
            pid = os.fork()
            if not pid:
                faulthandler.disable()
                attempt(run_before, 4)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS)
        with pytest.raises(IndexError):
            touch.launch(1, 1, x, 5, 1, x)
        assert download(x).tolist() == [1, 1, 1]


def test_an_error_can_be_shown_with_all_its_arguments():
    """pytest shows the arguments of the functions that an error came through: that must not read from the device."""
    with simulated():
        x = upload(np.ones(3, np.float32))
        with pytest.raises(IndexError) as caught:
            touch.launch(1, 1, x, 5, 1, x)
    shown = str(caught.getrepr(style="long", funcargs=True, showlocals=True))
    assert "<float32 (3,) at 0x" in shown and "in thread 0 of block 0" in shown


def test_memory_runs_out_and_comes_back():
    simulator = Simulator(capacity=1 << 20)
    with drivers.use(simulator):
        first, second = simulator.allocate(600_000), simulator.allocate(0)
        with pytest.raises(drivers.OutOfMemory):
            simulator.allocate(600_000)
        assert first != second and simulator.memory()[0] < 450_000
        simulator.free(first)
        assert simulator.allocate(600_000) == first
        with pytest.raises(Fault, match="overlap"):
            simulator.copy(first, first + 8, 16)


def test_a_pool_of_exact_sizes_takes_back_what_it_gave():
    with simulated() as simulator:
        x, pool = empty(1000, np.float32), memory.pool()
        assert (pool.used, pool.reserved, pool.peak_used) == (4000, 4000, 4000)
        del x
        assert (pool.used, pool.reserved) == (0, 0) and simulator.memory()[0] == simulator.memory()[1]


def test_a_simulator_goes_with_its_memory():
    with simulated() as simulator:
        zeros(3)
        gone = weakref.ref(simulator)
    del simulator
    gc.collect()
    assert gone() is None


# ---------------------------------------------------------------------------------- barriers, and mutants without them
def reduction(barrier):
    @kernel
    def total(x: F32, out: F32):
        parts, t = cuda.shared.array(64, float32), cuda.threadIdx.x
        parts[t] = x[cuda.blockIdx.x * 64 + t]
        half = 32
        while half > 0:
            barrier()
            if t < half:
                parts[t] += parts[t + half]
            half //= 2
        if t == 0:
            out[cuda.blockIdx.x] = parts[0]

    return total


def neighbours(barrier):
    @kernel
    def shift(x: F32, out: F32):
        """Each lane hands its number to the next, by way of shared memory."""
        parts, t = cuda.shared.array(32, float32), cuda.threadIdx.x
        parts[t] = x[t]
        for _ in range(3):
            barrier()
            own = parts[(t + 1) % 32]
            cuda.syncwarp()
            parts[t] = own
        out[t] = parts[t]

    return shift


def rounds(barrier):
    @kernel
    def smooth(x: F32, n: int64, out: F32):
        """Sums of neighbours, three times over, in turns from one array to the other."""
        grid = cuda.cg.this_grid()
        for k in range(3):
            for i in range(cuda.grid(1), n, cuda.gridsize(1)):
                if k % 2 == 0:
                    out[i] = x[i] + x[(i + 1) % n]
                else:
                    x[i] = out[i] + out[(i + 1) % n]
            barrier()
        grid.sync()

    return smooth


def reduced(barrier, seed, strict=False):
    x = np.arange(192, dtype=np.float32)
    return run(reduction(barrier), 3, 64, x, np.zeros(3, np.float32), seed=seed, strict=strict)[1], x.reshape(
        3, 64
    ).sum(1)


def shifted(barrier, seed, strict=False):
    x = np.arange(32, dtype=np.float32)
    return run(neighbours(barrier), 1, 32, x, np.zeros(32, np.float32), seed=seed, strict=strict)[1], np.roll(x, -3)


def smoothed(barrier, seed, strict=False):
    y = x = np.arange(50, dtype=np.float32)
    for _ in range(3):
        y = y + np.roll(y, -1)
    numbers = x.copy(), 50, np.zeros(50, np.float32)
    return run(rounds(barrier), 3, 8, *numbers, seed=seed, strict=strict, cooperative=True)[1], y


@pytest.mark.parametrize("program, barrier", [(reduced, threads_meet), (shifted, lanes_meet), (smoothed, blocks_meet)])
class TestBarriers:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
    def test_with_them_it_is_right(self, program, barrier, seed, strict):
        found, expected = program(barrier, seed, strict)
        assert (found == expected).all()

    def test_without_them_it_is_wrong_for_some_seed(self, program, barrier):
        results = [program(nothing, seed) for seed in SEEDS]
        assert sum(not np.array_equal(found, expected) for found, expected in results) >= 3

    @pytest.mark.parametrize("seed", SEEDS)
    def test_without_them_there_is_a_race_for_every_seed(self, program, barrier, seed):
        with pytest.raises(Fault, match=r"race: thread \d+ of block \d .*, with no barrier between"):
            program(nothing, seed, strict=True)


def uneven(case):
    @kernel
    def wait_somewhere(out: F32):
        t, grid = cuda.threadIdx.x, cuda.cg.this_grid()
        if case == 0 and t == 5:
            return
        if case == 1 and t < 16:
            cuda.syncthreads()
        elif case == 2 and t == 5:
            cuda.syncwarp()
        elif case == 3 and t == 5:
            cuda.shfl_sync(EVERYONE, t, 0)
        elif case == 4 and t == 5:
            cuda.syncwarp(~(1 << 5))
        elif (case == 5 and cuda.blockIdx.x == 0) or (case == 6 and t == 40):
            grid.sync()
        if case in (2, 3):
            cuda.shfl_xor_sync(EVERYONE, t, 1)
        else:
            cuda.syncthreads()

    return wait_somewhere


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case, words", [
    (0, r"thread 5 of block \d.* has ended|for thread 5 of block \d, which has ended"),
    (1, r"waits at syncthreads \(.*test_simulator.py:\d+\) while thread \d+ of block \d waits at syncthreads"),
    (2, r"syncwarp .* while .* shfl_xor_sync|shfl_xor_sync .* while .* syncwarp"),
    (3, r"shfl_sync .* while .* shfl_xor_sync|shfl_xor_sync .* while .* shfl_sync"),
    (4, r"lane 5 is not in the mask 0xffffffdf"),
    (5, r"has ended"),
    (6, r"wait for ever: .*2 of 128 at grid.sync .* 63 of 64 at syncthreads"),
])  # fmt: skip
def test_a_barrier_that_not_all_reach_is_an_error(case, words, seed):
    with pytest.raises(Fault, match=words):
        run(uneven(case), 2, 64, np.zeros(1, np.float32), seed=seed, cooperative=True)


@kernel
def leave(out: F32):
    if cuda.threadIdx.x == 1:
        return
    cuda.syncthreads()


def test_who_has_ended_is_not_waited_for_whether_it_ends_early_or_late():
    words = set()
    for seed in range(10):
        with pytest.raises(Fault, match="has ended") as caught:
            run(leave, 1, 2, np.zeros(1, np.float32), seed=seed)
        words.add("while" in str(caught.value))
    assert words == {True, False}


def signal_through(order):
    @kernel
    def hand_over(x: F32, flag: I32, out: F32):
        if cuda.blockIdx.x == 0:
            if order == 0:
                x[0] = 7
            ptx.release(flag, 0)
            if order == 1:
                cuda.nanosleep(0)
                x[0] = 7
        else:
            while ptx.acquire(flag, 0) == 0:
                pass
            out[0] = x[0]

    return hand_over


def handed(order, seed, strict=False):
    with simulated(seed, strict=strict):
        x, flag, out = zeros(1, np.float32), zeros(1, np.int32), zeros(1, np.float32)
        signal_through(order).launch(2, 1, x, flag, out, cooperative=True)
        return download(out)[0]


def test_blocks_tell_each_other_by_a_flag():
    assert [handed(0, seed) for seed in SEEDS] == [handed(0, seed, strict=True) for seed in SEEDS] == [7] * 5
    assert 0 in [handed(1, seed) for seed in SEEDS]  # the flag before what it is to tell


@kernel
def wait_for_nobody(flag: I32, other: I32):
    if cuda.threadIdx.x == 0:
        while cuda.atomic.cas(flag, 0, 1, 2) != 1:
            pass
    cuda.syncthreads()


def test_waiting_for_what_nobody_does_comes_to_an_end():
    with simulated() as simulator:
        simulator.patience = 1000
        with pytest.raises(Fault, match=r"thread 0 of block 0 waits in a loop for what nobody does \(3 of 4 at sync"):
            wait_for_nobody.launch(1, 4, zeros(1, np.int32), zeros(1, np.int32))


# ---------------------------------------------------------------------------------- warps
@kernel
def exchange(x: F32, out: F32, bits: I64):
    t, v = cuda.threadIdx.x, x[cuda.threadIdx.x]
    out[t] = cuda.shfl_sync(EVERYONE, v, 3)
    out[32 + t] = cuda.shfl_up_sync(EVERYONE, v, 5)
    out[64 + t] = cuda.shfl_down_sync(EVERYONE, v, 5)
    out[96 + t] = cuda.shfl_xor_sync(EVERYONE, v, 6)
    bits[t] = cuda.ballot_sync(EVERYONE, v > 20)
    bits[32 + t] = cuda.any_sync(EVERYONE, v > 30)
    bits[64 + t] = cuda.all_sync(EVERYONE, v > 30)
    if t % 2 == 0:
        bits[96 + t] = cuda.ballot_sync(0x55555555, t > 3)
    bits[128 + t] = cuda.syncthreads_count(v > 20)
    bits[160 + t] = cuda.popc(cuda.ballot_sync(EVERYONE, v > 20))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [32, 12])
def test_lanes_exchange_numbers(seed, n):
    x, t = np.arange(32, dtype=np.float32), np.arange(n)
    _, out, bits = run(exchange, 1, n, x, np.zeros(128, np.float32), np.zeros(192, np.int64), seed=seed)
    out, bits = out.reshape(4, 32)[:, :n], bits.reshape(6, 32)[:, :n]
    there = x.copy()
    there[n:] = np.nan  # from a lane that is not there comes nothing
    sources = [t * 0 + 3, np.where(t < 5, t, t - 5), np.where(t + 5 > 31, t, (t + 5) % 32), t ^ 6]
    np.testing.assert_array_equal(out, there[np.array(sources)])
    large = sum(1 << k for k in range(21, n))
    assert (bits[0] == np.uint32(large).astype(np.int32)).all()  # an int32, as the GPU gives
    assert (bits[1] == (n == 32)).all() and (bits[2] == 0).all()
    assert (bits[3, ::2] == sum(1 << k for k in range(4, n, 2))).all()
    assert (bits[4] == max(0, n - 21)).all() and (bits[5] == max(0, n - 21)).all()


@kernel
def add_in_any_order(x: F32, out: F32, count: I64):
    t = cuda.grid(1)
    cuda.atomic.add(out, 0, x[t])
    cuda.atomic.max(count, 0, t)
    cuda.atomic.add(count, 1, 1)


def test_atomics_and_an_order_that_is_the_seeds():
    x = np.random.default_rng(0).standard_normal(96).astype(np.float32)
    found = []
    for seed in (1, 2, 3, 1):
        out, count = run(add_in_any_order, 3, 32, x, np.zeros(1, np.float32), np.zeros(2, np.int64), seed=seed)[1:]
        assert count.tolist() == [95, 96]
        np.testing.assert_allclose(out, x.sum(dtype=np.float64), rtol=1e-4)
        found.append(out[0])
    assert found[0] == found[3] and len(set(found)) > 1


def test_a_tensor_core_multiplies_matrices():
    @kernel
    def multiply(x: F32, y: F32, out: F32):
        a, b, c = cuda.local.array(4, float32), cuda.local.array(2, float32), cuda.local.array(4, float32)
        r, s = cuda.laneid >> 2, cuda.laneid & 3
        for q in range(4):
            a[q], c[q] = ptx.tf32(x[(r + 8 * (q & 1)) * 8 + s + 4 * (q >> 1)]), float32(0)
        for q in range(2):
            b[q] = ptx.tf32(y[(s + 4 * q) * 8 + r])
        ptx.multiply_tf32(c, 0, 2, a, 0, b, 0)
        for q in range(4):
            out[(r + 8 * (q >> 1)) * 8 + 2 * s + (q & 1)] = c[q]

    x, y = (np.random.default_rng(k).integers(-9, 9, n).astype(np.float32) for k, n in enumerate((128, 64)))
    out = run(multiply, 1, 32, x, y, np.zeros(128, np.float32))[2]
    assert (out.reshape(16, 8) == x.reshape(16, 8) @ y.reshape(8, 8)).all()


# ---------------------------------------------------------------------------------- races
def racing(case):
    @kernel
    def race(x: F32, out: F32):
        t = cuda.grid(1)
        if case == "one place":
            out[0] = t
        elif case == "the same value":
            out[0] = 3
        elif case == "a neighbour's":
            x[t] = x[(t + 1) % 8] + 1
        elif case == "one reads, one writes":
            if t == 0:
                out[0] = x[1]
            elif t == 1:
                x[1] = 5
        elif case == "its own":
            x[t] = x[t] + 1
        elif case == "between blocks":
            x[cuda.threadIdx.x] = cuda.blockIdx.x
        elif case == "after a shuffle":
            x[t] = t + 1
            cuda.shfl_xor_sync(EVERYONE, t, 1)
            out[t] = x[t - t % 4 + (t + 1) % 4]
        elif case == "after a syncwarp":
            x[t] = t + 1
            cuda.syncwarp()
            out[t] = x[t - t % 4 + (t + 1) % 4]

    return race


@pytest.mark.parametrize("case, races", [
    ("one place", True), ("the same value", False), ("a neighbour's", True), ("one reads, one writes", True),
    ("its own", False), ("between blocks", True), ("after a shuffle", True), ("after a syncwarp", False),
])  # fmt: skip
@pytest.mark.parametrize("seed", SEEDS)
def test_races(case, races, seed):
    arguments = racing(case), 2, 4, np.zeros(8, np.float32), np.zeros(8, np.float32)
    run(*arguments, seed=seed)
    if races:
        with pytest.raises(Fault, match="race: "):
            run(*arguments, seed=seed, strict=True)
    else:
        run(*arguments, seed=seed, strict=True)


# ---------------------------------------------------------------------------------- launches
@kernel(limit=64)
def idle(out: F32):
    cuda.syncthreads()


def test_launches_that_a_gpu_refuses():
    with simulated() as simulator:
        out = zeros(1, np.float32)
        idle.launch((2, 2), (8, 8), out, shared=simulator.shared_limit)
        for blocks, threads, shared, cooperative in (
            (0, 32, 0, False), (1, 0, 0, False), (1, 65, 0, False), (1, (33, 2), 0, False), (1, 32, 233_000, False),
            (65, 64, 0, True), (3, 32, 150_000, True), ((1, 70_000), 1, 0, False),
        ):  # fmt: skip
            with pytest.raises(Fault, match="kernel .*idle"):
                idle.launch(blocks, threads, out, shared=shared, cooperative=cooperative)
        with pytest.raises(Fault, match="not cooperative: grid.sync"):
            uneven(5).launch(1, 32, out)
        with pytest.raises(ValueError, match="argument"):
            idle.launch(1, 32)
        with pytest.raises(OverflowError):
            run(narrow_argument, 1, 1, 2**31)


@kernel
def count_all(out: I64):
    cuda.atomic.add(out, 0, 1)
    cuda.syncthreads()
    out[1 + cuda.grid(1)] = out[0]


def test_as_many_threads_as_a_block_may_have():
    out = run(count_all, 2, 1024, np.zeros(2049, np.int64))[0]
    assert out[0] == 2048 and (out[1:] >= 1024).all()


@kernel
def narrow_argument(n: int32):
    pass


def test_threads_that_do_not_wait_run_one_after_the_other():
    assert not Program(add_up.function).together
    for function in (reduction(threads_meet), exchange, add_in_any_order, signal_through(0), two_on_a_line):
        assert Program(function.function).together


@kernel
def last_one(out: I64):
    out[0] = cuda.grid(1)


def test_the_seed_chooses_the_order_of_threads_that_do_not_wait():
    found = [run(last_one, 2, 4, np.zeros(1, np.int64), seed=seed)[0][0] for seed in (*SEEDS, 0)]
    assert len(set(found)) > 1 and found[0] == found[5]
