"""A miniature book of two chapters, and its command line in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from minibook import FILES

from ctlib.book.project import ROOT, Project


@pytest.fixture
def mini(tmp_path) -> Project:
    """The miniature book in a folder of its own."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Project(tmp_path)


def command(project: Project, *words: str) -> list[str]:
    """The command line of the book in a process of its own."""
    return [sys.executable, "-m", "ctlib.book", *words, "--root", str(project.root)]


@pytest.fixture
def book(mini):
    """`book("run", "alpha")`: the command line on the miniature book; gives what subprocess.run gives."""

    def call(*words: str, cwd: Path = mini.root, **env: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        return subprocess.run(
            command(mini, *words), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return call
