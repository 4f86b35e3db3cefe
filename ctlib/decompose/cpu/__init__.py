"""The compiled Newton solver with its start, imported where numba is installed."""
