"""What papers claim, what was measured, what is recorded, and whether it still holds."""

from ctlib.book.ledger.standing import Verdict, of_record

__all__ = ["Verdict", "of_record"]
