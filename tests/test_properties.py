"""Properties that hold for all inputs: on generated cases, tinyrnn does what torch does.

    pytest tests/test_properties.py --cases 3000

runs more cases, other ones each time; a failure prints the program that shows it, and a line that reproduces it.
"""

import contextlib
import re

import numpy as np
from conftest import needs_torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    ANY,
    DTYPES,
    FLOATS,
    KINDS,
    LAYOUTS,
    SHAPES,
    SIZES,
    Fields,
    Given,
    alike,
    calls,
    cases,
    check,
    index,
    look_again,
)

NUMBERS = "0 1 2 -1 -2 3 0.5 -1.5 2.0 0.0 True False inf nan 300 1e10 -0.0"
START = calls("x = source | x = source.clone() | x = source.clone() | x = source.detach().clone()")


# ------------------------------------------------------------------------------------------ broadcasting
IN_PLACE = "add sub mul div true_divide floor_divide remainder fmod pow atan2 xlogy copysign"
TRUTH = "eq ne lt le gt ge logical_and logical_or logical_xor"
BROADCAST = {
    "binary": f"{IN_PLACE} {TRUTH} hypot maximum minimum fmax fmin logaddexp",
    "binary_": IN_PLACE,
    "truth": TRUTH,
    "differentiable": IN_PLACE.replace("floor_divide", "maximum"),  # out= refuses a gradient
    "unary": "exp log sqrt rsqrt sin cos tan tanh sigmoid relu abs neg square reciprocal floor ceil round trunc sign "
    "erf log1p expm1 asin atan sinh cosh log2 log10 exp2 frac",
    "sign": "+ - * / // % **",
    "sign_of_truth": "== != < <= > >=",
    "bits": "& | ^",
    "alpha": "2 -1 0.5 True",
    "mode": "None 'floor' 'trunc'",
    "n": NUMBERS,
    "value": "0 1 2 -1 0.5 -1.5 300",
}
OF_TWO = calls("""
    r = x {sign} {b} | r = {b} {sign} x | r = x {sign_of_truth} {b} | r = torch.{binary}(x, {b}) | r = x.{binary}({b})
    r = torch.{unary}(x) | x.{unary}_() | x.{binary_}_({b}) | x.{truth}_({b}) | x {sign}= {b}
    r = torch.{differentiable}(x, {b}, out=z.clone()) | r = torch.add(x, {b}, alpha={alpha})
    r = torch.sub(x, {b}, alpha={alpha}) | r = torch.rsub(x, {b}, alpha={alpha}) | x.add_({b}, alpha={alpha})
    x.sub_({b}, alpha={alpha}) | r = torch.div(x, {b}, rounding_mode={mode}) | r = x.masked_fill(z, {b})
    x.masked_fill_(z, {b}) | r = torch.where(z, x, {b}) | r = torch.where(z, {b}, x) | r = x.where(z, {b})
""")
OF_INTEGERS = calls("r = x {bits} {b} | r = {b} {bits} x | x {bits}= {b}")
OF_THREE = calls("""
    r = torch.addcmul(x, y, z) | r = torch.addcmul(x, y, z, value={value}) | r = torch.addcdiv(x, y, z)
    r = torch.addcdiv(x, y, z, value={value}) | r = torch.lerp(x, y, z) | r = torch.lerp(x, y, {n}) | x.lerp_(y, z)
    x.lerp_(y, {n})
    r = torch.clamp(x, y, z) | r = torch.clamp(x, min=y) | r = torch.clamp(x, max=y) | r = torch.clamp(x, {n}, {n})
    r = torch.clamp(x, {n}) | x.addcmul_(y, z, value={value}) | x.addcdiv_(y, z) | x.clamp_(y, z) | x.clamp_(max={n})
""")


class Words(dict):
    """The fields of a call, each drawn from the words of a table."""

    def __init__(self, draw, table, **known):
        super().__init__(known)
        self.draw, self.table = draw, table

    def __missing__(self, name):
        return self.draw.one(self.table[name])


@cases
def broadcasts(draw):
    form = draw.one([OF_TWO, OF_TWO, OF_TWO, OF_INTEGERS, OF_THREE])
    call = draw.one(form)
    dtype = st.sampled_from(DTYPES[2:]) if form is OF_INTEGERS else ANY
    dtype = "float64" if form is OF_THREE and draw.chance() else dtype  # one type, as most programs have it
    shapes = alike(draw, 3)
    kinds = KINDS if all(map(all, shapes)) else ["plain"]  # an infinity times the gradient of nothing may be NaN
    x, y, z = (draw.tensor(shape, dtype, kinds) for shape in shapes)
    if "(z, " in call:
        z = draw.tensor(z.array.shape, draw.odd(ANY, "bool"))
        y.grad &= x.array.dtype.kind == "f"  # torch lets a gradient flow to what went into integers
    if "{truth}" in call or "out=" in call:  # torch has a gradient flow on, or a refusal that depends on the function
        y.grad = z.grad = False
        x.grad &= "out=" in call
    numbers = "3" if form is OF_INTEGERS else NUMBERS
    other = draw.one(["y", "y", "y", "x" if "z" not in call else "y", draw.one(numbers)])
    line = call.format_map(Words(draw, BROADCAST, b=other))
    arrays = [t.array for t in (x, y, z)]
    if (
        "addc" in line
        and len({a.shape for a in arrays}) > 1
        and not all(a.all() and np.isfinite(a).all() for a in arrays)
    ):
        y.grad = z.grad = False  # an infinity, of a quotient say, times what torch sums later than we do
    if ("value=300" in line or "lerp" in line) and 1 in (y.array.itemsize, z.array.itemsize):
        x.grad = y.grad = z.grad = False  # torch computes 300 times one factor, or 1 - weight, in eight bits
    if line[0] == "r" or draw.chance(4):
        return {"x": x, "y": y, "z": z}, [line]
    return {"source": x, "y": y, "z": z}, [draw.one(START[1:]), line]


@needs_torch
@given(broadcasts)
def test_broadcasting(case):
    check(*case)


# ------------------------------------------------------------------------------------------ indexing
@cases
def reads(draw):
    x = draw.tensor(dtype=ANY)
    return {"x": x}, [f"r = x[{index(draw, x.array.shape)}]"]


@needs_torch
@given(reads)
def test_indexing(case):
    check(*case)


VIEWS = calls("""
    x | x | x.t() if x.dim() == 2 else x | x[...] | x[None] | x[1:] | x.view(-1) | x.detach() | x[None].squeeze(0)
""")


@cases
def assignments(draw):
    import torch

    source = draw.tensor(dtype=ANY, layouts=["plain", "plain", "transposed", "gaps"])
    lines = [draw.one(START), f"t = {draw.one(VIEWS)}"]
    scope = {"source": source.make(torch), "torch": torch, "np": np}
    for line in lines:
        if run(line, scope):
            return {"source": source}, lines
    where = index(draw, tuple(scope["t"].shape))
    scope["numbered"] = torch.arange(scope["t"].numel()).reshape(scope["t"].shape)
    wrong = run(f"there = t.detach()[{where}]", scope)
    there = () if wrong else tuple(scope["there"].shape)
    source.grad &= not wrong
    there = tuple(1 if draw.chance(5) else n for n in there)[draw.one([0, 0, 0, 1, 9]) :]
    there = draw.one([there, there, there, (1, *there)])
    v = draw.tensor(draw.odd(SHAPES, there), draw.odd(ANY, source.array.dtype.name))
    v.grad &= source.array.dtype.kind == "f"  # torch lets whole numbers require a gradient then
    number = draw.one("0 1 2 -1 3 0.5 -1.5 True")
    value = draw.odd(
        st.sampled_from(["[1, 2]", "None", "np.float32(1)", "t.clone()"]), draw.one(["v", "v", "v.clone()", number])
    )
    source.grad &= value[0] not in "[N"
    if not wrong and run(f"assert len(places := numbered[{where}].reshape(-1).tolist()) == len(set(places))", scope):
        value = number  # which of two values at one place wins, is not promised
    change = draw.one(["", "", "s += ", "s *= "])
    if change:  # what t[where] += value does, in steps between which torch learns of the new history
        return {"source": source, "v": v}, [*lines, f"s = t[{where}]", change + value, f"t[{where}] = s"]
    return {"source": source, "v": v}, [*lines, f"t[{where}] = {value}"]


def run(line, scope):
    """Run a line; its error, if any."""
    try:
        exec(line, scope)
    except Exception as error:
        return error
    return None


@needs_torch
@given(assignments)
def test_assignment(case):
    check(*case)


READ = "gather index_select take_along_dim masked_select take"
WRITE = "index_fill index_add index_copy index_put scatter scatter_add masked_scatter scatter_reduce"


@cases
def writes(draw):
    call = draw.one(f"{READ} {WRITE}")
    kinds = KINDS if call != "scatter_reduce" else ["plain", "ties"]  # the derivative of a product divides by it
    source = draw.tensor(dtype=ANY, kinds=kinds, layouts=["plain", "plain", "transposed", "gaps"])
    family = slices if call in SLICES else along if call in ALONG else places
    inputs, args = family(draw, call, source, draw.odd(ANY, source.array.dtype.name))
    inputs = {"source": source, **inputs}
    if call in WRITE.split() and not draw.chance(3):
        return inputs, [draw.one(START), f"x.{call}_({args})"]
    return inputs, [draw.one(START), draw.one([f"r = torch.{call}(x, {args})", f"r = x.{call}({args})"])]


def extent(draw, shape):
    """A dimension as an argument, as a number from 0, and its size."""
    dim = draw.dim(len(shape))
    at = dim % len(shape) if shape else 0
    return dim, at, shape[at] if shape else 1


def numbers_of(draw, n, size, least=0, wrong=True, dtypes=DTYPES):
    """A tensor of indices from `least` to n - 1."""
    first, end = draw.odd(st.just((least - 1, n + 1)), (least, n)) if wrong else (least, n)
    array = draw.rng().integers(first, max(end, first + 1), size)
    return Given(array.astype(draw.odd(st.sampled_from(dtypes), "int64")))


SLICES = ("index_fill", "index_add", "index_copy", "index_select")


def slices(draw, call, source, dtype):
    """Functions of whole slices along a dimension."""
    shape = source.array.shape
    dim, at, n = extent(draw, shape)
    k = (draw.number(0, 3) if n else 0) if shape else 1
    if call == "index_copy":  # which of two writes to one place wins, is not promised
        i = Given(draw.rng().permutation(n)[:k])
    else:  # what torch raises for a wrong index depends here on the shape
        i = numbers_of(draw, n, () if draw.chance(6) and n else k, wrong=call == "index_fill")
    there = (*shape[:at], i.array.size, *shape[at + 1 :]) if shape else ()
    v = draw.tensor(draw.odd(st.sampled_from([(2, *there), tuple(m + 1 for m in there)]), there), dtype)
    values = {"index_fill": ["0", "2", "1.5", "v.sum()"], "index_add": ["v", "v, alpha=2"], "index_copy": ["v"]}
    value = f", {draw.one(values[call])}" if call in values else ""
    return {"i": i, "v": v}, f"{dim}, i{value}"


ALONG = ("scatter", "scatter_add", "scatter_reduce", "gather", "take_along_dim")


def along(draw, call, source, dtype):
    """Functions of an index for each element along a dimension."""
    shape = source.array.shape
    dim, at, n = extent(draw, shape)
    size = [draw.number(0, m) if draw.chance(4) else m for m in shape] if n else [0] * len(shape)
    if call == "scatter" and shape:  # as above
        order = np.argsort(draw.rng().random((*size[:at], n, *size[at + 1 :])), at)
        i = Given(order.take(range(size[at]), at))
    else:
        i = numbers_of(draw, n, draw.odd(SHAPES, tuple(size)))
    v = draw.tensor(draw.odd(st.just([max(m - 1, 0) for m in size]), size), dtype, ["plain", "ties"])
    if call == "take_along_dim":
        return {"i": i}, f"i, {dim}"
    values = {
        "gather": [""],
        "scatter": [", v", ", v", ", 2", ", 1.5", ", v, reduce='add'"],
        "scatter_add": [", v"],
        "scatter_reduce": [f", v, '{draw.one('sum prod mean amax amin')}'{draw.one(['', ', include_self=False'])}"],
    }
    return {"i": i, "v": v}, f"{dim}, i{draw.one(values[call])}"


def places(draw, call, source, dtype):
    """Functions of single elements."""
    shape, n = source.array.shape, source.array.size
    if call == "take":
        return {"i": numbers_of(draw, n, draw(SHAPES) if n else (0,), least=-n)}, "i"
    if call[:6] == "masked":
        i, v = draw.tensor(draw.odd(SHAPES, shape), draw.odd(ANY, "bool")), draw.tensor((n,), dtype)
        return {"i": i, "v": v}, "i, v" if call == "masked_scatter" else "i"
    k = draw.number(1, max(len(shape), 1))
    chosen = [draw.rng().permutation(m)[:2].tolist() if m > 1 else [0] for m in shape[:k]]
    chosen = chosen if all(shape[:k]) else [[]] * k
    chosen = draw.odd(st.just([[-1]] * k), chosen) or [[0]]
    source.grad &= bool(shape)
    tensors = ", ".join(f"torch.tensor({at}, dtype=torch.int64)" for at in chosen)
    v = draw.tensor(draw.one([(), shape[k:]]), dtype)
    return {"v": v}, f"({tensors},), v{draw.one(['', ', accumulate=True'])}"


@needs_torch
@given(writes)
def test_reading_and_writing_by_index(case):
    check(*case)


# ------------------------------------------------------------------------------------------ reductions
REDUCTIONS = {  # which dimensions a function takes (several, one, none), and its options
    "sum mean nansum nanmean": ("several one none", ["keepdim=True", "dtype=torch.float64"]),
    "amax amin any all": ("several one none", ["keepdim=True"]),
    "count_nonzero": ("several one none", []),
    "logsumexp": ("several one", ["keepdim=True"]),
    "var std": ("several one none", ["keepdim=True", "correction=0", "correction=2", "unbiased=False"]),
    "var_mean std_mean": ("several one none", ["keepdim=True", "correction=0"]),
    "norm": ("several one none", ["keepdim=True", "p=1", "p=inf", "p=3", "p=0", "p=-1", "p='fro'", "p=0.5", "p=-inf"]),
    "prod": ("one none", ["keepdim=True", "dtype=torch.float64"]),
    "max min argmax argmin": ("one none", ["keepdim=True"]),
    "cumsum cumprod": ("one", ["dtype=torch.float64"]),
    "logcumsumexp cummax cummin": ("one", []),
    "softmax log_softmax": ("one", ["dtype=torch.float64"]),
    "sort argsort": ("one none", ["descending=True", "stable=True"]),
    "diff": ("one none", []),
    "unique": ("one none", ["return_counts=True", "return_inverse=True"]),
    "unique_consecutive": ("one none", ["return_counts=True", "return_inverse=True"]),
    "aminmax": ("one none", []),
    "median nanmedian mode": ("one none", ["keepdim=True"]),
    "kthvalue": ("one none", ["keepdim=True"]),
    "topk": ("one none", ["largest=False"]),
}
OF_FLOATS = ("softmax", "log_softmax")
UNORDERED = ("median", "nanmedian", "mode", "kthvalue", "topk")  # which of equal elements they take is not promised
FINITE = ("var_mean", "std_mean", "unique", "prod", "cumprod")  # what infinities become, depends on the order of steps
FUNCTIONS = ("var_mean", "std_mean")


@cases
def reductions(draw):
    names = draw.one(list(REDUCTIONS))
    name, (dims, options) = draw.one(names), REDUCTIONS[names]
    if name in UNORDERED:
        x = draw.tensor(kinds=["plain", "positive"], layouts=["plain", "transposed", "gaps"])
    elif name in FINITE:
        x = draw.tensor(kinds=["plain", "ties"])
    else:
        x = draw.tensor(dtype=None if name in OF_FLOATS else ANY)
    args = [f"k={draw.odd(st.integers(-1, 6), draw.number(1, 2))}"] if name in ("topk", "kthvalue") else []
    dim = draw.one(dims)
    if dim != "none":
        args.append(f"dim={draw.dims(x.array.ndim) if dim == 'several' else draw.dim(x.array.ndim)}")
        x.grad &= args[-1] != "dim=()" or name[:3] not in ("var", "std")  # of which torch's gradient is infinite
    allowed = [o for o in options if dim != "none" or o[:2] not in ("ke", "un", "p=")]  # torch's overloads differ there
    chosen = draw(st.lists(st.sampled_from(allowed), max_size=2, unique_by=lambda o: o[:2])) if allowed else []
    text = ", ".join([*args, *(o for o in chosen if o[:2] != "un" or len(chosen) == 1)])
    if name in FUNCTIONS or draw.chance():
        return {"x": x}, [f"r = torch.{name}(x{', ' * bool(text)}{text})"]
    return {"x": x}, [f"r = x.{name}({text})"]


@needs_torch
@given(reductions)
def test_reductions(case):
    check(*case)


# ------------------------------------------------------------------------------------------ shapes
RESHAPINGS = calls("""
    x.reshape({sizes}) | x.view({sizes}) | x.permute({order}) | torch.permute(x, {order}) | x.transpose({d}, {d})
    torch.swapaxes(x, {d}, {d}) | x.swapdims({d}, {d}) | torch.movedim(x, {d}, {d}) | x.moveaxis{pair} | x.t() | x.T
    x.expand({wider}) | x.broadcast_to({wider}) | x.expand_as(y) | x.repeat({counts}) | x.tile({counts})
    x.flatten({d}, {d}) | x.flatten() | x.ravel() | x.unflatten({d}, {parts}) | x.squeeze() | x.squeeze({d})
    x.squeeze({ds}) | x.unsqueeze({after}) | x.flip({ds}) | torch.fliplr(x) | torch.flipud(x) | x.roll({k}, {d})
    x.roll({k}) | x.roll{shifts} | x.split({k}, {d}) | x.split({widths}, {d}) | x.chunk({k}, {d})
    x.tensor_split({k}, {d}) | x.tensor_split({widths}, {d}) | x.unbind({d}) | x.narrow({d}, {k}, {n})
    x.select({d}, {k}) | x.diagonal({k}, {two}) | x.diagonal({k}) | x.diag() | torch.diag(x, {k})
    torch.diag_embed(x, {k}) | x.tril({k}) | torch.triu(x, {k}) | torch.cat([x, y], {d}) | torch.cat((x, z, x), {d})
    torch.stack([x, z], {after}) | torch.hstack((x, y)) | torch.vstack([x, y]) | torch.dstack([x, y])
    torch.column_stack([x, y]) | torch.cat([x, y, z]) | torch.cat([]) | F.pad(x, {pads})
    F.pad(x, {pads}, value=2.5) | x.repeat_interleave({n}, {d}) | x.repeat_interleave({n})
    x.repeat_interleave(torch.tensor({widths}, dtype=torch.int64), {d}) | x.unfold({d}, {n}, {n})
    torch.rot90(x, {k}, ({two})) | x.contiguous() | x.clone() | x.reshape_as(y) | x.view_as(y) | x.float()
    x.double() | x.bool() | x.long() | torch.meshgrid(x, y, indexing='ij') | torch.meshgrid(x, y, indexing='xy')
    torch.atleast_1d(x) | torch.atleast_2d(x) | torch.atleast_3d(x) | x.mT | x.T | torch.broadcast_tensors(x, y)
    torch.kron(x, y) | (x.size(), x.size({d}), x.numel(), x.dim(), x.is_contiguous()) | torch.outer(x, y)
    x.detach()
""")


@cases
def reshapings(draw):
    x = draw.tensor(dtype=ANY)
    shape = x.array.shape
    call = draw.one(RESHAPINGS)
    inputs = {"x": x}
    if "y" in call.replace("x.type", ""):
        other = list(shape)
        if shape and draw.chance():
            other[draw.number(0, len(shape) - 1)] = draw(SIZES)
        if call[:14] in ("torch.meshgrid", "torch.outer(x,", "torch.kron(x, "):
            inputs["x"] = draw.tensor(draw.odd(SHAPES, draw.one([(2,), (3,), (0,), ()])), ANY)
            other = draw.one([(2,), (1,), (), (0,)])
        inputs["y"] = draw.tensor(draw.odd(SHAPES, other), ANY)
    if "z" in call:
        inputs["z"] = draw.tensor(draw.odd(st.one_of(SHAPES, st.just((0,))), shape), ANY)
    return inputs, [f"r = {call.format_map(Fields(draw, inputs['x'].array.shape))}"]


@needs_torch
@given(reshapings)
def test_shapes(case):
    check(*case)


# ------------------------------------------------------------------------------------------ matrix products
PRODUCTS = calls("""
    torch.matmul(x, y): *mk *kn | x @ y: *mk *kn | x @ y: k *kn | x.matmul(y): *mk k | x @ y: k k | x @ y: mk kn
    x.mm(y): mk kn | x.bmm(y): bmk bkn | x.mv(y): mk k | x.dot(y): k k | torch.outer(x, y): m n
    torch.inner(x, y): *mk *nk | F.linear(x, y): *mk nk | F.linear(x, y, z): *mk nk n | F.linear(x, y, z): k nk n
    torch.vdot(x, y): k k | torch.addmm(z, x, y{scaled}): mk kn {added} | z.addmm_(x, y{scaled}): mk kn mn
    torch.baddbmm(z, x, y{scaled}): bmk bkn bmn | z.baddbmm(x, y{scaled}): bmk bkn {added}
    torch.addmv(z, x, y{scaled}): mk k m | torch.addbmm(z, x, y{scaled}): bmk bkn mn
    torch.tensordot(x, y, 2): mkn knb | torch.tensordot(x, y, ([1], [0])): mk knb
    torch.chain_matmul(x, y): mk kn | torch.linalg.multi_dot([x, y, z]): mk kn nm
    {einsum} | {einsum} | {einsum} | {einsum}
""")


@cases
def products(draw):
    size = {letter: draw.one([2, 3, 1, 4, 0, 17]) for letter in "mknb"}
    leading = draw(st.lists(SIZES, max_size=3))
    scaled = draw.one(["", ", beta=2", ", alpha=0.5", ", beta=0.5, alpha=3", ", beta=0, alpha=0"])
    added = draw.one(["mn", "n", "m", "-"]) if size["m"] == size["n"] else draw.one(["mn", "n", "-"])
    call = draw.one(PRODUCTS).format(scaled=scaled, added=added, einsum="{einsum}")
    if call == "{einsum}":
        call, shapes = equation(draw)
    else:
        call, _, letters = call.rpartition(": ")
        shapes = [shaped(draw, word, size, leading) for word in letters.split()]
    dtype = "int64" if scaled in ("", ", beta=2") and draw.chance(4) else draw.one(FLOATS)
    alone = "einsum" in call or not all(map(all, shapes))  # there torch accepts some mixtures of types
    mixed = st.just(dtype) if alone else st.sampled_from(["float32", "float64", "int64", "int32"])
    wrong = lambda shape: st.sampled_from([(2, *shape), shape[::-1], tuple(n + 1 for n in shape)])
    inputs = {}
    for name, shape in zip("xyz", shapes, strict=False):
        kind = draw.odd(mixed, dtype) if name == "y" else dtype
        layouts = LAYOUTS[:-1] if "_(" in call else LAYOUTS  # torch does not look whether addmm_ writes to one place
        inputs[name] = draw.tensor(draw.odd(wrong(shape), shape), kind, ["plain", "plain", "ties"], layouts)
    return inputs, [call if "_(" in call else f"r = {call}"]


def shaped(draw, letters, size, leading):
    """The shape that letters stand for; a star for leading dimensions, of which some may be one or left out."""
    if letters[0] != "*":
        return tuple(size[letter] for letter in letters if letter != "-")
    lead = [1 if draw.chance(3) else n for n in leading[draw.number(0, len(leading)) :]]
    return (*lead, *shaped(draw, letters[1:], size, leading))


def equation(draw):
    """An einsum, and the shapes of its operands."""
    size = {letter: draw.one([2, 3, 1, 4, 0]) for letter in "abcd"}
    terms = ["".join(draw(st.lists(st.sampled_from("abcd"), max_size=3))) for _ in range(draw.one([1, 2, 2, 2, 3]))]
    dots = [draw.one(["", "..."]) if draw.chance(4) else "" for _ in terms]
    used = sorted(set("".join(terms)))
    out = "->" + max(dots) + "".join(draw(st.permutations(used))[: draw.number(0, len(used))])
    text = ",".join(d + t for d, t in zip(dots, terms, strict=True)) + draw.one(["", out, out])
    shapes = [(2,) * (d != "" and draw.chance()) + tuple(size[c] for c in t) for d, t in zip(dots, terms, strict=True)]
    text = draw.odd(st.sampled_from(["ab,bc->ad", "a->aa", "ab->ba->", "A1", "ab,", "a b"]), text)
    return f"torch.einsum({text!r}, {', '.join('xyz'[: len(terms)])})", shapes


@needs_torch
@given(products)
def test_matrix_products(case):
    check(*case)


# ------------------------------------------------------------------------------------------ losses
def reduction(draw):
    return draw.odd(st.just(", reduction='avg'"), draw.one(["", "", ", reduction='sum'", ", reduction='none'"]))


def soft(draw):
    name = draw.one("softmax log_softmax softmin")
    x = draw.tensor()
    dtype = draw.one(["", "", ", dtype=torch.float64", ", dtype=torch.float32"])
    how = draw.one(["torch.{}(x, {}{})", "x.{}({}{})", "F.{}(x, {}{})"]) if name != "softmin" else "F.{}(x, {}{})"
    return {"x": x}, how.format(name, draw.dim(x.array.ndim), dtype)


def classes(draw):
    name, c, dtype = draw.one("cross_entropy cross_entropy nll_loss"), draw.number(1, 4), draw.one(FLOATS)
    batch, rest = draw.one([((3,), ()), ((3,), (2,)), ((2,), (2, 3)), ((1,), ()), ((0,), ()), ((), ()), ((2,), (0,))])
    size, options = (*batch, c, *rest), reduction(draw)
    kinds = ["plain", "plain", "ties", "special"]
    mixed = ANY if all(size) else st.just(dtype)
    x = draw.tensor(draw.odd(SHAPES, size), draw.odd(mixed, dtype), kinds, ["plain", "gaps"])
    if name == "cross_entropy" and draw.chance(3):
        y = draw.tensor(draw.odd(SHAPES, size), draw.odd(ANY, dtype), "unit")
    else:
        wrong = st.sampled_from([(5,), (2, 4), (5, 5, 5)])
        y = numbers_of(draw, c, draw.odd(wrong, (*batch, *rest)), dtypes=("int32", "int16", "bool", "float32"))
        ignored = draw.one([-100, -100, -1, 0, 2])
        y.array = np.where(draw.rng().integers(0, 4, y.array.shape) == 0, ignored, y.array).astype(y.array.dtype)
        options += f", ignore_index={ignored}" * (ignored != -100)
    w = draw.tensor(draw.odd(st.sampled_from([(c + 1,), (2, c)]), (c,)), draw.odd(ANY, dtype), "unit", grad=False)
    options += draw.one(["", ", weight=w"])
    if name == "cross_entropy":
        smoothing = draw.odd(st.just(", label_smoothing=1.5"), draw.one(["", ", label_smoothing=0.1"]))
        options += smoothing
    return {"x": x, "y": y, "w": w}, f"F.{name}(x, y{options})"


def lookup(draw):
    rows, width = draw.number(1, 4), draw.number(1, 3)
    shape = draw.odd(st.sampled_from([(3,), (2, 2, 2)]), (rows, width))
    w = draw.tensor(shape, draw.odd(ANY, draw.one(FLOATS)), ["plain", "special"])
    i = numbers_of(draw, rows, draw(SHAPES))
    padding = draw.odd(st.sampled_from([-9, 9]), draw.number(-rows, rows - 1))
    return {"w": w, "i": i}, f"F.embedding(i, w{draw.one(['', f', padding_idx={padding}', f', {padding}'])})"


def normal(draw):
    shape, dtype = draw(SHAPES), draw.one(FLOATS)
    tail = draw.odd(SHAPES, shape[draw.number(0, max(len(shape) - 1, 0)) :])
    w, b = (draw.tensor(draw.odd(SHAPES, tail), draw.odd(ANY, dtype), ["plain", "ties"]) for _ in "wb")
    x = draw.tensor(shape, dtype, ["plain", "ties"])
    args = draw.one(["", ", w", ", w, b", ", None, b", ", eps=1e-3"])
    return {"x": x, "w": w, "b": b}, f"F.layer_norm(x, {tail}{args})"


ELEMENTWISE = {
    "mse_loss": [],
    "l1_loss": [],
    "smooth_l1_loss": [", beta=0.5", ", beta=0.0", ", beta=2"],
    "huber_loss": [", delta=0.5", ", delta=2"],
    "kl_div": [", log_target=True"],
    "binary_cross_entropy": [", weight=w"],
    "binary_cross_entropy_with_logits": [", weight=w", ", pos_weight=p", ", weight=w, pos_weight=p"],
}


def elementwise(draw):
    name, dtype, shape = draw.one(list(ELEMENTWISE)), draw.one(FLOATS), draw(SHAPES)
    binary, kinds = name[:6] == "binary", ["plain", "ties", "positive", "special"]
    similar = draw.one([shape, shape, tuple(1 if n == 2 else n for n in shape)])
    alone = name == "huber_loss" or not all(shape)  # torch's gradients of mixed types fail there
    mixed = st.just(dtype) if alone else ANY
    first = "unit" if name == "binary_cross_entropy" else kinds
    x = draw.tensor(shape, draw.odd(mixed, dtype), first, ["plain", "gaps"])  # input or target decides on the layout
    size = draw.odd(SHAPES, shape if binary else similar)
    y = draw.tensor(size, draw.odd(mixed, dtype), "unit" if binary or name == "kl_div" else kinds)
    w = draw.tensor(draw.one([shape, shape[-1:], ()]), draw.odd(ANY, dtype), "unit", grad=False)
    p = draw.tensor(draw.odd(SHAPES, shape[-1:]), dtype, "positive", grad=False)
    option = draw.one(["", *ELEMENTWISE[name]])
    return {"x": x, "y": y, "w": w, "p": p}, f"F.{name}(x, y{reduction(draw)}{option})"


@cases
def losses(draw):
    inputs, text = draw.one([soft, classes, classes, lookup, normal, elementwise, elementwise])(draw)
    return inputs, [f"r = {text}"]


@needs_torch
@given(losses)
def test_losses(case):
    check(*case)


# ------------------------------------------------------------------------------------------ programs
LOOKS = calls("""
    {t}.view({sizes}) | {t}.reshape({sizes}) | {t}.transpose({d}, {d}) | {t}.select({d}, {at})
    {t}.narrow({d}, 0, {at}) | {t}[{index}] | {t}[{index}] | {t}.expand({wider}) | {t}.diagonal()
    {t}.split(1, {d})[-1] | {t}.chunk(2, {d})[0] | {t}.unbind({d})[0] | {t}.squeeze() | {t}.squeeze({d})
    {t}.unsqueeze({after}) | {t}.flatten() | {t}.permute({order}) | {t}.T | {t}.detach() | {t}.detach()
    {t}.contiguous() | {t}.view_as({t}) | {t}.expand_as({u}) | {t}.unfold({d}, 1, 1)
""")
USES = calls("""
    {t} * {t} | {t} * {u} | {t} + {u} | {t}.exp() | {t}.sin() | {t} * w | {t}.clone() | {t}.sum() | {t}.tanh()
    {t}.relu() | torch.cat([{t}, {u}]) | torch.stack([{t}, {t}]) | torch.where({t} > 0.7, {t}, {u}) | {t}.sigmoid()
    {t}.softmax(-1) | {t}.amax() | {t} / (1 + {u} * {u}) | {t}.masked_fill({t} > 0.9, 2.0)
""")
CHANGES = calls("""
    {t}.add_({u}) | {t}.mul_({u}) | {t}.mul_(w) | {t}.sub_(0.5) | {t}.copy_({u}) | {t}.fill_({n}) | {t}.fill_(w)
    {t}.zero_() | {t}.masked_fill_({t} > 0.7, 0.5) | {t}.masked_fill_({t} > 0.7, w) | {t}[{index}] = {u}
    {t}[{index}] = {n} | {t}[{index}] = w * 2 | s = {t}[{index}]; s += {u}; {t}[{index}] = s
    s = {t}[{index}]; s *= w; {t}[{index}] = s | {t}[{index}] = {t}[{index}] * 2 | {t} += {u} | {t} *= {t}
    {t}.exp_() | {t}.sigmoid_() | {t}.div_(2) | {t}.clamp_(0.6, 1.2) | {t}.tanh_() | {t}.addcmul_({u}, w) | {t}.t_()
    {t}.unsqueeze_({after}) | {t}.squeeze_() | {t}.relu_() | {t}.neg_()
""")
FLAGS = calls("""
    {t}.requires_grad_() | {t}.retain_grad() | {t}.sum().backward()
    {t} = {t}.detach().requires_grad_()
""")
BASES = calls("""
    x * 1.0 | x * 1.0 | x | x.view(-1) | x.detach().clone() | torch.zeros(2, 3, dtype=torch.float64)
""")


@cases
def programs(draw):
    import torch

    size = draw.one([(3,), (2, 3), (2, 2, 2), (1, 3), (3, 1), (), (2, 0)])
    inputs = {"x": draw.tensor(size, "float64", "positive", ["plain", "plain", "transposed"], grad=True)}
    inputs["w"] = Given(np.array(0.75), grad=True)
    scope = {name: t.make(torch) for name, t in inputs.items()}
    lines, known = [], {"torch": torch, "np": np}

    def add(line):
        lines.append(line)
        look_again(scope)
        with contextlib.suppress(Exception):
            exec(line, known, scope)

    add(f"a = {draw.one(BASES)}")
    for k in range(draw.number(2, 8)):
        kind = draw.one([LOOKS, LOOKS, LOOKS, USES, CHANGES, CHANGES, CHANGES, FLAGS])
        line = statement(draw, scope, draw.one(kind))
        line = f"{chr(98 + k)} = {line}" if kind in (LOOKS, USES) else line
        if draw.chance(5) and not re.search(r"; |squeeze_|t_\(", line):  # a leaf must not change its shape unseen
            line = f"with torch.{draw.one('no_grad no_grad enable_grad')}(): {line}"
        for part in line.split("; "):  # between lines, torch looks for the new history of views
            add(part)
    return inputs, lines


def statement(draw, scope, call):
    """A call with a tensor {t} that is there, another one {u}, and arguments that fit them."""
    names = [name for name in scope if name != "w"]
    t, u = (names[-1 - min(draw.number(0, 3), len(names) - 1)] for _ in "tu")
    shape, stride = scope[t].shape, scope[t].stride()
    if call in CHANGES and any(step == 0 and n > 1 for step, n in zip(stride, shape, strict=True)):
        return f"{t}.mul_(2)"  # elements share their memory: torch warns of some writes and refuses the others
    one_memory = scope[t].untyped_storage().data_ptr() == scope[u].untyped_storage().data_ptr()
    forms = [f"{u}.clone()", "w", *([u, f"{u}.detach()"] if not one_memory else ())]  # torch's order of copying shows
    fields = Fields(draw, tuple(shape))
    fields.update(t=t, u=draw.one(forms), n=draw.one("0.5 2.0 1"), at=draw.number(0, 1))
    fields["index"] = index(draw, tuple(shape), basic=True)
    return call.format_map(fields)


@needs_torch
@given(programs)
def test_views_and_writes(case):
    check(*case)
