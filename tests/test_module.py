"""Module and its containers.  Each body runs twice, on torch and on tinyrnn, and must tell the same story."""

import copy
import itertools
import pickle
import re
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import tinyrnn


def same(oracle, body):
    """body(torch) and body(tinyrnn) return dicts that print the same."""

    def story(torch):
        return "\n".join(f"{name}: {value}" for name, value in body(torch).items())

    assert story(tinyrnn) == str(oracle(lambda torch: {"story": story(torch)})["story"])


def told(call):
    """What a call returned, or raised, as text; the libraries' own class paths shortened."""
    try:
        text = repr(call())
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
    text = re.sub(r"\b(?:torch|tinyrnn|test_module)\.[\w.<>]*\.(\w+)", r"\1", text)
    return re.sub(r" at 0x\w+", "", text)


def affine(torch):
    """A small layer class: x * weight + bias."""

    class Affine(torch.nn.Module):
        def __init__(self, size=2, bias=True):
            super().__init__()
            self.size = size
            self.weight = torch.nn.Parameter(torch.full((size,), 2.0))
            if bias:
                self.bias = torch.nn.Parameter(torch.ones(size))
            else:
                self.register_parameter("bias", None)
            self.register_buffer("calls", torch.zeros(1))
            self.register_buffer("cache", torch.zeros(3), persistent=False)

        def forward(self, input, shift=0.0):
            y = input * self.weight + shift
            return y if self.bias is None else y + self.bias

        def extra_repr(self):
            return f"size={self.size}"

    return Affine


def tree(torch):
    """A model with a shared layer, a shared parameter, an absent layer, and containers."""
    Affine, nn = affine(torch), torch.nn

    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Affine(2)
            self.again = self.first
            self.layers = nn.ModuleList([Affine(2), Affine(2), Affine(3, bias=False)])
            self.add_module("nothing", None)
            self.heads = nn.ModuleDict({"b": Affine(1), "a": nn.Sequential(Affine(2), Affine(2))})
            self.scale = nn.Parameter(torch.ones(1))
            self.tied = self.layers[0].weight

    return Tree()


# ----------------------------------------------------------------------------------------------------------- attributes
def place(module, name):
    """Where an attribute lives, and whether it is kept out of the state_dict."""
    kinds = [kind for kind in ("_parameters", "_buffers", "_modules", "__dict__") if name in getattr(module, kind)]
    return f"{kinds} {name in module._non_persistent_buffers_set}"


def test_an_attribute_lives_in_one_place(oracle):
    def body(torch):
        nn = torch.nn
        values = {
            "parameter": lambda: nn.Parameter(torch.ones(1)),
            "module": nn.Module,
            "tensor": lambda: torch.ones(1),
            "buffer": lambda: nn.Buffer(torch.ones(1)),
            "passing": lambda: nn.Buffer(torch.ones(1), persistent=False),
            "number": lambda: 3,
            "none": lambda: None,
        }

        def story(first, second):
            module = nn.Module()
            if first == "tensor":
                module.register_buffer("x", torch.ones(1), persistent=False)
            else:
                module.x = values[first]()
            answer = told(lambda: setattr(module, "x", values[second]()))
            before = place(module, "x")
            del module.x
            return [answer, before, place(module, "x"), told(lambda: module.x)]

        return {f"{first}, then {second}": story(first, second) for first, second in itertools.product(values, values)}

    same(oracle, body)


def test_nothing_can_be_assigned_before_init(oracle):
    def body(torch):
        def early(assign):
            class Early(torch.nn.Module):
                def __init__(self):
                    assign(self)

            return told(Early)

        p, m, b = torch.nn.Parameter(torch.ones(1)), torch.nn.Module(), torch.ones(1)
        return {
            "parameter": early(lambda self: setattr(self, "x", p)),
            "module": early(lambda self: setattr(self, "x", m)),
            "buffer": early(lambda self: setattr(self, "x", torch.nn.Buffer(b))),
            "register_parameter": early(lambda self: self.register_parameter("x", p)),
            "register_buffer": early(lambda self: self.register_buffer("x", b)),
            "add_module": early(lambda self: self.add_module("x", m)),
            "arguments": [told(lambda: torch.nn.Module(1)), told(lambda: torch.nn.Module(a=1))],
        }

    same(oracle, body)


def test_what_cannot_be_registered(oracle):
    def body(torch):
        right = {
            "register_parameter": torch.nn.Parameter(torch.ones(1)),
            "register_buffer": torch.ones(1),
            "add_module": torch.nn.Module(),
        }

        def register(method, *pairs):
            module = torch.nn.Module()
            return told(lambda: [getattr(module, method)(*pair) for pair in pairs])

        story = {}
        for method, value in right.items():
            for name in (3, "a.b", "", "training", "forward"):
                story[f"{method} {name!r}"] = register(method, (name, value))
            for wrong in (3, "x", torch.ones(1), torch.nn.Module, None):
                story[f"{method} {type(wrong).__name__}"] = register(method, ("x", wrong))
            story[f"{method} twice"] = register(method, ("y", value), ("y", value))
        module = torch.nn.Module()
        story["missing"] = [told(lambda: module.zzz), told(lambda: delattr(module, "zzz"))]
        story["no forward"] = told(lambda: module(1))
        story["train"] = told(lambda: module.train(1))
        return story

    same(oracle, body)


def test_dir_lists_members_but_not_numbers():
    model = tree(tinyrnn)
    assert {"first", "scale", "forward", "training"} <= set(dir(model))
    assert {"weight", "bias", "calls"} <= set(dir(model.first))
    assert "0" not in dir(model.layers)


# -------------------------------------------------------------------------------------------------------------- walking
def test_walks(oracle):
    def body(torch):
        model = tree(torch)
        names = lambda items: " ".join(name for name, _ in items)
        return {
            "parameters": names(model.named_parameters()),
            "all parameters": names(model.named_parameters(remove_duplicate=False)),
            "own parameters": names(model.named_parameters("x", recurse=False)),
            "prefixed": names(model.heads.named_parameters(prefix="x.y")),
            "buffers": names(model.named_buffers("x")),
            "modules": names(model.named_modules()),
            "all modules": names(model.named_modules(prefix="x", remove_duplicate=False)),
            "children": names(model.named_children()),
            "counts": [
                len(list(walk))
                for walk in (
                    model.parameters(),
                    model.parameters(recurse=False),
                    model.buffers(),
                    model.buffers(recurse=False),
                    model.modules(),
                    model.modules(remove_duplicate=False),
                    model.children(),
                )
            ],
        }

    same(oracle, body)


PATHS = [
    "",
    "first",
    "layers.0",
    "layers.0.weight",
    "first.calls",
    "first.size",
    "first.zzz",
    "zzz.weight",
    "first.weight.x",
    "heads.a.1.weight",
]


@pytest.mark.parametrize("method", ["get_parameter", "get_buffer", "get_submodule"])
def test_members_by_path(oracle, method):
    def body(torch):
        find = getattr(tree(torch), method)
        return {path: told(lambda: type(find(path)).__name__) for path in PATHS}  # noqa: B023

    same(oracle, body)


def test_a_submodule_is_put_at_a_path(oracle):
    def body(torch):
        nn, found = torch.nn, {}
        for path, options in (("0", {}), ("layers.0", {}), ("heads.c", {}), ("", {}), ("scale", {}), ("nowhere.x", {}),
                              ("new", {"strict": True}), ("first", {"strict": True})):  # fmt: skip
            model = tree(torch)
            found[path, *options] = told(lambda: model.set_submodule(path, nn.Tanh(), **options))  # noqa: B023
            found["names", path] = [name for name, _ in model.named_modules()]
        found["no module"] = told(lambda: tree(torch).set_submodule("first", 3))
        return found

    same(oracle, body)


def test_apply_and_modes(oracle):
    def body(torch):
        model, order = tree(torch), []
        returned = [model.apply(lambda m: order.append(type(m).__name__)), model.eval(), model.requires_grad_(False)]
        story = {"order": order, "returns itself": all(m is model for m in returned)}
        story["evaluating"] = [m.training for m in model.modules()]
        story["frozen"] = [p.requires_grad for p in model.parameters()]
        model.heads.train().requires_grad_()
        story["heads training"] = [m.training for m in model.modules()]
        story["heads thawed"] = [p.requires_grad for p in model.parameters()]
        return story

    same(oracle, body)


# ------------------------------------------------------------------------------------------------------------- printing
def test_printed_form(oracle):
    def body(torch):
        nn, Affine = torch.nn, affine(torch)

        class Says(nn.Module):
            def __init__(self, text, **children):
                super().__init__()
                self.text = text
                for name, child in children.items():
                    self.add_module(name, child)

            def extra_repr(self):
                return self.text

        P = lambda *shape: nn.Parameter(torch.ones(shape))
        return {
            str(i): repr(m)
            for i, m in enumerate(
                [
                    tree(torch),
                    Says(""),
                    Says("a"),
                    Says("a\nb"),
                    Says("a", c=Says("c")),
                    Says("", c=Says("c\nd"), e=None),
                    Says("a\n\nb", c=Says("c\n\nd", e=Says(""))),
                    nn.Sequential(),
                    nn.Sequential(OrderedDict(a=Affine(), b=Affine())),
                    nn.ModuleList(),
                    nn.ModuleDict(),
                    nn.ModuleList(
                        [Affine(1)] * 3 + [Affine(2)] + [nn.Sequential(Affine(1), Affine(1))] * 2 + [None, None]
                    ),
                    nn.ParameterList(),
                    nn.ParameterList([P(2)]),
                    nn.ParameterList([P(2), P(2, 3), P(), 3, "x", None]),
                    nn.ParameterDict(),
                    nn.ParameterDict({"a": P(2)}),
                    nn.ParameterDict({"b": P(2, 3).double(), "a": 3}),
                    nn.Sequential(nn.ParameterList([P(1), P(2)]), nn.ParameterDict({"x": P(1), "m": nn.Module()})),
                ]
            )
        }

    same(oracle, body)


# ----------------------------------------------------------------------------------------------------------- state_dict
def test_state_dict(oracle):
    def body(torch):
        model = tree(torch)
        state = model.state_dict()
        other = model.state_dict(destination=OrderedDict(x=1), prefix="pre.", keep_vars=True)
        with pytest.warns(FutureWarning, match="Positional args are being deprecated, use kwargs instead."):
            positional = model.state_dict(OrderedDict(), "p.", True)
        state["scale"].fill_(7)
        return {
            "keys": list(state),
            "metadata": list(state._metadata),
            "other": list(other),
            "type": type(state).__name__,
            "kinds": [type(s["pre.scale"]).__name__ for s in (other, model.state_dict(prefix="pre."))],
            "trained": [state["scale"].requires_grad, positional["p.scale"] is model.scale],
            "positional": list(positional),
            "shared memory": model.scale.item(),
        }

    same(oracle, body)


BROKEN = {
    "nothing wrong": lambda torch, s: None,
    "empty": lambda torch, s: s.clear(),
    "missing": lambda torch, s: s.pop("first.weight"),
    "two missing": lambda torch, s: (s.pop("scale"), s.pop("layers.0.bias")),
    "unexpected": lambda torch, s: s.update(dict.fromkeys(("first.zzz", "zzz", "layers.9.x"), torch.ones(1))),
    "below a parameter": lambda torch, s: s.update({"scale.x": torch.ones(1)}),
    "a module's name": lambda torch, s: s.update({"heads": torch.ones(1)}),
    "not persistent": lambda torch, s: s.update({"first.cache": torch.ones(3)}),
    "absent": lambda torch, s: s.update({"layers.2.bias": torch.ones(3), "nothing.weight": torch.ones(1)}),
    "size": lambda torch, s: s.update({"first.bias": torch.ones(4), "scale": torch.ones(2, 2)}),
    "a number": lambda torch, s: s.update({"scale": torch.tensor(1.0)}),
    "no tensor": lambda torch, s: s.update({"scale": [1.0], "first.bias": 3}),
    "all at once": lambda torch, s: (s.pop("first.weight"), s.update({"z": 1, "scale": torch.ones(2)})),
    "other types": lambda torch, s: s.update({"scale": torch.ones(1).double(), "first.bias": torch.ones(2).long()}),
}


@pytest.mark.parametrize("options", [{}, {"strict": False}, {"assign": True}], ids=str)
@pytest.mark.parametrize("fault", BROKEN)
def test_loading_what_does_not_fit(oracle, fault, options):
    """The message lists all of it, and what fits has been loaded."""

    def body(torch):
        model, state = tree(torch), tree(torch).state_dict()
        for tensor in state.values():
            tensor.fill_(5)
        BROKEN[fault](torch, state)
        return {
            "told": told(lambda: model.load_state_dict(state, **options)),
            "loaded": [p.detach().sum().item() for p in model.parameters()],
            "types": [str(p.dtype) for p in model.parameters()],
        }

    same(oracle, body)


def test_only_mappings_are_loaded(oracle):
    same(oracle, lambda torch: {"told": told(lambda: tree(torch).load_state_dict([("scale", torch.ones(1))]))})


@pytest.mark.parametrize("trained", [True, False])
def test_assigning_puts_the_tensors_themselves_in_place(oracle, trained):
    def body(torch):
        model, tensor, param = affine(torch)(), torch.ones(2), torch.nn.Parameter(torch.zeros(2))
        model.requires_grad_(trained)
        state = {"weight": tensor, "bias": param, "calls": torch.ones(1).double()}
        answer = told(lambda: model.load_state_dict(state, assign=True))
        tensor.fill_(9)
        return {
            "told": answer,
            "weight": model.weight.tolist(),
            "bias": model.bias is param,
            "trained": [p.requires_grad for p in model.parameters()],
            "calls": str(model.calls.dtype),
        }

    same(oracle, body)


def test_a_single_element_loads_into_a_number(oracle):
    def body(torch):
        model = torch.nn.Module()
        model.x = torch.nn.Parameter(torch.tensor(1.0))
        model.load_state_dict({"x": torch.full((1,), 3.0)})
        return {"x": model.x.item()}

    same(oracle, body)


def test_extra_state(oracle):
    def body(torch):
        class Counts(torch.nn.Module):
            n = 0

            def get_extra_state(self):
                return {"n": self.n}

            def set_extra_state(self, state):
                self.n = state["n"]

        def counting(n):
            module = torch.nn.Sequential(Counts())
            module[0].n = n
            return module

        model, state = counting(1), counting(5).state_dict()
        return {
            "keys": list(state),
            "told": told(lambda: model.load_state_dict(state)),
            "n": model[0].n,
            "missing": told(lambda: model.load_state_dict({})),
            "unexpected": told(lambda: torch.nn.Sequential(torch.nn.Module()).load_state_dict(state)),
        }

    same(oracle, body)


def test_state_dict_hooks(oracle):
    def body(torch):
        calls = []
        plain = lambda args: [a for a in args if type(a) in (str, bool)]
        note = lambda name: lambda *args: calls.append(f"{name}: {len(args)} {plain(args)}")
        leaf = affine(torch)()
        model = torch.nn.Sequential(leaf)
        leaf.register_state_dict_pre_hook(note("pre"))
        leaf.register_state_dict_post_hook(lambda module, state, prefix, metadata: state.update({prefix + "more": 1}))
        leaf.register_load_state_dict_pre_hook(lambda module, state, prefix, *rest: state.pop(prefix + "more", 0))
        leaf._register_load_state_dict_pre_hook(note("load pre, without the module"))
        handle = model.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.remove("0.weight"))
        state = model.state_dict()
        story = {"keys": list(state)}
        del state["0.weight"], state["0.bias"]
        story["told"] = told(lambda: model.load_state_dict(state, strict=False))
        story["strict"] = told(lambda: model.load_state_dict(state))
        handle.remove()
        story["removed"] = told(lambda: model.load_state_dict(state))
        leaf.register_state_dict_post_hook(lambda *args: 3)
        story["post-hook"] = told(leaf.state_dict)
        return {**story, "calls": calls}

    same(oracle, body)


# -------------------------------------------------------------------------------------------------------- forward hooks
def test_forward_hooks(oracle):
    def body(torch):
        x, seen = torch.ones(2), []
        note = lambda module, *args: seen.append(told(lambda: args))
        positional = lambda layer: layer(x).tolist()
        named = lambda layer: layer(input=x, shift=1.0).tolist()

        def run(method, hook, call=positional, **options):
            layer = affine(torch)()
            getattr(layer, method)(hook, **options)
            return told(lambda: call(layer))

        pre, post = "register_forward_pre_hook", "register_forward_hook"
        return {
            "pre sees": run(pre, note),
            "pre sees no keywords": run(pre, note, named),
            "pre sees keywords": run(pre, note, named, with_kwargs=True),
            "pre gives a value": run(pre, lambda m, args: args[0] * 2),
            "pre gives a tuple": run(pre, lambda m, args: (args[0], 10.0)),
            "pre gives keywords": run(pre, lambda m, args, kw: (args, {"shift": 10.0}), with_kwargs=True),
            "pre gives a number": run(pre, lambda m, args, kw: 3, with_kwargs=True),
            "pre gives too little": run(pre, lambda m, args, kw: (1,), with_kwargs=True),
            "pre gives a list": run(pre, lambda m, args, kw: [(), {}], with_kwargs=True),
            "post sees": run(post, note),
            "post sees no keywords": run(post, note, named),
            "post sees keywords": run(post, note, named, with_kwargs=True),
            "post gives": run(post, lambda m, args, y: y * 2),
            "seen": seen,
        }

    same(oracle, body)


def test_hooks_of_all_modules(oracle):
    def body(torch):
        nn, seen = torch.nn, []
        everywhere = nn.modules.module if hasattr(nn, "modules") else nn
        handles = [
            everywhere.register_module_forward_pre_hook(lambda m, args: seen.append(["before", type(m).__name__])),
            everywhere.register_module_forward_hook(lambda m, args, y: y * 2 if isinstance(m, nn.Tanh) else None),
            everywhere.register_module_forward_hook(
                lambda m, args, kwargs, y: seen.append(["after", kwargs, type(m).__name__]), with_kwargs=True
            ),
            everywhere.register_module_forward_hook(
                lambda m, args, y: seen.append(["always", type(m).__name__]), always_call=True
            ),
            everywhere.register_module_full_backward_pre_hook(lambda m, g: seen.append(["back", type(m).__name__])),
            everywhere.register_module_full_backward_hook(lambda m, g, h: seen.append(["through", type(m).__name__])),
        ]
        model = nn.Sequential(nn.Identity(), nn.Tanh())
        model[0].register_forward_hook(lambda m, args, y: seen.append("its own"))
        y = model(torch.tensor([0.0, 1.0], requires_grad=True))
        y.sum().backward()
        failed = told(lambda: model(None))
        for handle in handles:
            handle.remove()
        plain = model(torch.tensor([0.0]))
        return {
            "seen": seen,
            "doubled": [f"{v:.5f}" for v in y.tolist()],
            "failed": failed[:9],
            "plain": plain.tolist(),
        }

    same(oracle, body)


def test_data_parallel_calls_its_module_on_the_cpu(oracle):
    def body(torch):
        torch.manual_seed(0)
        parallel = torch.nn.DataParallel(torch.nn.Linear(2, 2))
        y = parallel(torch.ones(1, 2))
        found = {"names": list(parallel.state_dict()), "printed": repr(parallel), "module": repr(parallel.module)}
        return {**found, "devices": parallel.device_ids, "result": [f"{v:.5f}" for v in y.flatten().tolist()]}

    same(oracle, body)


def test_some_hooks_are_called_after_an_error_too(oracle):
    def body(torch):
        layer, seen = affine(torch)(), []
        layer.register_forward_hook(lambda m, args, y: seen.append("not called"))
        layer.register_forward_hook(lambda m, args, y: seen.append(f"called with {y}"), always_call=True)
        layer.register_forward_hook(lambda m, args, y: 1 / 0, always_call=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = told(lambda: layer("no tensor", None, None))
        return {"told": answer[:9], "seen": seen, "warned": [str(w.message) for w in caught]}

    same(oracle, body)


def test_such_a_hook_is_called_once(oracle):
    def body(torch):
        layer, seen = torch.nn.Sequential(), []
        layer.register_forward_hook(lambda m, args, y: seen.append(y), always_call=True)
        layer.register_forward_hook(lambda m, args, y: 1 / 0)
        return {"told": told(lambda: layer(1)), "seen": seen}

    same(oracle, body)


def test_hooks_run_in_order_and_can_be_removed(oracle):
    def body(torch):
        layer, log = torch.nn.Sequential(), []
        note = lambda name: lambda *args: log.append(name)
        handles = [
            layer.register_forward_hook(note("a")),
            layer.register_forward_hook(note("b")),
            layer.register_forward_hook(note("c"), prepend=True),
        ]
        layer.register_forward_pre_hook(note("d"))
        layer.register_forward_pre_hook(note("e"), prepend=True)
        layer(1)
        handles[0].remove()
        handles[0].remove()
        layer(1)
        with layer.register_forward_hook(note("f")):
            layer(1)
        layer(1)
        return {"log": log}

    same(oracle, body)


# ------------------------------------------------------------------------------------------------------- backward hooks
def pair(torch):
    """A module of two arguments and more, with results of all kinds."""

    class Pair(torch.nn.Module):
        def forward(self, a, b, *more):
            return a * b, 3, a + 1, b * 2

    return Pair()


def gradients(torch, module, args, use, hook, kind="register_full_backward_hook"):
    """Call a module that has a hook, go back from use(result), and tell what the hook saw and what the leaves got."""
    log = []
    numbers = lambda tensors: str([None if t is None else t.tolist() for t in tensors])
    getattr(module, kind)(lambda module, *grads: (log.extend(map(numbers, grads)), hook(*grads))[1])
    answer = told(lambda: use(module(*args)).sum().backward())
    leaves = [*(a for a in args if isinstance(a, torch.Tensor)), *module.parameters()]
    return [answer, *log, numbers(leaf.grad for leaf in leaves)]


def test_backward_hooks_see_the_gradients(oracle):
    def body(torch):
        x = lambda *values, grad=True: torch.tensor(values, requires_grad=grad)
        both = lambda y: y[0] + y[2] + y[3]
        cases = {
            "one": (affine(torch)(), [x(1.0, 2.0)], lambda y: y),
            "number": (affine(torch)(), [x(1.0, 2.0), 3.0], lambda y: y),
            "two": (pair(torch), [x(1.0, 2.0), x(3.0, 4.0)], both),
            "one not trained": (pair(torch), [x(1.0, 2.0), x(3.0, 4.0, grad=False)], both),
            "unused result": (pair(torch), [x(1.0, 2.0), x(3.0, 4.0)], lambda y: y[2]),
            "other arguments": (pair(torch), [x(1.0, 2.0), 5.0, [x(1.0)]], lambda y: y[0] + y[2]),
            "integers": (pair(torch), [x(1.0, 2.0), torch.tensor([1, 2])], lambda y: y[0]),
        }
        return {name: gradients(torch, *case, lambda *grads: None) for name, case in cases.items()}

    same(oracle, body)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_backward_hooks_replace_gradients(oracle):
    def body(torch):
        x = lambda: torch.tensor([1.0, 2.0], requires_grad=True)
        first = lambda y: y[0] if isinstance(y, tuple) else y
        full, pre = "register_full_backward_hook", "register_full_backward_pre_hook"
        one, two = (
            lambda hook, kind: gradients(torch, affine(torch)(), [x()], first, hook, kind),
            lambda hook, kind: gradients(torch, pair(torch), [x(), x()], first, hook, kind),
        )
        return {
            "input": one(lambda gi, go: (gi[0] * 10,), full),
            "output": one(lambda go: (go[0] * 10,), pre),
            "of two": two(lambda gi, go: (gi[0] * 10, gi[1]), full),
            "list": two(lambda gi, go: [gi[0] * 10, gi[1]], full),
            "none": one(lambda gi, go: (None,), full),
            "too many": one(lambda gi, go: (gi[0], gi[0]), full)[0],
            "too many out": one(lambda go: (go[0], go[0]), pre)[0],
            "not an input": gradients(torch, affine(torch)(), [x().detach()], first, lambda gi, go: (go[0],), full)[0],
        }

    same(oracle, body)


def test_backward_hooks_run_in_order(oracle):
    """Each sees what the one before made of the gradient."""

    def body(torch):
        layer, log = affine(torch)(), []
        note = lambda name, factor: (
            lambda m, *grads: (log.append(f"{name} {[g[0].tolist() for g in grads]}"), (grads[0][0] * factor,))[1]
        )
        layer.register_full_backward_hook(note("a", 2))
        layer.register_full_backward_hook(note("b", 3), prepend=True)
        layer.register_full_backward_pre_hook(note("c", 5))
        layer.register_full_backward_pre_hook(note("d", 7), prepend=True)
        x = torch.ones(2, requires_grad=True)
        layer(x).sum().backward()
        return {"log": log, "x": x.grad.tolist(), "weight": layer.weight.grad.tolist()}

    same(oracle, body)


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("new", [lambda: tinyrnn.ones(3), lambda: tinyrnn.ones(2).double(), float])
def test_a_gradient_keeps_its_form(kind, new):
    layer, x = affine(tinyrnn)(), tinyrnn.ones(2, requires_grad=True)
    getattr(layer, kind)(lambda *args: (new(),))
    with pytest.raises((RuntimeError, TypeError), match="Backward (pre )?hook"):
        layer(x).sum().backward()
    assert x.grad is None


def test_backward_hooks_without_inputs_that_need_a_gradient():
    layer, log = affine(tinyrnn)(), []
    layer.register_full_backward_hook(lambda m, gi, go: log.append((gi, go[0].tolist())))
    with pytest.warns(UserWarning, match="no inputs require gradients"):
        layer(tinyrnn.ones(2)).sum().backward()
    assert log == [((None,), [1.0, 1.0])]
    with tinyrnn.no_grad():
        assert layer(tinyrnn.ones(2)).grad_fn is None


def test_backward_hooks_need_tensors_as_output():
    class Named(tinyrnn.nn.Module):
        def forward(self, x):
            return {"y": x * 2}

    module = Named()
    module.register_full_backward_hook(lambda *args: None)
    with pytest.warns(UserWarning, match="should be a Tensor or a tuple of Tensors but received <class 'dict'>"):
        module(tinyrnn.ones(1, requires_grad=True))


def test_a_write_stays_on_its_side_of_backward_hooks():
    class Writes(tinyrnn.nn.Module):
        def forward(self, x):
            return x.neg_()

    module, log = Writes(), []
    module.register_full_backward_hook(lambda m, gi, go: log.extend((gi[0].item(), go[0].item())))
    x = tinyrnn.ones(1, requires_grad=True)
    outside = x + 1
    y = module(outside)
    assert (outside.item(), y.item()) == (2.0, -2.0)
    (y.neg_() * 5).sum().backward()
    assert (x.grad.item(), log) == (5.0, [5.0, -5.0])


def test_backward_hooks_run_again_on_a_retained_graph():
    layer, log = affine(tinyrnn)(), []
    layer.register_full_backward_hook(lambda m, gi, go: log.append(gi[0].tolist()))
    y = layer(tinyrnn.ones(2, requires_grad=True)).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert log == [[2.0, 2.0]] * 2


# ---------------------------------------------------------------------------------------------------------- conversions
CONVERSIONS = {
    "double": lambda torch, m: m.double(),
    "float": lambda torch, m: m.double().float(),
    "cpu": lambda torch, m: m.cpu(),
    "type": lambda torch, m: m.type(torch.float64),
    "type by name": lambda torch, m: m.type("torch.DoubleTensor"),
    "dtype": lambda torch, m: m.to(torch.float64),
    "device": lambda torch, m: m.to("cpu"),
    "both": lambda torch, m: m.to("cpu", torch.float64),
    "keywords": lambda torch, m: m.to(device="cpu", dtype=torch.float64, non_blocking=True),
    "tensor": lambda torch, m: m.to(torch.ones(1, dtype=torch.float64)),
    "nothing": lambda torch, m: m.to(),
    "integer": lambda torch, m: m.to(torch.int64),
    "integer tensor": lambda torch, m: m.to(torch.ones(1).long()),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversions(oracle, name):
    def body(torch):
        layer = affine(torch)()
        layer.register_buffer("count", torch.zeros(1, dtype=torch.int64))
        layer(torch.ones(2)).sum().backward()
        weight = layer.weight
        return {
            "told": told(lambda: CONVERSIONS[name](torch, layer) is layer),
            "types": [str(t.dtype) for t in (weight, weight.grad, layer.cache, layer.count)],
            "the same object": layer.weight is weight,
            "leaf": weight.is_leaf,
            "trained": weight.requires_grad,
        }

    same(oracle, body)


def test_what_is_refused():
    layer = affine(tinyrnn)()
    for refused in (layer.half, layer.bfloat16, layer.cuda, lambda: layer.to("cuda")):
        with pytest.raises((RuntimeError, AssertionError)):
            refused()
    assert layer.weight.dtype is tinyrnn.float32
    assert layer.compile() is None


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad(to_none):
    layer = affine(tinyrnn)()
    layer(tinyrnn.ones(2)).sum().backward()
    gradient = layer.weight.grad
    layer.zero_grad(set_to_none=to_none)
    if to_none:
        assert layer.weight.grad is None
    else:
        assert layer.weight.grad is gradient
        assert gradient.tolist() == [0.0, 0.0]


# --------------------------------------------------------------------------------------------------------------- copies
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_keep_what_is_shared(duplicate):
    nn = tinyrnn.nn
    shared = nn.Parameter(tinyrnn.ones(2))
    model = nn.Sequential(nn.ParameterList([shared, shared]), nn.Sequential())
    model.register_buffer("steps", tinyrnn.zeros(1))
    (shared * 3).sum().backward()
    other = duplicate(model)
    assert other[0][0] is other[0][1] is not shared
    assert type(other[0][0]) is nn.Parameter
    assert other[0][0].requires_grad
    assert other.state_dict().keys() == model.state_dict().keys()
    with tinyrnn.no_grad():
        other[0][0].fill_(5)
    assert shared.tolist() == [1.0, 1.0]
    assert repr(other) == repr(model)


def test_deepcopy_keeps_hooks():
    layer, log = affine(tinyrnn)(), []
    layer.register_forward_hook(lambda *args: log.append(1))
    copy.deepcopy(layer)(tinyrnn.ones(2))
    assert log == [1]


# ------------------------------------------------------------------------------------------------------------ Parameter
def test_parameters_and_buffers(oracle):
    def body(torch):
        nn = torch.nn
        x = torch.ones(2)
        p, frozen = nn.Parameter(x), nn.Parameter(x, False)
        with torch.no_grad():
            inside = nn.Parameter(x * 1)
        b = nn.Buffer(x, persistent=False)
        y = nn.Parameter(p * 2)
        x.fill_(3)
        kinds = (torch.Tensor, nn.Parameter, nn.Buffer)
        return {
            "repr": [repr(p), repr(frozen), repr(b), repr(nn.Parameter())],
            "shared": [p[0].item(), b[0].item()],
            "leaf": [p.is_leaf, y.is_leaf],
            "trained": [t.requires_grad for t in (p, frozen, inside, y, x)],
            "kinds": [isinstance(t, kind) for t in (p, x, b, p.data, p * 2, nn.Parameter(p)) for kind in kinds],
            "types": [type(t).__name__ for t in (p, p * 2, p.data, p.detach(), p.clone(), p.requires_grad_(), b)],
            "persistent": [b.persistent, nn.Buffer(x).persistent],
            "integers": [told(lambda: nn.Parameter(torch.ones(1).long(), *args)) for args in ((), (False,))],  # noqa: B023
            "deepcopy": [copy.deepcopy(p).requires_grad, type(copy.deepcopy(p)).__name__],
        }

    same(oracle, body)


@pytest.mark.parametrize("data", [3, [1.0], np.ones(2)], ids=str)
def test_a_parameter_is_made_of_a_tensor(data):
    with pytest.raises(TypeError, match=f"expected data to be a Tensor, got {type(data).__name__}"):
        tinyrnn.nn.Parameter(data)


# ----------------------------------------------------------------------------------------------------------- containers
def stories(make, expressions):
    """A body: what each expression (two spaces apart) gives, and what becomes of the container."""

    def body(torch):
        def story(expression):
            nn, Affine = torch.nn, affine(torch)
            c = make(nn, Affine)
            known = {"c": c, "nn": nn, "A": Affine, "torch": torch, "OrderedDict": OrderedDict}
            return [told(lambda: eval(expression, known)), told(lambda: c), str(list(c.state_dict()))]

        return {expression: story(expression) for expression in re.split(r"\s{2,}|\n", expressions.strip())}

    return body


LISTS = """
c[0]  c[-1]  c[3]  c[-4]  c['a']  c[1.5]  c[True]  c[1:]  c[::2]  c[0:0]  len(c)  list(c)  bool(c)  c[1] in c
c.append(3)  c.append(A(9)) is c  c.append(None)  c.extend([A(9)]) is c  c.extend([3])  c.extend(3)  c.extend(A(9))
c.insert(0,A(9))  c.insert(2,A(9))  c.insert(3,A(9))  c.pop(0)  c.pop(-1)  c.pop(9)  c.pop(slice(0,2))
c.__setitem__(0,A(9))  c.__setitem__(-1,A(9))  c.__setitem__(9,A(9))  c.__setitem__(0,3)  c.__setitem__(0,None)
c.__setitem__('0',A(9))  c.__delitem__(0)  c.__delitem__(-1)  c.__delitem__(9)  c.__delitem__(slice(0,3,2))
c+c  c+nn.Sequential(A(9))  c+[A(9)]  c+3
"""


def test_sequential(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.Sequential(A(1), A(2), A(3)),
            LISTS
            + """
        c.__iadd__([A(9)])  c.__iadd__(nn.Sequential(A(9)))  c*2  2*c  c*0  c*-1  c*1.5  c.__imul__(2)  c.__imul__(0)
        c.__imul__('a')  c.insert(-1,A(9))  c.insert(-3,A(9))  c.insert(-4,A(9))  c.insert(4,A(9))  c.insert(0,3)
        nn.Sequential(3)  nn.Sequential([A(1)])  nn.Sequential(None)  nn.Sequential({'a':A(1)})  nn.Sequential(A)
        nn.Sequential(OrderedDict(a=A(1)),A(2))  nn.Sequential(OrderedDict(forward=A(1)))  nn.Sequential()(3)
        nn.Sequential(A(2), A(2))(torch.ones(2)).tolist()  [name for name, _ in (c * 2).named_parameters()]
    """,
        ),
    )


def test_named_sequential(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.Sequential(OrderedDict(a=A(1), b=A(2), c=A(3))),
            """
        c[0]  c[1:]  c.b  c.append(A(9))  c.insert(0,A(9))  c.pop(1)  c.__delitem__(slice(0,2))  c.__setitem__(1,A(9))
        c+c  c*2
    """,
        ),
    )


def test_module_list(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.ModuleList([A(1), A(2), A(3)]),
            LISTS
            + """
        c.__iadd__([A(9)])  c.__iadd__(3)  c(1)  nn.ModuleList(A(1))  nn.ModuleList(3)  nn.ModuleList({'a':A(1)})
        nn.ModuleList([None])  nn.ModuleList([1])  nn.ModuleList(A(n) for n in (1, 2))  c*2
    """,
        ),
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_module_list_refuses_positions_that_torch_garbles(index):
    layers = tinyrnn.nn.ModuleList([affine(tinyrnn)()])
    with pytest.raises(IndexError, match=f"expected an index from 0 to 1, got {index}"):
        layers.insert(index, affine(tinyrnn)())
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        layers.insert(0, 3)
    assert len(layers) == 1


def test_module_dict(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.ModuleDict({"b": A(1), "a": A(2)}),
            """
        c['a']  c['z']  c[0]  c.b  len(c)  list(c)  c.keys()  c.items()  c.values()  'a' in c  'z' in c
        c.update({'z':A(9),'b':A(8)})  c.update([('z',A(9))])  c.update([('z',A(9),1)])  c.update(3)  c.update({'z':3})
        c.update(nn.ModuleDict({'z':A(9)}))  c.update('ab')  c.pop('a')  c.pop('z')  c.clear()  c.__setitem__('z',3)
        c.__setitem__('z',A(9))  c.__setitem__(0,A(9))  c.__setitem__('a.b',A(9))  c.__setitem__('keys',A(9))
        c.__delitem__('a')  c.__delitem__('z')  c(1)  nn.ModuleDict(3)  nn.ModuleDict({'a':None})
    """,
        ),
    )


def test_parameter_list(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.ParameterList([A(1).weight, A(2).weight, A(3).weight]),
            """
        c[0]  c[-1]  c[3]  c[-4]  c['a']  c[1:]  c[1:][0] is c[1]  len(c)  list(c)  c.append(A(9).bias) is c
        c.append(3)  c.append(torch.ones(2))  c.append(None)  c.extend([A(9).bias,torch.ones(2)])  c.extend(3)
        c.extend(A(9).bias)  c.__iadd__([A(9).bias])  c.__iadd__(3)  c+c  c(1)  c.__setitem__(0,A(9).bias)
        c.__setitem__(-1,torch.ones(2))
        c.__setitem__(9,A(1).bias)  c.__setitem__(0,3)  c.double()  nn.ParameterList(3)  nn.ParameterList(torch.ones(2))
        nn.ParameterList([torch.ones(1).long()])  nn.ParameterList([A(1)])  nn.ParameterList([nn.Buffer(torch.ones(1))])
    """,
        ),
    )


def test_parameter_dict(oracle):
    same(
        oracle,
        stories(
            lambda nn, A: nn.ParameterDict({"b": A(1).weight, "a": A(2).weight}),
            """
        c['a']  c['z']  c.b  len(c)  list(c)  list(reversed(c))  c.keys()  list(c.items())  list(c.values())  'a' in c
        'z' in c  c.update({'z':A(9).bias,'y':torch.ones(1)})  c.update([('z',A(9).bias),('y',3)])
        c.update([('z',1,2)])  c.update(3)  c.update(OrderedDict(z=A(1).bias,y=A(2).bias))  c.update('ab')
        c.update(nn.ParameterDict({'z':A(1).bias}))  c.pop('a')  c.pop('z')  c.popitem()  c.clear()
        nn.ParameterDict().popitem()
        c.__setitem__('z',torch.ones(2))  c.__delitem__('a')  c.__delitem__('z')  c.get('a')  c.get('z')
        c.get('z',2)  c.setdefault('a')  c.setdefault('z',A(9).bias)  c.setdefault('z')  c(1)  nn.ParameterDict(3)
        c.copy()  c.copy()['a'] is c['a']  c|{'z':A(9).bias}  {'z':3}|c  c|nn.ParameterDict({'a':A(9).bias})
        c.__ior__({'z':A(9).bias})  c.fromkeys(['x','y'])  c.fromkeys(['x'],torch.ones(2))
        nn.ParameterDict({'x':A(1)})  nn.ParameterDict([['b',1],['a',2]])
    """,
        ),
    )


@pytest.mark.parametrize(
    "key, message",
    [
        (0, "cannot be used as a key as it is not a string"),
        ("a.b", "t contain"),
        ("keys", "already exists"),
    ],
)
def test_parameter_dict_keys_are_names(key, message):
    parameters = tinyrnn.nn.ParameterDict()
    with pytest.raises((TypeError, KeyError), match=message):
        parameters[key] = tinyrnn.ones(1)
    assert len(parameters) == 0
