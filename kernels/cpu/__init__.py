"""The CPU twins: Numba-jitted loops over NumPy arrays.  Each module is imported when it is first used."""

from ..interrupts import uninterrupted
from .memory import keep_freed

keep_freed()
with uninterrupted():
    import numba  # noqa: F401
