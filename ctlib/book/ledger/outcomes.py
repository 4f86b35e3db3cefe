"""Outcomes that the text beside a cell relies on: they must hold at a chapter's own values, and are told elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.project import PRESETS, Project
from ctlib.book.session import preset_of
from ctlib.errors import ArgumentError, CtlibError

FAILED = "does not hold here: "


class ClaimFailed(CtlibError, AssertionError):
    """What the page says must hold does not hold, or a claim of the chapter was not measured."""


def expect(slug: str, statement: str, holds: object) -> None:
    """Ask whether an outcome of an experiment holds, in a page without a ledger; `Ledger.expect` elsewhere.

    ClaimFailed at the chapter's own values; with others the run goes on and says that it does not hold. What is true
    whatever the parameters are is an `assert`.
    """
    asked(preset_of(slug, Project(BOOK.parent)), statement, holds)


def asked(preset: str, statement: str, holds: object) -> None:
    """Raise at the preset of the page, print at others, if it does not hold."""
    if decided(f"what holds of {statement!r}", holds):
        return
    if preset == PRESETS[0]:
        raise ClaimFailed(f"{statement}: does not hold")
    print(FAILED + statement)


def decided(name: str, condition: object) -> bool:
    """Whether a condition holds; ArgumentError for many at once."""
    try:
        return bool(condition)
    except (TypeError, ValueError, RuntimeError):  # an array, a tensor, a table of several
        raise ArgumentError(name, type(condition).__name__, "one condition (x.all(), x.any())") from None


def failed(nb: Mapping) -> list[str]:
    """The lines of an executed notebook that say what does not hold in it."""
    texts = ("".join(o.get("text", "")) for cell in nb["cells"] for o in cell.get("outputs", []))
    return [line for text in texts for line in text.splitlines() if line.startswith(FAILED)]
