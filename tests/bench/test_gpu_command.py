"""`make gpu` rehearsed without a GPU: all stages, killed in the middle and started again; and its parts."""

import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import pytest

from ctlib.book.ledger.benchmark import recorded_benchmark
from ctlib.book.ledger.stored_runs import read_run
from ctlib.book.project import ROOT

TOOL = ROOT / "tools" / "gpu"
PATIENCE_S = 600  # on a busy machine


@pytest.fixture(scope="module")
def tool():
    """The modules of the command."""
    sys.path.insert(0, str(TOOL))
    try:
        import pack
        import plan
        import steps
    finally:
        sys.path.remove(str(TOOL))
    yield {"pack": pack, "plan": plan, "steps": steps}
    for name in ("pack", "plan", "steps"):
        del sys.modules[name]


def command(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(TOOL), *map(str, words)], **options)


def said(words):
    with command(*words) as process:
        return process.communicate(timeout=PATIENCE_S)[0], process.returncode


def test_all_stages_run_at_tiny_sizes_and_go_on_after_a_kill(tmp_path):
    pytest.importorskip("xraylib")
    words = ("--rehearse", "--minutes", PATIENCE_S / 60, "--state", tmp_path)
    with command(*words) as first:
        end = time.monotonic() + PATIENCE_S
        while not list(tmp_path.rglob("*.cells")):
            assert first.poll() is None, first.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        first.kill()
    known = json.loads((tmp_path / "steps.json").read_text())
    assert [k["state"] for k in known.values()] == ["done"] * 4  # of five
    before = {path: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    paper = tmp_path / "logs" / "paper--lab-real-mouse.log"

    printed, code = said(words)
    assert code == 0, printed
    assert [line.split()[:5] for line in printed.splitlines()[-8:-5]] == [
        ["tests", "2", "0", "0", "0"], ["benchmark", "2", "0", "0", "0"], ["paper", "1", "0", "0", "0"]
    ]  # fmt: skip
    assert {p for p in before if p.stat().st_size != before[p]} == {paper}  # nothing that was done ran again
    assert "goes on after code cell" in paper.read_text()
    book = tmp_path / "book"
    assert read_run(book / "results" / "paper" / "lab-real-mouse.json", book)["figures"]
    rows = recorded_benchmark("gpu", book).rows(engine="ctlib auto")
    assert {"A", "A.T", "FBP", "decomposition", "decomposition + backward"} == {r["case"] for r in rows}
    assert all(r["images_per_s"] == pytest.approx(1e3 * r["batch"] / r["median_ms"]) for r in rows)


def test_a_machine_without_a_device_is_told_so_in_one_line():
    printed, code = said(())
    assert (code, printed.count("\n")) == (3, 1)
    assert "no CUDA device" in printed


def sleeping(tool, seconds, code=0, **options):
    source = f"import time, sys; time.sleep({seconds}); print('the end'); sys.exit({code})"
    step = tool["steps"].Step("stage", f"sleeps {seconds}, {code}", (sys.executable, "-c", source), 0.01, "a guess")
    return replace(step, **options)


def run(tool, steps, folder, seconds):
    book = tool["steps"].Book(folder)
    tool["steps"].run(steps, book, seconds, dict(os.environ), ROOT)
    return [book.of(s) for s in steps]


def test_a_step_is_cut_short_failed_or_skipped_and_the_rest_runs(tool, tmp_path):
    steps = [
        sleeping(tool, 0, 3),
        sleeping(tool, 0, name="needs more", needs=("json", "no_such_module_anywhere")),
        sleeping(tool, 0),
        sleeping(tool, 60),
    ]
    failed, skipped, done, cut = run(tool, steps, tmp_path, 4.0)
    assert (failed.state, failed.why.startswith("exit code 3, the end")) == ("failed", True)
    assert (skipped.state, "no_such_module_anywhere" in skipped.why) == ("skipped", True)
    assert done.state == "done"
    assert (cut.state, cut.cut) == ("left", 1)
    assert "nothing of this call is kept" in cut.why
    assert cut.seconds < 30
    again = run(tool, steps, tmp_path, 0.5)
    assert [k.state for k in again] == ["failed", "skipped", "done", "left"]
    assert again[2].seconds == done.seconds  # what is done stays so


def test_a_step_too_long_for_the_rest_of_a_call_waits_for_the_next(tool, tmp_path):
    steps = [sleeping(tool, 0.5), sleeping(tool, 0, minutes=1.0)]
    assert [k.state for k in run(tool, steps, tmp_path, 1.0)] == ["done", "left"]
    assert [k.state for k in run(tool, steps, tmp_path, 10.0)] == ["done", "done"]


def test_the_plan_holds_all_tests_of_the_device_and_all_paper_presets(tool, tmp_path):
    steps = tool["plan"].steps(tmp_path, tmp_path / "results", False)
    assert list(dict.fromkeys(s.stage for s in steps)) == ["tests", "benchmark", "paper"]
    names = {s.name for s in steps}
    assert {"tests/backends/test_triton.py", "tests/recon/test_fbp.py", "fan 512"} <= names
    presets = ROOT.glob("book/presets/*.yml")
    assert {p.stem for p in presets if "\npaper:" in "\n" + p.read_text()} <= names
    assert all(s.minutes > 0 and s.source for s in steps)
    assert len({s.key for s in steps}) == len(steps)


def test_the_pack_takes_locked_versions_and_leaves_out_what_no_step_uses(tool, tmp_path):
    pack = tool["pack"]
    assert all("==" in name for name in pack.locked(pack.PACKAGES))
    files = {"skimage/io/a.py": b"1", "skimage/restoration/a.py": b"12", "xraylib_np.so": b"1", "_xraylib.so": b"123"}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    old = tmp_path / "out" / "older.py"
    old.parent.mkdir()
    old.write_text("")
    assert pack.unpack(tmp_path, old.parent) == 5
    left = {p.relative_to(old.parent).as_posix() for p in old.parent.rglob("*") if p.is_file()}
    assert left == {"skimage/restoration/a.py", "_xraylib.so"}
