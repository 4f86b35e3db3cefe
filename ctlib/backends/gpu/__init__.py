"""The Triton engine for GPUs, imported where triton is installed."""
