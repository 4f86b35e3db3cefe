"""`record`: run a chapter at a preset and keep its numbers and figures, with provenance, under book/results/."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import time
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.ledger import claimfile, claims, staleness, verdicts
from ctlib.book.ledger.kept import kept_in
from ctlib.book.ledger.stored_runs import digest, settle
from ctlib.book.page.output import Collector
from ctlib.book.project import BookError, Project, UsageError
from ctlib.book.runner import provenance, resume, run
from ctlib.errors import MissingDependency
from ctlib.files import check_writable, clean_parts, own_mark, told, write_whole

MAX_FIGURE_BYTES = 200_000  # figures are committed


def record(
    project: Project,
    slug: str,
    preset: str,
    in_process: bool = False,
    progress=None,
    files: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Path of book/results/<preset>/<slug>.json, written after the run; an older one stays until then.

    in_process  run the code cells by plain `exec`, for a machine without Jupyter: one that was stopped goes on behind
                its last slow cell. In both ways the trainings of a chapter with `checkpoints` go on
    progress    a `Watch`
    files       parameters that name a reader's own file or folder; its name is recorded, not the way to it
    """
    files = files or {}
    if wrong := [name for name, value in files.items() if not isinstance(value, str) or not Path(value).exists()]:
        raise UsageError(f"{slug}: {wrong[0]} is set by the preset; a record takes files and folders besides")
    try:
        claimfile.read_claims(project.book / "claims" / f"{slug}.yml")  # a wrong file is told before a long run
        values = parameters.resolve(project, slug, preset, files)
    except ImportError:
        raise MissingDependency("PyYAML", "presets and claims") from None
    path = project.book / "results" / preset / f"{slug}.json"
    check_writable(path)
    clean_parts(path.parent, f".{slug}.*.part")
    made_from, kept = staleness.sources_sha256(slug, project), resume.kept(project, slug, values, preset)
    given = resume.with_checkpoints(project, slug, values, kept)
    if in_process:
        from ctlib.book.runner import inprocess  # with torch, which a record in a kernel waits without

        found = inprocess.run_cells(project, slug, given, preset, kept, progress)
        seconds = kept.seconds
    else:
        import nbformat

        nb = nbformat.read(run.execute(project, slug, given, preset, progress, cell_limit_s=None), 4)
        found, seconds = from_notebook(nb), nb.metadata["ctlib"]["seconds"]
    if not found.claims:
        raise BookError(f"{slug}: the run checked no claim: there is nothing to record")
    found.figures = {name: (within(png, MAX_FIGURE_BYTES), alt) for name, (png, alt) in found.figures.items()}
    named = {name: Path(value).name if name in files else value for name, value in values.items()}
    about = {"slug": slug, "preset": preset, "parameters": named, "sources_sha256": made_from}
    written = write(project, {**about, "seconds": round(seconds, 1)}, found)
    kept.forget()
    return written


def from_notebook(nb) -> Collector:
    """Claim records, kept figures, values and curves, and the sentences chosen, of an executed notebook."""
    figures = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            mark = output.get("metadata", {}).get("ctlib", {})
            if "keep" in mark:
                figures[mark["keep"]] = (base64.b64decode(output["data"]["image/png"]), mark["alt"])
    return Collector(claims=claims.from_notebook(nb), figures=figures, **kept_in(nb))


def within(png: bytes, limit: int) -> bytes:
    """The same picture in at most `limit` bytes: scaled down step by step, never cut."""
    while len(png) > limit:
        from PIL import Image  # comes with matplotlib, which drew the figure

        with Image.open(io.BytesIO(png)) as image:
            size = tuple(round(0.85 * n) for n in image.size)
            if min(size) < 32:
                raise BookError(f"a figure of {image.size} pixels does not fit into {limit} bytes")
            smaller, out = image.convert("RGB").resize(size, Image.Resampling.LANCZOS), io.BytesIO()
        smaller.quantize(256).save(out, format="png", optimize=True)
        png = out.getvalue()
    return png


def write(project: Project, about: dict, found: Collector) -> Path:
    """Write figures and the JSON with its digest, all or nothing; what cannot be written is said on the terminal."""
    slug, folder = about["slug"], project.book / "results" / about["preset"]
    digests = {name: hashlib.sha256(png).hexdigest() for name, (png, _) in found.figures.items()}
    figures = {
        name: {"file": f"{slug}-{name}.png", "sha256": digests[name], "alt": alt}
        for name, (_, alt) in found.figures.items()
    }
    body = {
        **about,
        "claims": verdicts.judge_again(slug, found.claims, about["preset"], project.book),
        "figures": figures,
        "kept": found.kept,
        "curves": found.curves,
        "said": found.said,
        "commit": provenance.commit(project),
        "device": provenance.device(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    body["digest"] = digest(body)
    new, text = folder / f".{slug}.{own_mark()}.part", json.dumps(body, indent=1, sort_keys=True) + "\n"
    try:
        settle(folder, slug)
        new.mkdir(parents=True, exist_ok=True)
        for name, (png, _) in found.figures.items():
            write_whole(new / figures[name]["file"], png)
        write_whole(new / "run.json", text)
        os.replace(new, folder / f".{slug}.ready")  # from here on the new record counts
        settle(folder, slug)
    except OSError as error:
        print(text, flush=True)
        raise BookError(f"{slug}: the record above could not be kept: {told(error)}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder / f"{slug}.json"
