"""The layers of the library, read from its imports: lower levels know nothing of higher ones.

A level belongs to a room, a folder or single module directly under ctlib; adding a file to a room needs no change here.
"""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ctlib

LIBRARY = Path(ctlib.__file__).parent

# "r" (readers) may use everything, and nothing numerical may use them.
LEVELS = {
    "": 0, "errors": 0, "contract": 0, "units": 0, "linop": 0, "prox": 0, "implicit": 0, "compiled": 0, "files": 0,
    "cpu": 0,
    "geometry": 1, "metrics": 1, "phantoms": 1, "physics": 1,
    "backends": 2, "projector": 2.5,  # one floor, two steps: the projector puts the engines behind one call
    "recon": 3, "decompose": 3, "nets": 3, "losses": 3, "data": 3, "train": 3,
    "papers": 4,
    "book": "r",
}  # fmt: skip
LIGHT = {"torch", "numpy", "ctlib"}  # what levels 0 to 4 may import when they are imported
COMPILED = {"numba", "llvmlite", "triton"}  # for modules that are themselves imported where used
READERS_ONLY = {"matplotlib", "IPython", "ipywidgets", "yaml", "papermill", "jupytext", "nbformat", "dask"}


def modules():
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
PACKAGES = {m for m, p in MODULES.items() if p.name == "__init__.py"}


def room(module):
    return module.split(".")[0]


def compiled(module):
    """Modules in a folder of compiled loops: only their users import them, when needed."""
    return bool({"cpu", "gpu"} & set(module.split(".")[:-1]))


def level(module):
    assert room(module) in LEVELS, f"ctlib.{room(module)} has no level: add the room to LEVELS in {Path(__file__).name}"
    return LEVELS[room(module)]


def executed(node):
    """What runs when a module is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from executed(child)


def imports(module, path, top_level_only):
    """Dotted names of what a module imports; relative imports made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = executed(tree) if top_level_only else ast.walk(tree)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*(["ctlib"] if node.level else []), *base, *([node.module] if node.module else [])])
            yield name
            yield from (f"{name}.{a.name}" for a in node.names)


def own(name):
    """A dotted import as a module of this library, or None."""
    parts = name.split(".")
    if parts[0] != "ctlib":
        return None
    for size in range(len(parts), 0, -1):
        if ".".join(parts[1:size]) in MODULES:
            return ".".join(parts[1:size])
    return None


def test_every_module_has_a_level():
    assert {m: level(m) for m in MODULES}


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) != "r"])
def test_a_module_imports_downwards_only(module):
    for name in imports(module, MODULES[module], top_level_only=False):
        used = own(name)
        if used is None:
            assert name.split(".")[0] not in READERS_ONLY, f"{module} imports {name}"
            continue
        assert level(used) != "r", f"{module} uses the reader {used}"
        # rooms of one level may use each other, where no circle arises; a circle is found below
        assert level(used) <= level(module), f"{module} uses {used}"


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) != "r"])
def test_importing_needs_torch_and_numpy_alone(module):
    for name in imports(module, MODULES[module], top_level_only=True):
        root = name.split(".")[0]
        allowed = root in LIGHT or root in sys.stdlib_module_names or (compiled(module) and root in COMPILED)
        assert allowed, f"{module} imports {name} at its top level"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("nets")])
def test_networks_get_their_operators_as_arguments(module):
    used = {own(n) for n in imports(module, MODULES[module], top_level_only=False)}
    assert not {u for u in used if u and u.split(".")[0] in ("projector", "backends", "recon", "train", "geometry")}


KEPT = re.compile(
    r"torch\.(device|Generator|tensor|zeros|ones|empty|rand\w*)\(|default_rng\(|torch\.(float|double|half|bfloat|complex)\w*"
    r"|\b(Volume|ParallelBeam|FanBeam|ConeBeam)\("
)
GLOBAL = re.compile(
    r"torch\.(set_\w+|manual_seed|seed|cuda\.manual_seed\w*|use_deterministic_algorithms)"
    r"|(np|numpy)\.random\.(?!default_rng|Generator)\w+|random\.\w+"
)


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) != "r"])
def test_no_global_state(module):
    """No module keeps a device, dtype, generator, tensor or geometry, and no call changes a default for everybody."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            assert not KEPT.search(ast.unparse(node)), f"{module}: {ast.unparse(node)} is kept at module level"
    forks = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "fork_rng" in ast.unparse(n.items[0])]
    restored = {call for fork in forks for call in ast.walk(fork)}  # the random state is put back at the end
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in restored:
            assert not GLOBAL.fullmatch(ast.unparse(node.func)), f"{module} calls {ast.unparse(node)}"


def test_every_level_is_of_something():
    assert set(LEVELS) == {room(m) for m in MODULES}


def uses(module):
    return {own(n) for n in imports(module, MODULES[module], top_level_only=False)} - {None, module}


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == "papers" and m != "papers"])
def test_papers_do_not_import_each_other(module):
    others = {u for u in uses(module) if room(u) == "papers" and u != "papers"}
    assert {u.split(".")[1] for u in others} <= {module.split(".")[1]}


def test_rooms_do_not_import_in_a_circle():
    """Rooms, and the folders within the book: `page`, then `ledger`, `runner`, `site`."""

    def place(module):
        return ".".join(module.split(".")[: 2 if room(module) in ("papers", "book") else 1])

    graph = {}
    for module in MODULES:
        graph.setdefault(place(module), set()).update({place(u) for u in uses(module)} - {place(module), ""})
    graph = {p: used - {"book"} for p, used in graph.items() if p != "book"}
    assert tuple(TopologicalSorter(graph).static_order())


def test_no_module_imports_itself_in_a_circle():
    used = {m: {own(n) for n in imports(m, p, top_level_only=True)} - {None, m} for m, p in MODULES.items()}
    # A package imports its parts and names them to others: as parts of a circle only the parts count.
    graph = {m: {u for u in uses if u not in PACKAGES} for m, uses in used.items() if m not in PACKAGES}
    assert tuple(TopologicalSorter(graph).static_order())


def test_importing_everything_numerical_loads_torch_and_numpy_alone():
    """The same in a process: what the modules of levels 0 to 4 bring in, beyond what torch and numpy do."""
    names = [f"ctlib.{m}".rstrip(".") for m in MODULES if (level(m) != "r") and not compiled(m)]
    code = (
        "import importlib, sys, torch, numpy; before = set(sys.modules)\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "roots = {m.partition('.')[0] for m in set(sys.modules) - before if sys.modules[m] is not None}\n"
        "print(*sorted(roots - set(sys.stdlib_module_names) - {'ctlib', 'torch', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [m for m in done.stdout.split() if "cython" not in m] == []  # numpy.random leaves Cython's own entries


def test_importing_the_package_is_cheap():
    code = "import sys, ctlib; sys.exit(bool({'torch', 'numpy', 'numba', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_commands_that_have_chapters_run_load_no_torch():
    """A build starts one for every chapter, and it only waits for its kernel: torch would cost each 1.3 CPU-seconds."""
    code = "import sys; from ctlib.book import cli; from ctlib.book.runner import run, reference, testing\n"
    code += "from ctlib.book.site import render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
