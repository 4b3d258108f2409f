"""The CPU twins: Numba-jitted loops over NumPy arrays.  Each module is imported when it is first used."""
