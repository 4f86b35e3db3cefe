"""The compiled Newton solver and its start, imported where numba is installed."""
