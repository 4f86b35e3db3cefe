"""All trainings of a page, the most important first, each kept in a file: goes on where it was stopped.

    python tools/train.py 04-hqinet FOLDER --preset laptop -p data /path/to/slices
    torchrun --nproc_per_node=4 tools/train.py 04-hqinet FOLDER --preset paper -p data /path/to/exams

Start it as often as there are cores (OMP_NUM_THREADS=1): processes that share FOLDER share the work. The page finds its
trainings there when it is run or recorded with `-p checkpoints FOLDER` and the same parameters.
"""

from __future__ import annotations

import argparse
import importlib
import time

from ctlib.book import parameters
from ctlib.book.project import PRESETS, Project, UsageError
from ctlib.train import process_group, rank_and_size
from ctlib.train.plan import Planned, run_plan

PAGES = {  # page: what makes its experiment of its parameters
    "02-deep-image-prior": "ctlib.papers.dip.study:study_of",
    "02a-why-it-works": "ctlib.papers.dip.study:projections_of",
    "02b-settings": "ctlib.papers.dip.study:settings_of",
    "03-spectral2spectral": "ctlib.papers.spectral2spectral.chapter:study_of",
    "04-hqinet": "ctlib.papers.hqinet.study:study_of",
    "05b-scatter": "ctlib.papers.pcct.scatter_chapter:study_of",
    "06-generative-tomography": "ctlib.papers.tomography.chapter:images_of",
    "06a-generator": "ctlib.papers.tomography.chapter:generators_of",
}


def study_of(project: Project, slug: str, preset: str, given: dict[str, object]) -> Planned:
    """The experiment of a page at a preset, with what the command line changes."""
    module, _, name = PAGES[slug].partition(":")
    values = {**parameters.declared(project, slug), **parameters.resolve(project, slug, preset, given)}
    parameters.prepare(project, slug, values)
    return getattr(importlib.import_module(module), name)(values)


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about.add_argument("page", help=f"one of {', '.join(PAGES)}, or a part of its name as elsewhere")
    about.add_argument("folder", help="where the results are kept")
    about.add_argument("--preset", default="laptop", choices=PRESETS)
    about.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so many")
    about.add_argument("--blocks", nargs="*", default=[], help="parts of the plan alone")
    about.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="as in `run`")
    asked, project = about.parse_args(), Project()
    try:
        slug = project.slug(asked.page)
        if slug not in PAGES:
            about.error(f"{slug} has no plan; those with one: {', '.join(PAGES)}")
        given = parameters.parse_given(project, slug, [*asked.p, ("checkpoints", asked.folder)])
        parameters.resolve(project, slug, asked.preset, given)
    except UsageError as error:
        about.error(str(error))
    with process_group() as device:
        if device.startswith("cuda") and "device" not in given:
            given["device"] = device
        study = study_of(project, slug, asked.preset, given)

        def say(text: str) -> None:
            if rank_and_size()[0] == 0:
                print(time.strftime("%H:%M"), text, flush=True)

        done = run_plan(study, asked.blocks, 60 * asked.minutes, say)
        say("all done" if done else "stopped: the same command goes on")
        return 0 if done else 4


if __name__ == "__main__":
    raise SystemExit(main())
