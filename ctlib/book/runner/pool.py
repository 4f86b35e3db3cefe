"""Runs of several chapters at once, one process each: papermill changes the working folder of its process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time

from ctlib.book.project import Project
from ctlib.book.runner.progress import FAILED, Bars


class Pool:
    """Runs of chapters as child processes that write JSON lines: progress, then the result."""

    def __init__(self, project: Project):
        self.project = project
        self.todo: list[tuple[str, str]] = []
        self.children: list[subprocess.Popen] = []
        self.results: dict[str, dict] = {}

    def run(self, presets: dict[str, str], bars: Bars, jobs: int) -> dict[str, dict]:
        """{slug: {"path"} or {"error"}}; when interrupted, the children end and nothing new starts."""
        self.todo = list(presets.items())
        threads = [threading.Thread(target=self._work, args=(bars,)) for _ in range(max(1, min(jobs, len(presets))))]
        for t in threads:
            t.start()
        try:
            for t in threads:
                t.join()
        except BaseException:
            self.todo.clear()
            for child in self.children:
                child.terminate()
            raise
        return self.results

    def _work(self, bars: Bars) -> None:
        while True:
            try:
                slug, preset = self.todo.pop(0)
            except IndexError:
                return
            started, result = time.time(), self._one(slug, preset, bars)
            self.results[slug] = result
            bars.end(slug, FAILED if "error" in result else f"{preset}  {time.time() - started:.1f} s")

    def _one(self, slug: str, preset: str, bars: Bars) -> dict:
        words = ["run", slug, "--preset", preset, "--json", "--root", str(self.project.root)]
        words += ["--store", str(self.project.store)]
        command, result = [sys.executable, "-m", "ctlib.book", *words], {}
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
        ):
            self.children.append(child)
            for message in map(_message, child.stdout):
                if "done" in message:
                    bars.update(slug, message["done"], message["total"])
                result = message if message.keys() & {"path", "error"} else result
            child.wait()
            errors.seek(0)
            said = errors.read().strip().splitlines()
        return result or {
            "error": f"{slug}: the run ended with code {child.returncode} {said[-1] if said else ''}".strip()
        }


def _message(line: str) -> dict:
    """One JSON line of a child; whatever else a library prints says nothing."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
