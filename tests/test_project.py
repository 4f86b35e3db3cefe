"""The project's own files agree with each other: lock, environment, metadata, README, Makefile, table of contents."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import ctlib

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
OUTSIDE = {"interpreter", "rtk"}  # not in the lock
LOCKED = [requirement for name, extra in EXTRAS.items() if name not in OUTSIDE for requirement in extra]
DIRECT = sorted({*PYPROJECT["project"]["dependencies"], *LOCKED})
PERMISSIVE = re.compile(r"\b(BSD|MIT|Apache|PSF|Python Software Foundation|ISC|HPND|MPL|Unlicense|Zlib)\b", re.I)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {canonical(line.partition("==")[0]): line.partition("==")[2] for line in LOCK}


def test_the_lock_is_exact_portable_and_free_of_addresses():
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line), f"{line}: exact pins without local tags only"
    assert len(PINS) == len(LOCK)
    assert not {"torchvision", "setuptools", "wheel", "pip", "ctlib", "ctlib-book"} & set(PINS)
    assert not [p for p in PINS if p.startswith("nvidia-")]
    text = (ROOT / "requirements.txt").read_text() + (ROOT / "environment.yml").read_text()
    assert not re.search(r"--(extra-)?index", text)
    assert "://" not in text


@pytest.mark.parametrize("requirement", DIRECT)
def test_every_dependency_is_pinned_and_installed_as_pinned(requirement):
    wanted = Requirement(requirement)
    pin = PINS[canonical(wanted.name)]
    assert wanted.specifier.contains(pin)
    assert importlib.metadata.version(wanted.name).split("+")[0] == pin


@pytest.mark.parametrize("name", PINS)
def test_every_pin_installs_on_the_oldest_python(name):
    """Distributions ship the first patch releases of a Python; a pin that asks for a later one breaks `make book`."""
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    needed = importlib.metadata.metadata(name)["Requires-Python"]
    assert needed is None or SpecifierSet(needed).contains(oldest), f"{name} needs Python {needed}"


def test_what_is_installed_is_the_lock():
    """The whole lock, not only what pyproject.toml names: numbers on pages come from these versions."""
    have = {canonical(d.name): d.version.split("+")[0] for d in importlib.metadata.distributions()}
    assert {name: have.get(name) for name in PINS} == PINS


@pytest.mark.parametrize("requirement", DIRECT)
def test_every_dependency_is_permissively_licensed(requirement):
    """Two exceptions: astra-toolbox, an optional engine and the tests' oracle, and PyLops, an oracle of tests alone."""
    name = Requirement(requirement).name
    meta = importlib.metadata.metadata(name)
    licence = " ".join([meta.get("License-Expression") or "", *(meta.get_all("Classifier") or [])])
    licence = licence if PERMISSIVE.search(licence) else licence + " " + (meta.get("License") or "")[:200]
    if name in ("astra-toolbox", "pylops"):
        assert re.search("GPL|General Public", licence, re.I)
    else:
        assert PERMISSIVE.search(licence), f"{name}: {licence[:200]}"
        assert not re.search(r"\b[LA]?GPL|General Public", licence), name


def test_the_interpreter_that_make_installs_is_the_extra_s():
    assert re.findall(r"triton==[\d.]+", (ROOT / "Makefile").read_text()) == EXTRAS["interpreter"]


def test_the_registrys_torchvision_is_absent():
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("torchvision")


def test_the_conda_environment_reads_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert Version(python.partition("=")[2]) in SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert (pip, nested) == ("pip", {"pip": ["-r requirements.txt", "-e ."]})


def test_one_version_everywhere():
    version = PYPROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert ctlib.__version__ == version == citation["version"]
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_make_command_of_the_readme_exists():
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"book", "test", "test-triton", "test-rtk", "bench", "lab"} <= named <= targets


def test_every_book_command_that_is_named_exists():
    texts = [(ROOT / name).read_text() for name in ("README.md", "Makefile", "environment.yml")]
    named = {word for text in texts for word in re.findall(r"-m ctlib\.book ([a-z]+)", text)}
    done = subprocess.run([sys.executable, "-m", "ctlib.book", "--help"], capture_output=True, text=True, check=True)
    assert {"build", "test", "run", "sweep", "record"} <= named
    assert named <= set(re.findall(r"^    ([a-z]+)\b", done.stdout, re.M))


def test_the_hosted_workflow_and_ci_run_what_the_readme_says():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    steps = [s["run"] for s in workflow["jobs"]["book"]["steps"] if "run" in s]
    ci = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make")]
    assert steps == ci == ["make book", "make test", "make test-triton", "make test-rtk"]


def test_every_page_is_in_the_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text()
    for page in sorted((ROOT / "book").glob("*.md")):
        assert f"book/{page.stem}" in toc, page.name
