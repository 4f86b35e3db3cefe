"""Where a chapter runs in a kernel that another program started: papermill alone, or a person in JupyterLab.

Such a run is held to what `python -m ctlib.book run` does: one thread, and no parameter the chapter does not declare.
"""

from __future__ import annotations

import ast
import os
import sys

from ctlib.book import parameters
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
        check_injected(shell.user_ns.get("In", []), shell.user_ns)


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
        import torch
        from threadpoolctl import threadpool_limits

        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")
        threadpool_limits(1)
        torch.set_num_threads(1)


def check_injected(cells: list[str], values: dict[str, object]) -> None:
    """UsageError for a name that papermill injected and the parameters cell does not declare, or of another type.

    cells   sources in order of execution: the injected one follows the parameters cell
    values  the kernel's variables
    """
    places = [i for i, source in enumerate(cells) if i and source.startswith(INJECTED)]
    if not places:
        return
    try:
        defaults = parameters.literals(cells[places[-1] - 1], NOTEBOOK)
    except UsageError:  # a person's own notebook: no cell of parameters stands before that comment
        return
    given = [node.targets[0].id for node in ast.parse(cells[places[-1]]).body if isinstance(node, ast.Assign)]
    for name in given:  # a whole number where one with a fraction is meant becomes one, as in `run`
        values[name] = parameters.checked(NOTEBOOK, name, values[name], parameters.known(NOTEBOOK, name, defaults))


def preset_of(slug: str, project: Project) -> str:
    """The preset a ledger goes by: what the runner says, or the one whose values a kernel's variables have.

    `custom`, where no expectation raises, for other values; UsageError for a value that the chapter cannot take.
    """
    if told := os.environ.get("CTLIB_PRESET"):
        return told
    if not (in_kernel() and project.source(slug).is_file()):
        return PRESETS[0]
    from IPython import get_ipython

    variables, defaults = get_ipython().user_ns, parameters.declared(project, slug)
    missing = [name for name in defaults if name not in variables]
    if 2 * len(missing) > len(defaults):  # not the chapter, but a notebook that looks at its claims
        return PRESETS[0]
    if missing:
        raise UsageError(f"{slug}: parameter {missing[0]} is not set; the parameters cell sets it")
    values = parameters.differing(slug, {name: variables[name] for name in defaults}, defaults)
    found = [p for p in parameters.presets(project, slug) if values == parameters.resolve(project, slug, p)]
    return found[0] if found else "custom"
