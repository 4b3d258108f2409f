from torch import nn


def divide(n):
    try:
        return 1 / n
    except ZeroDivisionError as error:
        raise ValueError("cannot divide") from error


def missing():
    return nn.Conv2d(1, 2, 3)
