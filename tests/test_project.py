"""The project's own files agree with each other: lock, environment, metadata, README, Makefile, table of contents."""

import importlib.metadata
import re
import runpy
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


def here(requirement):
    """The requirement; the test is skipped where its marker does not hold."""
    wanted = Requirement(requirement)
    if wanted.marker and not wanted.marker.evaluate():
        pytest.skip(f"{wanted.name} is not for this platform: {wanted.marker}")
    return wanted


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = [Requirement(line) for line in LOCK]
MARKERS = {canonical(r.name): str(r.marker) for r in PINNED if r.marker}
PINS = {  # of this platform
    canonical(r.name): str(r.specifier).removeprefix("==") for r in PINNED if not r.marker or r.marker.evaluate()
}
NOT_ARM = 'platform_machine not in "aarch64, arm64, ARM64"'
PLATFORMS = runpy.run_path(str(ROOT / "tools" / "check_platforms.py"))


def test_the_lock_is_exact_portable_and_free_of_addresses():
    for line in LOCK:
        exact = r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+(; [^;]+)?"
        assert re.fullmatch(exact, line), f"{line}: exact pins without local tags only, with a marker or not"
    assert len({canonical(r.name) for r in PINNED}) == len(LOCK)
    assert not {"torchvision", "setuptools", "wheel", "pip", "ctlib", "ctlib-book"} & set(PINS)
    assert not [p for p in PINS if p.startswith("nvidia-")]
    text = (ROOT / "requirements.txt").read_text() + (ROOT / "environment.yml").read_text()
    assert not re.search(r"--(extra-)?index", text)
    assert "://" not in text


def test_markers_stand_where_a_package_lacks_wheels_or_is_not_needed():
    assert MARKERS == {
        "appnope": 'sys_platform == "darwin"',
        "astra-toolbox": NOT_ARM,
        "colorama": 'sys_platform == "win32"',
        "pywinpty": 'os_name == "nt"',
    }
    for requirement in map(Requirement, DIRECT):
        assert str(requirement.marker) == MARKERS.get(canonical(requirement.name), "None")


@pytest.mark.parametrize(
    ("platform", "marked"),
    [
        ("Linux x86-64", {"astra-toolbox"}),
        ("Linux ARM", set()),
        ("macOS ARM", {"appnope"}),
        ("Windows", {"astra-toolbox", "colorama", "pywinpty"}),
    ],
)
def test_the_lock_of_a_platform(platform, marked):
    names = {canonical(r.name) for r in PLATFORMS["needed"](platform)}
    assert names & MARKERS.keys() == marked
    assert names >= {canonical(r.name) for r in PINNED} - MARKERS.keys()


def test_the_readme_names_the_platforms_that_are_tried():
    text = (ROOT / "README.md").read_text()
    assert all(name in text for name in PLATFORMS["PLATFORMS"])


@pytest.mark.parametrize("requirement", DIRECT)
def test_every_dependency_is_pinned_and_installed_as_pinned(requirement):
    wanted = here(requirement)
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
    name = here(requirement).name
    meta = importlib.metadata.metadata(name)
    license = " ".join([meta.get("License-Expression") or "", *(meta.get_all("Classifier") or [])])
    license = license if PERMISSIVE.search(license) else license + " " + (meta.get("License") or "")[:200]
    if name in ("astra-toolbox", "pylops"):
        assert re.search("GPL|General Public", license, re.I)
    else:
        assert PERMISSIVE.search(license), f"{name}: {license[:200]}"
        assert not re.search(r"\b[LA]?GPL|General Public", license), name


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
    assert {"book", "test", "test-long", "test-triton", "test-rtk", "bench", "lab"} <= named <= targets


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
    assert steps == ci == ["make book", "make test", "make test-long", "make test-triton", "make test-rtk"]


def test_every_page_is_in_the_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text()
    for page in sorted((ROOT / "book").glob("*.md")):
        assert f"book/{page.stem}" in toc, page.name
