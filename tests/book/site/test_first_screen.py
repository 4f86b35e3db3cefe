"""A staged page opens with the verdicts of its build; parameters and imports are folded; the front page has cards."""

import nbformat
import pytest

from ctlib.book.page.output import CLAIM_MIME
from ctlib.book.site import first_screen
from ctlib.book.site.cards import with_cards

OPENING = """paper: Nobody
minutes: 5
figure: board
caption: Look.
finding:
- when: {alpha-sum: reproduced}
  say: It is large.
- say: A sum.
"""
PARAMETERS = "n = 16  # pixels\nrate = 0.5  # 1/s"
RECORD = {"id": "alpha-sum", "values": [20.0], "median": 20.0, "min": 20.0, "max": 20.0, "verdict": "reproduced"}


@pytest.fixture
def nb(mini):
    """An executed notebook of the miniature chapter whose page has an opening; what it showed then is of no use."""
    (mini.book / "openings").mkdir()
    (mini.book / "openings" / "01-alpha.yml").write_text(OPENING)
    new, display = nbformat.v4, lambda data, **about: nbformat.v4.new_output("display_data", data=data, metadata=about)
    kept = display({"image/png": "aGVsbG8="}, ctlib={"keep": "board", "alt": "A board"})
    cells = [
        new.new_markdown_cell("# Alpha"),
        new.new_code_cell('from ctlib.book import opening\n\nopening("01-alpha")', metadata={"tags": ["hide-input"]}),
        new.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new.new_code_cell("import math\n\nx = math.pi", metadata={"tags": ["hide-input"]}),
        new.new_code_cell("x = 1", metadata={"tags": ["hide-input"]}),
        new.new_code_cell("ledger.check()", outputs=[display({CLAIM_MIME: RECORD}), kept]),
    ]
    cells[1].outputs = [display({"text/markdown": "Old."})]
    return new.new_notebook(cells=cells, metadata={"ctlib": {"slug": "01-alpha", "preset": "ci"}})


def test_the_opening_is_made_of_what_this_build_measured(mini, nb):
    first_screen.opened(mini, "01-alpha", nb)
    first_screen.fold(nb)
    title, finding, figure, about, anchor = nb.cells[:5]
    assert title.source == "# Alpha"
    assert finding.source.startswith('<div class="ctlib-finding">\n\nIt is large.')
    assert '<span class="ctlib-pill ctlib-good">1 reproduced</span>' in finding.source
    assert figure.outputs[0].data["image/png"] == "aGVsbG8="
    assert figure.metadata["tags"] == ["remove-input"]
    assert figure.metadata["mystnb"] == {
        "figure": {"caption": "Look. Computed by this page, preset `ci`.", "name": "fig-01-alpha-opening"},
        "image": {"alt": "A board"},
    }
    assert "Nobody · 5 minutes to read" in about.source
    assert f'href="#{first_screen.RUN}"' in about.source
    assert anchor.source == f'<a id="{first_screen.RUN}"></a>'


def test_the_claims_of_another_preset_are_not_those_of_ci(mini, nb):
    nb.metadata["ctlib"]["preset"] = "laptop"
    first_screen.opened(mini, "01-alpha", nb)
    assert "\n\nA sum." in nb.cells[1].source


def test_parameters_and_imports_are_folded_under_their_name(nb):
    first_screen.fold(nb)
    prompts = {c.source: c.metadata.get("mystnb", {}).get("code_prompt_show") for c in nb.cells}
    assert prompts[PARAMETERS] == "Parameters (2)"
    assert prompts["import math\n\nx = math.pi"] == "Imports"
    assert prompts["x = 1"] is None
    folded = next(c for c in nb.cells if c.source == PARAMETERS)
    assert folded.metadata["tags"] == ["hide-input", "parameters"]


def test_cards_show_what_a_page_opens_with(mini, nb):
    text, pictures = with_cards("# Book\n\n<!-- cards: 01-alpha lab-beta -->\n", mini, {"01-alpha": nb})
    assert pictures == {"cards/01-alpha.png": b"hello"}
    alpha, beta = text.split("::::{grid-item-card} ")[1:]
    assert alpha.startswith("Alpha\n:img-top: cards/01-alpha.png\n:img-alt: A board\n:link: 01-alpha\n")
    assert "\nIt is large.\n:::{card-footer}\n" in alpha
    assert "1 reproduced" in alpha
    assert beta.startswith("Beta\n:link: lab-beta\n:link-type: doc\n::::"), "a page without an opening"


def test_a_cell_that_quotes_the_call_is_no_opening():
    quoted = {"cell_type": "code", "source": 'page = """\nopening("alpha")\n"""'}
    assert not first_screen.opens(quoted)
    assert first_screen.opens({"cell_type": "code", "source": '%matplotlib inline\nopening("alpha")'})
    assert not first_screen.opens({"cell_type": "markdown", "source": 'opening("alpha")'})
