"""Run a chapter by papermill into a content-addressed store: the same code and parameters are never run twice."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctlib.book import parameters as params
from ctlib.book.chapter import code_cells, read_notebook
from ctlib.book.ledger import staleness
from ctlib.book.paths import FILE_LIKE
from ctlib.book.project import BookError, Project
from ctlib.book.rules import leaves
from ctlib.book.runner import store
from ctlib.book.runner.inputs import fingerprint
from ctlib.book.runner.provenance import commit, device, environment, machine, versions
from ctlib.book.runner.times import Times
from ctlib.book.session import ONE_THREAD
from ctlib.files import check_writable, own_mark, told, write_whole

STORE_FORMAT = 3
CELL_TIMEOUT_S = 7200
SOCKET_FOLDER_MAX = 90  # a socket's path may have about 104 characters


class ChapterFailed(BookError):
    """A cell of a chapter raised: names the chapter, the error and where the notebook up to there lies."""


class KernelDied(BookError):
    """The kernel ended in the middle of a cell: killed, or out of memory. Trying again may help."""


def run_key(
    project: Project, slug: str, parameters: dict, preset: str, depends: dict | None = None, read: dict | None = None
) -> str:
    """sha256 over everything a run depends on; the preset counts because the ledger raises at `ci` only.

    depends  what `staleness.depends` gave, where many keys of one chapter are made;  read  what `files_read` gave
    """
    parts = {
        "format": STORE_FORMAT,
        **(depends or staleness.depends(slug, project)),
        "parameters": parameters,
        "files": files_read(project, slug, parameters) if read is None else read,
        "preset": preset,
        "environment": environment(),
        "threads": ONE_THREAD,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def files_read(project: Project, slug: str, parameters: dict) -> dict[str, str]:
    """Digest of what every parameter names that the chapter reads: a file with its companions, or a folder.

    A text that looks like a path counts where a file is, whatever the chapter declares; but for folders to write.
    """
    found = params.declarations_of(project, slug)
    values = {name: parameters.get(name, p.default) for name, p in found.items() if p.path != "folder to write"}
    texts = {f"{name} {v}": project.book / v for name, value in values.items() for v in leaves(value) if _is_path(v)}
    named = {**params.inputs(project, slug, parameters), **{k: p for k, p in texts.items() if p.exists()}}
    return {name: fingerprint(path) for name, path in named.items()}


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(FILE_LIKE.search(value)) and "\0" not in value and len(value) < 4096


def place(project: Project, slug: str, key: str) -> Path:
    """Where the run of this key lies in the store, if there is one."""
    return project.store / slug / f"{key[:20]}.ipynb"


def execute(
    project: Project, slug: str, parameters: dict, preset: str = "ci", progress: Callable | None = None,
    cell_limit_s: int | None = CELL_TIMEOUT_S,
) -> Path:  # fmt: skip
    """Path of the executed notebook: from the store, or run now and put there atomically. One run per process.

    cell_limit_s  a cell that takes longer has failed; None for a run that may take hours

    ChapterFailed when a cell raises; the notebook up to there is kept beside the store entry as <key>.failed.ipynb.
    """
    import nbformat

    depends = staleness.depends(slug, project)
    read = files_read(project, slug, parameters)
    key = run_key(project, slug, parameters, preset, depends, read)
    out = place(project, slug, key)
    store.clean(out.parent)
    if store.finished(out):
        return out
    check_writable(out)
    part, started = out.with_suffix(f".{own_mark()}.part.ipynb"), time.time()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _papermill(project, slug, parameters, preset, part, progress, cell_limit_s)
        nb = store.tidy(nbformat.read(part, 4))
        if files_read(project, slug, parameters) != read:
            raise _failed(project, slug, part, "", "the data changed during the run; run it again")
        about = {"slug": slug, "preset": preset, "parameters": parameters, "key": key}
        made = {"machine": machine(), "device": device(), "versions": versions(), "commit": commit(project)}
        when = {"seconds": round(time.time() - started, 1), "date": time.strftime("%Y-%m-%d", time.gmtime())}
        nb.metadata["ctlib"] = {**about, **made, **when, "sources_sha256": depends["sources"]}
        write_whole(out, store.sealed(nb))
    except OSError as error:
        raise BookError(f"{slug}: the run could not be kept: {told(error)}; finished runs are kept") from None
    finally:
        with suppress(OSError):
            part.unlink()
    with suppress(OSError):
        out.with_suffix(".failed.ipynb").unlink()
    return out


def _papermill(
    project: Project, slug: str, parameters: dict, preset: str, part: Path, progress: Callable | None,
    limit_s: int | None,
) -> None:  # fmt: skip
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from ctlib.book.runner.progress import register

    os.environ.update(ONE_THREAD)  # the kernel inherits it: two OpenMP threads on busy cores are slower than one
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book), PYTHONHASHSEED="0")
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not one in the home folder
    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it would say stands in the error raised
    options = {"kernel_name": "python3", "cwd": str(project.book), "progress_bar": False, "start_timeout": 180}
    options |= {"execution_timeout": limit_s, "extra_arguments": ["--log-level=CRITICAL"]}
    times = Times(project.store / slug, preset)
    source, engine = read_notebook(project.source(slug)), register(progress, times)
    try:
        with _private_sockets() as sockets:
            try:
                papermill.execute_notebook(source, str(part), parameters, engine_name=engine, **options, **sockets)
            except (KeyboardInterrupt, SystemExit):
                _end_kernels()
                raise
    except papermill.PapermillExecutionError as error:
        if store.failures(nbformat.read(part, 4)):
            raise _failed(project, slug, part, error.source, f"{error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise _failed(project, slug, part, "", f"ran longer than {limit_s} s") from None
    except DeadKernelError:
        raise KernelDied(f"{slug}: the kernel died (killed, or out of memory); finished runs are kept") from None


@contextmanager
def _private_sockets() -> Iterator[dict]:
    """Options that put the kernel's sockets into a folder of this run, so that runs cannot meet; ports where they must.

    By default two kernels started at once in one folder get the same socket files.
    """
    from traitlets.config import Config

    store.clean_folders(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"ctlib.{own_mark()}.", ignore_cleanup_errors=True) as folder:
        if os.name == "posix" and len(folder) < SOCKET_FOLDER_MAX:
            yield {"config": Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})}
        else:
            yield {}


def _end_kernels() -> None:
    """End the kernels of this process: one that was still starting would outlive an interrupt, and complain."""
    import psutil  # comes with ipykernel

    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "ipykernel_launcher" in child.cmdline():
                child.kill()
                child.wait(5)


def _failed(project: Project, slug: str, part: Path, source: str, what: str) -> ChapterFailed:
    """Keep the notebook up to the failing cell and say where it is."""
    failed = part.with_name(part.name.split(".")[0] + ".failed.ipynb")
    try:
        os.replace(part, failed)
        see = f" (see {failed})"
    except OSError:
        see = ""
    found = [i for i, c in enumerate(code_cells(project.source(slug)), 1) if source and c.source == source]
    where = f"code cell {found[0]} (`{source.splitlines()[0]}`)" if found else "a cell"
    return ChapterFailed(f"{slug}: {where}: {(what.strip().splitlines() or ['failed'])[0]}{see}")
