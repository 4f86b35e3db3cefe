"""Spectral2Spectral, {cite}`guo2022`, and its rivals."""
