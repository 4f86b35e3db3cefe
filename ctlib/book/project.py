"""Where a book lives: one frozen value that every step takes, so that tests can run them on a miniature book."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ctlib.errors import CtlibError

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ("ci", "laptop", "paper")
STORE = "CTLIB_BOOK_STORE"  # environment variable: where executed notebooks and summaries of sweeps are kept


class UsageError(CtlibError, ValueError):
    """A command was asked for something that does not exist or is not allowed: one line says what, and what is."""


class BookError(CtlibError, RuntimeError):
    """A command that was understood could not do its work."""


@dataclass(frozen=True)
class Project:
    """Folders of a book: sources, generated files, reference notebooks, and the library whose sources count.

    store  executed notebooks: by default the folder that the environment names, or one in `build`
    """

    root: Path = ROOT
    library: Path = ROOT / "ctlib"
    store: Path | None = None

    def __post_init__(self):
        named = self.store or os.environ.get(STORE)
        object.__setattr__(self, "store", Path(named).expanduser().absolute() if named else self.build / "store")

    @property
    def book(self) -> Path:
        return self.root / "book"

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @property
    def sweeps(self) -> Path:
        """Summaries of sweeps, beside the store."""
        return self.store.parent / "sweeps" if self.store.parent == self.build else self.store / "sweeps"

    @property
    def reference(self) -> Path:
        return self.root / "tests" / "reference"

    def chapters(self) -> list[str]:
        """Slugs of everything that papermill runs: numbered chapters, then labs and other pages with code."""
        numbered = sorted(p.stem for p in self.book.glob("[0-9][0-9]-*.md"))
        others = (p for p in self.book.glob("*.md") if p.stem not in numbered)
        return numbered + sorted(p.stem for p in others if p.read_text(encoding="utf-8").startswith("---\njupytext:"))

    def slug(self, name: str) -> str:
        """The slug that a person's name for a chapter means: `02`, `2a`, `deep-image-prior` or the whole slug."""
        name = name.removesuffix(".md").rsplit("/", 1)[-1]
        page = re.fullmatch(r"(\d+)([a-z]?)", name)
        number = f"{page[1].zfill(2)}{page[2]}" if page else name
        found = [s for s in self.chapters() if name in (s, s.partition("-")[2]) or number == s.partition("-")[0]]
        if len(found) != 1:
            raise UsageError(f"unknown chapter {name!r}; chapters are: {', '.join(self.chapters())}")
        return found[0]

    def source(self, slug: str) -> Path:
        return self.book / f"{slug}.md"


def check_preset(preset: str) -> str:
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; presets are: {', '.join(PRESETS)}")
    return preset
