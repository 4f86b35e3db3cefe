"""`record`: run a chapter at a preset and keep its numbers and figures, with provenance, under book/results/."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from . import claims, parameters, provenance, run, sources
from .output import COLLECTOR, Collector
from .project import Project, UsageError
from .recorded import digest
from .source import code_cells


def record(project: Project, slug: str, preset: str, in_process: bool = False, progress=None) -> Path:
    """Path of book/results/<preset>/<slug>.json, written after the run; an older one stays until then.

    in_process  run the code cells by plain `exec`: for a machine without Jupyter
    """
    values = parameters.resolve(project, slug, preset)
    started = time.time()
    if in_process:
        found, seconds = _exec(project, slug, values, preset), time.time() - started
    else:
        import nbformat

        nb = nbformat.read(run.execute(project, slug, values, preset, progress), 4)
        found, seconds = from_notebook(nb), nb.metadata["ctlib"]["seconds"]
    if not found.claims:
        raise UsageError(f"{slug}: the run checked no claim: there is nothing to record")
    return write(project, slug, preset, values, found, seconds)


def from_notebook(nb) -> Collector:
    """Claim records and kept figures of an executed notebook."""
    figures = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            mark = output.get("metadata", {}).get("ctlib", {})
            if "keep" in mark:
                figures[mark["keep"]] = (base64.b64decode(output["data"]["image/png"]), mark["alt"])
    return Collector(claims=claims.from_notebook(nb), figures=figures)


def _exec(project: Project, slug: str, values: dict, preset: str) -> Collector:
    """Run the code cells one after another in this process, parameters injected after their cell."""
    collector, here = Collector(), Path.cwd()
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book))
    token = COLLECTOR.set(collector)
    namespace = {"__name__": "__main__"}
    os.chdir(project.book)
    try:
        for i, cell in enumerate(code_cells(project.source(slug))):
            exec(compile(cell.source, f"{slug}, code cell {i + 1}", "exec"), namespace)
            if "parameters" in cell.tags:
                namespace.update(values)
    finally:
        os.chdir(here)
        COLLECTOR.reset(token)
    return collector


def write(project: Project, slug: str, preset: str, values: dict, found: Collector, seconds: float) -> Path:
    """Write figures and the JSON with its digest; the JSON is replaced last and in one step."""
    folder = project.book / "results" / preset
    new = folder / f".{slug}.part"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    figures = {}
    for name, (png, alt) in found.figures.items():
        file = f"{slug}-{name}.png"
        (new / file).write_bytes(png)
        figures[name] = {"file": file, "sha256": hashlib.sha256(png).hexdigest(), "alt": alt}
    body = {
        "slug": slug,
        "preset": preset,
        "parameters": values,
        "claims": claims.judge(slug, {k: r["values"] for k, r in found.claims.items()}, project.book),
        "figures": figures,
        "commit": provenance.commit(project),
        "sources_sha256": sources.sources_sha256(slug, project),
        "device": provenance.device(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(seconds, 1),
    }
    body["digest"] = digest(body)
    for file in new.iterdir():
        os.replace(file, folder / file.name)
    (new / "run.json").write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(new / "run.json", folder / f"{slug}.json")
    new.rmdir()
    return folder / f"{slug}.json"
