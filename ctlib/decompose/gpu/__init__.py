"""The Newton solver and its transposed system as Triton kernels, imported where triton is installed."""
