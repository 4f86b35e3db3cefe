"""Files of a miniature book: one chapter with a claim, one lab that can kill, one generated page."""

import sys
from pathlib import Path

from ctlib.book.project import Project

FRONT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

"""

PARAMETERS = """n = 16            # pixels | 1 to 4096
rate = 0.5        # 1/s | any
name = "plain"    # of the input | word or file to read
flag = False      # whether to
sizes = [1, 2]    # pixels | 0 to 4096, may be empty
"""

ALPHA = (
    FRONT
    + """# Alpha

$a = b$

```{code-cell} ipython3
:tags: [parameters]

"""
    + PARAMETERS
    + """```

```{code-cell} ipython3
import numpy as np

from ctlib.book import Ledger, figures, number, show
from ctlib.errors import ArgumentError

ledger = Ledger("01-alpha")
if n == 13:
    raise ValueError("thirteen pixels\\nare not enough")
```

```{code-cell} ipython3
:tags: [remove-input]

show(ArgumentError)
```

```{code-cell} ipython3
:tags: [nbval-ignore-output]

ledger.check("alpha-sum", [n * 1.0, n * 1.1, n * 1.2])
```

```{code-cell} ipython3
number("total", n * rate, 2, "mm")
```

The total is {glue:}`total` mm.

```{code-cell} ipython3
---
mystnb:
  image:
    alt: A checkerboard
---
board = np.indices((n, n)).sum(0) % 2
picture = figures.images([board], ["board"], window=(0, 1), unit="1")
figures.keep("board", picture, "A checkerboard")
```

```{code-cell} ipython3
ledger.verify()
```
"""
)

# Writes a line per run beside the book, and can end its own kernel or the process that runs it: once, then it behaves.
BETA = (
    FRONT
    + """# Beta

```{code-cell} ipython3
:tags: [parameters]

seed = 0       # of nothing | any
wait = 0.0     # s | >= 0
victim = ""    # who gets killed in the first run of seed 1 | one of "", kernel, worker
```

```{code-cell} ipython3
import os
import pathlib
import signal
import time

first = pathlib.Path("../killed")
if victim and seed == 1 and not first.exists():
    first.touch()
    os.kill(os.getpid() if victim == "kernel" else os.getppid(), signal.SIGKILL)
    time.sleep(60)
time.sleep(wait)
if seed == 13:
    raise ValueError("unlucky")
with open("../runs.log", "a") as log:
    log.write(f"{seed}\\n")
```

```{code-cell} ipython3
print(seed * seed)
```
"""
)

CLAIMS = """chapter: 01-alpha
paper: nobody
claims:
- id: alpha-sum
  statement: The sum is large
  where: Sec. 1
  paper: "16"
  quantity: sum
  unit: mm
  reproduced: {min: 10}
  reason: half of nothing
  expect: reproduced
"""

CONFIG = """title: Miniature
author: nobody
copyright: "2026"
logo: ""
only_build_toc_files: true
exclude_patterns: [_build, "**/.*"]
execute: {execute_notebooks: "off"}
html: {use_issues_button: false, use_repository_button: false}
launch_buttons: {thebe: false}
sphinx:
  extra_extensions: [ctlib.book.site.api_extension]
  config:
    html_show_copyright: false
    html_static_path: [book/_static]
    mathjax_path: mathjax.js
    nb_ipywidgets_js: {}
    nb_merge_streams: true
    nb_render_markdown_format: myst
"""

FILES = {
    "_config.yml": CONFIG,
    "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n- file: book/01-alpha\n- file: book/lab-beta\n",
    "book/index.md": "# Miniature\n\nSee [](01-alpha.md) and [](api/errors).\n\n```{tableofcontents}\n```\n",
    "book/api/errors.md": "# Errors\n\n<!-- api: ctlib.errors -->\n",
    "book/scoreboard.md": "# Scoreboard\n\n<!-- generated -->\n",
    "book/01-alpha.md": ALPHA,
    "book/lab-beta.md": BETA,
    "book/claims/01-alpha.yml": CLAIMS,
    "book/presets/01-alpha.yml": "laptop: {n: 32}\npaper: {n: 3}\n",
    "book/_static/mathjax.js": "// not needed here\n",
}
FILES["_toc.yml"] += "- file: book/api/errors\n- file: book/scoreboard\n"


def miniature(folder: Path) -> Project:
    """A miniature book in this folder."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Project(folder)


def without_figure(text: str) -> str:
    """A chapter's text without the lines that draw: a second of every run of it."""
    return text[: text.index("board = ")] + text[text.index("figures.keep") :].partition("\n")[2]


def command(project: Project, *words: str) -> list[str]:
    """The command line of the book in a process of its own."""
    return [sys.executable, "-m", "ctlib.book", *words, "--root", str(project.root)]
