def late():
    import torch

    return torch
