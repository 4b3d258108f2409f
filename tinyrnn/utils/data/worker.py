"""What a worker process of a DataLoader knows of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker of how many this process is, the seed of its random streams, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Inside a worker process of a DataLoader what it knows of itself; None elsewhere."""
    return _info


def this_process_is(info: WorkerInfo) -> None:
    """Say what get_worker_info() is to return from now on."""
    global _info
    _info = info
