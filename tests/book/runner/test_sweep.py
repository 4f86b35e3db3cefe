"""Sweeps: every point once, whatever is killed on the way."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from minibook import command, without_figure

from ctlib.book.ledger import staleness
from ctlib.book.project import ROOT, UsageError
from ctlib.book.runner import sweep


def runs(project) -> dict[str, int]:
    """How often the lab ran to its end, by seed."""
    log = project.root / "runs.log"
    return dict(collections.Counter(log.read_text().split())) if log.exists() else {}


def stored(project) -> list:
    """Executed notebooks that lie whole in the store."""
    return [p for p in project.store.rglob("*.ipynb") if ".part." not in p.name]


def summary(project) -> dict:
    return json.loads((project.build / "sweeps" / "lab-beta.json").read_text())


def test_a_grid_is_the_product_of_typed_values(mini):
    grid = sweep.parse_grid(mini, "01-alpha", ["n=1,2", "sizes=[1, 2],[3]", "name=a, b"])
    assert grid == {"n": [1, 2], "sizes": [[1, 2], [3]], "name": ["a", "b"]}
    points = sweep.points(grid, {"rate": 1.0})
    assert len(points) == 8
    assert points[0] == {"rate": 1.0, "n": 1, "sizes": [1, 2], "name": "a"}
    with pytest.raises(UsageError, match="needs NAME=value"):
        sweep.parse_grid(mini, "01-alpha", ["n"])


@pytest.mark.long
@pytest.mark.parametrize("victim", ["kernel", "worker"])
def test_a_killed_kernel_or_worker_costs_no_point_and_an_error_of_the_notebook_is_not_tried_again(mini, book, victim):
    done = book("sweep", "beta", "--grid", "seed=0,1,13", "-p", "victim", victim)
    assert (mini.root / "killed").exists(), "nobody was killed"
    assert done.returncode == 1
    if victim == "kernel":  # dask logs the death of a worker
        told = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]  # ipykernel may log its end
        assert len(told) == 1, done.stderr
    (failed,) = summary(mini)["failed"]
    assert failed["parameters"] == {"victim": victim, "seed": 13}
    assert "ValueError: unlucky (see _build/store/" in failed["error"]
    assert [r["parameters"]["seed"] for r in summary(mini)["rows"]] == [0, 1]
    assert runs(mini) == {"0": 1, "1": 1}
    assert len(list(mini.store.rglob("*.failed.ipynb"))) == 1
    assert not list(mini.root.rglob("*.part*")), "something was left behind"


@pytest.mark.long
def test_a_killed_driver_loses_no_finished_point(mini, book):
    words = ["sweep", "beta", "--grid", "seed=0,1,2,3", "-p", "wait", "0.5", "--workers", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(command(mini, *words), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 90
    while len(stored(mini)) < 2 and time.time() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {p: p.stat().st_mtime_ns for p in stored(mini)}
    assert 2 <= len(before) < 4, "killed too late to tell"
    assert not (mini.build / "sweeps").exists()
    done = book(*words)
    assert done.returncode == 0, done.stderr
    assert [r["parameters"]["seed"] for r in summary(mini)["rows"]] == [0, 1, 2, 3]
    assert {p: p.stat().st_mtime_ns for p in before} == before, "a finished point ran again"
    assert not list(mini.root.rglob("*.part*"))


def test_a_row_from_sources_that_changed_on_the_way_is_no_row(mini, monkeypatch):
    def results(tasks, address, workers):
        now = staleness.sources_sha256("lab-beta", mini)
        return iter([(p, {"sources_sha256": now if p["seed"] else "other"}) for p, _ in tasks.values()])

    monkeypatch.setattr(sweep, "_results", results)
    body = sweep.sweep(mini, "lab-beta", {"seed": [0, 1]})
    assert body["rows"] == [{"parameters": {"seed": 1}}]
    assert body["failed"] == [
        {"parameters": {"seed": 0}, "error": "the sources changed during the sweep; run it again"}
    ]


@pytest.mark.long
def test_a_summary_holds_claims_numbers_time_and_key_of_every_point_on_any_scheduler(mini, book, tmp_path):
    mini.source("01-alpha").write_text(without_figure(mini.source("01-alpha").read_text()))
    file = tmp_path / "scheduler.json"
    scheduler = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    ]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--nthreads", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env, "cwd": tmp_path}
    processes = [subprocess.Popen([*scheduler, "--port", "0", "--host", "127.0.0.1"], **quiet)]
    try:
        while not file.exists():
            time.sleep(0.05)
            assert processes[0].poll() is None, "the scheduler ended"
        processes.append(subprocess.Popen([*worker, "--no-nanny", "--scheduler-file", str(file)], **quiet))
        address, out = json.loads(file.read_text())["address"], tmp_path / "sums" / "n.json"
        done = book("sweep", "alpha", "--grid", "n=3,12", "--scheduler", address, "--out", str(out))
        assert done.returncode == 0, done.stderr
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    body = json.loads(out.read_text())
    assert {k: body[k] for k in ("chapter", "preset", "grid", "failed")} == {
        "chapter": "01-alpha",
        "preset": "ci",
        "grid": {"n": [3, 12]},
        "failed": [],
    }
    rows = {row["parameters"]["n"]: row for row in body["rows"]}
    assert rows[3]["claims"]["alpha-sum"] == pytest.approx([3.0, 3.3, 3.6])
    assert rows[12]["numbers"] == {"total": "6.00"}
    assert rows[12]["seconds"] > 0
    assert [p.name for p in out.parent.iterdir()] == ["n.json"]
    keys = {row["key"][:20] for row in body["rows"]}
    assert {p.stem for p in (mini.store / "01-alpha").glob("*.ipynb")} == keys
