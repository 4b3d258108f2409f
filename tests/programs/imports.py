# ruff: noqa: B018, F401, F403, F405
# Every way to import torch, from the program, its modules, a function, exec; and what a library sees meanwhile.
import importlib
import importlib.util
import os
import pickle
import sys

import looks_for_torch
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data as data
from names import shapes
from torch import nn as same_nn
from torch import optim, zeros
from torch.autograd import Variable
from torch.nn.functional import *
from torch.nn.functional import relu as rectify
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader


class Net(nn.Module):
    def forward(self, x: torch.Tensor) -> "torch.Tensor":
        import torch.nn.init as init

        init.constant_(x, 3.0)
        return F.relu(x)


print(sys.argv[1:])
print(__name__, os.path.split(__file__) == (sys.path[0], "imports.py"), sys.modules["__main__"].Net is Net)
print(torch.__name__, nn.__name__, F.__name__, data.__name__, nn is same_nn, optim is torch.optim)
print(relu is rectify is F.relu, DataLoader is data.DataLoader is torch.utils.data.DataLoader)
print(importlib.import_module("torch.nn") is nn, __import__("torch") is torch, Variable is torch.autograd.Variable)
scope = {}
exec("import torch.nn.functional as F; from torch import nn", scope)
print(scope["nn"] is nn, scope["F"] is F, shapes.nn is nn, shapes.deep.late() is torch)
print(importlib.util.find_spec("torch.nn").name, importlib.util.find_spec("torch.onnx"))
print(torch.__version__ >= "2.2", torch.__version__ >= (1, 9), torch.__version__ < "3", "2.13" in torch.__version__)
print(hasattr(torch, "zeros"), hasattr(torch, "onnx"), hasattr(nn, "Conv2d"), hasattr(torch, "tape"))
print("Module" in dir(nn), "functional" in dir(nn), "tape" in dir(torch), "onnx" in dir(torch))
try:
    import torch.onnx
except ModuleNotFoundError as error:
    print(type(error).__name__, error)
try:
    from torch.nn import Conv2d
except ImportError as error:
    print(type(error).__name__, error)
try:
    nn.Conv2d
except AttributeError as error:
    print(type(error).__name__, error)
try:
    from . import tape
except ImportError as error:
    print(error)
net = pickle.loads(pickle.dumps(Net()))
print(type(net), isinstance(net, nn.Module), isinstance(net(zeros(2)), torch.Tensor), net(zeros(2)).tolist())
print(looks_for_torch.seen())
