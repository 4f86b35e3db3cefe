"""The benchmark runs, and its JSON is what its docstring says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ctlib.book.ledger.stored_runs import digest

pytest.importorskip("astra", reason="the benchmark compares with astra-toolbox, which is not installed")
BENCH = Path(__file__).parent
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "quick.json"
    command = [sys.executable, str(BENCH), "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text()) | {"printed": done.stdout}


def rows(result, case):
    return [r for r in result["records"] if r["case"] == case]


@pytest.mark.parametrize("case", ["A", "A.T", "A + A.T", "FBP", "FDK", "SIRT-5", "scaling A", "scaling A.T"])
def test_times_are_ordered_and_labeled(result, case):
    assert rows(result, case)
    for r in rows(result, case):
        assert 0 < r["low_ms"] <= r["median_ms"] <= r["high_ms"]
        assert r["rounds"] >= 3
        assert {"engine", "geometry", "batch", "threads"} <= set(r)


@pytest.mark.parametrize("case", ["A after a pause", "A.T after a pause"])
def test_the_same_product_is_timed_without_and_with_a_pause(result, case):
    found = rows(result, case)
    assert {r["geometry"] for r in found} == {r["geometry"] for r in rows(result, "A")}
    assert {r["engine"] for r in found} == {"ctlib auto", "ctlib auto, 100 ms"}
    assert all(r["ratio"] == 1 for r in found if r["engine"] == "ctlib auto")


def test_ratios_refer_to_ctlib_in_the_same_group(result):
    for case in ("A", "A.T", "A + A.T", "FBP"):
        for r in rows(result, case):
            group = [o for o in rows(result, case) if (o["geometry"], o["batch"]) == (r["geometry"], r["batch"])]
            assert group[0]["engine"] == "ctlib auto"
            assert r["ratio"] == pytest.approx(r["median_ms"] / group[0]["median_ms"], rel=2e-3)


def test_every_engine_is_accurate_and_ours_is_matched(result):
    found = {(r["geometry"], r["engine"]): r for r in rows(result, "accuracy")}
    for geometry, theirs in (("parallel 32", "astra linear"), ("fan 32", "astra line_fanflat")):
        ours = found[geometry, "ctlib auto"]
        assert ours["relative_error"] < 1.01 * found[geometry, theirs]["relative_error"] < 0.06
        assert ours["adjoint_error_random"] < 1e-7


def test_memory_comes_from_a_process_of_its_own(result):
    found = rows(result, "memory")
    assert bool(found) == Path("/proc/self/clear_refs").exists()
    found += rows(result, "decomposition memory") + rows(result, "decomposition + backward memory")
    assert all(0 <= r["peak_mib"] < 2000 for r in found)
    assert len(found) in (0, 2 + len(rows(result, "memory")))


def test_the_book_reads_it_and_an_edited_number_shows(result):
    run = {k: v for k, v in result.items() if k != "printed"}
    assert digest(run) == run["digest"]
    run["records"][0]["relative_error"] /= 2
    assert digest(run) != run["digest"]


def test_what_ran_is_stated(result):
    assert {"cpu", "cores", "memory_gib"} <= set(result["machine"])
    assert {"python", "torch", "numpy"} <= set(result["versions"])
    assert result["gpu"]
    assert len(result["date"]) == 10
    assert "accuracy" in result["printed"]
    assert "ctlib auto" in result["printed"]
    assert str(Path.home()) not in json.dumps(result["records"])
