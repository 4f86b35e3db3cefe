"""The layers of the library, read from its imports: lower levels know nothing of higher ones."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ctlib

LIBRARY = Path(ctlib.__file__).parent

# Longest matching prefix counts. "r" (readers) may use everything, and nothing numerical may use them.
LEVELS = {
    "": 0, "errors": 0, "units": 0, "linop": 0, "prox": 0, "implicit": 0,
    "geometry": 1, "phantoms": 1, "physics": 1, "degrade": 1,
    "backends": 2, "projector": 2.5,  # one floor, two steps: the projector puts the engines behind one call
    "nets": 3, "recon": 3, "decompose": 3, "losses": 3,
    "data": 4, "train": 4,
    "metrics": "r", "book": "r",
}  # fmt: skip
LIGHT = {"torch", "numpy", "ctlib"}  # what levels 0 to 4 and metrics may import when they are imported
LAZY = {"numba": "backends.numba_kernels"}  # modules that are themselves imported where used
READERS_ONLY = {"matplotlib", "IPython", "ipywidgets", "yaml", "papermill", "jupytext", "nbformat", "dask"}


def modules():
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def level(module):
    parts = module.split(".") if module else []
    for size in range(len(parts), -1, -1):
        name = ".".join(parts[:size])
        if name in LEVELS and (name or not parts):
            return LEVELS[name]
    raise AssertionError(f"ctlib.{module} has no level: add it to LEVELS in {Path(__file__).name}")


def imports(module, path, top_level_only):
    """Dotted names of what a module imports; relative imports made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
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
        same_room = used.split(".")[0] == module.split(".")[0]
        assert level(used) < level(module) or same_room or level(used) == level(module) < 2, f"{module} uses {used}"


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) != "r" or m == "metrics"])
def test_importing_needs_torch_and_numpy_alone(module):
    for name in imports(module, MODULES[module], top_level_only=True):
        root = name.split(".")[0]
        allowed = root in LIGHT or root in sys.stdlib_module_names or LAZY.get(root) == module
        assert allowed, f"{module} imports {name} at its top level"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("nets")])
def test_networks_get_their_operators_as_arguments(module):
    used = {own(n) for n in imports(module, MODULES[module], top_level_only=False)}
    assert not {u for u in used if u and u.split(".")[0] in ("projector", "backends", "recon", "train", "geometry")}


@pytest.mark.parametrize("module", [m for m in MODULES if level(m) != "r"])
def test_nothing_sets_global_state(module):
    """No module-level device, dtype, generator or seed, and no call that changes torch's defaults anywhere."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            assert ast.unparse(node.value.func) not in ("torch.device", "torch.Generator", "np.random.default_rng")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in (
                "torch.set_default_dtype",
                "torch.set_default_device",
                "np.random.seed",
                "np.random.rand",
            )


def test_importing_the_package_is_cheap():
    code = "import sys, ctlib; sys.exit(bool({'torch', 'numpy', 'numba', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
