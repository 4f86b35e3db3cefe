"""Engines behind the projector: all evaluate the same plan; `auto` is the fastest for the tensor's device."""

from ctlib.backends.registry import BACKENDS, available, engine, resolve

__all__ = ["BACKENDS", "available", "engine", "resolve"]
