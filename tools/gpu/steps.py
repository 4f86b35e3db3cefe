"""Steps that are run one after another until a call's time is used, and what is known about them in one file.

Whatever ends a call, the next one goes on: the file is replaced after every step, and a step that was cut short runs
again, or further where it keeps what it had. What was done with other code, device or versions is done again.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

LEFT, DONE, FAILED, SKIPPED = "left", "done", "failed", "skipped"
END_S = 15  # for a step that is told to end
IMPORT_S = 120  # for a module that is tried
STUCK = 2  # calls that cut a step which keeps nothing


@dataclass(frozen=True)
class Step:
    """One command of a stage.

    minutes  expected, said from what in `source`;  needs  modules without which it is skipped
    goes_on  whether it keeps what it had when it is cut short;  keeps  folder where one sees that it did
    good     exit codes that mean success;  code  digest of the code that its result depends on
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
    code: str = ""

    @property
    def key(self) -> str:
        return f"{self.stage}: {self.name}"


@dataclass
class Known:
    """What is known of a step: state, seconds of all calls, calls that cut it short, why it failed or is skipped.

    kept  whether the last call that cut it left something to go on from
    made  with what: digest of the code, device, versions, and the commit, which alone does not count
    """

    state: str = LEFT
    seconds: float = 0.0
    cut: int = 0
    why: str = ""
    kept: bool = False
    made: dict = field(default_factory=dict)

    @property
    def stuck(self) -> bool:
        return self.state == LEFT and self.cut >= STUCK and not self.kept


class Book:
    """The known state of all steps, in one file that is replaced as a whole; outputs of the commands lie beside it."""

    def __init__(self, folder: Path, made: dict | None = None):
        """made  with what steps run now (device, versions, commit); without it what was made elsewhere counts too"""
        self.folder, self.path, self.made = folder, folder / "steps.json", made or {}
        stored = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.known = {key: Known(**value) for key, value in stored.items()}

    def of(self, step: Step) -> Known:
        """What is known of a step; nothing where it was made with other code, device or versions."""
        now = {**self.made, "code": step.code}
        known = self.known.setdefault(step.key, Known(made=now))
        if any(known.made.get(name) != value for name, value in now.items() if name != "commit"):
            why = "was made with other code, device or versions" if known.state in (DONE, FAILED) else ""
            known = self.known[step.key] = Known(made=now, why=why)
        return known

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
    for step in sorted(steps, key=lambda step: book.of(step).stuck):  # a step that hangs must not use up every call
        known, rest = book.of(step), end - time.monotonic()
        if known.state not in (LEFT, SKIPPED):
            continue
        errors = {name: import_error(name, environment.get("PYTHONPATH", "")) for name in step.needs}
        if missing := [f"{name} ({error})" for name, error in errors.items() if error]:
            known.state, known.why = SKIPPED, f"needs {', '.join(missing)}"
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
    known.made = {**book.made, "code": step.code}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            step.command,
            cwd=root,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=end_with_parent,
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
        known.kept = step.goes_on and _newest(step) != before
        known.why = f"cut short after {known.seconds / 60:.1f} min"
        if not known.kept:
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
    """End a step with all that it started: told first, so that it leaves nothing half done."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    with suppress(ProcessLookupError):  # nothing of it is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_with_parent() -> None:
    """A step does not outlive the call that started it, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no output"


@cache
def import_error(name: str, paths: str) -> str:
    """Why steps with this PYTHONPATH cannot import a module; "" if they can. A folder may be of another Python."""
    words, found = [sys.executable, "-c", f"import {name}"], {**os.environ, "PYTHONPATH": paths}
    try:
        done = subprocess.run(words, env=found, capture_output=True, text=True, timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        return f"its import takes longer than {IMPORT_S} s"
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1][:160] if done.returncode else ""
