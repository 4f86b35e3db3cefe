"""What a reader must meet on a page: the finding and its figure before any code, nothing cut, tables one can read.

A small page with every part of `ctlib.book.page` is rendered with the book's own theme and styles; chapters that have
been rewritten are held to the limits of length by their source.
"""

import base64
import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import threading

import nbformat
import pytest
from minibook import PARAMETERS, miniature

from ctlib.book import diagram, table
from ctlib.book.chapter import code_cells, read_notebook
from ctlib.book.page.listing import Listing
from ctlib.book.project import ROOT, Project
from ctlib.book.site import first_screen, render
from ctlib.book.site.stage import stage

PROJECT = Project()
CHAPTERS = [s for s in PROJECT.chapters() if s[:2].isdigit()]  # a how-to may show the call as an example
OPENED = [s for s in CHAPTERS if "\nopening(" in PROJECT.source(s).read_text(encoding="utf-8")]
REWRITTEN = [s for s in OPENED if s.startswith(("01", "02", "03", "04", "05", "06"))]
MAX_SOURCE, MAX_LINE, MAX_LISTING = 650, 95, 40  # lines of source, and what a page shows without scrolling
OPENING = "paper: Nobody\nminutes: 5\nfigure: board\ncaption: Look.\nfinding:\n- say: A finding.\n"
PAGE = """# Alpha

```{code-cell} ipython3
:tags: [hide-input, nbval-ignore-output]

from ctlib.book import opening

opening("01-alpha")
```

The idea, before a reader runs anything.

```{code-cell} ipython3
:tags: [parameters, hide-input]

<parameters>
```

```{code-cell} ipython3
:tags: [remove-input]

results
```

```{code-cell} ipython3
:tags: [hide-input]

figure
```
""".replace("<parameters>\n", PARAMETERS)
WIDE = [f"a rather long title of column {i}" for i in range(9)]


def png(width=840, height=400):
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(out, format="png")
    return base64.b64encode(out.getvalue()).decode()


def outputs():
    """What the cells of the page showed: a wide table, a listing, a diagram, and the figure that it keeps."""
    from torch import nn

    shown = table(["method", *WIDE], [["FBP", *range(9)], ["TV", *range(1, 10)]], best="max")
    net = nn.Sequential(*(nn.Conv2d(c, c + 1, 3, padding=1) for c in range(1, 7)))
    listing = Listing("ctlib.errors.ArgumentError", "class ArgumentError(CtlibError, ValueError):\n    ...")
    texts = [{"text/html": shown._repr_html_()}, {"text/html": diagram.network(net, (1, 1, 8, 8))._repr_html_()}]
    texts.append({"text/markdown": listing._repr_markdown_()})
    kept = nbformat.v4.new_output("display_data", data={"image/png": png()})
    kept.metadata["ctlib"] = {"keep": "board", "alt": "A board"}
    return [nbformat.v4.new_output("display_data", data=data) for data in texts], [kept]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The rendered folder of a miniature book with one page of every part, in the book's theme."""
    mini = miniature(tmp_path_factory.mktemp("page"))
    (mini.book / "openings").mkdir()
    (mini.book / "openings" / "01-alpha.yml").write_text(OPENING)
    (mini.book / "scoreboard.md").write_text("# Scoreboard\n")
    (mini.book / "01-alpha.md").write_text((mini.book / "01-alpha.md").read_text().partition("# Alpha")[0] + PAGE)
    index = "# Miniature\n\n<!-- cards: 01-alpha -->\n\nSee [](api/errors).\n"
    (mini.book / "index.md").write_text(index)
    shutil.copytree(ROOT / "book" / "_static", mini.book / "_static", dirs_exist_ok=True, ignore=lambda *_: ["vendor"])
    config = (mini.root / "_config.yml").read_text()
    extra = "html_css_files: [custom.css, ledger.css]\n    html_static_path"
    config = config.replace("[ctlib.book.site.api_extension]", "[sphinx_design, ctlib.book.site.api_extension]")
    (mini.root / "_config.yml").write_text(config.replace("html_static_path", extra))
    pages = ["01-alpha", "scoreboard", "api/errors"]
    toc = "format: jb-book\nroot: book/index\nchapters:\n" + "".join(f"- file: book/{p}\n" for p in pages)
    (mini.root / "_toc.yml").write_text(toc)
    nb = read_notebook(mini.source("01-alpha"))
    code = [c for c in nb.cells if c.cell_type == "code"]
    code[2].outputs, code[3].outputs = outputs()
    about = dict.fromkeys(("machine", "device", "commit", "sources_sha256", "key"), "m")
    about |= {"slug": "01-alpha", "preset": "ci", "parameters": {}, "versions": {}, "seconds": 1.0, "date": "today"}
    nb.metadata["ctlib"] = about
    nbformat.write(nb, mini.root / "run.ipynb")
    return render._sphinx(stage(mini, "ci", {"01-alpha": mini.root / "run.ipynb"}), mini.root / "work")


def article(html, page):
    text = (html / "book" / f"{page}.html").read_text(encoding="utf-8")
    return text[text.index("<article") : text.index("</article>")]


def test_title_finding_verdicts_and_figure_come_before_any_code(html):
    text = article(html, "01-alpha")
    wanted = ["<h1>", "ctlib-finding", "ctlib-pills", "<figure", "ctlib-about", "The idea", "<details", "cell_input"]
    places = [text.index(w) for w in wanted]
    assert places == sorted(places), dict(zip(wanted, places, strict=True))
    assert "opening(" not in text, "the call is not shown"
    assert re.search(r"<summary[^>]*>.*?Parameters \(5\)", text, re.S)


def test_tables_are_html_in_a_box_that_scrolls_and_nothing_is_printed(html):
    text = article(html, "01-alpha")
    assert text.count('<div class="ctlib-scroll"><table') == text.count("<table") == 1
    assert not re.search(r'class="output text_plain|output stream', text)


def test_the_front_page_shows_figure_finding_and_verdicts_of_every_card(html):
    text = article(html, "index")
    places = [text.index(w) for w in ("<img", "A finding.", "ctlib-pill ")]
    assert places == sorted(places)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


MEASURE = """<script>
addEventListener("load", () => setTimeout(() => {
  const scrolls = e => e && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.querySelectorAll("article *")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement));
  const size = e => parseFloat(getComputedStyle(e).fontSize);  // 0: hidden, the text of a link that is a card
  const small = [...document.querySelectorAll("article *")].filter(
    e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && size(e) > 0 && size(e) < 8);
  const text = e => e.tagName + "." + (e.getAttribute("class") || "");
  const page = document.scrollingElement;
  const told = {wide: wide.map(text), small: small.map(text), width: innerWidth, page: page.scrollWidth};
  document.title = JSON.stringify(told);
}, 300));
</script>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on PATH: widths are measured in a browser")
@pytest.mark.parametrize("page", ["01-alpha", "index"])
def test_nothing_is_cut_or_too_small_on_a_phone(html, page):
    """In a frame of 390 pixels: a window of a browser without a screen has a least width."""
    text = (html / "book" / f"{page}.html").read_text(encoding="utf-8")
    (html / "book" / "measured.html").write_text(text.replace("</head>", MEASURE + "</head>"), encoding="utf-8")
    tell = 'onload="setTimeout(() => document.body.dataset.told = this.contentDocument.title, 900)"'
    frame = f'<body><iframe src="measured.html" style="width:390px;height:900px;border:0" {tell}></iframe></body>'
    (html / "book" / "frame.html").write_text(frame)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/book/frame.html"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
        done = subprocess.run(["chromium", *flags, address], capture_output=True, text=True, check=False, timeout=120)
    finally:
        server.shutdown()
    told = json.loads(re.search(r'data-told="([^"]*)"', done.stdout)[1].replace("&quot;", '"'))
    assert told["width"] == 390
    assert (told["wide"], told["small"]) == ([], [])
    assert told["page"] <= 390


@pytest.mark.parametrize("slug", OPENED)
def test_a_page_with_an_opening_has_it_first(slug):
    cells = code_cells(PROJECT.source(slug))
    assert first_screen.opens({"cell_type": "code", "source": cells[0].source})
    assert {"nbval-ignore-output", "shows-recorded-runs"} <= set(cells[0].tags), "it shows the verdicts of today"
    folded = [c for c in cells if "parameters" in c.tags]
    assert all("hide-input" in c.tags for c in folded)
    assert max(len(line) for c in cells for line in c.source.splitlines()) <= MAX_LINE


@pytest.mark.parametrize("slug", REWRITTEN)
def test_a_rewritten_page_is_short(slug):
    assert len(PROJECT.source(slug).read_text(encoding="utf-8").splitlines()) <= MAX_SOURCE
    cells = code_cells(PROJECT.source(slug))
    shown = [c for c in cells if not {"hide-input", "remove-input", "parameters"} & set(c.tags)]
    assert max(len(c.source.splitlines()) for c in shown) <= MAX_LISTING
