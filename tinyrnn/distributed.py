"""torch.distributed for a program that runs alone: it asks whether there are others, and there are none.

Programs that can train on several machines import these names whatever they do; whoever starts a group is told that
there is no such thing here.
"""

from __future__ import annotations

from typing import Any, NoReturn


def is_available() -> bool:
    """Whether processes can form a group: no."""
    return False


def is_initialized() -> bool:
    """Whether this process is in a group: no."""
    return False


def _refused(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"distributed.{name}(): training on several machines is out of scope for tinyrnn")

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


init_process_group, new_group = _refused("init_process_group"), _refused("new_group")


def _alone(name: str) -> Any:
    def fail(*args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(
            f"Default process group has not been initialized: distributed.{name}() asks for one, and tinyrnn has none"
        )

    fail.__name__ = fail.__qualname__ = name
    return fail


all_gather, all_reduce, barrier, broadcast = map(_alone, ("all_gather", "all_reduce", "barrier", "broadcast"))
destroy_process_group, get_rank, get_world_size = map(_alone, ("destroy_process_group", "get_rank", "get_world_size"))

__all__ = [
    "all_gather", "all_reduce", "barrier", "broadcast", "destroy_process_group", "get_rank", "get_world_size",
    "init_process_group", "is_available", "is_initialized", "new_group",
]  # fmt: skip
