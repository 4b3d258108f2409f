"""Loops: arrays in, arrays out.  No tensor, no tape.

This folder is installed as `tinyrnn.kernels`; another project owns the name `kernels`.
"""

if __name__ != "tinyrnn.kernels":
    raise ImportError(
        f"this folder is the package 'tinyrnn.kernels', but it was imported as '{__name__}': "
        "write 'import tinyrnn.kernels' (from a checkout, run Python in its top folder)"
    )
