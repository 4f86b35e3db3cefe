"""Sweeps: one run per grid point on a dask.distributed cluster, here or at any scheduler address.

Finished points are in the store, so a sweep that is started again continues. A killed worker is retried; a chapter's
own error is not: it would be the same again.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.ledger import claims, staleness
from ctlib.book.ledger.stored_runs import digest
from ctlib.book.project import Project, UsageError
from ctlib.book.runner import run
from ctlib.errors import CtlibError
from ctlib.files import Unwritable, check_writable, write_whole

RETRIES = 2


def parse_grid(project: Project, slug: str, axes: list[str]) -> dict[str, list]:
    """`NAME=a,b,c` texts as {name: values}; every name once, every value once."""
    grid = {}
    for text in axes:
        name, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise UsageError(f"--grid {text!r}: needs NAME=value,value,...")
        if name in grid:
            raise UsageError(f"--grid: {name} is given twice")
        grid[name] = [parameters.parse(project, slug, name, v) for v in _split(values)]
        if twice := [v for v in grid[name] if grid[name].count(v) > 1]:
            raise UsageError(f"--grid: {name} has the value {twice[0]!r} twice")
    return grid


def _split(text: str) -> list[str]:
    """Texts between the commas that are outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [p.strip() for p in parts]


def points(grid: dict[str, list], fixed: dict) -> list[dict]:
    """Every combination of the grid's values, with what is the same in all."""
    return [{**fixed, **dict(zip(grid, values, strict=True))} for values in itertools.product(*grid.values())]


def point(root: str, place: str, slug: str, values: dict, preset: str) -> dict:
    """Row of one grid point. A chapter's own error is its result; after the death of a kernel it is tried again.

    root, place  of the project and of its store
    """
    import nbformat

    for attempt in range(1 + RETRIES):
        try:
            nb = nbformat.read(run.execute(Project(Path(root), store=Path(place)), slug, values, preset), 4)
            break
        except CtlibError as error:
            if attempt == RETRIES or not isinstance(error, run.KernelDied):
                return {"error": str(error).replace(root + os.sep, "")}  # a summary may be committed: no machine paths
    about = nb.metadata["ctlib"]
    return {
        "claims": {k: v["values"] for k, v in claims.from_notebook(nb).items()},
        "numbers": numbers(nb),
        "seconds": about["seconds"],
        "sources_sha256": about["sources_sha256"],
        "key": about["key"],
    }


def numbers(nb) -> dict[str, str]:
    """Rounded texts that the notebook glued with `number`."""
    found = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
            if name:
                text = next((v for k, v in output["data"].items() if k.endswith("text/plain")), "")
                found[name.removeprefix("application/papermill.record/")] = text
    return found


def sweep(
    project: Project,
    slug: str,
    grid: dict[str, list],
    fixed: dict | None = None,
    preset: str = "ci",
    address: str | None = None,
    workers: int = 2,
    out: Path | None = None,
) -> dict:
    """Summary of all points: chapter, preset, grid, rows, failed, provenance; also written to `out`, in one step.

    address  of a dask scheduler whose workers see the same files; default: `workers` processes on this machine
    """
    if out is not None and Path(out).is_dir():
        raise UsageError(f"--out {out}: is a folder, needs a file name")
    if out is not None:
        check_writable(out)
    depends, tasks = staleness.depends(slug, project), {}
    for p in points(grid, fixed or {}):
        values = parameters.resolve(project, slug, preset, p)
        key = run.run_key(project, slug, values, "custom", depends)
        tasks[f"{slug}-{key}"] = p, (str(project.root), str(project.store), slug, values, "custom")
    rows, failed = [], []
    for p, row in _bar(_results(tasks, address, workers), len(tasks), slug):
        if row.pop("sources_sha256", depends["sources"]) != depends["sources"]:
            row = {"error": "the sources changed during the sweep; run it again"}
        (failed if "error" in row else rows).append({"parameters": p, **row})
    order = [p for p, _ in tasks.values()]
    for part in (rows, failed):
        part.sort(key=lambda r: order.index(r["parameters"]))
    summary = {"chapter": slug, "preset": preset, "grid": grid, "rows": rows, "failed": failed}
    summary = sealed(project, {**summary, "sources_sha256": depends["sources"]})
    if out is not None:
        keep(out, summary)
    return summary


def keep(out: Path, summary: dict) -> None:
    """Write the summary in one step; where that fails, say its rows on the terminal before the error."""
    try:
        write_json(out, summary)
    except Unwritable:
        print(json.dumps(summary), flush=True)
        raise


def sealed(project: Project, summary: dict) -> dict:
    """The summary with its provenance, and a digest that an edit by hand breaks."""
    about = {
        "commit": run.commit(project),
        "device": run.device(),
        "machine": run.machine(),
        "versions": run.versions(),
    }
    body = {**summary, **about, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    return {**body, "digest": digest(body)}


def _results(tasks: dict[str, tuple[dict, tuple]], address: str | None, workers: int) -> Iterator[tuple[dict, dict]]:
    """(point, row) as they finish on the cluster; a task that its workers did not survive gives an error row."""
    from dask.distributed import Client, LocalCluster, as_completed

    with ExitStack() as stack:
        if address is None:
            size = {"n_workers": max(1, min(workers, len(tasks))), "threads_per_worker": 1, "memory_limit": None}
            quiet = {"silence_logs": logging.ERROR}  # a worker that closes slowly is no news
            address = stack.enter_context(LocalCluster(**size, **quiet, dashboard_address="127.0.0.1:0"))
        try:
            client = stack.enter_context(Client(address))
        except (OSError, ValueError) as error:
            raise UsageError(f"no dask scheduler at {address!r}: {error}") from None
        futures = {client.submit(point, *args, key=key, retries=RETRIES): p for key, (p, args) in tasks.items()}
        for future in as_completed(futures):
            done = future.status == "finished"
            yield futures[future], future.result() if done else {"error": repr(future.exception())[:300]}


def _bar(results: Iterator, total: int, name: str) -> Iterator:
    """The results, counted: a bar in a terminal, one line a run elsewhere."""
    if sys.stderr.isatty():
        import tqdm

        yield from tqdm.tqdm(results, total=total, desc=name, unit="run")
        return
    for i, result in enumerate(results, 1):
        print(f"{name}: {i} of {total} runs done", flush=True)
        yield result


def write_json(path: Path, data: dict) -> None:
    """Write a JSON file in one step: whoever reads it sees the old or the new one, whole."""
    write_whole(path, json.dumps(data, indent=1) + "\n")
