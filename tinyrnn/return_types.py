"""The named results of functions that return several tensors, printed as torch prints them: torch.return_types."""

from __future__ import annotations

from collections import namedtuple
from typing import Any


def _named(name: str, *fields: str) -> Any:
    """The class of a result called torch.return_types.`name`."""

    def shown(self) -> str:
        parts = ",\n".join(f"{field}={value!r}" for field, value in zip(fields, self, strict=True))
        return f"torch.return_types.{name}(\n{parts})"

    return type(name, (namedtuple(name, fields),), {"__slots__": (), "__module__": __name__, "__repr__": shown})


max, min = _named("max", "values", "indices"), _named("min", "values", "indices")
sort, topk = _named("sort", "values", "indices"), _named("topk", "values", "indices")
cummax, cummin = _named("cummax", "values", "indices"), _named("cummin", "values", "indices")
median, nanmedian = _named("median", "values", "indices"), _named("nanmedian", "values", "indices")
mode, kthvalue = _named("mode", "values", "indices"), _named("kthvalue", "values", "indices")
aminmax = _named("aminmax", "min", "max")

__all__ = [
    "aminmax", "cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk",
]  # fmt: skip
