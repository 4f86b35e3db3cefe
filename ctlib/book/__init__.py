"""The reader layer: everything that knows notebooks. Nothing numerical imports it."""

from ctlib.book.ledger.benchmark import recorded_benchmark, recorded_precision
from ctlib.book.ledger.claims import ClaimFailed, Ledger
from ctlib.book.ledger.openings import opening
from ctlib.book.ledger.outcomes import expect
from ctlib.book.ledger.stored_runs import recorded
from ctlib.book.page import figures
from ctlib.book.page.listing import show
from ctlib.book.page.numbers import number
from ctlib.book.page.results_table import table
from ctlib.book.page.widgets import explore
from ctlib.book.session import begin

__all__ = [
    "ClaimFailed",
    "Ledger",
    "diagram",
    "expect",
    "explore",
    "figures",
    "number",
    "opening",
    "recorded",
    "recorded_benchmark",
    "recorded_precision",
    "show",
    "table",
]


def __getattr__(name: str):
    """`diagram` where a page asks for it: it loads torch, which the commands that run pages do without."""
    if name == "diagram":
        from ctlib.book.page import diagram

        return diagram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


begin()
