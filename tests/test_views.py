"""Views, writes in place, and what the tape makes of both.

The named cases tell what is promised; random programs of views and writes are in test_properties.py.
"""

import tracemalloc

import numpy as np
import pytest
from stories import as_torch

import tinyrnn
from tinyrnn import strides
from tinyrnn.ops import index
from tinyrnn.tape import wrap


# ---------------------------------------------------------------------------------------- assignment into slices
@as_torch
def test_outputs_are_collected_step_by_step(torch):
    """The idiom of every hand-written recurrent loop."""
    w = torch.tensor([0.5, 2.0], requires_grad=True)
    outputs, h = torch.zeros(3, 2), torch.ones(2)
    for t in range(3):
        h = (h * w).tanh()
        outputs[t] = h
    before = outputs.is_leaf, outputs.requires_grad
    (outputs * torch.arange(6.0).view(3, 2)).sum().backward()
    return before, outputs, w.grad


PLACES = {  # of a (3, 2) tensor, with the shape of what is there
    "an integer": (lambda torch, x: 1, (2,)),
    "a negative integer": (lambda torch, x: (-1, 0), ()),
    "a slice": (lambda torch, x: slice(1, None), (2, 2)),
    "a step": (lambda torch, x: (slice(None, None, 2), 1), (2,)),
    "an ellipsis": (lambda torch, x: (..., 0), (3,)),
    "None": (lambda torch, x: None, (1, 3, 2)),
    "everything": (lambda torch, x: slice(None), (3, 2)),
    "an empty slice": (lambda torch, x: slice(2, 2), (0, 2)),
    "a mask": (lambda torch, x: x > 2.5, (4,)),
    "a mask of rows": (lambda torch, x: torch.tensor([True, False, True]), (2, 2)),
    "integers": (lambda torch, x: torch.tensor([2, 0]), (2, 2)),
    "integers in two places": (lambda torch, x: (torch.tensor([2, 0]), torch.tensor([1, 0])), (2,)),
    "an integer and integers": (lambda torch, x: (1, torch.tensor([1, 0])), (2,)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["computed", "constant"])
@as_torch
def test_assignment(torch, place, kind):
    """The gradient goes to what is there now, and, outside, to what was there."""
    where, shape = PLACES[place]
    leaf = torch.arange(1.0, 7.0).view(3, 2).requires_grad_()
    x = leaf * 2 if kind == "computed" else leaf.detach().clone()
    numel = int(np.prod(shape))
    value = (torch.arange(float(numel)) + 10).view(shape).requires_grad_()
    x[where(torch, leaf.detach())] = value
    (x * torch.arange(6.0).view(3, 2)).sum().backward()
    return x, leaf.grad, value.grad


@pytest.mark.parametrize("value", [7.0, 3, True])
@as_torch
def test_assignment_of_numbers(torch, value):
    leaf = torch.ones(3, requires_grad=True)
    x = leaf * 2
    x[1] = value
    x[torch.tensor([False, False, True])] = value
    (x * x).sum().backward()
    return x, leaf.grad


@as_torch
def test_assignment_broadcasts_and_casts(torch):
    leaf, row = torch.ones(3, 2, requires_grad=True), torch.tensor([5.0, 6.0], dtype=torch.float64, requires_grad=True)
    x = leaf * 1
    x[1:] = row
    x[0] = row[:1]
    (x * torch.arange(6.0).view(3, 2)).sum().backward()
    return x, leaf.grad, row.grad, str(row.grad.dtype)


@as_torch
def test_assignment_into_integers_has_no_gradient(torch):
    x = torch.zeros(2, dtype=torch.int64)
    x[0] = torch.tensor(3.7, requires_grad=True)
    return x


# ---------------------------------------------------------------------------------------- bases, views, views of views
@as_torch
def test_a_write_through_a_view_of_a_view(torch):
    leaf = torch.arange(12.0).view(3, 4).requires_grad_()
    base = leaf * 1
    inner = base.t()[1:].unsqueeze(0)[0, :, ::2]
    inner[-1] *= 5
    inner.view_as(inner).add_(inner.detach())
    (base * base).sum().backward()
    return base, inner, leaf.grad


@as_torch
def test_views_made_before_see_the_new_history(torch):
    w = torch.tensor(3.0, requires_grad=True)
    base = torch.ones(4)
    view, other = base[:2], base[2:].view(2, 1)
    base.mul_(w)
    told = view.requires_grad, view.is_leaf, view.grad_fn.name(), other
    view.add_(w)
    (view.sum() * 100 + other.sum() * 10 + base.sum()).backward()
    return told, base, w.grad


def test_a_hook_and_a_flag_on_a_view_with_a_new_history():
    """The first thing that is asked of the view after the write; torch 2.13 crashes here."""
    w = tinyrnn.tensor(3.0, requires_grad=True)
    base, seen = tinyrnn.ones(4), []
    first, second, third = base[:2], base[:2], base[:2]
    base.mul_(w)
    first.register_hook(lambda g: seen.append(g.tolist()))
    second.retain_grad()
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        third.requires_grad_(False)
    (first * 5 + second * 2).sum().backward()
    assert seen == [[5, 5]] and second.grad.tolist() == [2, 2] and w.grad.item() == 14


@as_torch
def test_a_view_of_an_expanded_tensor_is_found_again(torch):
    """Its elements share memory, so its gradients are added."""
    leaf = torch.tensor([[1.0], [2.0]], requires_grad=True)
    base = leaf * 1
    wide = base.expand(3, 2, 4).transpose(1, 2)
    base.mul_(10)
    (wide * torch.arange(24.0).view(3, 4, 2)).sum().backward()
    return wide, leaf.grad


PARTS = {  # of an expanded (2, 3) tensor: the base (1, 2, 3) after w = (7, 8, 9) was written there, and gradients of both
    "a row": (lambda e, w: put(e, 0, w), [7, 8, 9], [0, 0, 0], [5, 7, 9]),
    "an element": (lambda e, w: put(e, (0, 1), w[1]), [1, 8, 3], [5, 0, 9], [0, 7, 0]),
    "a slice of one row": (
        lambda e, w: put(e, (slice(1, None), slice(1, None)), w[1:]),
        [1, 8, 9],
        [5, 0, 0],
        [0, 7, 9],
    ),
    "integers in one row": (lambda e, w: put(e, (0, tinyrnn.tensor([2, 0])), w[:2]), [8, 2, 7], [0, 7, 0], [9, 5, 0]),
    "a mask in one row": (lambda e, w: put(e, (0, e[0] < 2), w[:1]), [7, 2, 3], [0, 7, 9], [5, 0, 0]),
    "a sum, in place": (lambda e, w: put(e, 0, e[0].add_(w)), [8, 10, 12], [5, 7, 9], [5, 7, 9]),
}


def put(x, index, value):
    x[index] = value


@pytest.mark.parametrize("part", PARTS)
def test_what_is_written_of_an_expanded_tensor_must_not_overlap(part):
    """Its other elements may."""
    write, values, of_base, of_w = PARTS[part]
    leaf = tinyrnn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    w = tinyrnn.tensor([7.0, 8.0, 9.0], requires_grad=True)
    base = leaf * 1
    wide = base.expand(2, 3)
    write(wide, w)
    (wide * tinyrnn.arange(6.0).view(2, 3)).sum().add((wide * 2)[0].sum()).backward()
    assert base.tolist() == values and wide.tolist() == [values, values]
    assert leaf.grad.tolist() == of_base and w.grad.tolist() == of_w


@pytest.mark.parametrize("index", [..., None, slice(None), (), True, (slice(None), 0), (slice(0, 2), slice(1))])
def test_what_overlaps_itself_cannot_be_written_to(index):
    x = tinyrnn.zeros(3)
    with pytest.raises(RuntimeError, match=SHARED):
        x.expand(2, 3)[index] = 1
    assert x.tolist() == [0, 0, 0]


@as_torch
def test_a_view_may_be_the_root(torch):
    w, base = torch.tensor(3.0, requires_grad=True), torch.ones(2)
    view = base[0]
    base.mul_(w)
    view.backward()
    return w.grad


@as_torch
def test_each_use_keeps_the_content_it_had(torch):
    leaf = torch.tensor([1.0, 2.0], requires_grad=True)
    x = leaf * 1
    first = x + 0
    x[0] = 5.0
    second = x + 0
    x.zero_()
    (first * 1 + second * 10 + x * 100).sum().backward()
    return first, second, leaf.grad


@as_torch
def test_copy_and_fill(torch):
    leaf, w = torch.ones(3, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    a, b, c, d = torch.zeros(3), leaf * 1, leaf * 2, torch.zeros(3)
    a.copy_(leaf)
    b.copy_(torch.tensor([3.0, 4.0, 5.0]))
    c.fill_(w)
    d[1:].copy_(w)
    (a * 2 + b * 3 + c * 4 + d * 5).sum().backward()
    return a, b, c, d, leaf.grad, w.grad, a.is_leaf, leaf.is_leaf


@as_torch
def test_shapes_changed_in_place(torch):
    leaf = torch.arange(6.0).view(2, 3).requires_grad_()
    x = leaf * 1
    view = x[0, :2]
    x.t_().unsqueeze_(0)
    view.mul_(7)
    x[0, 2] *= 3
    shaped = x.squeeze_()
    (shaped * torch.arange(6.0).view(3, 2)).sum().backward()
    with torch.no_grad():
        leaf.t_()
    return shaped is x, x, view, leaf.grad, leaf.shape


@as_torch
def test_a_view_of_other_data_is_not_followed(torch):
    base = torch.zeros(4, requires_grad=True) * 1
    view = base[:2]
    base.data = torch.ones(4)
    view.data.fill_(5.0)
    return base, view


@as_torch
def test_a_reshape_that_copies_is_no_view(torch):
    leaf = torch.arange(6.0).view(2, 3).requires_grad_()
    x = leaf * 1
    flat = x.t().reshape(-1)
    flat.mul_(10)
    (x.sum() + flat[0]).backward()
    return x, leaf.grad


PLACED = [  # an array, whether it overlaps itself, whether it is dense, where its memory begins and ends
    (np.zeros((2, 3)), False, True, (0, 48)),
    (np.zeros((2, 3)).T, False, True, (0, 48)),
    (np.zeros((2, 3))[:, :2], False, False, (0, 40)),
    (np.zeros(6)[::-1], False, True, (-40, 8)),
    (np.zeros((2, 3))[::-1, ::2], False, False, (-24, 24)),
    (np.broadcast_to(np.zeros(3), (2, 3)), True, False, (0, 24)),
    (np.broadcast_to(np.zeros(4)[::3], (2, 2)), True, False, (0, 32)),  # as long as its four elements
    (np.broadcast_to(np.zeros(3), (1, 3)), False, True, (0, 24)),
    (np.zeros(()), False, True, (0, 8)),
]


@pytest.mark.parametrize("case", range(len(PLACED)))
def test_where_arrays_lie(case):
    a, overlapping, without_gaps, expected = PLACED[case]
    low, first, high = strides.span(a)
    assert (low - first, high - first) == expected
    assert (strides.overlaps(a), strides.dense(a)) == (overlapping, without_gaps)


def test_views_of_memory_that_runs_backwards():
    leaf = wrap(np.arange(6.0).reshape(2, 3)).requires_grad_()
    base = leaf * 1
    base.array = base.array[::-1, ::-1].copy()[::-1, ::-1]
    view = base[1:, ::2]
    view.mul_(10)
    (base * view.sum()).sum().backward()
    total, inside = 5 * 10.0 + 3 * 10 + 0 + 1 + 2 + 4, 5 * 10.0 + 3 * 10
    expected = np.full((2, 3), inside)
    expected[1, ::2] = 10 * (inside + total)
    np.testing.assert_allclose(leaf.grad.array, expected)


# ---------------------------------------------------------------------------------------- what is refused
LEAF = "a leaf Variable that requires grad is being used in an in-place operation"
VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation"
SEVERAL = "This view is the output of a function that returns multiple views"
NO_GRAD = "A view was created in no_grad mode and"
SHARED = "more than one element of the written-to tensor refers to a single memory location"


def unrecorded(torch, make):
    with torch.no_grad():
        return make()


REFUSED = {
    "a leaf": (LEAF, lambda torch, x, y: x.add_(1)),
    "a leaf, by zero_": (LEAF, lambda torch, x, y: x.zero_()),
    "a leaf, by unsqueeze_": (LEAF, lambda torch, x, y: x.unsqueeze_(0)),
    "a view of a leaf": (VIEW_OF_LEAF, lambda torch, x, y: x[0].add_(1)),
    "a view of a view of a leaf": (VIEW_OF_LEAF, lambda torch, x, y: x[0][:1].copy_(y[0][:1])),
    "an empty view of a leaf": (VIEW_OF_LEAF, lambda torch, x, y: x[2:].add_(1)),
    "one of several views": (SEVERAL, lambda torch, x, y: y.unbind()[0].add_(1)),
    "one of several views of a leaf": (SEVERAL, lambda torch, x, y: x.split(1)[1].add_(1)),
    "one chunk of one": (SEVERAL, lambda torch, x, y: y.chunk(1)[0].zero_()),
    "a view of one of several": (SEVERAL, lambda torch, x, y: y.unbind()[0][:1].add_(1)),
    "one of several, of a constant": ("multiple views", lambda torch, x, y: torch.ones(2, 2).unbind()[0].add_(y[0])),
    "a view from no_grad": (NO_GRAD, lambda torch, x, y: unrecorded(torch, lambda: y[0]).add_(1)),
    "a view from no_grad, by a result": (NO_GRAD, lambda torch, x, y: unrecorded(torch, lambda: y[0]).add_(y[1])),
    "an expanded tensor": (SHARED, lambda torch, x, y: torch.ones(1, 2).expand(3, 2).add_(1)),
    "an expanded tensor, by copy_": (SHARED, lambda torch, x, y: y[:1].expand(3, 2).copy_(torch.ones(3, 2))),
    "its own transpose": ("some elements of the input tensor", lambda torch, x, y: y.copy_(y.t())),
}


@pytest.mark.parametrize("write", REFUSED)
@as_torch(words=lambda write: REFUSED[write][0])
def test_refused_writes(torch, write):
    x = torch.arange(4.0).view(2, 2).requires_grad_()
    return REFUSED[write][1](torch, x, x * 1)


WHOLE = [..., slice(None), (), (slice(None), slice(0, 2)), [0, 1], tinyrnn.tensor([1]), (slice(None), tinyrnn.tensor([1])),
         tinyrnn.ones(2, 2) > 0, tinyrnn.ones(2) > 0]  # fmt: skip
PARTIAL = [0, (1, 1), slice(1), None, True, slice(0, 0), (slice(None), 0), tinyrnn.tensor(0), (0, tinyrnn.tensor([1])),
           (tinyrnn.tensor([1]), slice(1)), (tinyrnn.ones(2) > 0, 0)]  # fmt: skip


@pytest.mark.parametrize("index, words", [(i, LEAF) for i in WHOLE] + [(i, VIEW_OF_LEAF) for i in PARTIAL], ids=repr)
def test_refused_assignment_to_a_leaf(index, words):
    """Integers and slices make a view, to which is written; tensors of indices, masks and the whole do not."""
    x = tinyrnn.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"^{words}"):
        x[index] = 1
    assert x.tolist() == [[1, 1], [1, 1]]
    with tinyrnn.no_grad():
        x[index] = 1


@as_torch(words="some elements of the input tensor and the written-to tensor refer to a single memory location")
def test_a_write_across_itself(torch):
    x = torch.arange(4.0)
    x[1:] = x[:-1]


@as_torch
def test_one_of_its_elements_written_all_over(torch):
    """The element is read before it is overwritten, whatever it is a view of."""
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    y, z, flat = x * 1, x * 1, torch.arange(4.0)
    y[0] = y[0, 1].detach()
    z[:, 0] = z[1, 2]
    flat[1:3] = flat[2]
    flat[...] = flat[3]
    (y + z).sum().backward()
    return y, z, flat, x.grad


@as_torch
def test_a_write_onto_itself(torch):
    x = torch.arange(4.0).view(2, 2)
    x.copy_(x)
    x[::2] = x[1::2]  # the two do not touch
    return x


@as_torch
def test_a_refused_write_changes_nothing(torch):
    leaf = torch.ones(2, 2, requires_grad=True)
    x = leaf * 1
    rows = x.unbind()
    told = []
    for target, value in ((leaf, 5.0), (rows[0], 5.0), (x[0].expand(2, 2), torch.zeros(2, 2)), (x, torch.ones(3))):
        try:
            target.mul_(value)
        except RuntimeError as error:
            told.append(type(error).__name__)
    (x * x).sum().backward()
    return told, x, leaf, leaf.grad


STALE = {
    "one of several": (SEVERAL, lambda torch, y: y.unbind()[0]),
    "from no_grad": (NO_GRAD, lambda torch, y: unrecorded(torch, lambda: y[0])),
}


@pytest.mark.parametrize("view", STALE)
@as_torch(words=lambda view: STALE[view][0])
def test_a_view_whose_history_is_lost_is_not_used(torch, view):
    """A write to the base changed it, and no node can tell how."""
    y = torch.ones(2, 2, requires_grad=True) * 1
    v = STALE[view][1](torch, y)
    y.add_(1)
    return v * 2


@pytest.mark.parametrize("use", ["retain_grad", "backward"])
@as_torch(words=SEVERAL)
def test_a_lost_history_is_not_used_in_other_ways(torch, use):
    y = torch.ones(2, requires_grad=True) * 1
    v = y.unbind()[0]
    y.add_(1)
    getattr(v, use)()


# ---------------------------------------------------------------------------------------- views and no_grad
@as_torch
def test_views_inside_no_grad(torch):
    leaf = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        view, copy = leaf[:1], leaf * 1
        view.add_(5)
    return view.requires_grad, copy.requires_grad, leaf, leaf.is_leaf


@as_torch
def test_a_write_to_a_leaf_inside_no_grad(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        x -= 0.5
        x[0] = 9.0
    (x * x).sum().backward()
    return x, x.grad, x.is_leaf


@as_torch
def test_a_view_from_no_grad_leads_nowhere(torch):
    w = torch.tensor(2.0, requires_grad=True)
    with torch.no_grad():
        view = w.unsqueeze(0)
    y = (view.exp() * 3).sum()
    y.backward()
    return view.requires_grad, y.requires_grad, w.grad


@as_torch
def test_a_write_inside_no_grad_is_seen_but_not_differentiated(torch):
    leaf = torch.ones(2, requires_grad=True)
    x = leaf * 3
    view = x[:1]
    with torch.no_grad():
        x.mul_(10)
        view.add_(1)
    (x * 2).sum().backward()
    return x, view, leaf.grad


@as_torch
def test_detached_writes(torch):
    w = torch.tensor(2.0, requires_grad=True)
    x = torch.ones(2) * w
    d = x[0].detach()
    d.mul_(w)
    (x.sum() + d * 10).backward()
    return x, d, w.grad


@as_torch
def test_a_number_as_strided(torch):
    x = torch.tensor(2.0, requires_grad=True)
    x.as_strided((), (), 0).backward(torch.tensor(3.0))
    return x.grad


@as_torch
def test_a_view_may_be_a_leaf_of_its_own(torch):
    base = torch.ones(3)
    view = base[:2].requires_grad_()
    base.add_(1)
    (view * view).sum().backward()
    return base.requires_grad, view.is_leaf, view.grad


# ---------------------------------------------------------------------------------------- saved tensors
USES = {
    "product": lambda y, w: y * w,
    "square": lambda y, w: y * y,
    "quotient": lambda y, w: w / y,
    "power": lambda y, w: y**2,
    "matmul": lambda y, w: w @ y,
    "sine": lambda y, w: y.sin(),
    "exp_": lambda y, w: y.exp_(),
    "tanh_": lambda y, w: y.tanh_(),
    "sigmoid_": lambda y, w: y.sigmoid_(),
    "sqrt_": lambda y, w: y.sqrt_(),
}
WRITES = {
    "add_": lambda y: y.add_(1),
    "+=": lambda y: y.__iadd__(1),
    "item": lambda y: y.__setitem__(0, 5.0),
    "view": lambda y: y.view(1, 2)[0, 1:].zero_(),
    "detach": lambda y: y.detach().copy_(y.detach() * 2),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("write", WRITES)
@as_torch(words="modified by an inplace operation")
def test_a_write_between_use_and_backward(torch, use, write):
    x, w = torch.ones(2, requires_grad=True), torch.tensor([2.0, 3.0], requires_grad=True)
    y = x * 1
    z = USES[use](y, w).sum()
    WRITES[write](y)
    z.backward()


@pytest.mark.parametrize("function", ["exp", "tanh", "sigmoid", "sqrt"])
@as_torch(words="is at version 1; expected version 0 instead. Hint: ")
def test_a_write_over_the_result_that_was_saved(torch, function):
    y = getattr(torch.ones(2, requires_grad=True), function)()
    y.add_(1)
    y.sum().backward()


@as_torch(words="[torch.DoubleTensor [2, 1]], which is output 0 of ")
def test_the_error_names_the_tensor(torch):
    y = torch.ones(2, 1, dtype=torch.float64, requires_grad=True) * 1
    z = y * y
    y.add_(1)
    z.sum().backward()


@as_torch(
    words="modified by an inplace operation: [torch.FloatTensor [2]] is at version 2; expected version 1 instead."
)
def test_the_error_names_the_versions(torch):
    x, c = torch.ones(2, requires_grad=True), torch.ones(2)
    c.mul_(2)
    z = x * c
    c.mul_(2)
    z.sum().backward()


@as_torch
def test_what_no_gradient_needs_may_change(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 1
    z = y + 3 * y - y / 2 + y * torch.tensor([5.0, 6.0])
    y.zero_()
    z.sum().backward()
    return x.grad


@as_torch
def test_a_write_through_data_is_not_noticed(torch):
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y.data[0] = 7.0
    z.backward()
    return x.grad, y.data.requires_grad, y.data.is_leaf


@as_torch
def test_in_place_forms_keep_what_they_need(torch):
    x, w = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0], requires_grad=True)
    y = x * 1
    y = y.mul_(w).sin_().add_(w).div_(w).exp_().clone()
    y -= x
    y *= 2
    y[:1].mul_(w[1:]).pow_(2)
    y.sum().backward()
    return y, x.grad, w.grad


@as_torch
def test_elements_of_another_size_lie_at_multiples_of_it(torch):
    """A GPU cannot read them anywhere else."""
    bytes, found = torch.arange(36, dtype=torch.int8).view(2, 18), []
    for part in (bytes[:, 1:17], bytes[:, :16], bytes[0, ::2], bytes[0, :17], bytes[0, 0], bytes.view(9, 4)[:, :2]):
        for dtype in (torch.int64, torch.int16):
            try:
                found.append(part.view(dtype))
            except RuntimeError as error:
                found.append(str(error))
    return tuple(found)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.clamp(tinyrnn.zeros(3), tinyrnn.full((3,), 2.0)),
        lambda x: x * tinyrnn.ones(3, dtype=tinyrnn.float32, requires_grad=True),
    ],
)
def test_a_write_to_what_was_saved_stretched_is_noticed(use):
    """Beside a tensor of another type, which is cast."""
    base = tinyrnn.ones(3, dtype=tinyrnn.float64, requires_grad=True) * 1
    result = use(base.expand(2, 3))
    with tinyrnn.no_grad():
        base.add_(5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_an_expanded_tensor_can_be_filled_with_one_number():
    x = tinyrnn.ones(1, 3)
    assert x.expand(2, 3).fill_(2.0).tolist() == [[2, 2, 2]] * 2 and x.tolist() == [[2, 2, 2]]
    before = x._version
    assert not x.expand(4, 3)[1:].zero_().any() and not x.any() and x._version > before
    with pytest.raises(RuntimeError, match="single memory location"):
        x.expand(2, 3).add_(1)


@as_torch
def test_a_write_to_a_view_is_walked_once(torch):
    x, w = torch.zeros(1, 3).clone(), torch.tensor(0.75, requires_grad=True)
    view = x.view(3)
    view.add_(w)
    view.sum().backward(retain_graph=True)
    view.sum().backward()
    for t in (view, x):
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            t.sum().backward()
    return w.grad


@as_torch
def test_indices_that_are_overwritten_after_take_along_dim(torch):
    """It took a copy, whether they were to be counted around the end or not."""
    grads = []
    for column in (1, -1):
        x, i = torch.arange(6.0).reshape(2, 3).requires_grad_(), torch.tensor([[column], [0]])
        y = x.take_along_dim(i, 1)
        i.fill_(2)
        y.sum().backward()
        grads.append(x.grad)
    return grads


def test_rows_are_numbered_in_64_bits():
    n, last = 1 << 16, np.array([-1, 2], np.int32)
    assert index.numbers_of((last, last), (n, n, 5)).tolist() == [n * n - 1, 2 * n + 2]
    assert index.numbers_of((last[:, None], last), (3, 4)).tolist() == [[11, 10], [11, 10]]


FEW_PLACES = {  # writes to some of the 300 rows or columns of x, by i = 5, 0, 299; y has 3 rows of 400, j one for each row
    "rows": lambda x, i, y, j: x.__setitem__(i, y),
    "a number": lambda x, i, y, j: x.__setitem__((slice(None), i), 2.5),
    "a list": lambda x, i, y, j: x.__setitem__([5, 0, -1], 2.5),
    "a mask of rows": lambda x, i, y, j: x.__setitem__(tinyrnn.arange(300) % 299 == 0, 2.5),
    "one in each row": lambda x, i, y, j: x.__setitem__((tinyrnn.arange(300), j[:, 0]), 1.5),
    "one row": lambda x, i, y, j: x.__setitem__(7, y[0]),
    "one number": lambda x, i, y, j: x.__setitem__((7, 8), 3),
    "index_put_": lambda x, i, y, j: x.index_put_((i,), y),
    "index_put_, accumulate": lambda x, i, y, j: x.index_put_((i,), y, accumulate=True),
    "index_copy_": lambda x, i, y, j: x.index_copy_(0, i, y),
    "index_add_": lambda x, i, y, j: x.index_add_(0, i, y, alpha=2),
    "index_fill_": lambda x, i, y, j: x.index_fill_(1, i, -1.0),
    "scatter_": lambda x, i, y, j: x.scatter_(1, j, 1.0),
    "scatter_add_": lambda x, i, y, j: x.scatter_add_(1, j, j.float()),
    "scatter_, multiply": lambda x, i, y, j: x.scatter_(1, j, j.float(), reduce="multiply"),
    "fill_diagonal_": lambda x, i, y, j: x.fill_diagonal_(9.0),
    "scatter_reduce_": lambda x, i, y, j: x.scatter_reduce_(1, j, j.float(), "amax", include_self=False),
}


# What a gradient needs of "scatter_reduce_" is kept, and "multiply" has none.
RECORDED = [name for name in FEW_PLACES if name not in ("scatter_reduce_", "scatter_, multiply")]


@pytest.mark.parametrize(
    "name, recorded", [*((name, False) for name in FEW_PLACES), *((name, True) for name in RECORDED)]
)
def test_a_write_to_a_few_places_does_not_copy_the_rest(name, recorded):
    """It takes the time and the memory of these places, of a replay buffer, say, or a cache of keys; and it does what
    the same write does to a tensor that does not lie in order, of which there is a copy."""
    write = FEW_PLACES[name]
    i, j = tinyrnn.tensor([5, 0, 299]), tinyrnn.arange(300)[:, None] * 7 % 400
    y = tinyrnn.arange(1200.0).view(3, 400).sin().requires_grad_(recorded)
    start = tinyrnn.arange(120_000.0).view(300, 400).cos()
    leaves, results = [], []
    for copied in (True, False, False):  # the last time all kernels are compiled
        leaf = start.clone().requires_grad_(recorded)
        x = leaf * 1
        if copied:
            x = x.t().contiguous().t()
        place, memory = x.data_ptr(), x.array
        tracemalloc.start()
        try:
            write(x, i, y, j)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert x.data_ptr() == place and x.array is memory
        leaves.append(leaf)
        results.append(x)
    assert peak < 100_000  # x has 480,000 bytes
    assert tinyrnn.equal(results[0], results[1]) and tinyrnn.equal(results[1], results[2])
    assert not tinyrnn.equal(results[2], start)
    if recorded:
        weight = tinyrnn.arange(120_000.0).view(300, 400)
        gradients = []
        for leaf, x in zip(leaves, results, strict=True):
            gradients.append(tinyrnn.autograd.grad((x * weight).sum(), [leaf, y], allow_unused=True))
        for one, other in zip(gradients[0], gradients[2], strict=True):
            assert (one is None and other is None) or tinyrnn.equal(one, other)


SHARED_WRITES = {
    "rows": lambda x, i: x.__setitem__(i, x[:3]),
    "index_copy_": lambda x, i: x.index_copy_(0, i, x[:3]),
    "index_add_": lambda x, i: x.index_add_(0, i, x[:3]),
    "scatter_add_": lambda x, i: x.scatter_add_(0, i[:, None].expand(3, 4), x[:3]),
    "a row": lambda x, i: x.__setitem__(slice(1, 4), x[:3].clone()),
}


@pytest.mark.parametrize("write", SHARED_WRITES)
def test_what_is_written_may_lie_in_the_tensor_itself(write):
    """All of it is read before anything is written."""
    x, i = tinyrnn.arange(20.0).view(5, 4), tinyrnn.tensor([1, 2, 3])
    apart = x.t().contiguous().t()
    before = x[:3].clone()
    SHARED_WRITES[write](x, i)
    expected = tinyrnn.arange(20.0).view(5, 4)
    expected[1:4] = before if "add" not in write else expected[1:4] + before
    SHARED_WRITES[write](apart, i)
    assert tinyrnn.equal(x, expected) and tinyrnn.equal(apart, expected)


@pytest.mark.parametrize("index", [[0, 7], [0, -6]])
@pytest.mark.parametrize("grad", [False, True])
def test_an_index_out_of_range_changes_nothing(index, grad):
    y = tinyrnn.ones(2, 4, requires_grad=grad)
    for write in (
        lambda x, i: x.__setitem__(i, y),
        lambda x, i: x.index_add_(0, i, y),
        lambda x, i: x.index_copy_(0, i, y),
        lambda x, i: x.scatter_(0, i[:, None].expand(2, 4), y),
        lambda x, i: x.index_fill_(0, i, 3.0),
    ):
        x = tinyrnn.arange(20.0).view(5, 4)
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            write(x, tinyrnn.tensor(index))
        assert tinyrnn.equal(x, tinyrnn.arange(20.0).view(5, 4)) and x._version == 0


# ------------------------------------------------------------------------------------------ where new tensors lie
LIKE = {
    "in order": lambda torch: torch.ones(2, 3, 4),
    "transposed": lambda torch: torch.ones(4, 2).t(),
    "permuted": lambda torch: torch.ones(2, 3, 4).permute(2, 0, 1),
    "with gaps": lambda torch: torch.ones(3, 4, 5).permute(2, 0, 1)[::2],
    "expanded": lambda torch: torch.zeros(1, 1, 8).expand(2, 3, 8),
    "expanded columns": lambda torch: torch.ones(1, 4).expand(3, 4),
    "expanded, with gaps": lambda torch: torch.zeros(1, 2, 8).expand(2, 2, 8)[:, :, ::2],
    "expanded and transposed": lambda torch: torch.ones(7, 5).t().expand(2, 5, 7),
    "a layer's output": lambda torch: torch.ones(4, 2, 3).transpose(0, 1),
}


@pytest.mark.parametrize("like", LIKE)
@pytest.mark.parametrize("ordered", [False, True])
@as_torch
def test_what_is_made_like_a_tensor_lies_as_it_does(torch, like, ordered):
    """Numbers are drawn in the order in which they lie; an expanded tensor has one like it without shared places."""
    x, how = LIKE[like](torch), {"memory_format": torch.contiguous_format} if ordered else {}
    torch.manual_seed(5)
    made = [
        torch.zeros_like(x, **how), torch.ones_like(x, **how), torch.full_like(x, 2.0, **how),
        torch.rand_like(x, **how), torch.randn_like(x, requires_grad=True, **how), torch.randint_like(x, 10, **how),
        torch.randint_like(x, 3, 7, dtype=torch.int64, **how),
    ]  # fmt: skip
    assert made[4].is_leaf
    return [(str(t.dtype), t.stride(), t) for t in (*made, torch.rand(2))], torch.empty_like(x, **how).stride()


def test_in_place_forms_allocate_nothing():
    """A formula overwrites its input, also where it is recorded and its derivative reads the result alone."""
    x, y, z = (tinyrnn.rand(1 << 18) for _ in range(3))
    half = tinyrnn.rand(1 << 18, requires_grad=True) * 0.5
    leaky = lambda t: tinyrnn.nn.functional.leaky_relu(t, 0.1, inplace=True)
    forms = [
        (x, lambda t: t.relu_()), (x, lambda t: t.tanh_().clamp_(0.0, 0.5)), (x, lambda t: t.addcmul_(y, z, value=0.5)),
        (x, lambda t: t.lerp_(y, 0.5)), (x, leaky), (x, lambda t: t.fill_(0.5)), (half, lambda t: t.sigmoid_()),
    ]  # fmt: skip
    for t, form in forms:
        form(t)  # compiled, and warm
        tracemalloc.start()
        try:
            assert form(t) is t
            assert tracemalloc.get_traced_memory()[1] < t.nbytes / 8
        finally:
            tracemalloc.stop()
    a, b = tinyrnn.arange(8.0), tinyrnn.arange(8.0)
    a[1:].lerp_(a[:-1], 0.5)  # which lie across each other
    assert a[1:].equal(b[1:].lerp(b[:-1], 0.5))
