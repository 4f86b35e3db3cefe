"""Engines that are short, or somebody else's: loops in torch, a sparse matrix, ASTRA."""
