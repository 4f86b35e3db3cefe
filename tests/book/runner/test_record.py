"""Recorded runs: through papermill and in this process the same numbers, whole or not at all."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from minibook import without_figure
from PIL import Image

from ctlib.book.ledger.stored_runs import digest, read_run
from ctlib.book.ledger.verdicts import record_of
from ctlib.book.page.output import Collector
from ctlib.book.project import ROOT, BookError
from ctlib.book.runner import inprocess, record
from ctlib.errors import DataError

FIELDS = ("claims", "figures", "parameters", "slug", "preset", "sources_sha256", "versions", "device", "machine")


def test_both_ways_of_recording_give_the_same_record(mini, book):
    path = mini.book / "results" / "laptop" / "01-alpha.json"
    done = book("record", "alpha", "--preset", "laptop")
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    one = read_run(path, mini.book)
    assert one["parameters"] == {"n": 32}
    assert one["claims"]["alpha-sum"]["values"] == [32.0, 35.2, 38.4]
    assert one["claims"]["alpha-sum"]["verdict"] == "reproduced"
    assert one["figures"]["board"]["alt"] == "A checkerboard"
    done = book("record", "alpha", "--preset", "laptop", "--in-process", CTLIB_BOOK=str(mini.book))
    assert done.returncode == 0, done.stderr
    two = read_run(path, mini.book)
    assert {k: two[k] for k in FIELDS} == {k: one[k] for k in FIELDS}
    assert sorted(p.name for p in path.parent.iterdir()) == ["01-alpha-board.png", "01-alpha.json"]

    edited = json.loads(path.read_text())
    edited["claims"]["alpha-sum"]["values"][0] = 33.0
    path.write_text(json.dumps(edited))
    with pytest.raises(DataError, match=r"01-alpha\.json: claims\.alpha-sum\.min"):
        read_run(path, mini.book)
    done = book("build")
    assert done.returncode == 1
    assert "01-alpha.json: claims.alpha-sum.min" in done.stderr, done.stderr


def test_a_readers_own_file_is_recorded_by_name_and_other_parameters_are_refused(mini, book, tmp_path):
    own = tmp_path / "somewhere" / "own.txt"
    own.parent.mkdir()
    own.write_text("x")
    mini.source("01-alpha").write_text(without_figure(mini.source("01-alpha").read_text()))
    done = book("record", "alpha", "--preset", "laptop", "-p", "name", str(own))
    assert done.returncode == 0, done.stderr
    text = (mini.book / "results" / "laptop" / "01-alpha.json").read_text()
    assert json.loads(text)["parameters"] == {"n": 32, "name": "own.txt"}
    assert "somewhere" not in text
    for words in (["n", "8"], ["name", "word"]):
        done = book("record", "alpha", "--preset", "laptop", "-p", *words)
        assert done.returncode == 2
        assert f"{words[0]} is set by the preset" in done.stderr


def test_a_cell_that_fails_in_this_process_is_named_and_the_old_record_stays(mini, book):
    old = mini.book / "results" / "laptop" / "01-alpha.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    mini.source("01-alpha").write_text(mini.source("01-alpha").read_text().replace("n == 13", "n == 32"))
    done = book("record", "alpha", "--in-process", CTLIB_BOOK=str(mini.book))
    assert done.returncode == 1
    assert done.stderr.startswith("error: 01-alpha, code cell 2: ValueError: thirteen pixels")
    assert old.read_text() == "{}"


BARE = """
import sys
for name in {missing}:
    sys.modules[name] = None
from ctlib.book.cli import main
sys.exit(main(["record", "alpha", "--in-process", "--root", {root!r}]))
"""
JUPYTER = ["papermill", "jupytext", "nbformat", "nbclient", "IPython", "ipykernel", "myst_nb", "dask", "tqdm"]


def test_a_machine_without_jupyter_can_record_and_one_without_yaml_is_told_what_is_missing(mini):
    for missing, code, says in ((JUPYTER, 0, ""), (["yaml"], 1, "error: PyYAML is needed for presets and claims")):
        words = [sys.executable, "-c", BARE.format(missing=missing, root=str(mini.root))]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CTLIB_BOOK": str(mini.book)}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr[: len(says)]) == (code, says), done.stderr
    record = read_run(mini.book / "results" / "laptop" / "01-alpha.json", mini.book)
    assert record["claims"]["alpha-sum"]["verdict"] == "reproduced"
    assert "Traceback" not in done.stderr


def test_a_run_without_claims_is_refused(mini, monkeypatch):
    monkeypatch.setattr(inprocess, "run_cells", lambda *args: Collector())
    with pytest.raises(BookError, match="checked no claim"):
        record.record(mini, "01-alpha", "laptop", in_process=True)
    assert not (mini.book / "results").exists()


def _png(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="png")
    return out.getvalue()


def test_a_large_figure_is_scaled_down_whole_and_a_small_one_kept_as_it_is():
    ramp = np.linspace(0, 255, 600, dtype=np.uint8)[:, None] * np.ones((1, 800), np.uint8)
    noisy = np.stack([ramp] * 3, -1) ^ np.random.default_rng(0).integers(0, 8, (600, 800, 3), np.uint8)
    large, small = _png(noisy), _png(ramp)
    assert record.within(small, 100_000) == small
    kept = record.within(large, 100_000)
    assert len(kept) <= 100_000 < len(large)
    with Image.open(io.BytesIO(kept)) as image:
        assert image.size[0] / image.size[1] == pytest.approx(800 / 600, rel=0.01)
        again = np.asarray(image.convert("L").resize((800, 600)), float)
    assert np.abs(again - noisy.mean(-1)).mean() < 4  # gray levels of 255


def test_a_figure_that_cannot_be_made_small_enough_is_an_error():
    with pytest.raises(BookError, match="10 bytes"):
        record.within(_png(np.zeros((50, 50), np.uint8)), 10)


def test_a_new_record_takes_away_the_figures_of_the_old_one(mini):
    about = {"slug": "01-alpha", "preset": "laptop", "parameters": {}, "sources_sha256": "0", "seconds": 1.0}
    values = {"alpha-sum": {"values": [11.0, 12.0]}}
    record.write(mini, about, Collector(claims=values, figures={"old": (b"1", "Old"), "kept": (b"2", "Kept")}))
    path = record.write(mini, about, Collector(claims=values, figures={"kept": (b"3", "Kept")}))
    assert sorted(p.name for p in path.parent.iterdir()) == ["01-alpha-kept.png", "01-alpha.json"]
    body = json.loads(path.read_text())
    assert body["digest"] == digest(body)
    assert body["claims"]["alpha-sum"].keys() == record_of(_claim(mini), [11.0, 12.0]).keys()


def _claim(project):
    from ctlib.book.ledger.claimfile import read_claims

    return read_claims(project.book / "claims" / "01-alpha.yml")[1][0]
