"""The tape: what leaves collect, the walk back, hooks, memory and threads."""

import contextlib
import gc
import sys
import threading
import time
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
from stories import as_torch

import tinyrnn
from tinyrnn import tape
from tinyrnn.tape import Node, Op, apply, wrap, write


# ---------------------------------------------------------------------------------------- leaves and accumulation
@as_torch
def test_gradients_add_up(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    return x.grad, first is x.grad


@as_torch
def test_only_leaves_get_one(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = y.exp()
    z.sum().backward()
    constant = torch.ones(2)
    return x.is_leaf, y.is_leaf, constant.is_leaf, x.grad, constant.grad, y.grad_fn is None, x.grad_fn is None


@as_torch
def test_a_tensor_used_many_times(torch):
    x = torch.tensor(2.0, requires_grad=True)
    y = x * x
    (y * y + y * x + x).backward()
    return x.grad


@as_torch
def test_requires_grad_spreads(torch):
    x = torch.ones(2, requires_grad=True)
    late = torch.ones(2)
    before = late * 2
    late.requires_grad_()
    return (x + late).requires_grad, before.requires_grad, (late * 2).requires_grad, (x > 0).requires_grad


@as_torch
def test_a_leaf_may_stop(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    x.requires_grad_(False)
    (y + x * 5).sum().backward()
    return x.grad, y.requires_grad, x.requires_grad


@as_torch(words="leaf variable has been moved into the graph interior")
def test_a_leaf_may_not_become_a_result_in_between(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    x.requires_grad_(False)
    x.copy_(torch.ones(2, requires_grad=True))
    y.sum().backward()


@as_torch(words="you can only change requires_grad flags of leaf variables")
def test_a_result_may_not_stop(torch):
    (torch.ones(2, requires_grad=True) * 2).requires_grad_(False)


@as_torch(words="only Tensors of floating point dtype can require gradients")
def test_integers_have_none(torch):
    torch.arange(3).requires_grad_()


@as_torch(words="requires_grad must be a bool")
def test_requires_grad_is_true_or_false(torch):
    torch.ones(1).requires_grad = 1


@as_torch(words="argument 'requires_grad' (position 1) must be bool, not int")
def test_requires_grad_takes_a_bool(torch):
    torch.ones(1).requires_grad_(1)


@as_torch
def test_grad_can_be_set_and_deleted(torch):
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.tensor([5.0, 6.0])
    x.sum().backward()
    added = x.grad.clone()
    del x.grad
    return added, x.grad


NO_GRADIENTS = {
    "of another shape": lambda torch, x: torch.ones(3),
    "of another dtype": lambda torch, x: torch.ones(2, dtype=torch.float64),
    "no tensor": lambda torch, x: 5,
    "the leaf itself": lambda torch, x: x,
}


@pytest.mark.parametrize("value", NO_GRADIENTS)
@as_torch(raises=(RuntimeError, TypeError))
def test_grad_cannot_be(torch, value):
    x = torch.ones(2, requires_grad=True)
    x.grad = NO_GRADIENTS[value](torch, x)


@as_torch
def test_grad_lies_as_the_leaf_does(torch):
    """So that .view(-1) works on both."""
    told = []
    for leaf in (torch.ones(4, 3), torch.ones(3, 4).t(), torch.ones(4, 5)[:, :3], torch.ones(3, 6).t()[:4]):
        leaf = leaf.detach().requires_grad_()
        (leaf.t() @ torch.ones(4, 2)).sum().backward()
        told.append(leaf.grad.stride())
    return told


@as_torch
def test_broadcasting_is_summed(torch):
    x, y = torch.ones(3, 1, requires_grad=True), torch.ones(2, requires_grad=True)
    (x * y * torch.arange(6.0).view(3, 2)).sum().backward()
    return x.grad, y.grad


@as_torch
def test_types_are_cast_back(torch):
    x = torch.ones(2, requires_grad=True)
    (x * torch.tensor([2.0, 3.0], dtype=torch.float64)).sum().backward()
    return x.grad, str(x.grad.dtype)


# ---------------------------------------------------------------------------------------- backward
@as_torch
def test_a_gradient_to_start_with(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    y.backward(torch.tensor([1.0, 10.0]), retain_graph=True)
    y.backward([torch.tensor([1, 1])])
    return x.grad, str(x.grad.dtype)


@as_torch
def test_several_roots(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    torch.autograd.backward([y.sum(), y, x], [None, torch.tensor([1.0, 2.0]), torch.tensor([100.0, 200.0])])
    return x.grad


@as_torch
def test_a_leaf_as_root(torch):
    x = torch.ones(1, requires_grad=True)
    x.backward()
    return x.grad, torch.autograd.grad(x, x)


@as_torch
def test_retain_graph_keeps_it(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@as_torch
def test_what_saved_nothing_runs_again(torch):
    x = torch.ones(2, requires_grad=True)
    y = (-(x + 1)).view(2, 1).t().sum()
    y.backward()
    y.backward()
    return x.grad


SAVING = {
    "product": lambda torch, x: x * x,
    "scaling": lambda torch, x: x * 2.0,
    "index": lambda torch, x: x[torch.tensor([0, 0])],
    "tanh": lambda torch, x: x.tanh(),
    "power": lambda torch, x: x**2,
    "matmul": lambda torch, x: x @ x,
}


@pytest.mark.parametrize("through", SAVING)
@as_torch(words="Trying to backward through the graph a second time")
def test_twice(torch, through):
    y = SAVING[through](torch, torch.ones(2, requires_grad=True)).sum()
    y.backward()
    y.backward()


@as_torch(words="element 0 of tensors does not require grad and does not have a grad_fn")
def test_nothing_was_recorded(torch):
    torch.ones(2).sum().backward()


@as_torch(words="grad can be implicitly created only for scalar outputs")
def test_a_vector_needs_a_gradient(torch):
    (torch.ones(2, requires_grad=True) * 2).backward()


@as_torch(words="grad_output[0] has a shape of torch.Size([3]) and output[0] has a shape of torch.Size([2])")
def test_the_gradient_has_the_shape(torch):
    (torch.ones(2, requires_grad=True) * 2).backward(torch.ones(3))


@as_torch(raises=TypeError)
def test_a_gradient_is_a_tensor(torch):
    (torch.ones(2, requires_grad=True) * 2).backward(5)


@as_torch
def test_only_for_some_inputs(torch):
    x, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    y = x * w
    (y * y).sum().backward(inputs=[w, w, y])
    return x.grad, w.grad, y.grad


@as_torch(words="`inputs` argument to `backward()` cannot be empty")
def test_for_no_inputs(torch):
    torch.ones((), requires_grad=True).backward(inputs=[])


@as_torch(words="can't retain_grad on Tensor that has requires_grad=False")
def test_for_an_input_without_gradient(torch):
    torch.ones((), requires_grad=True).backward(inputs=[torch.ones(2)])


@as_torch
def test_unused_results_count_as_zero(torch):
    x = torch.tensor([[3.0, 1.0], [2.0, 4.0]], requires_grad=True)
    values, order = x.sort(dim=1)
    first, second = x.unbind()
    (values[:, 0].sum() + second.sum() * 10).backward()
    return x.grad, order.requires_grad, values.requires_grad


# ---------------------------------------------------------------------------------------- retain_grad and hooks
@as_torch
def test_retain_grad_keeps_the_gradient_of_a_result(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.retain_grad()
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    (y * 3).sum().backward()
    return y.grad, y.retains_grad, x.grad, x.retains_grad


@as_torch
def test_retain_grad_of_a_leaf_is_nothing(torch):
    x = torch.ones(2, requires_grad=True)
    x.retain_grad()
    x.sum().backward()
    return x.grad, x.retains_grad


@as_torch(words="can't retain_grad on Tensor that has requires_grad=False")
def test_retain_grad_of_a_constant(torch):
    torch.ones(2).retain_grad()


@pytest.mark.parametrize("written", ["neither", "base", "view"])
@as_torch
def test_retain_grad_and_then_a_write(torch, written):
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = x * 1
    view = base[:2]
    base.retain_grad()
    view.retain_grad()
    {"neither": torch.zeros(1), "base": base, "view": view}[written].mul_(3)
    (base.sum() + 10 * view.sum()).backward()
    return base.grad, view.grad, x.grad


def test_a_result_without_retain_grad_says_so():
    y = tinyrnn.ones(2, requires_grad=True) * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor is being accessed"):
        assert y.grad is None
    y.retain_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert y.grad is None


def test_leaf_hooks_run_when_the_gradient_is_complete(oracle):
    def ask(t):
        log = []

        def note(tensor, word):
            tensor.register_hook(lambda g: log.append(word))
            if tensor.is_leaf:
                tensor.register_post_accumulate_grad_hook(lambda x: log.append(f"{word} has {x.grad.sum().item():g}"))

        a, c = (t.ones(2, requires_grad=True) for _ in range(2))
        m = a * 2
        n = m * c
        o = n + a
        for tensor, word in ((a, "a"), (c, "c"), (m, "m"), (n, "n"), (o, "o")):
            note(tensor, word)
        o.sum().backward()
        model = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.Tanh(), t.nn.Linear(3, 1))
        for name, parameter in model.named_parameters():
            parameter.data.fill_(0.5)
            note(parameter, name)
        model(t.ones(4, 2)).sum().backward()
        table, linear = t.nn.Embedding(3, 2), t.nn.Linear(2, 3)
        linear.weight = table.weight
        table.weight.data.fill_(1.0)
        found = table(t.tensor([0, 1]))
        for tensor, word in ((table.weight, "both"), (linear.bias, "bias"), (found, "found")):
            note(tensor, word)
        linear(found).sum().backward()
        return {"log": np.array(log)}

    assert ask(tinyrnn)["log"].tolist() == oracle(ask)["log"].tolist()


@as_torch
def test_hooks_run_in_order_and_may_replace(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 10)
    y.sum().backward()
    return seen, x.grad


@as_torch
def test_hooks_see_the_whole_gradient_once(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 1
    seen = []
    for t in (x, y):
        t.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y * 3 + x).sum().backward()
    return seen


@as_torch
def test_hooks_can_be_removed(torch):
    x = torch.ones(2, requires_grad=True)
    first = x.register_hook(lambda g: g * 2)
    first.remove()
    with x.register_hook(lambda g: g * 5):
        first.remove()  # again: nothing happens, whatever came since
        x.sum().backward()
    x.sum().backward()
    return x.grad


@as_torch
def test_a_hook_may_change_the_gradient_in_place(torch):
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda g: [g.mul_(4), None][1])
    (x * 2).sum().backward()
    return x.grad


@as_torch
def test_hooks_run_unrecorded(torch):
    x = torch.ones(2, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append((torch.is_grad_enabled(), g.requires_grad)))
    x.sum().backward()
    return seen, torch.is_grad_enabled()


@as_torch
def test_hooks_in_autograd_grad(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    x.register_hook(lambda g: g * 5)
    y.register_hook(lambda g: g * 7)
    return torch.autograd.grad(y.sum(), [x], retain_graph=True), torch.autograd.grad(y.sum(), [y])


@as_torch
def test_a_hook_on_a_view(torch):
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    v = y[:2]
    v.register_hook(lambda g: g * 10)
    (v * 2).sum().backward()
    return x.grad


@as_torch
def test_a_hook_stays_with_the_content_it_was_set_on(torch):
    x = torch.ones(3, requires_grad=True)
    y = x * 1
    seen = []
    y.register_hook(lambda g: seen.append(("before", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(("after", g.tolist())))
    y.sum().backward()
    return seen


@as_torch(words="cannot register a hook on a tensor that doesn't require gradient")
def test_a_hook_on_a_constant(torch):
    torch.ones(2).register_hook(print)


@pytest.mark.parametrize("on", ["leaf", "result"])
@pytest.mark.parametrize("returned", ["number", "shape", "dtype"])
@as_torch(raises=(RuntimeError, TypeError))
def test_a_hook_returns_another(torch, returned, on):
    x = torch.ones(2, requires_grad=True)
    y = x if on == "leaf" else x * 1
    y.register_hook(lambda g: {"number": 5, "shape": torch.ones(3), "dtype": g.double()}[returned])
    y.sum().backward()


def raising(g):
    raise ZeroDivisionError


@pytest.mark.parametrize("where", ["leaf", "other leaf", "result"])
def test_an_error_on_the_way_leaves_every_leaf_as_it_was(where):
    x, w = (tinyrnn.ones(2, requires_grad=True) for _ in range(2))
    (x * 2 + w * 3).sum().backward()
    y = x * w
    handle = {"leaf": x, "other leaf": w, "result": y}[where].register_hook(raising)
    with pytest.raises(ZeroDivisionError):
        (y + x * 5 + w * 7).sum().backward()
    assert x.grad.tolist() == [2, 2] and w.grad.tolist() == [3, 3]
    assert tinyrnn.is_grad_enabled()
    handle.remove()
    (x * w).sum().backward()
    assert x.grad.tolist() == [3, 3] and w.grad.tolist() == [4, 4]


@pytest.mark.parametrize("replaced", ["first", "last"])
@pytest.mark.parametrize("grads", [False, True])
def test_a_leaf_that_changed_its_shape_in_between(replaced, grads):
    x, w = (tinyrnn.ones(2, requires_grad=True) for _ in range(2))
    if grads:
        (x + w).sum().backward()
    y = (x * 2 + w * 3).sum()
    changed, other = (x, w) if replaced == "first" else (w, x)
    changed.data = tinyrnn.ones(3)
    with pytest.raises(RuntimeError, match=r"size of the gradient \[2\] must match the size of the tensor \[3\]"):
        y.backward()
    assert (other.grad.tolist() if grads else other.grad) == ([1, 1] if grads else None)


# ---------------------------------------------------------------------------------------- the contract of ops
class Scaled(Op):
    """a * b of two arrays, and their sum, which it saves too."""

    keeps = ((1,), (0,), (0, 1))
    seen: list = []

    @staticmethod
    def forward(a, b):
        total = a + b
        return (a * b, total), (a, b, total)

    @staticmethod
    def backward(saved, needs, g, h):
        Scaled.seen.append(([s is not None for s in saved], needs, g is not None, h is not None))
        a, b, _ = saved
        return tuple(
            sum(x for x in (h, None if g is None else g * other) if x is not None) if need else None
            for need, other in zip(needs, (b, a), strict=True)
        )


@pytest.mark.parametrize(
    ("leaves", "kept"),
    [((True, True), [True, True, True]), ((True, False), [False, True, True]), ((False, True), [True, False, True])],
)
def test_an_op_keeps_what_its_gradients_need(leaves, kept):
    a, b = (tinyrnn.tensor([2.0, 3.0], requires_grad=r) for r in leaves)
    product, total = apply(Scaled, a, b)
    Scaled.seen.clear()
    product.sum().backward(retain_graph=True)
    total.sum().backward()
    assert Scaled.seen == [(kept, leaves, True, False), (kept, leaves, False, True)]
    assert [None if t.grad is None else t.grad.tolist() for t in (a, b)] == [[3, 4] if r else None for r in leaves]


def test_what_an_op_saved_is_watched():
    """Inputs and results, each by its own version."""
    for change in ("a", "b", "total"):
        tensors = {name: tinyrnn.ones(2, requires_grad=True) * 1 for name in "ab"}
        tensors["product"], tensors["total"] = apply(Scaled, tensors["a"], tensors["b"])
        tensors["product"].mul_(2)  # was not saved
        tensors[change].mul_(2)
        with pytest.raises(RuntimeError, match=r"at version 1; expected version 0"):
            tensors["product"].sum().backward()


class Typed(Op):
    """A copy, which notes the type of its gradient."""

    seen: list = []

    @staticmethod
    def forward(a):
        return a.copy(), ()

    @staticmethod
    def backward(saved, needs, g):
        Typed.seen.append(g.dtype)
        return g


def test_a_gradient_has_the_type_of_the_result():
    """Also if the result was written into a tensor of another type, or its gradient comes from a user."""
    Typed.seen.clear()
    x = tinyrnn.ones(2, dtype=tinyrnn.float64, requires_grad=True)
    single = write(tinyrnn.zeros(2), apply(Typed, x))
    (single * single).sum().backward()
    apply(Typed, x).backward(tinyrnn.ones(2))
    assert single.dtype == tinyrnn.float32 and Typed.seen == [np.float64, np.float64]


def test_next_functions_lead_to_the_leaves():
    x = tinyrnn.ones(2, requires_grad=True)
    y = (x * tinyrnn.ones(2)).exp()
    ((product, slot),) = y.grad_fn.next_functions
    (leaf, _), nothing = product.next_functions
    assert (y.grad_fn.name(), product.name(), slot) == ("ExpBackward0", "MulBackward0", 0)
    assert leaf.name() == "torch::autograd::AccumulateGrad" and leaf.variable is x and nothing == (None, 0)
    assert repr(product).startswith("<MulBackward0 object at 0x")


# ---------------------------------------------------------------------------------------- the walk
def chain(x, steps):
    for _ in range(steps):
        x = x * 1.0001 + 0.1
    return x


def test_a_chain_of_100_000_steps():
    """Neither the walk nor the end of the graph recurses, also where the stack is small."""
    x = tinyrnn.ones(2, requires_grad=True)
    chain(x, 50_000).sum().backward()
    np.testing.assert_allclose(x.grad.array, 1.0001**50_000, rtol=1e-2)

    def elsewhere():
        never_walked.append(weakref.ref(chain(x, 50_000).grad_fn))

    never_walked: list = []
    # Python 3.13, whatever the objects are, lets thousands of ends run within each other before it puts off the next.
    before = threading.stack_size((2048 if sys.version_info[:2] == (3, 13) else 256) * 1024)
    try:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert never_walked[0]() is None


def test_a_chain_of_writes():
    x = tinyrnn.ones(2, requires_grad=True)
    total = tinyrnn.zeros(2)
    for i in range(5_000):
        total += x
        total[i % 2] *= 1.0
    total.sum().backward()
    assert x.grad.tolist() == [5_000, 5_000]


def test_each_node_is_walked_once_and_after_all_its_users():
    """2 ** 40 paths lead through this graph."""
    x = tinyrnn.tensor(1.0, dtype=tinyrnn.float64, requires_grad=True)
    y, calls = x, []
    for _ in range(40):
        y = y + y
        y.register_hook(lambda g: calls.append(g.item()))
    y.backward()
    assert x.grad.item() == 2.0**40 and calls == [2.0**k for k in range(40)]


# ---------------------------------------------------------------------------------------- gradients are nobody else's
def memory(t):
    return t.array.__array_interface__["data"][0]


ALIASES = {
    "a sum": lambda a, b: a + b,
    "views of one sum": lambda a, b: (a + b).view(1, 2).t().reshape(-1),
    "a sum of sums": lambda a, b: (a + b) + (a + b),
    "parts": lambda a, b: tinyrnn.cat([a, b])[::2] + tinyrnn.stack([a, b]).unbind()[0],
    "an expanded sum": lambda a, b: (a + b).expand(1, 2)[0],
    "clones": lambda a, b: a.clone() + b.contiguous(),
    "a quotient without fraction": lambda a, b: tinyrnn.div(a, b, rounding_mode="floor"),
}


@pytest.mark.parametrize("use", ALIASES)
def test_gradients_share_no_memory(use):
    a, b, g = tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2)
    y = ALIASES[use](a, b)
    y.retain_grad()
    y.backward(g)
    grads = [a.grad, b.grad, y.grad, g]
    expected = [t.tolist() for t in grads]
    for i, t in enumerate(grads):
        t.mul_(100)
        expected[i] = [100 * v for v in expected[i]]
        assert [t.tolist() for t in grads] == expected


def test_autograd_grad_returns_its_own_arrays():
    a, b, g = tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2)
    y = a + b
    found = tinyrnn.autograd.grad(y, [a, b, y, a], g)
    assert len({memory(t) for t in (*found, g)}) == 5


def test_a_hook_that_changes_its_gradient_changes_no_other():
    a, b, g = tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2, requires_grad=True), tinyrnn.ones(2)
    y = a + b
    a.register_hook(lambda g: [g.mul_(10), None][1])
    y.register_hook(lambda g: [g.mul_(3), None][1])
    y.backward(g)
    assert (a.grad.tolist(), b.grad.tolist(), g.tolist()) == ([30, 30], [3, 3], [1, 1])


# ---------------------------------------------------------------------------------------- memory
class Kept(tinyrnn.autograd.Function):
    """Saves an input and its result, and leaves them in the context."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[1]


def written_views(x):
    base = tinyrnn.zeros(4, 2)
    for t in range(4):
        base[t] = x * t
    rows = base[1:]
    rows.mul_(2)
    return base * rows.sum()


def hooked(x):
    y = x * x
    y.retain_grad()
    y.register_hook(lambda g: g * 2)
    y.view(-1).retain_grad()
    return y * 3


def function_of_a_written_input(x):
    y = x * 1
    z = Kept.apply(y)
    return y.add_(z) + Kept.apply(y)


def retained_and_written(x):
    y = x * 1
    y.retain_grad()
    y.mul_(3)
    y[:1].mul_(2)
    return y


GRAPHS = {
    "arithmetic": lambda x: (x * x + x.exp()) / x,
    "views": lambda x: x.view(2, 1).t().expand(3, 2).unbind()[0],
    "writes": written_views,
    "hooks": hooked,
    "retained and written": retained_and_written,
    "a Function": lambda x: Kept.apply(x * 1),
    "a Function of a written input": function_of_a_written_input,
    "a layer": lambda x: tinyrnn.nn.LSTM(2, 3)(x.view(1, 1, 2))[0],
}


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("walk", ["never walked", "walked", "walked and retained", "failed"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_goes_with_its_last_tensor(graph, walk, no_collector):
    """Every node goes at once: there are no circles that only a garbage collector would find."""
    x = tinyrnn.tensor([1.0, 2.0], requires_grad=True)
    GRAPHS[graph](x)  # kernels are compiled at the first call, which leaves circles of its own
    gc.collect()
    y = GRAPHS[graph](x)
    nodes, todo = [], [y.grad_fn]
    while todo:
        node = todo.pop()
        if isinstance(node, Node):
            nodes.append(weakref.ref(node))
            todo += [e[0] for e in node.inputs if e is not None]
    del node, todo
    if walk == "failed":
        y.register_hook(lambda g: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            y.sum().backward()
    elif walk != "never walked":
        with pytest.raises(RuntimeError, match="modified") if "written input" in graph else contextlib.nullcontext():
            y.sum().backward(retain_graph=walk == "walked and retained")
    assert all(node() is not None for node in nodes)
    del y
    assert [node().name() for node in nodes if node() is not None] == []


@pytest.mark.parametrize("retain_graph", [False, True])
def test_backward_gives_memory_back_as_it_goes(retain_graph):
    steps, n = 40, 50_000
    used: list = []  # when the walk comes by, in arrays of n
    x = tinyrnn.ones(n, requires_grad=True)
    x.sin().sum().backward()
    tracemalloc.start()
    try:
        y = x
        for _ in range(steps):
            y = y.sin()  # saves its input
            y.register_hook(lambda g: used.append(tracemalloc.get_traced_memory()[0] / (4 * n)))
        root = y.sum()
        del y
        root.backward(retain_graph=retain_graph)
    finally:
        tracemalloc.stop()
    assert used[0] > steps and len(used) == steps
    if retain_graph:
        assert used[-1] > steps
    else:
        assert max(np.diff(used[1:])) < -0.9 and used[-1] < 5


class Wide(Op):
    """a * b, and in the backward the memory that is in use, in arrays of the size of a."""

    used: list = []

    @staticmethod
    def forward(a, b):
        return a * b, (b,)

    @staticmethod
    def backward(saved, needs, g):
        Wide.used.append(tracemalloc.get_traced_memory()[0] / g.nbytes)
        return g * saved[0], g * 2  # the tape sums the second


def test_a_gradient_goes_when_it_was_summed():
    x, w = tinyrnn.ones(50_000, requires_grad=True), tinyrnn.ones(1, requires_grad=True)
    apply(Wide, x, w).sum().backward()
    root = apply(Wide, apply(Wide, apply(Wide, x, w), w), w)
    g = tinyrnn.ones(50_000)
    Wide.used.clear()
    tracemalloc.start()
    try:
        root.backward(g)
    finally:
        tracemalloc.stop()
    assert [round(n) for n in Wide.used] == [0, 1, 1]  # nothing but the gradient that came in


def test_unneeded_arrays_are_not_held():
    """Of a product with a constant the backward needs the constant, of a sum nothing."""
    w, n = tinyrnn.ones(1, requires_grad=True), 50_000
    (tinyrnn.ones(n) * w).sum().backward()
    tracemalloc.start()
    try:
        y = tinyrnn.ones(n) * w  # this one needs the ones
        for _ in range(20):
            y = (y * 2.0 + 1.0).view(-1)[:]
        assert tracemalloc.get_traced_memory()[0] < 4 * (4 * n)
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------- threads
def test_two_threads_that_give_a_leaf_its_first_gradient(monkeypatch):
    """Between looking for a .grad and setting one, the other thread must wait."""

    def slow(array):
        time.sleep(0.01)
        return wrap(array)

    monkeypatch.setattr(tape, "wrap", slow)
    w = tinyrnn.ones(2, requires_grad=True)
    threads = [threading.Thread(target=lambda: (w * 3).sum().backward()) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert w.grad.tolist() == [6, 6]


def test_threads_that_share_a_parameter_lose_nothing():
    w, rounds, workers = tinyrnn.ones(3, requires_grad=True), 150, 4
    barrier, errors = threading.Barrier(workers), []

    def work(k):
        try:
            barrier.wait()
            for i in range(rounds):
                (w * float(k + 1)).sum().backward()
                if i % 10 == k:  # a mode of this thread alone
                    with tinyrnn.no_grad():
                        assert not (w * 2).requires_grad
        except Exception as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []
    assert w.grad.tolist() == [rounds * sum(range(1, workers + 1))] * 3


# ---------------------------------------------------------------------------------------- hooks after .grad was filled
@as_torch
def test_hooks_that_run_after_the_grad_was_filled(torch):
    x, told = torch.ones(2, requires_grad=True), []
    first = x.register_post_accumulate_grad_hook(lambda leaf: told.append((leaf is x, leaf.grad.tolist())))
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    first.remove()
    (x * 4).sum().backward()
    return told, x.grad


@as_torch
def test_such_a_hook_may_take_the_step(torch):
    x = torch.ones(2, requires_grad=True)

    def step(leaf):
        with torch.no_grad():
            leaf.sub_(leaf.grad)
        leaf.grad = None

    x.register_post_accumulate_grad_hook(step)
    (x * x).sum().backward()
    return x, x.grad


@as_torch(words="cannot register a hook on a tensor that doesn't require gradient")
def test_such_a_hook_on_a_constant(torch):
    torch.ones(2).register_post_accumulate_grad_hook(print)


@as_torch(words="post accumulate grad hooks cannot be registered on non-leaf tensors")
def test_such_a_hook_on_a_result(torch):
    (torch.ones(2, requires_grad=True) * 2).register_post_accumulate_grad_hook(print)


# ---------------------------------------------------------------------------------------- how often it was written to
@as_torch
def test_versions(torch):
    x = torch.zeros(4)
    row = x[:2]
    row.add_(1)
    x.mul_(2)
    x[0] = 3
    y = x.detach()
    y.zero_()
    x.data.add_(1)
    return x._version, row._version, y._version, x.data._version, x.clone()._version, (x + 1).add_(1)._version


@as_torch
def test_a_leaf_that_is_a_view(torch):
    base = torch.arange(6.0)
    leaf = base.reshape(2, 3).requires_grad_()
    (leaf * leaf).sum().backward()
    with torch.no_grad():
        leaf.add_(1)
    return leaf.grad, base, leaf.is_leaf, base.requires_grad


LEAF_VIEWS = {
    "add_": lambda torch, leaf: leaf.add_(1),
    "item": lambda torch, leaf: leaf.__setitem__(0, 1.0),
    "part": lambda torch, leaf: leaf[0].zero_(),
    "copy_": lambda torch, leaf: leaf.copy_(torch.ones(2, 3)),
    "detach_": lambda torch, leaf: leaf.detach_(),
}


@pytest.mark.parametrize("how", LEAF_VIEWS)
@as_torch(raises=RuntimeError)
def test_a_leaf_that_is_a_view_is_not_written_to(torch, how):
    LEAF_VIEWS[how](torch, torch.arange(6.0).reshape(2, 3).requires_grad_())


# ---------------------------------------------------------------------------------------- what torch calls the calls
# fmt: off
CALLS = [
    "F.linear(m, w, b)", "F.linear(m, w)", "F.linear(m[0], w, b)", "F.linear(m[0], w)", "F.linear(c, w, b)",
    "F.linear(c, w)", "F.linear(c.transpose(0, 1), w, b)", "m @ w.t()", "c @ w.t()", "m[0] @ w.t()", "w @ m[0]",
    "g @ g", "torch.bmm(c, c.transpose(1, 2))", "c @ c.mT", "torch.mm(m, w.t())", "torch.mv(w, m[0])",
    "torch.dot(g, g)", "torch.addmm(w[:2, :2], m, m.t())", "torch.baddbmm(c, c, c.mT)", "w + 1", "1 + w", "w - 1",
    "1 - w", "w * 2", "w / 2", "2 / w", "w ** 2", "w ** w", "2 ** w", "-w", "abs(w)", "w.exp()", "w.log()",
    "w.log1p()", "w.log10()", "w.tanh()", "w.sigmoid()", "w.relu()", "w.square()", "w.sign()", "w.floor()",
    "w.clamp(0)", "w.masked_fill(w > 0, 0.0)", "torch.where(w > 0, w, 0 * w)", "w.sum()", "w.sum(1)", "w.mean()",
    "w.mean(0)", "w.var()", "w.std()", "w.norm()", "w.prod()", "w.max()", "w.max(1)[0]", "w.min()", "w.min(1).values",
    "w.amax(1)", "w.sort()[0]", "w.topk(2)[0]", "w.logsumexp(1)", "w.cumsum(1)", "w.softmax(1)", "w.log_softmax(1)",
    "F.softmax(w, -1)", "w.t()", "w.T", "w.mT", "w.transpose(0, 1)", "w.permute(1, 0)", "w.view(12)", "w.reshape(-1)",
    "w.flatten()", "w.unsqueeze(0)", "w.squeeze()", "w.squeeze(0)", "w.expand(2, 4, 3)", "w.repeat(2, 1)",
    "w.clone()", "w.t().contiguous()", "w.double()", "w[0]", "w[0:1]", "w[:, 0]", "w[0, 1:]", "w[1:, 0]", "w[None]",
    "w[..., 0]", "w[:]", "w[torch.tensor([0])]", "w[w > -9]", "w.index_select(0, torch.tensor([0]))",
    "w.gather(1, torch.tensor([[0]]))", "w.select(0, 0)", "w.narrow(0, 0, 1)", "w.unbind()[0]", "w.split(1)[0]",
    "w.chunk(2)[0]", "torch.cat([w, w])", "torch.stack([w, w])", "w.tril()", "w.triu()",
    "F.embedding(torch.tensor([0]), w)", "F.dropout(w, 0.5)", "F.layer_norm(w, (3,))", "F.pad(w, (1, 1))",
    "F.gelu(w)", "F.cross_entropy(w, y)", "F.cross_entropy(w, y, reduction='sum')",
    "F.cross_entropy(w, y, reduction='none')", "F.cross_entropy(w, y, label_smoothing=0.1)",
    "F.cross_entropy(c * w[0], torch.zeros(2, 3).long())", "F.nll_loss(w, y)", "F.mse_loss(w, w * 0)",
    "F.mse_loss(w, w * 0, reduction='none')", "F.l1_loss(w, w * 0)", "F.smooth_l1_loss(w, w * 0)",
    "F.huber_loss(w, w * 0)", "F.binary_cross_entropy(w.sigmoid(), torch.ones(4, 3))",
    "F.binary_cross_entropy_with_logits(w, torch.ones(4, 3))", "F.kl_div(w, torch.ones(4, 3))", "nn.RNN(3, 2)(c)[0]",
    "nn.GRU(3, 2)(c)[0]", "nn.GRU(3, 2)(c)[1]", "nn.LSTM(3, 2)(c)[0]",
    "nn.LSTM(3, 2)(m)[0]", "nn.LSTM(3, 2, batch_first=True)(c)[0]", "(w * 1).add_(1)", "(w * 1).zero_()",
    "(w * 1).fill_(2)", "(w * 1).copy_(w)", "(w * 1).relu_()", "put(w * 1, 0, 1.0)", "nn.Linear(3, 2)(m)",
    "nn.Linear(3, 2)(c)", "nn.Embedding(3, 2)(y % 3)",
]
# fmt: on


def called(torch, call):
    """What a result's grad_fn is called, and what it prints as."""
    torch.manual_seed(0)
    nn, c = torch.nn, torch.arange(18.0).reshape(2, 3, 3).requires_grad_()

    def put(x, at, value):
        x[at] = value
        return x

    scope = {
        "torch": torch, "nn": nn, "F": nn.functional, "put": put, "c": c, "m": c[0, :2],
        "y": torch.tensor([0, 1, 2, 0]), "w": torch.rand(4, 3, requires_grad=True),
        "b": torch.ones(4, requires_grad=True),
        "g": torch.ones(3, requires_grad=True),
    }  # fmt: skip
    result = eval(call, scope)
    return f"{result.grad_fn.name()} {repr(result).rpartition('grad_fn=')[2]}"


def test_a_call_has_torchs_name(oracle):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = oracle(lambda torch: {"names": np.array([called(torch, call) for call in CALLS])})["names"].tolist()
        ours = [called(tinyrnn, call) for call in CALLS]
    assert dict(zip(CALLS, ours, strict=True)) == dict(zip(CALLS, theirs, strict=True))


def test_a_loss_keeps_its_name_after_the_backward():
    x = tinyrnn.ones(2, 3, requires_grad=True)
    for loss, name in (
        (tinyrnn.nn.functional.cross_entropy(x, tinyrnn.tensor([0, 1])), "NllLossBackward0"),
        ((x * 2).mean(), "MeanBackward0"),
        (tinyrnn.nn.functional.linear(x, x, tinyrnn.ones(2, requires_grad=True)).sum(), "SumBackward0"),
    ):
        loss.backward()
        assert loss.grad_fn.name() == name


def test_a_leaf_takes_a_gradient_that_nobody_else_holds_and_copies_any_other():
    held, made = [], []

    class Fresh(Op):
        """Its gradient is a view of a new array, which `held` may hold too."""

        @staticmethod
        def forward(a, *, keep):
            return a + 1, (keep,)

        @staticmethod
        def backward(saved, needs, g):
            base = np.full(g.size, 2.0, g.dtype)
            made.append(base.ctypes.data)
            if saved[0]:
                held.append(base)
            return base.reshape(g.shape)

    for keep in (False, True):
        x = tinyrnn.ones(2, 3, requires_grad=True)
        tape.run(Fresh, (x,), (x.array,), keep=keep).sum().backward()
        assert x.grad.tolist() == [[2.0] * 3] * 2
        assert (x.grad.data_ptr() == made[-1]) is not keep


# ------------------------------------------------------------------------------------------ masks and indices
def written_index(x, i):
    y = x * 1
    y[i] = 0.0
    return y


def chosen_by(method, *arguments):
    """The values that a method chooses; the places of them, which it also gives, are overwritten."""

    def call(x, _):
        values, places = getattr(x, method)(*arguments)
        places.fill_(0)
        return values

    return call


zeros = tinyrnn.zeros
functional = tinyrnn.nn.functional
NEEDED = {
    "gather": ((5, 3), lambda x, i: x.gather(1, i)),
    "embedding": ((4,), lambda x, i: functional.embedding(i, x)),
    "index": ((4,), lambda x, i: x[i]),
    "two indices": ((4,), lambda x, i: x[i, i]),
    "column": ((4,), lambda x, i: x[:, i]),
    "index_select": ((4,), lambda x, i: x.index_select(1, i)),
    "scatter": ((5, 3), lambda x, i: x.scatter(1, i, 1.0)),
    "scatter a source": ((5, 3), lambda x, i: zeros(5, 6).scatter(1, i, x)),
    "scatter_add": ((5, 3), lambda x, i: zeros(5, 6).scatter_add(1, i, x)),
    "scatter_reduce": ((5, 6), lambda x, i: zeros(5, 6).scatter_reduce(1, i, x, "amax")),
    "index_add": ((5,), lambda x, i: zeros(5, 6).index_add(0, i, x)),
    "index_copy": ((5,), lambda x, i: zeros(5, 6).index_copy(0, i, x)),
    "setitem": ((4,), written_index),
    "setitem by a mask": (None, written_index),
    "mask": (None, lambda x, m: x[m]),
    "masked_fill": (None, lambda x, m: x.masked_fill(m, 0.0)),
    "masked_select": (None, lambda x, m: x.masked_select(m)),
    "masked_scatter": (None, lambda x, m: zeros(5, 6).masked_scatter(m, x)),
    "where": (None, lambda x, m: tinyrnn.where(m, x, 0 * x)),
    "sort": ((1,), chosen_by("sort", 1)),
    "max": ((1,), chosen_by("max", 1)),
    "topk": ((1,), chosen_by("topk", 2)),
    "cummax": ((1,), chosen_by("cummax", 1)),
}


@pytest.mark.parametrize("case", NEEDED)
def test_a_write_to_what_a_gradient_needs_besides_numbers_is_noticed(case):
    """As in torch; a gradient that went elsewhere would be the alternative."""
    shape, call = NEEDED[case]
    tinyrnn.manual_seed(0)
    x = tinyrnn.randn(5, 6, requires_grad=True)
    besides = tinyrnn.rand(5, 6) > 0.5 if shape is None else tinyrnn.randint(0, 5, shape)
    y = call(x, besides)
    if shape != (1,):
        y.sum().backward(retain_graph=True)
        besides.zero_()
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation: \[torch.(Long|Bool)Tensor"):
        y.sum().backward()


def test_additive_attention_notices_a_write_to_its_mask():
    attention = tinyrnn.nn.BahdanauAttention(3, 4, 5)
    mask = tinyrnn.ones(2, 6, dtype=tinyrnn.bool)
    context, _ = attention(tinyrnn.randn(2, 1, 3), tinyrnn.randn(2, 6, 4), mask)
    mask[0, 3:] = False
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        context.sum().backward()


def test_copies_of_what_was_given_may_outlive_it():
    """Targets and counts are copied: a program may fill its own buffers anew before the backward, and nothing is lost."""
    x, i = tinyrnn.randn(5, 6, requires_grad=True), tinyrnn.randint(0, 5, (5,))
    expected = tinyrnn.autograd.grad(functional.cross_entropy(x, i) + x.repeat_interleave(i, 0).sum(), x)[0]
    loss = functional.cross_entropy(x, i) + x.repeat_interleave(i, 0).sum()
    i.fill_(0)
    loss.backward()
    assert np.array_equal(x.grad.numpy(), expected.numpy())
