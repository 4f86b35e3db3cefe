"""What the results of a step depend on: code by its digest, device, versions; and the commit, to be told."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (  # all that the benchmark names too
    "torch", "triton", "numpy", "numba", "scipy", "astra-toolbox", "scikit-image", "leapctp", "torchtomo", "deepinv",
    "diffct",
)  # fmt: skip


def digest(files: Iterable[Path], *texts: str) -> str:
    """sha256 over files, by their path in the repository and contents, and over texts."""
    found = hashlib.sha256("\0".join(texts).encode())
    for path in sorted(files):
        found.update(b"\0file\0" + path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


@cache
def library() -> str:
    """Of the library without what handles notebooks: what tests of kernels and the benchmark depend on."""
    return digest(p for p in ROOT.glob("ctlib/**/*.py") if not p.is_relative_to(ROOT / "ctlib" / "book"))


def chapter(slug: str) -> str:
    """Of a chapter: its cells, the library as far as they reach it, its presets and claims."""
    staleness, project = _reader()
    files = [ROOT / "book" / folder / f"{slug}.yml" for folder in ("presets", "claims")]
    return digest((p for p in files if p.exists()), staleness.sources_sha256(slug, project))


def machine(device: str) -> dict[str, object]:
    """The device, and the versions of what runs on it."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"gpu": device, "versions": versions}


def commit() -> str:
    """Of the checkout, `+` when files differ from it, `unknown` outside one."""
    _, project = _reader()
    from ctlib.book.runner import provenance

    return provenance.commit(project)


def _reader() -> tuple:
    """The book's own hashes, and the book: `ctlib` is not installed here."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from ctlib.book.ledger import staleness
    from ctlib.book.project import Project

    return staleness, Project()
