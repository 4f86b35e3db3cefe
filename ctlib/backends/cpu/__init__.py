"""The compiled CPU engine: loops over lanes of rays and pixels, imported where numba is installed."""
