"""The core is what chapters share: a module that fewer than two of them use is listed here, with its reason."""

import ast
from functools import cache
from pathlib import Path

import pytest
from test_layers import LIBRARY, MODULES, PACKAGES, level, own, room

from ctlib.book.chapter import code_cells, plain_python

BOOK = LIBRARY.parent / "book"
CHAPTERS = sorted(BOOK.glob("0[1-9]-*.md"))
LABS = {
    "01a-iterative-reconstruction": "01",
    "01b-projector-tested": "01",
    "02a-why-it-works": "02",
    "02b-settings": "02",
    "03a-splitting-and-losses": "03",
    "03b-own-scan": "03",
    "04a-hqinet-tested": "04",
    "05a-likelihood-and-fold": "05",
    "05b-scatter": "05",
    "05c-beyond-the-paper": "05",
    "05d-derived": "05",
    "lab-dip-fit": "02",
    "lab-real-mouse": "03",
    "06a-generator": "06",
    "06b-side-matters": "06",
}  # a lab counts with its chapter

# A module, or a folder of modules, and why it is in the core although fewer than two chapters use it.
REASONS = {
    "backends": "engines behind the projector of every chapter; the registry loads them by name",
    "cpu.threads": "the threads of those engines, and of every other compiled loop",
    "data.tooth": "a measured scan for whoever wants one; the forward model is its first user",
    "decompose": "maximum likelihood as others would adopt it; chapter 3 uses the decomposition of images",
    "implicit": "the implicit derivative, which knows no application",
    "metrics.calibration": "for whatever claims an uncertainty; chapter 6 is the first to",
    "phantoms.shepp_logan": "the field's phantom: exact line integrals for tests, README and newcomers",
    "physics.compton": "what silicon detectors and scatter are made of",
    "physics.detectors": "behind the spectral model of chapters 3 and 5, chosen by name",
    "physics.scatter": "transport of photons, which does not know who corrects for it",
    "train.plan": "the command that makes the trainings of chapters 2 to 6 calls it; they provide what it calls",
    "recon.cgls": "a reconstruction everybody knows, beside SIRT and TV",
}


@cache
def origin(name):
    """The module that defines what a dotted import names, through what packages hand on."""
    module = own(name)
    if module not in PACKAGES or name == f"ctlib.{module}":
        return module
    wanted = name.rpartition(".")[2]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and wanted in {a.asname or a.name for a in node.names}:
            return origin(f"{node.module}.{wanted}")
    return module


def used_by(source):
    """Modules that a text's imports name, wherever in it they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (own(a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (origin(f"{node.module}.{a.name}") for a in node.names)


@cache
def edges():
    """{module: the modules that it names}."""
    return {m: set(used_by(p.read_text(encoding="utf-8"))) - {None, m} for m, p in MODULES.items() if m not in PACKAGES}


def reach(page: Path):
    """Modules that a chapter uses, directly or through others."""
    todo, seen = set(), set()
    for cell in code_cells(page):
        todo |= set(used_by(plain_python(cell.source))) - {None}
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= edges().get(module, set()) - seen
    return seen


@pytest.fixture(scope="module")
def chapters_of():
    """Core module -> the numbers of the chapters that use it."""
    pages = {p.stem[:2]: [p] for p in CHAPTERS}
    for lab, number in LABS.items():
        pages[number].append(BOOK / f"{lab}.md")
    found = {m: set() for m in edges() if level(m) != "r" and room(m) != "papers"}
    for number, several in pages.items():
        for module in set().union(*map(reach, several)) & found.keys():
            found[module].add(number)
    return found


def reason_of(module):
    return next((text for name, text in REASONS.items() if module == name or module.startswith(f"{name}.")), None)


def test_a_core_module_serves_two_chapters_or_says_why_not(chapters_of):
    assert [m for m, numbers in chapters_of.items() if len(numbers) < 2 and not reason_of(m)] == []


def test_every_reason_is_still_needed(chapters_of):
    alone = {m for m, numbers in chapters_of.items() if len(numbers) < 2}
    assert [name for name in REASONS if not any(m == name or m.startswith(f"{name}.") for m in alone)] == []
