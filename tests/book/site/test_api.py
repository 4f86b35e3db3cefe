"""The API reference: docstrings as pages, an entry for everything public, no name or equation that leads nowhere."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import ctlib
from ctlib.book.chapter import read_notebook
from ctlib.book.page import listing
from ctlib.book.project import Project
from ctlib.book.site import api, docstring
from ctlib.book.site.api_extension import is_plain_type, link

PROJECT = Project()
LIBRARY = Path(ctlib.__file__).parent
CHAPTER_OF = {  # what the names of a paper's pages begin with
    "forward": "01",
    "dip": "02",
    "spectral2spectral": "03",
    "hqinet": "04",
    "pcct": "05",
    "tomography": "06",
}

EXAMPLE = """What it is, {eq}`fm-beer`, {cite}`kak2001`; of `Material`s.

    y = A_k |x|,    p from `tv_dual`

    z = 1
x, y   first line {cite:t}`kak2001`
       and its second
gain   2*x
Some more `x`.
"""


def test_a_docstring_becomes_prose_formulas_and_aligned_arguments():
    lines = docstring.restructured(EXAMPLE.splitlines(), {"Material": "ctlib.m.Material"}.get)
    assert "\n".join(lines).split("\n\n") == [
        r"What it is, equation :eq:`fm-beer`, :cite:`kak2001`; of :py:obj:`Material <ctlib.m.Material>`\ s.",
        ".. parsed-literal::",
        r"   y = A\_k \|x\|,    p from ``tv_dual``" + "\n   \n   z = 1",
        ".. rst-class:: ctlib-arguments",
        "   ``x, y``\n      first line :cite:t:`kak2001` and its second",
        "   ``gain``\n" + r"      2\*x",
        "Some more ``x``.\n",
    ]


def test_a_name_means_the_nearest_thing_with_an_entry():
    owner = "ctlib.recon.tv.tv_reconstruct"
    assert link("tv_objective", owner, ()) == "ctlib.recon.tv.tv_objective"
    assert link("fbp", owner, ()) == "ctlib.recon.fbp.fbp"
    assert link("metrics.ssim_map", owner, ()) == "ctlib.metrics.image.ssim_map"
    assert link("cgls(A, y)", owner, ()) == "ctlib.recon.cgls.cgls"
    assert link("weight", owner, ()) is None
    assert link("-W -n", owner, ()) is None
    assert link("Projector.backends", "ctlib.projector", ()) == "ctlib.projector.Projector.backends"


def test_type_variables_and_types_of_other_libraries_are_named_not_linked():
    assert is_plain_type("torch.Tensor")
    assert is_plain_type("ctlib.nets.seeded.T")
    assert not is_plain_type("ctlib.projector.Projector")
    assert not is_plain_type("ctlib.projector.Nothing")


def test_no_function_or_method_is_named_as_a_page():
    """A link to the page would be one to the function as well, and Sphinx refuses to choose."""
    stems = {path.stem for path in PROJECT.book.glob("*.md")}
    kinds = ast.FunctionDef | ast.ClassDef
    trees = {path: ast.walk(ast.parse(path.read_text())) for path in LIBRARY.rglob("*.py")}
    assert not [(str(p), n.name) for p, t in trees.items() for n in t if isinstance(n, kinds) and n.name in stems]


def pages():
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((PROJECT.book / "api").glob("*.md"))}


def listed():
    return {stem: api.of_page(api.MARK.search(text)[1].split()) for stem, text in pages().items()}


@pytest.fixture(scope="module")
def shown():
    pytest.importorskip("numba")
    return api.shown_in({slug: read_notebook(PROJECT.source(slug)) for slug in PROJECT.chapters()})


def test_every_public_module_is_on_one_page():
    found = [module for modules in listed().values() for module in modules]
    assert len(found) == len(set(found))
    readers = [m for m in api.modules() if m.startswith("ctlib.book")]  # of these only what chapters call
    numerical = {m for m in api.modules() if m not in readers and not api.is_compiled(m) and api.members(m, ())}
    assert numerical <= set(found)
    assert {m for m in readers if m.startswith("ctlib.book.page.")} <= set(found)


def test_everything_shown_has_an_entry(shown):
    of_pages = {m for modules in listed().values() for m in modules}
    for name in shown:
        module = inspect.getmodule(listing._plain(listing.resolve(name))).__name__
        assert module in of_pages, name
        assert name.removeprefix(module + ".").split(".")[0] in api.members(module, shown)


# --- what docstrings refer to ----------------------------------------------------------------------------------------


def docstrings():
    """(module, owner, node, docstring) of the whole library, from the sources."""
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield from _within(module, module, ast.parse(path.read_text(encoding="utf-8")))


def _within(module, owner, node):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    if isinstance(node, kinds) and (doc := ast.get_docstring(node)):
        yield module, owner, node, doc
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _within(module, f"{owner}.{child.name}", child)


def labels():
    """Label of every equation: the chapter that has it."""
    pattern = re.compile(r"^:label: ([\w-]+)$|^\$\$ \(([\w-]+)\)$", re.M)
    sources = {path.stem: path.read_text(encoding="utf-8") for path in PROJECT.book.glob("*.md")}
    return {a or b: stem for stem, text in sources.items() for a, b in pattern.findall(text)}


def test_every_equation_of_a_docstring_is_in_a_chapter_and_a_paper_refers_to_those_of_its_own():
    """An equation of another chapter may be used where a page of the paper's own chapter refers to it as well."""
    known, found = labels(), 0
    for module, owner, _, doc in docstrings():
        for label in re.findall(r"\{eq\}`([^`]+)`", doc):
            found += 1
            assert label in known, f"{owner}: no equation {label}"
            if module.startswith("ctlib.papers."):
                own = CHAPTER_OF[module.split(".")[2]]
                pages = [path.read_text(encoding="utf-8") for path in PROJECT.book.glob(f"{own}*.md")]
                said = any(f"{{eq}}`{label}`" in page for page in pages)
                assert known[label].startswith(own) or said, f"{owner}: {label} is of {known[label]}"
    assert found > 20


def test_every_citation_of_a_docstring_is_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (PROJECT.book / "references.bib").read_text(encoding="utf-8"), re.M))
    for _, owner, _, doc in docstrings():
        for group in re.findall(r"\{cite(?::\w)?\}`([^`]+)`", doc):
            assert {key.strip() for key in group.split(",")} <= keys, f"{owner}: {group}"


def names_of(node):
    """Names that code inside a node binds: arguments, attributes, variables, functions, texts that are a word."""
    for n in ast.walk(node):
        if isinstance(n, ast.arg):
            yield n.arg
        elif isinstance(n, ast.Name):
            yield n.id
        elif isinstance(n, ast.Attribute):
            yield n.attr
        elif isinstance(n, ast.FunctionDef | ast.ClassDef):
            yield n.name
        elif isinstance(n, ast.Constant) and isinstance(n.value, str):
            yield n.value
        elif isinstance(n, ast.keyword) and n.arg:
            yield n.arg


def test_every_backticked_name_of_a_docstring_exists():
    """One with a dot or an underscore is an entry, or plain code made of names that the library uses."""
    sources = {path: ast.parse(path.read_text(encoding="utf-8")) for path in LIBRARY.rglob("*.py")}
    everywhere = {name for tree in sources.values() for name in names_of(tree)} | {path.stem for path in sources}
    missing = []
    for _, owner, _, doc in docstrings():
        for role, text in re.findall(r"(\{[\w:]+\})?`([^`]+)`", doc):
            name = text.partition("(")[0].strip(".")
            if role or not re.fullmatch(r"[A-Za-z]\w*(\.\w+)*", name):
                continue
            parts = set(name.split("."))
            looks_like_ours = "." in name or "_" in name
            exists = parts <= everywhere and not name.startswith("ctlib.")
            if looks_like_ours and not exists and not _means_something(name, owner):
                missing.append(f"{owner}: `{text}`")
    assert not missing


def _means_something(name, owner):
    parts = owner.split(".")
    for candidate in [*(".".join([*parts[:size], name]) for size in range(1, len(parts) + 1)), name]:
        try:
            if candidate.startswith("ctlib."):
                listing.resolve(candidate)
                return True
        except listing.ArgumentError:
            continue
    return False
