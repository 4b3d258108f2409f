"""Many arrays in one launch: a table on the device says where they are.

    table   (groups, 2 + arrays of a group) int64   how many chunks the groups before have; the size of the arrays of
                                                    this group; the address of each

The arrays of a group have one size, and are cut into chunks of CHUNK numbers.  A block of threads takes one chunk after
the other, and finds the group of each by `group_of`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .array import Array, upload
from .driver import Driver, driver
from .jit import device

CHUNK = 1024
KEPT = 64  # tables


class Table(NamedTuple):
    array: Array
    groups: int
    chunks: int

    def blocks(self) -> int:
        """How many blocks a launch gets."""
        threads = driver().threads
        return driver().blocks(self.chunks * threads, threads)


_tables: OrderedDict[tuple[Driver, bytes], Table] = OrderedDict()


def table_of(groups: Sequence[Sequence[Array]]) -> Table:
    """The table of groups of contiguous arrays; the one on the device, if these arrays were in one not long ago."""
    rows, chunks = [], 0
    for group in groups:
        n = group[0].size
        rows.append((chunks, n, *[a.address for a in group]))
        chunks += -(-n // CHUNK)
    host = np.array(rows, np.int64)
    key = driver(), host.tobytes()
    table = _tables.pop(key, None) or Table(upload(host), len(rows), chunks)
    _tables[key] = table
    if len(_tables) > KEPT:
        _tables.popitem(last=False)
    return table


@device
def group_of(chunk, table, groups, width):
    """The number of the group that a chunk belongs to; `width` is that of a row of the table."""
    low, high = 0, groups - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if table[middle * width] <= chunk:
            low = middle
        else:
            high = middle - 1
    return low
