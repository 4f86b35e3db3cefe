"""All trainings of chapter 4, the most important first, each with a checkpoint: goes on where it was stopped.

    python tools/train_hqinet.py FOLDER --preset laptop
    torchrun --nproc_per_node=4 tools/train_hqinet.py FOLDER --preset paper -p data /path/to/exams

Both pages of the chapter find the trainings in FOLDER when they are run with `-p checkpoints FOLDER`.
"""

from __future__ import annotations

import argparse
import time

import yaml

from ctlib.book import parameters
from ctlib.book.project import PRESETS, Project
from ctlib.papers.hqinet.study import run_plan, study_of
from ctlib.train import process_group, rank_and_size

CHAPTER = "04-hqinet"


def values(preset: str, folder: str, changes: list[list[str]], device: str) -> dict:
    """The chapter's parameters at a preset, with what the command line changes."""
    project = Project()
    found = {**parameters.declared(project, CHAPTER), **parameters.preset_values(project, CHAPTER, preset)}
    given = {name: yaml.safe_load(text) for name, text in changes}
    if unknown := given.keys() - found.keys():
        raise SystemExit(f"no parameter of {CHAPTER}: {', '.join(sorted(unknown))}")
    return {**found, "checkpoints": folder, "device": device, **given}


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("folder", help="where the checkpoints are kept")
    about.add_argument("--preset", default="laptop", choices=PRESETS)
    about.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no training after so many (one process)"
    )
    about.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="as in `run`")
    args = about.parse_args()
    with process_group() as device:
        study = study_of(values(args.preset, args.folder, args.p, device))

        def say(text: str) -> None:
            if rank_and_size()[0] == 0:
                print(time.strftime("%H:%M"), text, flush=True)

        say(study.told)
        raise SystemExit(4 if run_plan(study, 60 * args.minutes, say) else 0)


if __name__ == "__main__":
    main()
