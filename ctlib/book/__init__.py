"""The reader layer: everything that knows notebooks. Nothing numerical imports it."""

from . import figures
from .benchmark import recorded_benchmark
from .claims import ClaimFailed, Ledger
from .listing import show
from .numbers import number
from .recorded import recorded
from .widgets import explore

__all__ = ["ClaimFailed", "Ledger", "explore", "figures", "number", "recorded", "recorded_benchmark", "show"]
