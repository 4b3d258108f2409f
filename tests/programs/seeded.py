import random

import numpy as np
import torch

print(torch.rand(1).item(), np.random.rand(), random.random())
