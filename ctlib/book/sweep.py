"""Sweeps: one run per grid point on a dask.distributed cluster, here or at any scheduler address.

Finished points are in the store, so a sweep that is started again continues. A killed worker is retried; a chapter's
own error is not: it would be the same again.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

from ..errors import CtlibError
from . import claims, parameters, run
from .project import Project, UsageError

RETRIES = 2


def parse_grid(axes: list[str]) -> dict[str, list]:
    """`NAME=a,b,c` texts as {name: values}; every name once."""
    grid = {}
    for text in axes:
        name, equals, values = text.partition("=")
        if not equals or not name.isidentifier() or not values:
            raise UsageError(f"--grid {text!r}: needs NAME=value,value,...")
        if name in grid:
            raise UsageError(f"--grid: {name} is given twice")
        grid[name] = [parameters.parse_given([(name, v)])[name] for v in values.split(",")]
    return grid


def points(grid: dict[str, list], fixed: dict) -> list[dict]:
    return [{**fixed, **dict(zip(grid, values, strict=True))} for values in itertools.product(*grid.values())]


def point(root: str, slug: str, values: dict, preset: str) -> dict:
    """One run, in a process of its own so that a crash of it is an error and not the worker's end."""
    import nbformat

    project = Project(Path(root))
    try:
        nb = nbformat.read(run.execute(project, slug, values, preset), 4)
    except CtlibError as error:
        return {"parameters": values, "error": str(error)}
    about = nb.metadata["ctlib"]
    return {
        "parameters": values,
        "claims": {k: v["values"] for k, v in claims.from_notebook(nb).items()},
        "numbers": numbers(nb),
        "seconds": about["seconds"],
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
    """Summary of all points: {"chapter", "preset", "grid", "rows", "failed"}; also written to `out`, in one step.

    address  of a dask scheduler whose workers see the same files; default: `workers` processes on this machine
    """
    from dask.distributed import Client, LocalCluster, as_completed

    todo = {}
    for p in points(grid, fixed or {}):
        values = parameters.resolve(project, slug, preset, p)
        todo[f"{slug}-{run.run_key(project, slug, values, 'custom')}"] = p, values
    cluster = None
    if address is None:
        cluster = LocalCluster(n_workers=min(workers, len(todo)), threads_per_worker=1, dashboard_address=None)
    rows, failed = [], []
    with Client(address or cluster) as client:
        futures = {
            client.submit(point, str(project.root), slug, values, "custom", key=key, retries=RETRIES, pure=True): p
            for key, (p, values) in todo.items()
        }
        for future in _bar(as_completed(futures), len(futures), slug):
            row = future.result() if future.status == "finished" else {"error": repr(future.exception())[:300]}
            row["parameters"] = futures[future]
            (failed if "error" in row else rows).append(row)
    if cluster is not None:
        cluster.close()
    order = {json.dumps(p, sort_keys=True): i for i, (p, _) in enumerate(todo.values())}
    for part in (rows, failed):
        part.sort(key=lambda r: order[json.dumps(r["parameters"], sort_keys=True)])
    summary = {"chapter": slug, "preset": preset, "grid": grid, "rows": rows, "failed": failed}
    if out is not None:
        write_json(out, summary)
    return summary


def _bar(futures, total: int, name: str):
    """The finished futures, counted: a bar in a terminal, one line a run elsewhere."""
    if sys.stderr.isatty():
        import tqdm

        yield from tqdm.tqdm(futures, total=total, desc=name, unit="run")
        return
    for i, future in enumerate(futures, 1):
        print(f"{name}: {i} of {total} runs done", flush=True)
        yield future


def write_json(path: Path, data: dict) -> None:
    """Write a JSON file in one step: whoever reads it sees the old or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
