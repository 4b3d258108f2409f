"""The scalar tape: recording, differentiation and printing, each against plain arithmetic."""

import math
import operator
import re

import numpy as np
import pytest

import tinyrnn  # noqa: F401  (makes tinyrnn.kernels importable from a checkout)
from tinyrnn.kernels import scalar
from tinyrnn.kernels.scalar import (
    PRIMITIVES,
    Primitive,
    Var,
    differentiate,
    emit,
    lines,
    needed,
    operand,
    record,
    spell,
)


def program(results, inputs):
    """`results` as a plain Python function of the values of `inputs`, made of the printed source."""
    body = [*lines(results), f"return ({', '.join(map(spell, results))},)"]
    text = f"def run({', '.join(v.name for v in inputs)}):\n" + "".join(f"    {line}\n" for line in body)
    names = {name: getattr(math, name) for name in dir(math)} | {"real": float, "one": 1.0}
    names |= {
        "where": lambda condition, a, b: a if condition else b,
        "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
        "mean": lambda x: x,
    }
    exec(compile(text, "<printed>", "exec"), names)
    return names["run"]


def derived(function, **static):
    """(forward, backward) of a formula as plain Python functions; backward takes the seeds after the inputs."""
    r = record(function, **static)
    inputs = [*r.inputs.values(), *r.keywords.values()]
    seeds, gradients = differentiate(r, inputs)
    return program(r.outputs, inputs), program(gradients, [*inputs, *seeds])


def central(function, point, k, step=1e-6):
    """d function / d point[k] by central differences, of each result."""
    above, below = (function(*(x + sign * step * (i == k) for i, x in enumerate(point))) for sign in (1, -1))
    return [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]


# ---------------------------------------------------------------------------------- primitives
POINTS = {  # where each is smooth
    "default": [(0.3,), (-1.2,), (2.5,)],
    "add": [(0.3, -1.2)],
    "sub": [(0.3, -1.2)],
    "mul": [(0.3, -1.2)],
    "div": [(0.3, -1.2), (2.0, 0.5)],
    "pow": [(0.3, -1.2), (2.5, 3.0), (1.5, 0.0)],
    **dict.fromkeys(("atan2", "hypot"), [(0.3, -1.2), (-2.5, -1.0)]),
    **dict.fromkeys(("log", "log2", "log10", "sqrt"), [(0.3,), (2.5,)]),
    **dict.fromkeys(("log1p", "asin", "acos", "atanh"), [(0.3,), (-0.5,)]),
    "acosh": [(1.3,), (2.5,)],
    "fmod": [(0.3, -1.2), (-5.5, 2.0), (7.0, 1.5)],
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), [(0.3, -1.2), (-1.2, 0.3)]),
    "where": [(True, 0.3, -1.2), (False, 0.3, -1.2)],
}


def lone(op, count):
    """The formula that is a single primitive, with `count` arguments; conditions become 1 and 0."""
    if op == "where":
        return lambda c, a, b: scalar.where(c > 0.5, a, b)
    return [lambda a: emit(op, a), lambda a, b: emit(op, a, b)][count - 1]


@pytest.mark.parametrize("op", PRIMITIVES)
def test_every_primitive_against_central_differences(op):
    for point in POINTS.get(op, POINTS["default"]):
        forward, backward = derived(lone(op, len(point)))
        assert forward(*point)[0] == pytest.approx(float(PRIMITIVES[op].compute(*point)), rel=1e-15)
        for k, gradient in enumerate(backward(*point, 1.7)):
            assert gradient == pytest.approx(1.7 * central(forward, point, k)[0], rel=1e-6, abs=1e-8), (op, point, k)


def test_a_wrong_derivative_is_caught(monkeypatch):
    """The test above can fail: for every primitive with a gradient, another rule in its place is noticed."""
    for op, right in PRIMITIVES.items():
        if op in scalar.CONDITIONS or op == "floor":
            continue
        wrong = Primitive(right.compute, right.text, lambda *a, rule=right.derivative: rule(*a[:-1], a[-1] * 1.001))
        with monkeypatch.context() as patch:
            patch.setitem(PRIMITIVES, op, wrong)
            with pytest.raises(AssertionError):
                test_every_primitive_against_central_differences(op)


def test_the_derivative_by_an_exponent_and_at_zero_is_torchs(oracle):
    points = [(0.0, 2.0), (0.0, 0.0), (2.0, 0.0), (0.0, 0.5), (0.0, -1.0), (-2.0, 2.0), (-2.0, 0.5), (3.0, 1.0)]

    def body(torch):
        found = []
        for point in points:
            a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point)
            (a**b).backward()
            found.append([a.grad.item(), b.grad.item()])
        return {"gradients": np.array(found)}

    expected = oracle(body)["gradients"]
    _, backward = derived(lambda a, b: a**b)
    for point, want in zip(points, expected, strict=True):
        np.testing.assert_allclose(numpy_semantics(backward, *point, 1.0), want, rtol=1e-15)


def numpy_semantics(function, *values):
    """Call a printed program as the kernels run it: division by zero and the like give inf and nan."""
    names = function.__globals__
    scope = {n: getattr(np, n) for n in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "sinh", "cosh", "tanh")}
    scope |= {
        "real": np.float64,
        "one": np.float64(1),
        "where": np.where,
        "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    }
    run = type(function)(function.__code__, names | scope)
    with np.errstate(all="ignore"):
        return run(*map(np.float64, values))


# ---------------------------------------------------------------------------------- recording
def test_instructions_are_recorded_once_and_in_order():
    r = record(lambda a, c: (scalar.tanh(a * c) + scalar.tanh(a * c), a * c))
    assert lines(r.outputs) == ["v0 = a * c", "v1 = tanh(v0)", "v2 = v1 + v1"]


FOLDED = {
    "0 + a": (lambda a: 0.0 + a, ["v0 = real(0.0) + a"], "a"),
    "a + 0": (lambda a: a + 0, ["v0 = a + real(0.0)"], "a"),
    "a - 0": (lambda a: a - 0.0, "a"),
    "0 - a": (lambda a: 0.0 - a, ["v0 = real(0.0) - a"], ["v0 = -a"]),
    "1 * a": (lambda a: 1 * a, "a"),
    "a * 1": (lambda a: a * 1.0, "a"),
    "a / 1": (lambda a: a / 1, "a"),
    "a ** 1": (lambda a: a**1, "a"),
    "0 * a": (lambda a: 0.0 * a, ["v0 = real(0.0) * a"], "real(0.0)"),
    "-(-a)": (lambda a: operator.neg(-a), "a"),
    "+a": (lambda a: +a, "a"),
    "where of a known condition": (lambda a: scalar.where(True, a, -a), "a"),
    "where of another": (lambda a: scalar.where(1 > 2, a, 2.0), "real(2.0)"),
    "a / a is not": (lambda a: a / a, ["v0 = a / a"]),
    "1 / a is not": (lambda a: 1.0 / a, ["v0 = real(1.0) / a"]),
    "a - a is not": (lambda a: a - a, ["v0 = a - a"]),
}


@pytest.mark.parametrize("case", FOLDED)
def test_folding(case):
    """In a formula what holds for all numbers; in what is derived from it, on the complete tape, more."""
    formula, *expected = FOLDED[case]
    tape = record(lambda x: x).inputs["x"].tape
    values = record(formula).outputs[0], operand(tape, formula(tape.input("a")))
    for value, wanted in zip(values, (expected[0], expected[-1]), strict=True):
        if isinstance(wanted, list):
            assert lines([value]) == wanted
        else:
            assert lines([value]) == [] and spell(value) == wanted


def test_constants_are_computed_where_they_can_be():
    one = record(lambda x: x).inputs["x"].tape.constant(1.0)
    assert scalar.exp(one).value == math.e and scalar.sigmoid(one).value == 1 / (1 + math.exp(-1))
    for impossible in (scalar.log(one * 0), one / (one * 0), scalar.exp(one * 1000), (one * -2) ** 0.5):
        assert isinstance(impossible, Var) and impossible.op != "constant"


def test_constants_in_printed_source_are_exact():
    tape = scalar.Tape()
    for value in (0.1, -0.0, 1e-300, math.pi, math.inf, -math.inf, math.nan, np.float32(0.1), 3, True):
        assert repr(eval(spell(tape.constant(value)), {"real": float, "inf": INF, "nan": NAN})) == repr(float(value))


def test_conditions_count_as_one_and_zero():
    forward, backward = derived(lambda a, b: ((a > b) * a + (a == b) * 2.0 - (a != b), a >= b))
    assert forward(3.0, 2.0) == (2.0, 1.0) and forward(2.0, 2.0) == (2.0, 1.0) and forward(1.0, 2.0) == (-1.0, 0.0)
    assert backward(3.0, 2.0, 1.0, 1.0) == (1.0, 0.0)


def test_inputs_that_a_result_needs():
    r = record(lambda a, b, c: (a * b, scalar.tanh(c)))
    order, read = needed(r.outputs[:1])
    assert [v.op for v in order] == ["mul"] and read == {r.inputs["a"], r.inputs["b"]}
    assert needed(r.outputs[:1], given=r.outputs[:1]) == ([], {r.outputs[0]})


def test_switches_are_seen_as_plain_values():
    def formula(x, *, k, squared):
        return k * (x * x if squared else x)

    assert derived(formula, squared=True)[0](3.0, 2.0) == (18.0,)
    assert derived(formula, squared=False)[0](3.0, 2.0) == (6.0,)
    assert [*record(formula, squared=True).keywords] == ["k"]


@pytest.mark.parametrize("name", ["t", "in_x", "v0", "d_out0", "exp", "one"])
def test_inputs_get_names_of_their_own(name):
    tape = scalar.Tape()
    names = [tape.input(n).name for n in (name, f"{name}_", name, f"{name}_")]
    assert len(set(names)) == 4 and name not in names


# ---------------------------------------------------------------------------------- whole formulas
def several(a, b, c, *, k):
    a = scalar.sigmoid(a) * c + k * scalar.tanh(b)
    u = scalar.where(a > 0.2, a * a, b) / (1 + abs(c))
    return scalar.tanh(u) - c, a**3 + c, b


def test_the_gradients_of_several_results_add_up():
    forward, backward = derived(several)
    for point in ((0.3, -0.7, 0.9, 1.1), (-2.0, 0.4, -0.3, 0.5)):
        seeds = (0.7, -1.3, 0.4)
        for k, gradient in enumerate(backward(*point, *seeds)):
            found = sum(seed * d for seed, d in zip(seeds, central(forward, point, k), strict=True))
            assert gradient == pytest.approx(found, rel=1e-6, abs=1e-9)


def test_printed_source_agrees_with_the_formula_on_numbers():
    """The formula itself runs on plain numbers too, without a tape."""
    assert derived(several)[0](0.3, -0.7, 0.9, 1.1) == several(0.3, -0.7, 0.9, k=1.1)


def test_every_formula_of_the_table():
    """The gradients of the activations and loss terms, the derived and the given ones, at random points."""
    from tinyrnn.kernels.formulas import BINARY, LOSSES, TERNARY, UNARY

    numbers = np.random.default_rng(3)
    for formula in {**UNARY, **BINARY, **TERNARY, **LOSSES}.values():
        r, (seed, gradients) = formula.recording, formula.derivative
        inputs = [*r.inputs.values(), *r.keywords.values()]
        forward, backward = program(r.outputs, inputs), program(gradients, [*inputs, seed])
        for point in (numbers.uniform(0.1, 0.9, (3, len(inputs))) + (formula.name == "acosh")).tolist():
            for k, gradient in enumerate(backward(*point, 1.0)):
                assert gradient == pytest.approx(central(forward, point, k)[0], rel=1e-5, abs=1e-7), (formula, point, k)


# ---------------------------------------------------------------------------------- nan, infinity, ties
INF, NAN = math.inf, math.nan
EDGES = {  # formula, (point, result) ...
    "relu": (lambda x: scalar.relu(x), [(NAN, NAN), (INF, INF), (-INF, 0), (0.0, 0), (-0.0, -0.0)]),
    "absolute": (lambda x: abs(x), [(NAN, NAN), (INF, INF), (-INF, INF), (-0.0, 0)]),
    "where": (lambda x: scalar.where(x > 0.0, x, 1.0), [(NAN, 1), (INF, INF), (-INF, 1)]),
    "sigmoid": (lambda x: scalar.sigmoid(x), [(NAN, NAN), (INF, 1), (-INF, 0), (-1e5, 0)]),
    "x == x": (lambda x: scalar.where(x == x, 1.0, 0.0), [(NAN, 0), (INF, 1)]),
    "maximum": (
        lambda a, b: scalar.maximum(a, b),
        [((NAN, 1), NAN), ((1, NAN), NAN), ((INF, 1), INF), ((-INF, -INF), -INF), ((INF, INF), INF)],
    ),
    "minimum": (
        lambda a, b: scalar.minimum(a, b),
        [((NAN, 1), NAN), ((1, NAN), NAN), ((-INF, 1), -INF), ((INF, INF), INF), ((0, INF), 0)],
    ),
}


@pytest.mark.parametrize("case", EDGES)
def test_nan_and_infinity(case):
    formula, rows = EDGES[case]
    forward, _ = derived(formula)
    for point, expected in rows:
        found = numpy_semantics(forward, *(point if isinstance(point, tuple) else (point,)))[0]
        np.testing.assert_equal(float(found), float(expected), err_msg=f"{case} {point}")


@pytest.mark.parametrize(
    "formula, point, gradients",
    [
        (scalar.relu, (0.0,), (0,)),
        (scalar.relu, (NAN,), (2,)),
        (scalar.absolute, (0.0,), (0,)),
        (scalar.absolute, (-3.0,), (-2,)),
        (scalar.maximum, (1.0, 1.0), (1, 1)),
        (scalar.minimum, (INF, INF), (1, 1)),
        (scalar.maximum, (3.0, 1.0), (2, 0)),
        (lambda x, y: scalar.where(x > y, x, y), (INF, NAN), (0, 2)),
    ],
)
def test_gradients_at_the_edges(formula, point, gradients):
    _, backward = derived(formula)
    np.testing.assert_equal([float(g) for g in numpy_semantics(backward, *point, 2.0)], list(map(float, gradients)))


def test_float32_kernels_compute_in_float32():
    """No constant, condition or power makes a value of a kernel wider."""
    import numba

    from tinyrnn.kernels.cells import Cell
    from tinyrnn.kernels.cpu import recurrence, simd

    def step(a, b, h, c):
        u = a**2 + b * 0.1 + ((a > b) - (h > c)) * c - scalar.where(h > 0.5, 1.0, h)
        return scalar.sigmoid(u) / (1 + u * u), scalar.maximum(u, c) + 2 ** scalar.tanh(u)

    kernels = recurrence.module(Cell(step), np.dtype("float32"))
    for kernel in (kernels.forward.kernel, kernels.backward.kernel):
        fresh = numba.njit(kernel.function)  # code from the disk does not tell its types
        fresh.compile(kernel.types)
        (compiled,) = fresh.overloads.values()
        types = {n: t for n, t in compiled.type_annotation.typemap.items() if re.match(r"v\d", n)}
        assert set(types.values()) == {simd.VECTORS[numba.float32], simd.MASKS[numba.float32]}, types
