"""`build`: run every chapter (in processes of their own), stage, render with warnings as errors, check the pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..errors import CtlibError
from . import parameters, site
from .progress import Bars
from .project import Project, check_preset
from .stage import stage


class BuildFailed(CtlibError, RuntimeError):
    """A chapter failed, Jupyter Book warned, or a page is not as it must be."""


def run_all(project: Project, preset: str, jobs: int | None = None) -> dict[str, Path]:
    """Executed notebook of every chapter; at most `jobs` at once, each in a process of its own."""
    slugs = project.chapters()
    for slug in slugs:
        parameters.resolve(project, slug, preset)  # a wrong preset file is refused before anything runs
    bars, results, lock = Bars(slugs), {}, threading.Lock()
    todo = list(slugs)

    def work():
        while True:
            with lock:
                if not todo:
                    return
                slug = todo.pop(0)
            results[slug] = _run_one(project, slug, preset, bars)

    count = max(1, min(jobs or os.cpu_count() or 1, len(slugs) or 1))
    threads = [threading.Thread(target=work) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    bars.close()
    failed = [r["error"] for _, r in sorted(results.items()) if "error" in r]
    if failed:
        raise BuildFailed("\n".join(failed))
    return {slug: Path(results[slug]["path"]) for slug in slugs}


def _run_one(project: Project, slug: str, preset: str, bars: Bars) -> dict:
    """Run one chapter in a child process that writes JSON lines: progress, then the result."""
    started, last = time.time(), {"error": "the run ended without a result (killed?)"}
    command = [
        sys.executable,
        "-m",
        "ctlib.book",
        "run",
        slug,
        "--preset",
        preset,
        "--json",
        "--root",
        str(project.root),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        drain = threading.Thread(target=lambda: errors.append(child.stderr.read()))
        errors: list[str] = []
        drain.start()
        for line in child.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "done" in message:
                bars.update(slug, message["done"], message["total"])
            else:
                last = message
        drain.join()
    if "error" in last and not last["error"].startswith(slug) and errors and errors[0].strip():
        last["error"] = f"{slug}: {last['error']}: {errors[0].strip().splitlines()[-1]}"
    bars.end(slug, "FAILED" if "error" in last else f"{preset}  {time.time() - started:.1f} s")
    return last


def render(project: Project, preset: str, runs: dict[str, Path]) -> Path:
    """Render the staged book with `-W -n`; path of the HTML folder. BuildFailed on any warning or bad page."""
    source, work = stage(project, preset, runs), project.build / preset / "work"
    shutil.rmtree(work, ignore_errors=True)
    main = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    flags = ["-W", "-n", "--keep-going", "--all", "-q", "--path-output", str(work)]
    done = subprocess.run(
        [sys.executable, "-c", main, "build", str(source), *flags], capture_output=True, text=True, check=False
    )
    built = work / "_build" / "html"
    if done.returncode:
        lines = [x for x in (done.stdout + done.stderr).splitlines() if "WARNING" in x or "ERROR" in x]
        raise BuildFailed("Jupyter Book: " + ("\n".join(lines) or done.stderr[-2000:]))
    bad = site.problems(project, built)
    if bad:
        raise BuildFailed("\n".join(bad))
    html = project.build / preset / "html"
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(str(built), str(html))
    return html


def build(project: Project, preset: str = "ci", jobs: int | None = None) -> Path:
    """Run, render, check; the path of the page to open."""
    check_preset(preset)
    return render(project, preset, run_all(project, preset, jobs)) / "index.html"
