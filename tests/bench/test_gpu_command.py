"""`make gpu` rehearsed without a GPU: all stages, killed in the middle and started again; and its parts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import psutil
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
        import stamp
        import steps
    finally:
        sys.path.remove(str(TOOL))
    yield {"pack": pack, "plan": plan, "stamp": stamp, "steps": steps}
    for name in ("pack", "plan", "stamp", "steps"):
        del sys.modules[name]


def command(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, str(TOOL), *map(str, words)], **options)


def said(words):
    with command(*words) as process:
        return process.communicate(timeout=PATIENCE_S)[0], process.returncode


@pytest.mark.long
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
    assert [k["state"] for k in known.values()] == [*["done"] * 4, "left"]
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


def run(tool, steps, folder, seconds, made=None):
    book = tool["steps"].Book(folder, made)
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


def test_a_step_that_hangs_is_tried_last(tool, tmp_path):
    steps = [sleeping(tool, 60), sleeping(tool, 0)]
    for _ in range(2):
        assert run(tool, steps, tmp_path, 0.3)[1].state == "left"
    hung, done = run(tool, steps, tmp_path, 5.0)
    assert (hung.state, hung.cut, done.state) == ("left", 3, "done")
    assert not replace(hung, kept=True).stuck  # a training that goes on keeps its place


@pytest.mark.parametrize("change", ["code", "gpu", "versions", "commit"])
def test_what_was_made_with_other_code_or_on_another_device_is_made_again(tool, tmp_path, change):
    made = {"gpu": "one", "versions": {"torch": "2.9"}, "commit": "a"}
    (before,) = run(tool, [replace(sleeping(tool, 0), code="1")], tmp_path, 9.0, made)
    code, now = "2" if change == "code" else "1", {**made, **({change: "other"} if change in made else {})}
    fails = replace(sleeping(tool, 0, 3, name="sleeps 0, 0"), code=code)
    (after,) = run(tool, [fails], tmp_path, 9.0, now)
    assert before.made == {**made, "code": "1"}
    assert after.state == ("done" if change == "commit" else "failed")
    assert json.loads((tmp_path / "steps.json").read_text())["stage: sleeps 0, 0"]["made"] == after.made


def ended(pid):
    """Whether a process ends within some seconds."""
    try:
        process = psutil.Process(pid)
        for _ in range(200):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return True
    process.kill()
    return False


def grandchild(tool, folder, chained):
    """A step that starts a process, which writes down its number and sleeps; and the file of the number."""
    file = folder / "pid"
    inner = f"import os, time, pathlib; pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    words = [sys.executable, "-c", inner]
    outer = (str(TOOL / "chain.py"), json.dumps([words, words]))
    plain = ("-c", f"import subprocess, sys; subprocess.call([sys.executable, '-c', {inner!r}])")
    return sleeping(tool, 60, command=(sys.executable, *(outer if chained else plain))), file


@pytest.mark.parametrize("chained", [True, False])
def test_a_step_that_is_cut_ends_with_all_that_it_started(tool, tmp_path, chained):
    step, file = grandchild(tool, tmp_path, chained)
    started = time.monotonic()
    (cut,) = run(tool, [step], tmp_path, 2.0)
    assert cut.cut == 1
    assert ended(int(file.read_text()))
    assert time.monotonic() - started < tool["steps"].END_S  # by the signal, which the second command does not outlive


def test_a_chain_does_not_outlive_a_killed_call(tool, tmp_path):
    step, file = grandchild(tool, tmp_path, True)
    source = f"import sys; sys.path.insert(0, {str(TOOL)!r}); import subprocess, steps; from pathlib import Path\n"
    source += f"s = steps.Step('s', 'n', {step.command!r}, 1.0, '')\n"
    source += f"steps.run([s], steps.Book(Path({str(tmp_path)!r})), 60, {{}}, Path('.'))"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.DEVNULL) as call:
        end = time.monotonic() + 60
        while not (file.exists() and file.read_text()):
            assert call.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        call.send_signal(signal.SIGKILL)
    assert ended(int(file.read_text()))


def test_a_package_of_another_python_is_not_taken_for_one_that_can_be_imported(tool, tmp_path):
    (tmp_path / "of_another").mkdir()
    (tmp_path / "of_another" / "__init__.py").write_text("from of_another import _compiled")
    why = tool["steps"].import_error("of_another", str(tmp_path))
    assert why.startswith("ImportError: cannot import name '_compiled'")
    assert tool["steps"].import_error("json", "") == ""


def test_the_exit_code_says_whether_steps_are_left_or_failed(tool, tmp_path):
    words = ("--rehearse", "--status", "--state", tmp_path)
    printed, code = said(words)
    assert (code, printed.splitlines()[-1]) == (4, "5 of 5 steps left: call again to go on (exit code 4)")
    book = tool["steps"].Book(tmp_path, tool["stamp"].machine("rehearsal, without a device"))
    for step in tool["plan"].steps(tmp_path, tmp_path / "book" / "results", True):
        book.of(step).state = "failed"
    book.save()
    assert said(words)[1] == 1


def test_make_clean_leaves_what_took_hours_on_a_device(tmp_path):
    if not shutil.which("make"):
        pytest.skip("no make on this machine")
    for name in ("gpu", "gpu-pack", "store", ".hidden"):
        (tmp_path / "_build" / name).mkdir(parents=True)
    for target, left in (("clean", {"gpu", "gpu-pack"}), ("clean-gpu", set())):
        subprocess.run(["make", "-s", "-f", str(ROOT / "Makefile"), target], cwd=tmp_path, check=True)
        assert {p.name for p in (tmp_path / "_build").iterdir()} == left


def test_the_plan_holds_all_tests_of_the_device_and_all_paper_presets(tool, tmp_path):
    steps = tool["plan"].steps(tmp_path, tmp_path / "results", False)
    assert list(dict.fromkeys(s.stage for s in steps)) == ["tests", "benchmark", "paper"]
    names = {s.name for s in steps}
    assert {"tests/backends/test_triton.py", "tests/recon/test_fbp.py", "fan 512"} <= names
    presets = ROOT.glob("book/presets/*.yml")
    assert {p.stem for p in presets if "\npaper:" in "\n" + p.read_text()} <= names
    assert all(s.minutes > 0 and s.source for s in steps)
    assert len({s.key for s in steps}) == len(steps)
    assert all(s.code for s in steps)


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
