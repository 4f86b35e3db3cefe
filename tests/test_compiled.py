"""Stored compilations are as fresh as all of their sources."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

import ctlib
from ctlib.compiled import sources

LIBRARY = Path(ctlib.__file__).parent
FILES = {
    "__init__.py": "",
    "inner.py": "from numba import njit\nSTEP = 1.0\n\n@njit\ndef step(x):\n    return x + STEP\n",
    "middle.py": "from .inner import step\n",
    "outer.py": (
        "from ctlib.compiled import njit\nfrom loops import middle\nstep = middle.step\n\n"
        "@njit(cache=True)\ndef twice(x):\n    return step(step(x))\n"
    ),
}
CALL = "from loops.outer import twice; print(twice(0.0), sum(twice.stats.cache_hits.values()))"


def run(place):
    """(result, functions loaded from the store) of a process of its own."""
    path = os.pathsep.join([str(place), str(LIBRARY.parent)])
    env = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", CALL], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value, hits = done.stdout.split()
    return float(value), int(hits)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of the package, in a folder of their own."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    (tmp_path / "here" / "loops").mkdir(parents=True)
    for name, text in FILES.items():
        (tmp_path / "here" / "loops" / name).write_text(text)
    return tmp_path / "here"


def edit(folder):
    """Change a file two imports away from the function."""
    (folder / "loops" / "inner.py").write_text(FILES["inner.py"].replace("1.0", "2.5"))


@pytest.mark.parametrize("where", ["beside the source", "a folder of choice", "the user's folder"])
def test_an_edit_of_an_imported_file_is_compiled_and_no_edit_is_not(where, folder, tmp_path, monkeypatch):
    """Wherever numba keeps its store; the user's folder serves installations that cannot be written."""
    if where == "a folder of choice":
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    if where == "the user's folder":
        (folder / "loops" / "__pycache__").write_text("a file in the way of the folder, for root too")
    assert [run(folder), run(folder)] == [(2.0, 0), (2.0, 1)]
    edit(folder)
    assert run(folder) == (5.0, 0)
    (folder / "loops" / "unrelated.py").write_text("")
    assert run(folder) == (5.0, 1)


def stores(folder):
    return sorted((folder / "loops" / "__pycache__").glob("outer.twice*"))


def test_without_a_place_for_the_store_loops_are_compiled_with_one_line(folder, tmp_path, monkeypatch):
    """numba#4908: "no locator available" where neither the package nor the user's folder can be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here" / "loops" / "inner.py" / "below"))
    monkeypatch.setenv("HOME", str(tmp_path / "here" / "loops" / "inner.py"))
    (folder / "loops" / "__pycache__").write_text("a file in the way of the folder, for root too")
    path = os.pathsep.join([str(folder), str(LIBRARY.parent)])
    env = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", CALL], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2.0 0\n"), done.stderr
    assert done.stderr.count("RuntimeWarning: compiled loops cannot be stored") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_a_damaged_store_is_compiled_anew(folder):
    """After each damage the store is whole again, so that the next one needs no new store."""
    assert [run(folder), run(folder)] == [(2.0, 0), (2.0, 1)]
    for suffix in (".nbi", ".nbc"):
        for damage in (b"", b"\x80\x04garbage that no pickle is"):
            damaged = [file for file in stores(folder) if file.suffix == suffix]
            assert damaged
            for file in damaged:
                file.write_bytes(damage)
            assert [run(folder), run(folder)] == [(2.0, 0), (2.0, 1)], f"{suffix}: {damage}"


FAILING = """
import sys
sys.path.insert(0, {helpers!r})
from faults import Faults, injected
from loops.outer import twice
with injected(Faults({folder!r}, {at}, lasting=True)) as faults:
    print(twice(0.0), faults.count)
"""


@pytest.mark.long
def test_a_store_on_a_full_disk_costs_time_and_not_the_result(folder):
    helpers, path = str(Path(__file__).parent / "helpers"), os.pathsep.join([str(folder), str(LIBRARY.parent)])
    env = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    for at in (0, 1, 3):
        code = FAILING.format(helpers=helpers, folder=str(folder), at=at)
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("2.0 "), done.stderr
        assert int(done.stdout.split()[1]) <= at or "cannot be stored" in done.stderr
        assert not [p for p in stores(folder) if ".tmp." in p.name]
    assert [run(folder), run(folder)][1] == (2.0, 1)


BOTH = "import sys; from loops.outer import twice; print(twice({}), sum(twice.stats.cache_hits.values()))"


@pytest.mark.long
def test_two_processes_that_store_at_once_do_not_take_each_other_s_loops(folder):
    """numba numbers its files: two that begin together take the same number for different types."""
    path = os.pathsep.join([str(folder), str(LIBRARY.parent)])
    env = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(2):
        calls = [[sys.executable, "-c", BOTH.format(x)] for x in ("0.0", "0", "0j")]
        children = [subprocess.Popen(c, env=env, stdout=subprocess.PIPE, text=True) for c in calls]
        told = [child.communicate()[0].split()[0] for child in children]
        assert told == ["2.0", "2.0", "(2+0j)"]
    assert len([p for p in stores(folder) if p.suffix == ".nbc"]) <= 3


def test_a_package_in_a_zip_is_watched_as_well(folder):
    archive = shutil.make_archive(str(folder), "zip", folder)
    assert [run(archive), run(archive)] == [(2.0, 0), (2.0, 1)]
    edit(folder)
    shutil.make_archive(str(folder), "zip", folder)
    assert run(archive) == (5.0, 0)


def test_a_module_started_by_its_name_is_compiled_too(folder):
    """`python -m` calls it `__main__`, which its loader does not know."""
    (folder / "loops" / "outer.py").write_text(FILES["outer.py"] + "\nprint(twice(0.0))\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(LIBRARY.parent)])}
    done = subprocess.run([sys.executable, "-m", "loops.outer"], env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("2.0\n", 0), done.stderr


def test_sources_are_followed_through_the_library():
    import ctlib.backends.cpu.joseph_3d
    import ctlib.decompose.cpu.newton
    import ctlib.physics.scatter.cpu.transport  # noqa: F401

    cpu = "ctlib.backends.cpu."
    assert {cpu + "joseph_3d", cpu + "simd", cpu + "simd_memory", cpu + "simd_features"} <= sources(cpu + "joseph_3d")
    assert cpu + "joseph_2d" not in sources(cpu + "joseph_3d")
    assert "ctlib.decompose.cpu.block" in sources("ctlib.decompose.cpu.newton")
    assert "ctlib.physics.scatter.cpu.histories" in sources("ctlib.physics.scatter.cpu.transport")


def test_every_compiled_loop_of_the_library_is_stored_this_way():
    for path in LIBRARY.rglob("*.py"):
        if path != LIBRARY / "compiled.py":
            assert not re.search(r"from numba import .*\bn?jit\b|numba\.n?jit\b", path.read_text()), path
