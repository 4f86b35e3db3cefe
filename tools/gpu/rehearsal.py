"""A chapter at the sizes of tests/helpers/tiny.py on the stand-in device, recorded as `record --in-process` does it.

PYTHONPATH=tests/devices:tests/helpers python tools/gpu/rehearsal.py STORE RESULTS
"""

import shutil
import sys
from pathlib import Path

import torch
from stand_in import DEVICE, stand_in
from tiny import TINY, few_steps

from ctlib.book.ledger import staleness
from ctlib.book.project import Project
from ctlib.book.runner import inprocess, record, resume

ROOT = Path(__file__).resolve().parents[2]
SLUG, PRESET = "lab-real-mouse", "paper"


def main(store: Path, results: Path) -> None:
    torch.set_num_threads(1)
    resume.KEEP_AFTER_S, resume.SHARE = 0.3, 1.0
    project = Project(store=store)
    values = {**TINY[SLUG], "device": DEVICE}
    with stand_in(), few_steps():
        kept = resume.kept(project, SLUG, values, PRESET)
        given = resume.with_checkpoints(project, SLUG, values, kept)
        found = inprocess.run_cells(project, SLUG, given, PRESET, kept)
    about = {"slug": SLUG, "preset": PRESET, "parameters": values, "seconds": round(kept.seconds, 1)}
    elsewhere = _book_for(results)
    record.write(elsewhere, {**about, "sources_sha256": staleness.sources_sha256(SLUG, project)}, found)
    kept.forget()


def _book_for(results: Path) -> Project:
    """A book of the claims alone, whose results are the rehearsal's."""
    book = results.parent
    (book / "claims").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "book/claims" / f"{SLUG}.yml", book / "claims")
    return Project(root=book.parent)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
