"""The comparison of minima runs in miniature, and its JSON is what its docstring says; RTK is left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ctlib.book.ledger.benchmark import recorded_benchmark

pytest.importorskip("scipy")
pytest.importorskip("xraylib")
SCRIPT = Path(__file__).with_name("minima.py")
SHARES = ("above", "above_silently", "flagged", "outside")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    book = tmp_path_factory.mktemp("book")
    out = book / "results" / "bench" / "minima.json"
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--pixels", "6", "--counts", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return recorded_benchmark("minima", book)


@pytest.mark.parametrize("materials", [2, 3])
def test_every_contestant_has_a_row(bench, materials):
    rows = bench.rows(case="minimum", materials=materials, counts=300)
    assert [r["engine"].split()[0].strip(",") for r in rows] == ["ctlib", "ctlib", "SciPy", "SciPy", "SciPy"]
    for r in rows:
        assert len(r["bias"]) == len(r["rmse"]) == materials
        assert all(0 <= r[k] <= 1 for k in SHARES)
        assert r["above_silently"] <= r["above"]
        assert r["ms_per_pixel"] > 0


def test_the_best_of_several_starts_is_not_above_and_all_errors_are_of_the_order_of_the_bound(bench):
    rows = {r["engine"]: r for r in bench.rows(materials=2, counts=300)}
    assert rows["SciPy L-BFGS-B, best of 5 starts"]["above"] == 0
    assert rows["ctlib"]["above"] == 0
    assert all(0.2 < v < 3 for v in rows["ctlib"]["rmse"])


def test_what_ran_is_stated_and_what_did_not(bench):
    assert {"cpu", "cores"} <= set(bench.run["machine"])
    assert {"python", "torch", "scipy"} <= set(bench.run["versions"])
    assert any("RTK" in note for note in bench.run["notes"])
    assert json.loads(bench.path.read_text())["date"]


def test_the_page_s_table_reads_it(bench):
    table = bench.minima(2)
    assert "ctlib" in str(table.rows)
