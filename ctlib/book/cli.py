"""Command line of the book: `python -m ctlib.book COMMAND`. Mistakes end with one line and code 2, failures with 1."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from ctlib import files
from ctlib.book import command_line
from ctlib.book.project import BookError, Project, UsageError, check_preset
from ctlib.errors import CtlibError


def main(argv: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        words, given = command_line.without_parameters(words)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(words):
        print(command_line.parameters_of(words), end="")
    args = command_line.parser().parse_args(words)
    args.given = given
    project = Project(Path(args.root).resolve(), store=args.store)
    _end_orderly()
    try:
        return globals()[f"_{args.command}"](project, args) or 0
    except UsageError as error:
        return _complain(args, error, 2)
    except CtlibError as error:
        return _complain(args, error, 1)
    except OSError as error:
        return _complain(args, BookError(f"{files.told(error)}; finished runs are kept"), 1)
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept", file=sys.stderr)
        return 130


def _end_orderly() -> None:
    """A command that is told to end stops as with Ctrl-C: nothing half done is left."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _complain(args, error: Exception, code: int) -> int:
    if getattr(args, "json", False):
        print(json.dumps({"error": str(error)}), flush=True)
    else:
        print(f"error: {error}", file=sys.stderr)
    return code


def _build(project: Project, args) -> None:
    from ctlib.book.site.render import build

    page = build(project, args.preset, args.jobs)
    print(f"The book is ready: open {page}")


def _run(project: Project, args) -> None:
    import nbformat

    from ctlib.book import parameters
    from ctlib.book.ledger import claims, outcomes
    from ctlib.book.runner.progress import one_bar
    from ctlib.book.runner.run import execute

    slug, preset = project.slug(args.chapter), check_preset(args.preset)
    values = parameters.resolve(project, slug, preset, parameters.parse_given(project, slug, args.given))
    parameters.prepare(project, slug, values)
    kernel_preset = parameters.kernel_preset(project, slug, preset, values)
    if args.json:
        path = execute(project, slug, values, kernel_preset, _tell)
        print(json.dumps({"path": str(path)}), flush=True)
        return
    with one_bar(slug) as progress:
        path = execute(project, slug, values, kernel_preset, progress)
    nb = nbformat.read(path, 4)
    for name, record in claims.from_notebook(nb).items():
        print(f"{record['verdict']:15s} {name}: {claims.measured(record)}")
    for told in outcomes.failed(nb):
        print(told)
    print(path)


def _tell(done: int, total: int) -> None:
    """Progress of a run for the process that started it."""
    print(json.dumps({"done": done, "total": total}), flush=True)


def _sweep(project: Project, args) -> int:
    from ctlib.book import parameters
    from ctlib.book.runner.sweep import parse_grid, sweep

    slug, preset = project.slug(args.chapter), check_preset(args.preset)
    grid = parse_grid(project, slug, args.grid)
    out = args.out or project.sweeps / f"{slug}.json"
    fixed = parameters.parse_given(project, slug, args.given)
    if both := grid.keys() & fixed.keys():
        raise UsageError(f"{min(both)} is given by both --grid and -p")
    for folders in ({**fixed, name: value} for name, values in grid.items() for value in values):
        parameters.prepare(project, slug, folders, here=args.scheduler is None)
    summary = sweep(project, slug, grid, fixed, preset, args.scheduler, args.workers, out)
    for row in summary["failed"]:
        print(f"failed: {row['parameters']}: {row['error']}", file=sys.stderr)
    print(f"{len(summary['rows'])} runs, {len(summary['failed'])} failed: {out}")
    return 1 if summary["failed"] else 0


def _record(project: Project, args) -> None:
    from ctlib.book import parameters
    from ctlib.book.runner.record import record
    from ctlib.book.runner.watch import watching

    slug, preset = project.slug(args.chapter), check_preset(args.preset)
    files = parameters.parse_given(project, slug, args.given)
    parameters.prepare(project, slug, parameters.resolve(project, slug, preset, files))
    with watching(f"{slug} at {preset}", live=not args.in_process) as watch:
        path = record(project, slug, preset, args.in_process, watch, files)
    print(path)


def _reference(project: Project, args) -> None:
    from ctlib.book.runner.reference import write
    from ctlib.book.site.render import run_all

    slugs = _chosen(project, args)
    run_all(project, "ci", slugs=slugs)
    for slug in slugs:
        print(write(project, slug))


def _fmt(project: Project, args) -> int:
    from ctlib.book.lint import formatted

    changed = 0
    for slug in _chosen(project, args):
        path = project.source(slug)
        text, again = path.read_text(encoding="utf-8"), formatted(project, slug)
        if again != text:
            changed += 1
            print(f"{path.stem}: {'not canonical; run `python -m ctlib.book fmt`' if args.check else 'rewritten'}")
            if not args.check:
                path.write_text(again, encoding="utf-8")
    return 1 if args.check and changed else 0


def _lint(project: Project, args) -> int:
    from ctlib.book.lint import problems

    found = {slug: problems(project, slug) for slug in _chosen(project, args)}
    for slug, of_chapter in found.items():
        for problem in of_chapter:
            print(f"{project.source(slug).relative_to(project.root)}:{problem.line}: {problem.rule} {problem.text}")
    count = sum(map(len, found.values()))
    print(f"{count} problem{'s' * (count > 1)}" if count else "the code cells are in order")
    return 1 if count else 0


def _chosen(project: Project, args) -> list[str]:
    """The chapters named on the command line, or all."""
    return [project.slug(c) for c in args.chapters] or project.chapters()


def _test(project: Project, args) -> int:
    from ctlib.book.runner.testing import run_tests

    return run_tests(project, args.pytest, args.execute, args.long)


def _lab(project: Project, args) -> int:
    from ctlib.book.runner.lab import lab

    return lab(project)
