"""All trainings of chapter 6, the most important first, each kept in a file: go on where they were stopped.

    python tools/train_generative.py FOLDER --preset laptop -p data /path/to/real-ct

Start it as often as there are cores (OMP_NUM_THREADS=1): processes that share FOLDER share the work. The pages find the
trainings there when they are run with `-p checkpoints FOLDER` and the same parameters.
"""

from __future__ import annotations

import argparse
import time

import yaml

from ctlib.book import parameters
from ctlib.book.project import PRESETS, Project
from ctlib.papers.tomography import chapter
from ctlib.papers.tomography.run_plan import run_plan

PAGES = {"06-generative-tomography": chapter.images_of, "06a-generator": chapter.generators_of}


def values(slug: str, preset: str, folder: str, changes: list[list[str]]) -> dict:
    """A page's parameters at a preset, with what the command line changes."""
    project = Project()
    found = {**parameters.declared(project, slug), **parameters.preset_values(project, slug, preset)}
    given = {name: yaml.safe_load(text) for name, text in changes}
    return {**found, "checkpoints": folder, **{k: v for k, v in given.items() if k in found}}


def main() -> None:
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("folder", help="where the results are kept")
    about.add_argument("--preset", default="laptop", choices=PRESETS)
    about.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so many")
    about.add_argument("--page", choices=PAGES, help="one page alone")
    about.add_argument("--blocks", nargs="*", default=[], help="parts of its plan alone")
    about.add_argument("--list", action="store_true", help="name the trainings, do none")
    about.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    asked, began = about.parse_args(), time.monotonic()
    for slug in [asked.page] if asked.page else PAGES:
        study = PAGES[slug](values(slug, asked.preset, asked.folder, asked.p))
        if asked.list:
            study.rate = lambda method: 1.0  # a rate that was searched for would be found by training
            print(*(f"{slug}: {job.block}: {job.name.replace('-lr1-', '-')}" for job in study.plan()), sep="\n")
            continue
        left = 60 * asked.minutes - (time.monotonic() - began)
        if left <= 0 or not run_plan(study, asked.blocks, left, lambda told: print(told, flush=True)):
            return print("stopped: the same command goes on")
    return None


if __name__ == "__main__":
    main()
