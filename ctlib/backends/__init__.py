"""Engines behind the projector: all evaluate the same plan; `auto` is the fastest for the tensor's device."""

from ctlib.backends.registry import ENGINES, Engine, available, dtypes, engine, require, resolve

__all__ = ["ENGINES", "Engine", "available", "dtypes", "engine", "require", "resolve"]
