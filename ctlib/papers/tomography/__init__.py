"""Generative tomography reconstruction, {cite}`ronchetti2020`."""
