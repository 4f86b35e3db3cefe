"""Compiled photon histories, imported where numba is installed."""
