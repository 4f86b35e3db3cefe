"""A miniature book of two chapters, and its command line in processes of their own."""

import os
import subprocess
from pathlib import Path

import pytest
from minibook import command, miniature

from ctlib.book.project import ROOT, Project


@pytest.fixture
def mini(tmp_path) -> Project:
    """A miniature book in a folder of its own."""
    return miniature(tmp_path)


@pytest.fixture
def book(mini):
    """`book("run", "alpha")`: the command line on the miniature book; gives what subprocess.run gives."""

    def call(*words: str, cwd: Path = mini.root, **env: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        return subprocess.run(
            command(mini, *words), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return call
