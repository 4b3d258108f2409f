"""tinyrnn.autograd: grad, the switches of recording, Function, gradcheck."""

import threading

import numpy as np
import pytest
from stories import as_torch

import tinyrnn


# ---------------------------------------------------------------------------------------- autograd.grad
@as_torch
def test_grad_touches_no_leaf(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    return torch.autograd.grad((y * y).sum(), [x, y, x]), x.grad


@as_torch
def test_grad_of_the_tensor_itself(torch):
    x = torch.ones((), requires_grad=True)
    y = x * 2
    return torch.autograd.grad(y, y), torch.autograd.grad(y, [y, x], torch.tensor(3.0))


@as_torch
def test_a_part_of_the_graph_and_then_the_rest(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    (gy,) = torch.autograd.grad((y * y).sum(), y)
    return gy, torch.autograd.grad(y, x, gy)


@as_torch(words="the graph a second time")
def test_the_part_that_was_walked_is_gone(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    z = (y * y).sum()
    torch.autograd.grad(z, y)
    z.backward()


@as_torch(words="The differentiated Tensor at index 1 appears to not have been used in the graph")
def test_grad_of_an_unused_input(torch):
    x, w = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    torch.autograd.grad((x * x).sum(), [x, w])


@as_torch
def test_grad_of_an_unused_input_may_be_none_or_zero(torch):
    x, w = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    some = torch.autograd.grad((x * x).sum(), [x, w], allow_unused=True)
    return some, torch.autograd.grad((x * x).sum(), (w, x), materialize_grads=True)


@as_torch(raises=ValueError)
def test_grad_cannot_refuse_and_materialize(torch):
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True)


@as_torch(words="One of the differentiated Tensors does not require grad")
def test_grad_of_a_constant(torch):
    torch.autograd.grad(torch.ones((), requires_grad=True) * 2, torch.ones(2))


@as_torch(words="`inputs` argument to `grad()` cannot be empty")
def test_grad_of_nothing(torch):
    torch.autograd.grad(torch.ones((), requires_grad=True) * 2, [])


@as_torch
def test_only_what_leads_to_the_inputs_is_walked(torch):
    class Trap(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("not needed")

    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y, aside, seen = w * 2, Trap.apply(x * 1), []
    aside.register_hook(lambda g: seen.append(g))
    z = aside * y + Trap.apply(y).detach()
    return torch.autograd.grad(z.sum(), [y, w]), x.grad, w.grad, seen


@as_torch
def test_grad_outputs_may_be_partly_none(torch):
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    return torch.autograd.grad([y, x * 3], x, [None, torch.tensor([1.0, 2.0])])


def test_second_derivatives_are_refused():
    """By name: a backward works on arrays, of which nothing is recorded, and the models here train without."""
    x = tinyrnn.ones(2, requires_grad=True)
    for call in (
        lambda: (x * x).sum().backward(create_graph=True),
        lambda: tinyrnn.autograd.grad((x * x).sum(), x, create_graph=True),
        lambda: tinyrnn.autograd.grad((x * x).sum(), x, is_grads_batched=True),
    ):
        with pytest.raises(NotImplementedError, match="create_graph=True|is_grads_batched=True"):
            call()
    assert x.grad is None


# ---------------------------------------------------------------------------------------- recording on and off
def modes(torch):
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


@as_torch
def test_blocks_nest(torch):
    told = []
    with torch.no_grad():
        told.append(modes(torch))
        with torch.enable_grad():
            told.append(modes(torch))
            with torch.set_grad_enabled(False):
                told.append(modes(torch))
            with torch.inference_mode():
                told.append(modes(torch))
                with torch.inference_mode(False):
                    told.append(modes(torch))
        told.append(modes(torch))
    return told, modes(torch)


@as_torch
def test_nothing_is_recorded_inside(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        y = x * 2
        leaf = torch.ones(2, requires_grad=True)
        with torch.enable_grad():
            z = x * 3
    return y.requires_grad, y.is_leaf, leaf.requires_grad, z.requires_grad, y


@as_torch
def test_errors_end_a_block_too(torch):
    for block in (torch.no_grad(), torch.inference_mode(), torch.set_grad_enabled(False)):
        try:
            with block:
                raise KeyError
        except KeyError:
            pass
    return modes(torch)


@as_torch
def test_decorators_with_and_without_parentheses(torch):
    def plain(a, *, b=1):
        """Its text."""
        return a + b, modes(torch)

    wraps = [torch.no_grad(), torch.no_grad, torch.inference_mode(), torch.inference_mode, torch.inference_mode(False)]
    wraps += [torch.enable_grad(), torch.enable_grad, torch.set_grad_enabled(False)]
    told = []
    for wrap in wraps:
        f = wrap(plain)
        told.append((f(1, b=2), f.__name__, f.__doc__))
        told.append(modes(torch))
    with torch.no_grad():
        told.append(torch.enable_grad(plain)(0))
    return told


@as_torch
def test_a_decorated_function_may_call_itself(torch):
    told = []
    for switch in (torch.no_grad(), torch.inference_mode(), torch.set_grad_enabled(False)):

        @switch
        def f(n):
            return [modes(torch), *(f(n - 1) if n else []), modes(torch)]  # noqa: B023

        told.append((f(2), modes(torch)))
    return told


@as_torch
def test_decorated_methods(torch):
    class Model:
        scale = 3

        @torch.no_grad()
        def predict(self, x):
            return x * self.scale

    return Model().predict(torch.ones(2, requires_grad=True))


@as_torch
def test_a_generator_is_switched_only_while_it_runs(torch):
    told = []

    @torch.no_grad()
    def numbers(n):
        try:
            for i in range(n):
                told.append(("inside", torch.is_grad_enabled()))
                told.append((yield i))
        except KeyError:
            told.append(("caught", torch.is_grad_enabled()))
            yield "last"
        finally:
            told.append(("end", torch.is_grad_enabled()))
        return "done"

    def outer():
        told.append((yield from numbers(2)))

    for _ in outer():
        told.append(("outside", torch.is_grad_enabled()))
    g = numbers(3)
    told.append((next(g), g.send("sent"), g.throw(KeyError), torch.is_grad_enabled()))
    g.close()
    return told, torch.is_grad_enabled()


@as_torch
def test_a_generator_passes_errors_on(torch):
    @torch.no_grad()
    def broken():
        yield 1
        raise ZeroDivisionError

    g = broken()
    next(g)
    try:
        next(g)
    except ZeroDivisionError:
        return modes(torch)


@as_torch
def test_set_grad_enabled_is_also_a_call(torch):
    told = []
    torch.set_grad_enabled(False)
    told.append(modes(torch))
    torch.set_grad_enabled(True)
    return told, modes(torch)


@as_torch(words="set_grad_enabled(): argument 'enabled' (position 1) must be bool, not str")
def test_set_grad_enabled_takes_a_bool(torch):
    torch.set_grad_enabled("no")


def test_one_no_grad_may_be_entered_inside_itself():
    """In torch this ends with recording off, by mistake."""
    off = tinyrnn.no_grad()
    with off:
        with off:
            pass
        assert not tinyrnn.is_grad_enabled()
    assert tinyrnn.is_grad_enabled()


def test_each_thread_has_its_mode():
    seen = []
    with tinyrnn.no_grad():
        thread = threading.Thread(target=lambda: seen.append((tinyrnn.ones(1, requires_grad=True) * 2).requires_grad))
        thread.start()
        thread.join()
        assert not tinyrnn.is_grad_enabled()
    assert seen == [True]


# ---------------------------------------------------------------------------------------- detach, .data, Variable
@as_torch
def test_detach_shares_memory_and_stops_gradients(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    d = y.detach()
    d[0] = 7.0
    (y * d).sum().backward()
    return y, d.requires_grad, d.is_leaf


@as_torch
def test_data_can_be_replaced(torch):
    x = torch.ones(2, requires_grad=True)
    x.data = torch.tensor([3.0, 4.0, 5.0])
    (x * x).sum().backward()
    return x, x.grad


@as_torch(raises=TypeError)
def test_data_is_a_tensor(torch):
    torch.ones(2).data = 5


@as_torch(raises=RuntimeError)
def test_data_of_a_leaf_is_floating_point(torch):
    torch.ones(2, requires_grad=True).data = torch.arange(2)


@as_torch
def test_detach_in_place(torch):
    x = torch.ones(2, requires_grad=True)
    y = (x * 2).detach_()
    z = torch.stack([x, x]).unbind()[1] * 1
    return y.requires_grad, y.is_leaf, z.detach_() is z, z.requires_grad


@as_torch(words="Can't detach views in-place")
def test_detach_in_place_of_a_view(torch):
    (torch.ones(2, requires_grad=True) * 2)[0].detach_()


@as_torch
def test_variable_is_an_old_name(torch):
    V, x = torch.autograd.Variable, torch.ones(2, requires_grad=True)
    data = torch.ones(2)
    v = V(data, requires_grad=True)
    data[0] = 5.0
    return isinstance(x, V), V(x * 2).requires_grad, V(x).requires_grad, v, V().shape


@as_torch(raises=TypeError)
def test_variable_of_no_tensor(torch):
    torch.autograd.Variable([1.0])


# ---------------------------------------------------------------------------------------- Function
def cube(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * g * x**2

    return Cube


def made(torch, forward, backward):
    """A Function of two functions."""
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("Made", (torch.autograd.Function,), methods)


@as_torch
def test_a_function(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = cube(torch).apply(x * 1)
    y.sum().backward()
    return y, x.grad, y.grad_fn.name(), y.is_leaf


@as_torch(words="Trying to backward through the graph a second time")
def test_a_function_twice(torch):
    y = cube(torch).apply(torch.ones(2, requires_grad=True)).sum()
    y.backward()
    y.backward()


@as_torch
def test_a_function_unrecorded(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        y = cube(torch).apply(x)
    return y.requires_grad, cube(torch).apply(torch.ones(2)).requires_grad


@as_torch
def test_a_function_with_setup_context(torch):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(x, factor, name="none"):
            return x * factor, name

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor, ctx.text = inputs[1], output[1]
            ctx.save_for_backward(inputs[0], output[0])

        @staticmethod
        def backward(ctx, g, nothing):
            x, y = ctx.saved_tensors
            return g * ctx.factor + (y - x * ctx.factor), None, None

    x = torch.ones(2, requires_grad=True)
    y, text = Scale.apply(x, 3, "three")
    y.sum().backward()
    return y, text, x.grad


@as_torch
def test_what_a_function_finds_in_its_context(torch):
    told = []

    def forward(ctx, x, k, c, w=None):
        told.append((ctx.needs_input_grad, torch.is_grad_enabled(), x.requires_grad))
        ctx.anything = k
        ctx.op, ctx.inputs, ctx.shape = "names", "of", "one's own"
        return x * k

    def backward(ctx, g):
        told.append((ctx.needs_input_grad, torch.is_grad_enabled(), ctx.anything, ctx.op))
        return g * ctx.anything, None, None

    x = torch.ones(2, requires_grad=True)
    made(torch, forward, backward).apply(x, 3, torch.ones(2)).sum().backward()
    return told, x.grad


@as_torch
def test_a_function_of_several_results(torch):
    told = []

    def backward(ctx, g, h, none):
        told.append((g.tolist(), h.tolist(), none))
        return g + 2 * h

    F = made(torch, lambda ctx, x: (x * 1, x * 2, "text"), backward)
    x = torch.ones(2, requires_grad=True)
    a, b, _ = F.apply(x)
    a.sum().backward()
    a, b, text = F.apply(x)
    (a.sum() + 10 * b.sum()).backward()
    return told, x.grad, text, b


@as_torch
def test_unused_results_may_be_none(torch):
    told = []

    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 1, x * 2

    def backward(ctx, g, h):
        told.append(h)
        return g

    a, _ = made(torch, forward, backward).apply(torch.ones(2, requires_grad=True))
    a.sum().backward()
    return told


@as_torch
def test_results_without_a_gradient(torch):
    told = []

    def forward(ctx, x):
        mask = x * 5
        ctx.mark_non_differentiable(mask)
        return x * 2, mask, x.long()

    def backward(ctx, *gradients):
        told.extend(g.tolist() for g in gradients)
        return gradients[0]

    y, mask, whole = made(torch, forward, backward).apply(torch.ones(2, requires_grad=True))
    y.sum().backward()
    return told, mask.requires_grad, whole.requires_grad


@as_torch
def test_a_function_that_writes_to_its_input(torch):
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    F = made(torch, forward, lambda ctx, g: g * 2)
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    z = F.apply(y)
    view = (w := x * 1)[:2]
    F.apply(view)
    (z.sum() + 10 * w.sum()).backward()
    return z is y, y.grad_fn.name(), x.grad, w.grad_fn is None, view


@as_torch(words="a leaf Variable that requires grad")
def test_a_function_that_writes_to_a_leaf(torch):
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    made(torch, forward, lambda ctx, g: g * 2).apply(torch.ones(2, requires_grad=True))


@as_torch(words="Some elements marked as dirty during the forward method were not returned as output")
def test_what_was_written_to_must_be_returned(torch):
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2) * 1

    made(torch, forward, lambda ctx, g: g * 2).apply(torch.ones(2, requires_grad=True) * 1)


RESULT_MAY_CHANGE = ("x ** 2", "x ** 3", "x.pow(0.5)", "x ** -1", "F.softsign(x)", "x.square()", "x / 3", "x * 3")
ARGUMENT_MAY_CHANGE = (
    "torch.tan(x)", "torch.reciprocal(x)", "torch.rsqrt(x)", "2 / x", "x % 2", "torch.fmod(x, 2)", "F.tanhshrink(x)",
    "torch.sigmoid(x)", "torch.tanh(x)", "torch.exp(x)", "x / 3", "x * 3",
)  # fmt: skip


@pytest.mark.parametrize("which", ["result", "argument"])
def test_what_no_gradient_needs_may_be_overwritten(which):
    """As in torch: these ops keep something else, or nothing."""
    for call in RESULT_MAY_CHANGE if which == "result" else ARGUMENT_MAY_CHANGE:
        gradients = []
        for overwrite in (False, True):
            leaf = tinyrnn.tensor([0.5, 1.5, 2.5], requires_grad=True)
            x = leaf * 1
            y = eval(call, {"torch": tinyrnn, "F": tinyrnn.nn.functional, "x": x})
            total = (y * 1).sum()  # what flows back is 1 for each element, whatever is written below
            if overwrite:
                (y if which == "result" else x).data.add_(7.0)
                (y if which == "result" else x).detach().add_(7.0)
            total.backward()
            gradients.append(leaf.grad.tolist())
        assert gradients[0] == gradients[1], call


@as_torch(words="modified by an inplace operation")
def test_a_function_notices_writes_to_its_input(torch):
    y = torch.ones(2, requires_grad=True) * 1
    z = cube(torch).apply(y)
    y.add_(1)
    z.sum().backward()


@as_torch(words="is at version 1; expected version 0")
def test_a_function_notices_writes_to_its_result(torch):
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    y = made(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(torch.ones(2, requires_grad=True))
    y.add_(1)
    y.sum().backward()


@as_torch
def test_a_function_that_returns_its_input(torch):
    F = made(torch, lambda ctx, x: x, lambda ctx, g: g * 3)
    x = torch.ones(2, requires_grad=True)
    y = F.apply(x)
    y.sum().backward()
    return y is x, y.data_ptr() == x.data_ptr(), x.grad, y.grad_fn.name()


@as_torch(words="is a view and is being modified inplace. This view was created inside a custom Function")
def test_a_write_to_a_view_from_a_function(torch):
    F = made(torch, lambda ctx, x: x[:1], lambda ctx, g: torch.cat([g, g]))
    F.apply(torch.ones(2, requires_grad=True) * 1).add_(1)


@as_torch
def test_a_function_that_computes_again(torch):
    """Checkpointing: the forward runs again inside the backward, recorded."""

    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return (x * w).tanh()

    def backward(ctx, g):
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_() for t in ctx.saved_tensors]
            (inputs[0] * inputs[1]).tanh().backward(g)
        return tuple(t.grad for t in inputs)

    x, w = torch.ones(2, requires_grad=True), torch.full((2,), 0.5, requires_grad=True)
    made(torch, forward, backward).apply(x * 1, w).sum().backward()
    return x.grad, w.grad


@as_torch
def test_saved_inputs_are_the_leaves(torch):
    told = []

    def forward(ctx, x, w):
        ctx.save_for_backward(x, w, None)
        return x * w

    def backward(ctx, g):
        x, w, none = ctx.saved_tensors
        told.append((w is leaf, x.requires_grad, none))
        return g * w, g * x

    leaf = torch.ones(2, requires_grad=True)
    made(torch, forward, backward).apply(leaf * 2, leaf).sum().backward()
    return told, leaf.grad


@as_torch
def test_once_differentiable(torch):
    F = made(torch, lambda ctx, x: x * 2, torch.autograd.function.once_differentiable(lambda ctx, g: g * 2))
    x = torch.ones(2, requires_grad=True)
    F.apply(x).sum().backward()
    return x.grad


RETURNED = {  # what a backward returns for a single input of shape (2,)
    "too many": lambda torch, g: (g, g),
    "too many, but None": lambda torch, g: (g, None),
    "None": lambda torch, g: None,
    "another shape": lambda torch, g: torch.ones(3),
    "too small a shape": lambda torch, g: torch.ones(1),
    "a shape to sum": lambda torch, g: torch.ones(3, 2),
    "a number": lambda torch, g: 5,
    "a list": lambda torch, g: [g],
    "another dtype": lambda torch, g: g.double(),
    "integers": lambda torch, g: torch.arange(2),
    "one that requires grad": lambda torch, g: g.clone().requires_grad_(),
}


@pytest.mark.parametrize("gradient", RETURNED)
@as_torch(raises=RuntimeError)
def test_a_backward_returns(torch, gradient):
    x = torch.ones(2, requires_grad=True)
    made(torch, lambda ctx, x: x * 1, lambda ctx, g: RETURNED[gradient](torch, g)).apply(x).sum().backward()
    return x.grad, x.grad is not None and str(x.grad.dtype)


@as_torch(words="function MadeBackward returned an incorrect number of gradients (expected 2, got 1)")
def test_a_backward_returns_too_few(torch):
    x = torch.ones(2, requires_grad=True)
    made(torch, lambda ctx, x, y: x * y, lambda ctx, g: g).apply(x, x).sum().backward()


@as_torch(words="a gradient different than None at position 2, but the corresponding forward input was not a Variable")
def test_a_backward_returns_one_for_a_number(torch):
    F = made(torch, lambda ctx, x, k: x * k, lambda ctx, g: (g, g))
    F.apply(torch.ones(2, requires_grad=True), 3).sum().backward()


@as_torch
def test_a_backward_may_return_one_for_a_constant(torch):
    x = torch.ones(2, requires_grad=True)
    made(torch, lambda ctx, x, c: x * 1, lambda ctx, g: (g, torch.ones(7))).apply(x, torch.ones(2)).sum().backward()
    return x.grad


@as_torch(raises=NotImplementedError)
def test_a_function_without_forward(torch):
    """torch's own error for a method that the program left out."""
    type("Empty", (torch.autograd.Function,), {}).apply(torch.ones(1, requires_grad=True))


@as_torch(raises=NotImplementedError)
def test_a_function_without_backward(torch):
    """torch's own error for a method that the program left out."""
    F = type("Half", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 1)})
    F.apply(torch.ones(1, requires_grad=True)).backward()


@as_torch(raises=RuntimeError)
def test_a_function_is_not_called(torch):
    cube(torch)()(torch.ones(1))


@as_torch(raises=TypeError)
def test_only_tensors_are_saved(torch):
    F = made(torch, lambda ctx, x: ctx.save_for_backward(5) or x * 1, lambda ctx, g: g)
    F.apply(torch.ones(1, requires_grad=True))


@as_torch(raises=KeyError)
def test_an_error_in_a_backward(torch):
    def backward(ctx, g):
        raise KeyError("boom")

    made(torch, lambda ctx, x: x * 1, backward).apply(torch.ones(1, requires_grad=True)).backward()


@as_torch
def test_a_backward_may_return_what_it_keeps(torch):
    """The .grad is a copy: the next step may write to it."""
    kept = torch.ones(2)
    x = torch.ones(2, requires_grad=True)
    made(torch, lambda ctx, x: x * 1, lambda ctx, g: kept).apply(x).sum().backward()
    x.grad.mul_(5)
    return kept, x.grad


@as_torch
def test_a_later_result_that_becomes_a_leaf(torch):
    F = made(torch, lambda ctx, x: (x * 1, x * 2), lambda ctx, g, h: g + 2 * h)
    _, second = F.apply(torch.ones(2, requires_grad=True))
    leaf = second.detach_().requires_grad_()
    (leaf * 3).sum().backward()
    return leaf.grad, torch.autograd.grad((leaf * leaf).sum(), leaf)


def test_a_backward_that_changes_its_gradient_changes_no_other():
    F = made(tinyrnn, lambda ctx, x: x * 1, lambda ctx, g: g.mul_(100))
    x, w, g = tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2)
    (F.apply(x) + w).backward(g)
    assert (x.grad.tolist(), w.grad.tolist(), g.tolist()) == ([100, 100], [1, 1], [1, 1])


# ---------------------------------------------------------------------------------------- gradcheck
def double(torch, *values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def wrong(torch, backward):
    return made(torch, lambda ctx, x: x * 2, backward).apply


@as_torch
def test_gradcheck_passes(torch):
    check, x = torch.autograd.gradcheck, double(torch, 1.0, 2.0)
    written = lambda x: (x * 1).mul_(3)
    return [
        check(lambda x: x.tanh() * x, x),
        check(lambda x, k, y: [x * y, k * x], [x, 3.0, double(torch, 3.0, 4.0)]),
        check(lambda x, y: x * 2, (x, double(torch, 1.0))),
        check(written, x),
        check(lambda x: x, x),
        check(lambda x: x.long(), x),
        check(lambda x: x.t() @ x, double(torch, 1.0, 2.0).view(2, 1).expand(2, 1).detach().requires_grad_()),
        check(lambda x: x * 2, torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)),
        check(cube(torch).apply, x, eps=1e-5, atol=1e-4, rtol=1e-2, fast_mode=True),
    ]


@as_torch(words="Jacobian mismatch for output 0 with respect to input 0")
def test_gradcheck_finds_a_wrong_factor(torch):
    torch.autograd.gradcheck(wrong(torch, lambda ctx, g: g * 2.001), double(torch, 1.0, 2.0), rtol=1e-5)


@as_torch(words="Jacobian mismatch for output 0 with respect to input 1")
def test_gradcheck_finds_swapped_gradients(torch):
    F = made(torch, lambda ctx, x, y: x * 2 + y * 2.5, lambda ctx, g: (g * 2, g * 2))
    torch.autograd.gradcheck(F.apply, (double(torch, 1.0), double(torch, 2.0)))


@as_torch(words="Jacobian mismatch for output 0")
def test_gradcheck_finds_a_transposed_gradient(torch):
    F = made(torch, lambda ctx, x: x.t() * 1, lambda ctx, g: g)
    torch.autograd.gradcheck(F.apply, torch.ones(2, 2, dtype=torch.float64, requires_grad=True))


@as_torch
def test_gradcheck_may_return_false(torch):
    bad = wrong(torch, lambda ctx, g: g * 3)
    return torch.autograd.gradcheck(bad, double(torch, 1.0), raise_exception=False)


@as_torch(words="backward not multiplied by grad_output")
def test_gradcheck_finds_a_backward_that_ignores_the_gradient(torch):
    torch.autograd.gradcheck(wrong(torch, lambda ctx, g: torch.full_like(g, 2.0)), double(torch, 1.0))


@as_torch(words="Backward is not reentrant")
def test_gradcheck_finds_a_backward_that_varies(torch):
    count = iter(range(1000))
    vary = wrong(torch, lambda ctx, g: g * (2 + 1e-9 * next(count)))
    torch.autograd.gradcheck(vary, double(torch, 1.0))


@as_torch
def test_gradcheck_lets_a_backward_vary_a_little(torch):
    count = iter(range(1000))
    vary = wrong(torch, lambda ctx, g: g * (2 + 1e-9 * next(count)))
    return torch.autograd.gradcheck(vary, double(torch, 1.0), nondet_tol=1e-6)


@as_torch(raises=RuntimeError)
def test_gradcheck_finds_detached_outputs(torch):
    torch.autograd.gradcheck(lambda x: x.detach() * 2, double(torch, 1.0))


@as_torch(raises=TypeError)
def test_gradcheck_finds_a_backward_that_fails_for_none(torch):
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    F = made(torch, forward, lambda ctx, g, h: g * 2 + h * 3)
    torch.autograd.gradcheck(F.apply, double(torch, 1.0))


@as_torch(words="gradcheck expects at least one input tensor to require gradient")
def test_gradcheck_of_constants(torch):
    torch.autograd.gradcheck(lambda x: x * 2, torch.ones(1, dtype=torch.float64))


@as_torch(words="input has a dimension with stride 0")
def test_gradcheck_of_an_expanded_tensor(torch):
    torch.autograd.gradcheck(lambda x: x * 2, double(torch, 1.0).expand(3))


def test_gradcheck_warns_of_single_precision():
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision"):
        tinyrnn.autograd.gradcheck(lambda x: x * 2, tinyrnn.ones(1, requires_grad=True), atol=0.5)


def test_gradcheck_leaves_its_inputs_as_they_were():
    x = tinyrnn.tensor([1.0, 1 / 3], dtype=tinyrnn.float64, requires_grad=True)
    before = x.array.copy()
    calls = iter(range(100))
    with pytest.raises(ZeroDivisionError):
        tinyrnn.autograd.gradcheck(lambda x: 1 / 0 if next(calls) == 2 else x * 2, x)
    assert np.array_equal(x.array, before) and x.grad is None


# ---------------------------------------------------------------------------------------- anomalies
def squared_log(x):
    return tinyrnn.log(x) * 0


@pytest.fixture
def no_anomalies():
    yield
    tinyrnn.set_anomaly_enabled(False)


def test_a_nan_names_the_op_and_the_line(no_anomalies):
    x = tinyrnn.zeros(2, requires_grad=True)
    with (
        pytest.warns(UserWarning, match="Error detected in LogBackward0. Traceback of forward call") as told,
        pytest.raises(RuntimeError) as caught,
        tinyrnn.autograd.set_detect_anomaly(True),
    ):
        squared_log(x).sum().backward()
    line = squared_log.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        "Function 'LogBackward0' returned nan values in its 0th output. It is the backward of "
        f"{__file__}:{line}: return tinyrnn.log(x) * 0"
    )
    (warning,) = [warning for warning in told if "Error detected" in str(warning.message)]
    assert f'File "{__file__}", line {line}, in squared_log' in str(warning.message)
    assert "return tinyrnn.log(x) * 0" in str(warning.message) and tinyrnn.tape.__file__ not in str(warning.message)
    assert x.grad is None


def test_a_write_after_the_call_is_told_with_its_line(no_anomalies):
    x = tinyrnn.ones(2, requires_grad=True)
    tinyrnn.autograd.set_detect_anomaly(True)
    y = x.exp()
    y.add_(1)
    with (
        pytest.warns(UserWarning, match=r"Error detected in ExpBackward0.*\n(.*\n)*    y = x.exp\(\)"),
        pytest.raises(RuntimeError, match="modified by an inplace operation"),
    ):
        y.sum().backward()


def test_calls_that_were_made_before_have_no_line(no_anomalies):
    y = tinyrnn.zeros(1, requires_grad=True).sqrt() * 0
    with (
        pytest.warns(UserWarning, match="No forward pass information available"),
        pytest.raises(RuntimeError, match="SqrtBackward0' returned nan values in its 0th output.$"),
        tinyrnn.autograd.set_detect_anomaly(True),
    ):
        y.backward()


def test_nothing_is_kept_without_anomalies():
    y = tinyrnn.ones(1, requires_grad=True) * 2
    assert y.grad_fn.lines is None


def test_anomalies_without_the_check_for_nan(no_anomalies):
    x = tinyrnn.zeros(1, requires_grad=True)
    with tinyrnn.autograd.set_detect_anomaly(True, check_nan=False):
        (x.sqrt() * 0).backward()
    assert np.isnan(x.grad.array).all()


def test_an_error_of_a_function_is_told_with_its_line(no_anomalies):
    class Fails(tinyrnn.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("mine")

    with (
        pytest.warns(UserWarning, match=r"Error detected in FailsBackward.*\n(.*\n)*    y = Fails.apply") as told,
        pytest.raises(ValueError, match="mine"),
        tinyrnn.autograd.set_detect_anomaly(True),
    ):
        y = Fails.apply(tinyrnn.ones(1, requires_grad=True))
        y.backward()
    assert told[0].filename == __file__  # the program's line, not one of the engine's


@as_torch
def test_the_switch_of_anomalies(torch):
    told = [(torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled())]
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        told.append((torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()))
        with torch.autograd.detect_anomaly():
            told.append((torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()))
        told.append((torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()))
    told.append((torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()))
    torch.autograd.set_detect_anomaly(True)
    told.append(torch.is_anomaly_enabled())
    torch.set_anomaly_enabled(False)
    return told, torch.is_anomaly_enabled()


def test_detect_anomaly_warns_that_it_is_slow():
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        tinyrnn.autograd.detect_anomaly()
    assert not tinyrnn.is_anomaly_enabled()


@as_torch(raises=TypeError)
def test_the_switch_of_anomalies_takes_a_bool(torch):
    torch.autograd.set_detect_anomaly(1)


# ---------------------------------------------------------------------------------------- inference mode
def inferred(torch):
    with torch.inference_mode():
        return torch.ones(3)


@as_torch
def test_which_tensors_are_inference_tensors(torch):
    g = torch.ones(3, requires_grad=True)
    a = inferred(torch)
    outside = [t.is_inference() for t in (a, a[0], a.view(3), a.detach(), a.data, a * 2, a.clone(), a.double(), g)]
    with torch.inference_mode():
        inside = [t.is_inference() for t in (g, g[0], g * 2, g.view(3), torch.ones(1), g.reshape(1, 3), a + 1)]
        with torch.inference_mode(False):
            inside.append(torch.ones(1).is_inference())
    return outside, inside, torch.is_inference(a)


@as_torch
def test_inference_tensors_are_written_to_inside(torch):
    a, g = inferred(torch), torch.ones(3)
    with torch.inference_mode():
        a.add_(1)
        a[0] = 7
        a.requires_grad_()
        g.mul_(3)
        b = torch.ones(2, requires_grad=True)
        return a, g, g._version, b, b * 2, (b * 2).grad_fn


@as_torch
def test_inference_tensors_are_used_outside(torch):
    a, g = inferred(torch), torch.ones(3, requires_grad=True)
    y = g * 1
    y[:] = a
    return a + g, torch.cat([a, g]), a.tolist(), y, a.numpy().sum(), a.clone() * g, a.requires_grad_(False)


INFERENCE = {
    "a is saved": (lambda t, a, g: a * g, "Inference tensors cannot be saved for backward"),
    "a is saved by linear": (lambda t, a, g: t.nn.functional.linear(a, g[None]), "Inference tensors cannot be saved"),
    "add_": (lambda t, a, g: a.add_(1), "Inplace update to inference tensor outside InferenceMode is not allowed"),
    "a[0] =": (lambda t, a, g: a.__setitem__(0, 1.0), "Inplace update to inference tensor outside InferenceMode"),
    "zero_": (lambda t, a, g: a.zero_(), "Inplace update to inference tensor outside InferenceMode"),
    "requires_grad_": (lambda t, a, g: a.requires_grad_(), "Setting requires_grad=True on inference tensor outside"),
    "Parameter": (lambda t, a, g: t.nn.Parameter(a), "Setting requires_grad=True on inference tensor outside"),
    "_version": (lambda t, a, g: a._version, "Inference tensors do not track version counter"),
    "a view": (lambda t, a, g: view(t, g * 1).add_(1), "A view was created in inference mode and is being modified"),
}


def view(torch, x):
    with torch.inference_mode():
        return x[:1]


@pytest.mark.parametrize("case", INFERENCE)
@as_torch(words=lambda case: INFERENCE[case][1])
def test_inference_tensors_refuse(torch, case):
    INFERENCE[case][0](torch, inferred(torch), torch.ones(3, requires_grad=True))


@as_torch
def test_nothing_is_recorded_in_inference_mode(torch):
    g = torch.ones(2, requires_grad=True)
    with torch.inference_mode(), torch.enable_grad():
        nested = (g * 2).requires_grad
    with torch.inference_mode(False):
        switched = (g * 2).requires_grad, torch.is_grad_enabled()

    @torch.inference_mode()
    def decorated():
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), (g * 2).is_inference()

    return nested, switched, decorated(), (g * 2).is_inference()


@as_torch
def test_a_function_finds_its_saved_variables(torch):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_variables
            return 2 * x * g

    x = torch.tensor([3.0], requires_grad=True)
    Square.apply(x).backward()
    return x.grad


@as_torch
def test_a_function_that_is_called_with_names(torch):
    """Arguments go to their places, in the newer style defaults too, and gradients come back by them."""
    told = []

    class Older(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k=3, y=None):
            ctx.k = k
            return x * k if y is None else x * k * y

        @staticmethod
        def backward(ctx, g):
            told.append(ctx.needs_input_grad)
            return (g * ctx.k, None, g * 7)[: len(ctx.needs_input_grad)]

    class Newer(torch.autograd.Function):
        @staticmethod
        def forward(x, k=3, y=None):
            return x * k if y is None else x * k * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            told.append((len(inputs), ctx.needs_input_grad))
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return g * ctx.k, None, g * 7 if ctx.needs_input_grad[2] else None

    for function in (Older, Newer):
        for form in ("x", "x, 4", "x, 4, y", "x=x", "x, k=4", "x, k=4, y=y", "y=y, x=x", "x, z=4"):
            x, y = (torch.ones(2, requires_grad=True) for _ in range(2))
            try:
                eval(f"f({form})", {"f": function.apply, "x": x, "y": y}).sum().backward()
                told += [x.grad, y.grad]
            except TypeError:
                told.append(f"no {form}")
    return told
