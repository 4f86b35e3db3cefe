"""Recorded sweeps: arrays by axis, provenance, and no edited numbers."""

import json

import numpy as np
import pytest

from ctlib.book.ledger.stored_sweeps import recorded_sweep
from ctlib.book.project import Project
from ctlib.book.runner.sweep import sealed, write_json
from ctlib.errors import ArgumentError, DataError


@pytest.fixture
def stored(tmp_path):
    grid = {"lr": [0.1, 0.2], "seed": [0, 1, 2]}
    rows = [
        {"parameters": {"n": 8, "lr": lr, "seed": s}, "numbers": {"db": f"{10 * lr + s:.3f}"}, "claims": {}}
        for lr in grid["lr"]
        for s in grid["seed"]
    ]
    summary = {"chapter": "lab-x", "preset": "ci", "grid": grid, "rows": rows[:-1], "failed": []}
    path = tmp_path / "results" / "sweeps" / "demo.json"
    write_json(path, sealed(Project(tmp_path), summary))
    return path


def test_numbers_come_back_by_axis_and_missing_runs_as_nan(stored):
    values, table = recorded_sweep("demo", stored.parents[2]).values("db", "lr")
    assert values == [0.1, 0.2]
    np.testing.assert_allclose(table, [[1, 2], [2, 3], [3, np.nan]])
    with pytest.raises(ArgumentError, match="axis"):
        recorded_sweep("demo", stored.parents[2]).values("db", "sigma")


def test_a_sweep_says_where_it_comes_from(stored):
    text = repr(recorded_sweep("demo", stored.parents[2]))
    assert "5 runs of lab-x over lr, seed (n = 8)" in text


@pytest.mark.parametrize("edit", [lambda s: s["rows"][0]["numbers"].update(db="9.9"), lambda s: s.pop("date")])
def test_an_edited_number_is_refused(stored, edit):
    summary = json.loads(stored.read_text())
    edit(summary)
    stored.write_text(json.dumps(summary))
    with pytest.raises(DataError, match=r"demo\.json"):
        recorded_sweep("demo", stored.parents[2])
