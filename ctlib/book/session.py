"""Where a chapter runs in a kernel that another program started: papermill alone, or a person in JupyterLab.

Such a run is held to what `python -m ctlib.book run` does: one thread, and parameters as the chapter declares them.
"""

from __future__ import annotations

import ast
import math
import os
import sys
from pathlib import Path

from ctlib.book import declarations, parameters
from ctlib.book.page.output import in_kernel
from ctlib.book.project import PRESETS, Project, UsageError

ONE_THREAD = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
INJECTED = "# Parameters\n"  # how papermill begins the cell with the given values
NOTEBOOK = "this notebook"


def begin() -> None:
    """What importing `ctlib.book` does in a kernel; elsewhere nothing."""
    if in_kernel():
        from IPython import get_ipython

        shell = get_ipython()
        use_one_thread()
        cells = shell.user_ns.get("In", [])
        if not check_injected(cells, shell.user_ns):
            for source in cells:
                shell.user_ns.update(edited(source))
        if not any(getattr(f, "__name__", "") == checked_cell.__name__ for f in shell.input_transformers_post):
            shell.input_transformers_post.append(checked_cell)


def use_one_thread() -> None:
    """Set the threads of libraries loaded already and of those to come, as far as the environment says nothing.

    Two threads that wait for each other on busy cores are many times slower than one, and the numbers on pages come
    from one.
    """
    if "NUMBA_NUM_THREADS" not in os.environ:
        if "numba" in sys.modules:  # it refuses another value of the variable once its threads have started
            sys.modules["numba"].set_num_threads(1)
        else:
            os.environ["NUMBA_NUM_THREADS"] = "1"
    if "OMP_NUM_THREADS" not in os.environ:
        from threadpoolctl import threadpool_limits

        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        threadpool_limits(1)
        if "torch" in sys.modules:  # one that is loaded later reads the variables
            sys.modules["torch"].set_num_threads(1)


def check_injected(cells: list[str], values: dict[str, object]) -> bool:
    """Whether papermill injected values; UsageError for those that the parameters cell does not allow.

    cells   sources in order of execution: the injected one follows the parameters cell
    values  the kernel's variables; texts that mean a value, and paths from where papermill was started, become it
    """
    places = [i for i, source in enumerate(cells) if i and source.startswith(INJECTED)]
    if not places:
        return False
    try:
        found = declarations.parameters(cells[places[-1] - 1], NOTEBOOK)
    except UsageError:  # a person's own notebook: no cell of parameters stands before that comment
        return False
    given = [node.targets[0].id for node in ast.parse(cells[places[-1]]).body if isinstance(node, ast.Assign)]
    given = {name: values[name] for name in given}
    folders = [launched_from(), Path.cwd()]
    values.update(_meant(found, given, folders))
    return True


def edited(source: str) -> dict[str, object]:
    """What a parameters cell that a person edited means differently from what it says: full paths, above all.

    A cell counts as one if every line of it is a parameter and one has a rule; of other cells {}.
    """
    try:
        found = declarations.parameters(source, NOTEBOOK)
        ruled = any(p.clauses for p in found.values())
    except (UsageError, ValueError):
        return {}
    if not ruled:
        return {}
    values = {name: p.default for name, p in found.items()}
    meant = _meant(found, values, [Path.cwd()])
    return {name: value for name, value in meant.items() if value != values[name]}


def checked_cell(lines: list[str]) -> list[str]:
    """The lines of a cell before it runs: a parameters cell, or one injected, that says what it may not is refused."""
    source = "".join(lines)
    meant = injected(source) if source.startswith(INJECTED) else edited(source)
    return [*lines, *(f"\n{name} = {_written(value)}\n" for name, value in meant.items())]


def injected(source: str) -> dict[str, object]:
    """What a cell that papermill injected means differently from what it says; UsageError for what is not allowed.

    So a page may import the book above its parameters, where `begin` meets no injected cell yet.
    """
    from IPython import get_ipython

    values: dict[str, object] = {}
    exec(source, values)  # assignments of literals; the kernel does the same next
    given = {name: value for name, value in values.items() if name != "__builtins__"}
    values = dict(given)
    check_injected([get_ipython().history_manager.input_hist_raw[-1], source], values)
    return {name: value for name, value in values.items() if repr(value) != repr(given[name])}


def _written(value: object) -> str:
    """A value as Python source."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    finite = not isinstance(value, float) or math.isfinite(value)
    return repr(value) if finite else f'float("{value}")'


def _meant(found: dict, given: dict[str, object], folders: list[Path]) -> dict[str, object]:
    """The values that were given, checked, paths in full; folders to write into are made."""
    out = {}
    for name, value in given.items():
        p = parameters.known(NOTEBOOK, name, found)
        text = isinstance(value, str) and not (p.path and not value)
        out[name] = declarations.read(p, value, NOTEBOOK, folders) if text else value
    out = declarations.checked(found, out, NOTEBOOK)
    parameters.check_devices(found, out, NOTEBOOK)
    parameters.make_folders(found, out, NOTEBOOK)
    return out


def launched_from() -> Path:
    """The folder in which papermill was started; it works in that of its option --cwd.

    Papermill has gone there itself, so it is looked for where the notebook of its command line lies.
    """
    import psutil  # ipykernel needs it too

    try:
        parent = psutil.Process(os.getppid())
        words, here = parent.cmdline(), Path.cwd()
        places = [os.environ.get("PWD", ""), *here.parents, parent.parent().cwd()]
    except (psutil.Error, AttributeError, OSError):
        return Path.cwd()
    notebook = next((w for w in words if w.endswith(".ipynb")), None)
    at = (Path(p) for p in places if p and notebook and Path(p, notebook).is_file())
    return next(at, Path(os.environ.get("PWD") or here))


def preset_of(slug: str, project: Project) -> str:
    """The preset a ledger goes by: what the runner says, or the one whose values a kernel's variables have.

    `custom`, where no expectation raises, for other values; UsageError for a value that the chapter cannot take.
    """
    if told := os.environ.get("CTLIB_PRESET"):
        return told
    if not (in_kernel() and project.source(slug).is_file()):
        return PRESETS[0]
    from IPython import get_ipython

    variables, found = get_ipython().user_ns, parameters.declarations_of(project, slug)
    missing = [name for name in found if name not in variables]
    if 2 * len(missing) > len(found):  # not the chapter, but a notebook that looks at its claims
        return PRESETS[0]
    if missing:
        raise UsageError(f"{slug}: parameter {missing[0]} is not set; the parameters cell sets it")
    values = parameters.differing(slug, {name: variables[name] for name in found}, found)
    same = [p for p in parameters.presets(project, slug) if values == parameters.resolve(project, slug, p)]
    return same[0] if same else "custom"
