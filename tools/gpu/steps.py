"""Steps that are run one after another until a call's time is used, and what is known about them in one file.

Whatever ends a call, the next one goes on: the file is replaced after every step, and a step that was cut short runs
again, or further where it keeps what it had.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

LEFT, DONE, FAILED, SKIPPED = "left", "done", "failed", "skipped"
END_S = 15  # for a step that is told to end


@dataclass(frozen=True)
class Step:
    """One command of a stage.

    minutes  expected, said from what in `source`;  needs  modules without which it is skipped
    goes_on  whether it keeps what it had when it is cut short;  keeps  folder where one sees that it did
    good     exit codes that mean success
    """

    stage: str
    name: str
    command: tuple[str, ...]
    minutes: float
    source: str
    needs: tuple[str, ...] = ()
    goes_on: bool = False
    keeps: str = ""
    good: tuple[int, ...] = (0,)
    environment: dict = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.stage}: {self.name}"


@dataclass
class Known:
    """What is known of a step: state, seconds of all calls, calls that cut it short, why it failed or is skipped."""

    state: str = LEFT
    seconds: float = 0.0
    cut: int = 0
    why: str = ""


class Book:
    """The known state of all steps, in one file that is replaced as a whole; outputs of the commands lie beside it."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "steps.json"
        stored = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.known = {key: Known(**value) for key, value in stored.items()}

    def of(self, step: Step) -> Known:
        return self.known.setdefault(step.key, Known())

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({key: asdict(value) for key, value in self.known.items()}, indent=1))
        part.replace(self.path)

    def log(self, step: Step) -> Path:
        return self.folder / "logs" / ("".join(c if c.isalnum() else "-" for c in step.key) + ".log")


def run(steps: list[Step], book: Book, seconds: float, environment: dict[str, str], root: Path) -> None:
    """Run what is left until the time is used; a step that is too long for the rest of a call waits for the next."""
    end, first = time.monotonic() + seconds, True
    for step in steps:
        known, rest = book.of(step), end - time.monotonic()
        if known.state not in (LEFT, SKIPPED):
            continue
        if missing := [name for name in step.needs if not importable(name, environment)]:
            known.state, known.why = SKIPPED, f"needs {', '.join(missing)}, which this machine does not have"
            book.save()
            continue
        if not first and rest < min(seconds / 2, 60 * step.minutes) and (not step.goes_on or rest < 60):
            break
        if rest <= 0:
            break
        first, known.state, known.why = False, LEFT, ""
        print(f"{step.key} ...", flush=True)
        _one(step, known, book, rest, with_added(environment, step.environment), root)
        print(f"{step.key}: {known.state}{', ' + known.why if known.why else ''}", flush=True)


def with_added(environment: dict[str, str], added: dict[str, str]) -> dict[str, str]:
    """An environment with more variables; to PYTHONPATH folders are added."""
    paths = [e["PYTHONPATH"] for e in (added, environment) if "PYTHONPATH" in e]
    return {**environment, **added, "PYTHONPATH": os.pathsep.join(paths)}


def _one(step: Step, known: Known, book: Book, rest: float, environment: dict, root: Path) -> None:
    """Run one step at most this long, and write down what came of it."""
    log, start, before = book.log(step), time.monotonic(), _newest(step)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            step.command, cwd=root, env=environment, stdout=out, stderr=out, preexec_fn=_end_with_parent
        )
        try:
            code = process.wait(rest)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
            known.seconds += time.monotonic() - start
            book.save()
    if code is None:
        known.cut += 1
        known.why = f"cut short after {known.seconds / 60:.1f} min"
        if not step.goes_on or _newest(step) == before:
            known.why += "; nothing of this call is kept: it needs a longer one, MINUTES=60"
    else:
        known.state = DONE if code in step.good else FAILED
        known.why = _last_line(log) if known.state == DONE else f"exit code {code}, {_last_line(log)} ({log})"
    book.save()


def _newest(step: Step) -> float:
    """When a step last wrote something to keep."""
    files = Path(step.keeps).rglob("*") if step.keeps else ()
    return max((p.stat().st_mtime for p in files if p.is_file() and ".part" not in p.name), default=0.0)


def _end(process: subprocess.Popen) -> None:
    """End a step that still runs: told first, so that it leaves nothing half done."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """A step does not outlive the call that started it, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no output"


def importable(name: str, environment: dict[str, str]) -> bool:
    """Whether the steps can import a module: from this machine or from the folders that they are given."""
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    found = any(Path(folder, name).is_dir() or Path(folder, f"{name}.py").is_file() for folder in folders if folder)
    return found or find_spec(name) is not None
