"""The Newton solver, its restarts and its transposed system as Triton kernels, imported where triton is installed."""
