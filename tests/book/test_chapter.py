"""The small reader of MyST code cells must see what jupytext sees."""

import pytest
from minibook import ALPHA, BETA, FRONT

from ctlib.book.chapter import canonical, code_cells, read_notebook
from ctlib.book.project import Project, UsageError

ODD = (
    FRONT
    + """# Odd

```python
not_a_cell = 1
```

````md
```{code-cell} ipython3
shown_not_run = 1
```
````

~~~text
```{code-cell} ipython3
nor_this = 1
~~~

```{code-cell} ipython3
---
tags: [hide-input, nbval-ignore-output]
mystnb:
  image:
    alt: 'tags: [no-tag]'
---
a = 1

b = '''
---
'''
```

````{code-cell} ipython3
:tags: [remove-input]

text = \"\"\"
```
\"\"\"
````

```{code-cell} ipython3
```

```{code-cell} ipython3
---
tags:
- nbval-skip
- hide-output
---
c = 3
```
"""
)
CHAPTERS = {s: Project().source(s) for s in Project().chapters()}


@pytest.fixture(params=[*CHAPTERS, "alpha", "beta", "odd"])
def path(request, tmp_path):
    if request.param in CHAPTERS:
        return CHAPTERS[request.param]
    (tmp_path / "chapter.md").write_text({"alpha": ALPHA, "beta": BETA, "odd": ODD}[request.param])
    return tmp_path / "chapter.md"


def test_code_cells_are_those_of_jupytext(path):
    theirs = [c for c in read_notebook(path).cells if c.cell_type == "code"]
    ours = code_cells(path)
    assert [c.source for c in ours] == [c.source for c in theirs]
    assert [set(c.tags) for c in ours] == [set(c.metadata.get("tags", [])) for c in theirs]


def test_a_code_cell_knows_its_line(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    for cell in code_cells(path):
        source = cell.source.splitlines()
        assert lines[cell.line - 1 : cell.line - 1 + len(source)] == source


@pytest.mark.parametrize("slug", CHAPTERS)
def test_a_save_in_jupyterlab_would_change_nothing(slug):
    assert canonical(CHAPTERS[slug]) == CHAPTERS[slug].read_text(encoding="utf-8"), "run: python -m ctlib.book fmt"


def test_a_chapter_without_front_matter_is_refused(tmp_path):
    (tmp_path / "01-bare.md").write_text("# Bare\n")
    with pytest.raises(UsageError, match="01-bare: no front matter"):
        canonical(tmp_path / "01-bare.md")
