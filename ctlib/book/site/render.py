"""`build`: run every chapter (in processes of their own), stage, render with warnings as errors, check the pages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.ledger.benchmark import recorded_benchmark
from ctlib.book.ledger.stored_runs import read_run
from ctlib.book.project import BookError, Project, UsageError, check_preset
from ctlib.book.runner.pool import Pool
from ctlib.book.runner.progress import Bars
from ctlib.book.site import check
from ctlib.book.site.stage import stage


class BuildFailed(BookError):
    """A chapter failed, Jupyter Book warned, or a page is not as it must be."""


def preset_of(project: Project, slug: str, preset: str) -> str:
    """The preset at which a chapter goes into a book of `preset`: `ci` where the chapter has no such preset."""
    return preset if preset in parameters.presets(project, slug) else "ci"


def run_all(project: Project, preset: str, jobs: int | None = None, slugs: list[str] | None = None) -> dict[str, Path]:
    """Executed notebook of every chapter; at most `jobs` at once, each in a process of its own."""
    presets = {slug: preset_of(project, slug, preset) for slug in slugs or project.chapters()}
    if presets and preset not in presets.values():
        raise UsageError(f"no chapter has a preset {preset!r}")
    for slug, own in presets.items():
        parameters.resolve(project, slug, own)  # a wrong preset file is refused before anything runs
    pool, bars = Pool(project), Bars(list(presets))
    try:
        results = pool.run(presets, bars, jobs or os.cpu_count() or 1)
    finally:
        bars.close()
    failed = [r["error"] for _, r in sorted(results.items()) if "error" in r]
    if failed:
        raise BuildFailed("\n".join(failed))
    return {slug: Path(results[slug]["path"]) for slug in presets}


def render(project: Project, preset: str, runs: dict[str, Path]) -> Path:
    """Render the staged book with `-W -n`; path of the HTML folder. BuildFailed on any warning or bad page."""
    source, html = stage(project, preset, runs), project.build / preset / "html"
    stamp, made_from = html / ".made-from", _fingerprint(source, project.library)
    if stamp.is_file() and stamp.read_text() == made_from and not check.problems(project, html):
        return html
    print("rendering the pages", flush=True)
    built = _sphinx(source, project.build / preset / "work")
    if bad := check.problems(project, built):
        raise BuildFailed("\n".join(bad))
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(str(built), str(html))
    stamp.write_text(made_from)
    return html


def _sphinx(source: Path, work: Path) -> Path:
    """Folder of the pages that Jupyter Book makes of `source`."""
    shutil.rmtree(work, ignore_errors=True)
    # jsonschema would build a grammar of web addresses, as in `ctlib.book.__main__`
    main = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyter_book.cli.main import main; sys.exit(main())"
    flags = ["-W", "-n", "--keep-going", "--all", "-q", "--path-output", str(work)]
    command = [sys.executable, "-c", main, "build", str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [x for x in (done.stdout + done.stderr).splitlines() if "WARNING" in x or "ERROR" in x]
        raise BuildFailed("Jupyter Book: " + ("\n".join(lines) or done.stderr[-2000:]))
    return work / "_build" / "html"


def _fingerprint(source: Path, library: Path) -> str:
    """Hash over the staged files, the library whose docstrings are pages too, and the versions of what renders them."""
    names = ("jupyter-book", "Sphinx", "myst-nb", "myst-parser", "sphinx-book-theme")
    digest = hashlib.sha256(repr([importlib.metadata.version(n) for n in names]).encode())
    files = [(p.relative_to(source), p) for p in source.rglob("*") if p.is_file()]
    files += [(p.relative_to(library), p) for p in library.rglob("*.py")]
    for name, path in sorted(files):
        digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def check_results(project: Project) -> None:
    """Refuse an edited number in a recorded run or benchmark: DataError names file and field."""
    for path in sorted((project.book / "results").glob("*/*.json")):
        if path.parent.name == "bench":
            recorded_benchmark(path.stem, project.book)
        else:
            read_run(path, project.book)


def build(project: Project, preset: str = "ci", jobs: int | None = None) -> Path:
    """Run, render, check; the path of the page to open."""
    check_preset(preset)
    for name in check.toc_pages(project):
        if not any((project.root / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb", ".rst")):
            raise UsageError(f"_toc.yml lists {name}, and there is no such file")
    check_results(project)
    return render(project, preset, run_all(project, preset, jobs)) / "index.html"
