"""torch.jit and torch.compile: nothing is compiled, and a program does not notice."""

import copy
import pickle
import typing

import numpy as np
import pytest
from phrases import check

import tinyrnn
from tinyrnn import facade, jit, nn


# ------------------------------------------------------------------------------------------ torch.jit
def test_decorators_of_jit_hand_back_what_they_are_given():
    def f(x):
        return x + 1

    for decorator in (
        jit.script, jit.export, jit.ignore, jit.ignore(), jit.ignore(False), jit.unused, jit.script_method,
        jit.script_if_tracing,
    ):  # fmt: skip
        assert decorator(f) is f
    with pytest.warns(FutureWarning, match="torch.jit.unused"):
        assert jit.ignore(drop=True)(f) is f
    with pytest.raises(RuntimeError, match=r"ignore must be a bool or a function but got 3"):
        jit.ignore(3)
    layer = nn.Linear(1, 1)
    assert jit.script(layer) is layer and jit.script(nn.Linear) is nn.Linear
    assert not jit.is_scripting() and not jit.is_tracing() and jit.annotate(list[int], [1]) == [1]
    assert jit.Final is typing.Final
    assert not isinstance(layer, jit.ScriptModule) and not isinstance(jit.script(f), jit.ScriptFunction)
    with pytest.raises(NotImplementedError, match="functions are not compiled"):
        jit.ScriptFunction()


class Cell(jit.ScriptModule):
    steps: jit.Final[int]

    def __init__(self):
        super().__init__()
        self.steps, self.out = 2, nn.Linear(2, 2)

    @jit.script_method
    def forward(self, x: tinyrnn.Tensor) -> tinyrnn.Tensor:
        for _ in range(self.steps):
            x = self.out(x)
        return x


def test_a_script_module_is_a_module():
    cell = Cell()
    assert isinstance(cell, nn.Module) and cell(tinyrnn.ones(1, 2)).shape == (1, 2)
    assert repr(cell).startswith("Cell(\n  (out): Linear")


def test_a_traced_function_ran_as_often_as_under_torch(oracle):
    def story(torch):
        drop, seen = torch.nn.Dropout(), []

        def count(x, y):
            seen.append(torch.jit.is_tracing())
            return x + y

        traced = torch.jit.trace(count, (torch.ones(1), torch.ones(1)))
        torch.jit.trace(count, (torch.ones(1), torch.ones(1)), check_trace=False)
        ran = seen.copy()
        traced_layer = torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1, 1))
        torch.manual_seed(3)
        torch.jit.trace(drop, torch.ones(5))
        torch.jit.trace(drop, torch.ones(5), check_trace=False)
        return {
            "ran": ran, "sum": traced(torch.ones(2), torch.ones(2)).tolist(), "rand": torch.rand(2).tolist(),
            "layer": list(traced_layer(torch.ones(3, 1)).shape),
        }  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)
        theirs, ours = oracle(story), story(tinyrnn)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, name)


def test_traces_that_cannot_be():
    with pytest.raises(RuntimeError, match="one of example_inputs and example_kwarg_inputs"):
        jit.trace(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="expected a function or a module, got int"):
        jit.trace(3, tinyrnn.ones(1))
    with pytest.raises(ZeroDivisionError):
        jit.trace(lambda x: x / (0 // 0), tinyrnn.ones(1))
    assert not jit.is_tracing()
    layer = nn.Linear(1, 1)
    assert jit.trace(layer, example_kwarg_inputs={"input": tinyrnn.ones(1, 1)}) is layer


# ------------------------------------------------------------------------------------------ torch.compile
def test_compiled_modules_as_torch(oracle):
    check(
        """
        torch.compile(nn.Linear(1, 1))
        torch.compile(nn.Sequential(nn.Linear(1, 2), nn.Tanh()), mode="max-autotune", fullgraph=True)
        type(torch.compile(nn.Tanh())).__name__, isinstance(torch.compile(nn.Tanh()), nn.Module)
        isinstance(torch.compile(nn.Tanh()), nn.Tanh), torch.compile(nn.Tanh()) is torch.compile(nn.Tanh())
        list(torch.compile(nn.Linear(1, 1)).state_dict()), len(list(torch.compile(nn.Linear(1, 1)).parameters()))
        m = nn.Linear(1, 1); c = torch.compile(m); r = c._orig_mod is m, list(c.children()) == [m], c.weight is m.weight
        c = torch.compile(nn.Linear(1, 1)); r = [n for n, _ in c.named_modules()], [n for n, _ in c.named_parameters()]
        c = torch.compile(nn.Linear(1, 1)); r = c.load_state_dict(c.state_dict())
        m = nn.Linear(1, 1); r = torch.compile(m).load_state_dict(m.state_dict())
        m = nn.Linear(1, 1); r = m.load_state_dict({k.removeprefix("_orig_mod."): v for k, v in \
            torch.compile(m).state_dict().items()})
        m = nn.Dropout(); c = torch.compile(m); c.eval(); a = m.training, c.training; c.train(); m.eval(); r = \
            a, m.training, c.training, c.p
        m = nn.Linear(1, 1); c = torch.compile(m); c.foo = 3; a = m.foo; del c.foo; r = a, hasattr(m, "foo")
        m = nn.Linear(1, 1); c = torch.compile(m); c.weight = nn.Parameter(torch.ones(1, 1)); r = m.weight, list(c.state_dict())
        torch.compile(nn.Linear(1, 1)).nothing
        torch.compile(nn.Linear(1, 1)).foo_ if hasattr(torch.compile(nn.Linear(1, 1)), "foo_") else None
        m = nn.Linear(1, 1); c = torch.compile(m); r = c.double() is c, m.weight.dtype, c.apply(lambda x: None) is c
        m = nn.Linear(1, 1); c = torch.compile(m); r = "weight" in dir(c), "_orig_mod" in dir(c), "forward" in dir(c)
        len(torch.compile(nn.Sequential(nn.Tanh()))), bool(torch.compile(nn.Sequential()))
        len(torch.compile(nn.Tanh()))
        torch.compile(nn.Sequential(nn.Tanh()))[0]
        copy.deepcopy(torch.compile(nn.Linear(1, 1)))
        torch.compile(nn.Tanh(), mode="x")
        torch.compile(nn.Tanh(), mode="default", options={})
        torch.compile(nn.Tanh(), some=1)
        torch.compile(3)
        torch.compile(mode="default")(nn.Tanh())
        m = nn.Tanh(); r = torch.compile(m, disable=True) is m
        f = torch.compiler.disable(len); r = torch.compiler.is_compiling(), f([1])
        """,
        oracle,
    )


def test_a_compiled_module_trains_as_the_module():
    tinyrnn.manual_seed(0)
    layer, seen = nn.Linear(2, 1), []
    compiled = tinyrnn.compile(layer)
    compiled.register_forward_hook(lambda *args: seen.append("outside"))
    layer.register_forward_hook(lambda *args: seen.append("inside"))
    optimizer = tinyrnn.optim.SGD(compiled.parameters(), 0.1)
    before = layer.weight.detach().clone()
    compiled(tinyrnn.ones(3, 2)).sum().backward()
    optimizer.step()
    assert seen == ["inside", "outside"] and not layer.weight.equal(before)
    again = pickle.loads(pickle.dumps(tinyrnn.compile(nn.Linear(2, 1))))
    assert type(again) is type(compiled) and list(again.state_dict()) == ["_orig_mod.weight", "_orig_mod.bias"]
    assert list(copy.deepcopy(again).state_dict()) == list(again.state_dict())


def test_what_compile_is_given_is_as_it_was():
    for decorator in (tinyrnn.compile, tinyrnn.compile(), tinyrnn.compile(dynamic=True)):
        assert decorator(len)([1]) == 1
    compiled = tinyrnn.compile(nn.Tanh())
    assert tinyrnn.compile(compiled) is compiled
    with pytest.raises(NotImplementedError, match="makes no graph that a backend could compile"):
        tinyrnn.compile(nn.Tanh(), backend=lambda graph, inputs: graph)
    OptimizedModule = facade.imported("torch._dynamo.eval_frame", ["OptimizedModule"]).OptimizedModule
    assert isinstance(compiled, OptimizedModule)
    facade.imported("torch._dynamo").config.suppress_errors = True
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got int"):
        tinyrnn.compiler.OptimizedModule(3)
