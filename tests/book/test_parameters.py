"""Parameters: typed by their defaults, normalized against them, and nothing else let through."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ctlib.book import parameters
from ctlib.book.project import Project, UsageError

SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_declared_reads_the_literals_of_the_tagged_cell(mini):
    assert parameters.declared(mini, "01-alpha") == {
        "n": 16,
        "rate": 0.5,
        "name": "plain",
        "flag": False,
        "sizes": [1, 2],
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "32", 32),
        ("rate", "2", 2.0),
        ("rate", "1e-3", 0.001),
        ("name", "007", "007"),
        ("name", "null", "null"),
        ("name", "pydicom:CT_small.dcm", "pydicom:CT_small.dcm"),
        ("flag", "yes", True),
        ("flag", "OFF", False),
        ("n", "010", 10),
        ("n", "1_000", 1000),
        ("n", "1e3", 1000),
        ("n", "+7", 7),
        ("n", " 7 \t", 7),
        ("n", "'7'", 7),
        ("n", "64.0", 64),
        ("rate", "-1e-3", -0.001),
        ("rate", "\u22120.5", -0.5),
        ("rate", ".5", 0.5),
        ("rate", "5.", 5.0),
        ("rate", "010", 10.0),
        ("sizes", "[3, 4, 5]", [3, 4, 5]),
        ("sizes", "3,4,5", [3, 4, 5]),
        ("sizes", "(3, 4,)", [3, 4]),
        ("sizes", "3", [3]),
        ("sizes", "010, 1e2", [10, 100]),
        ("sizes", "[]", []),
    ],
)
def test_a_text_becomes_a_value_of_the_defaults_type(mini, name, text, value):
    got = parameters.parse(mini, "01-alpha", name, text)
    assert got == value
    assert type(got) is type(value)


def test_a_file_is_given_by_its_full_path(mini, monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "slice.npy").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert parameters.parse(mini, "01-alpha", "name", "slice.npy") == str(tmp_path / "here" / "slice.npy")
    assert parameters.parse(mini, "01-alpha", "name", "here") == "here", "a word is not a file"


def test_default_values_are_left_out(mini):
    given = {"n": 16, "rate": 0.5, "sizes": [1, 2], "flag": False, "name": "plain"}
    assert parameters.resolve(mini, "01-alpha", "ci", given) == {}
    assert parameters.resolve(mini, "01-alpha", "laptop", {"n": 16, "rate": 1}) == {"rate": 1.0}


def test_a_run_is_custom_unless_its_values_are_the_presets_own(mini):
    assert parameters.kernel_preset(mini, "01-alpha", "ci", {}) == "ci"
    assert parameters.kernel_preset(mini, "01-alpha", "laptop", {"n": 32}) == "laptop"
    assert parameters.kernel_preset(mini, "01-alpha", "laptop", {"n": 33}) == "custom"


@SETTINGS
@given(name=st.text(max_size=30))
def test_no_name_but_a_declared_one_is_let_through(mini, name):
    if name not in parameters.declared(mini, "01-alpha"):
        with pytest.raises(UsageError):
            parameters.resolve(mini, "01-alpha", "ci", {name: 1})


@SETTINGS
@given(value=st.one_of(st.none(), st.text(), st.booleans(), st.floats(), st.lists(st.integers(), max_size=2)))
@example(value=0.0)
@example(value=5e17)
def test_a_count_takes_whole_numbers_only(mini, value):
    if isinstance(value, float) and value.is_integer() and 1 <= value <= 4096:  # papermill reads 1e3 as 1000.0
        assert parameters.resolve(mini, "01-alpha", "ci", {"n": value}).get("n", 16) == int(value)
        return
    with pytest.raises(UsageError):
        parameters.resolve(mini, "01-alpha", "ci", {"n": value})


@SETTINGS
@given(text=st.text(alphabet="[]{},:&*!|>'\"%@`#-+.0123456789eainf \n", max_size=20))
def test_any_text_for_a_number_is_a_finite_number_or_one_typed_error(mini, text):
    try:
        value = parameters.parse(mini, "01-alpha", "rate", text)
    except UsageError:
        return
    assert type(value) is float
    assert abs(value) < float("inf")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("n = 3 +", "invalid syntax"),
        ("n = m", "parameter n is not a literal"),
        ("n, m = 3, 4", "is not `name = literal`"),
        ("import os", "is not `name = literal`"),
    ],
)
def test_a_parameters_cell_holds_literals_only(mini, cell, says):
    path = mini.source("01-alpha")
    path.write_text(path.read_text().replace("n = 16            # pixels | 1 to 4096", cell))
    with pytest.raises(UsageError, match=says):
        parameters.declared(mini, "01-alpha")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("labtop: {n: 3}\n", "'labtop' is no preset"),
        ("ci: {n: 3}\n", "'ci' is no preset"),
        ("laptop: [n, 3]\n", "needs `preset"),
        ("laptop: {n: 3\n", "while parsing"),
    ],
)
def test_a_wrong_preset_file_is_refused(mini, text, says):
    (mini.book / "presets" / "01-alpha.yml").write_text(text)
    with pytest.raises(UsageError, match=says):
        parameters.presets(mini, "01-alpha")


@pytest.mark.parametrize("slug", Project().chapters())
def test_every_preset_of_the_book_names_parameters_of_its_chapter(slug):
    for preset in parameters.presets(Project(), slug):
        changed = parameters.resolve(Project(), slug, preset)
        assert changed.keys() <= parameters.declared(Project(), slug).keys()


def test_every_preset_file_of_the_book_belongs_to_a_chapter():
    files = {p.stem for p in (Project().book / "presets").glob("*.yml")}
    assert files <= set(Project().chapters())
