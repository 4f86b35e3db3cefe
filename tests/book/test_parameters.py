"""Parameters: typed by their defaults, normalized against them, and nothing else let through."""

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import TINY

from ctlib.book import declarations, lint, parameters, reading
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
        ("laptop: {n: 3}\nlaptop: {n: 4}\n", "laptop: given twice"),
        ("laptop: {n: 3, n: 4}\n", "n: given twice"),
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


def cell(*lines):
    """The parameters of a cell with these lines."""
    return declarations.parameters("\n".join(lines), "toy")


def asked(value, *lines):
    """What is said to a value of the last parameter of these lines; None if it is taken."""
    found = cell(*lines)
    try:
        return declarations.checked(found, {list(found)[-1]: value}, "toy") and None
    except UsageError as error:
        return str(error)


RULES = [  # line, values taken, values refused
    ("n = 8  # side | 2 to 64", [2, 64, 8.0], [1, 65, 2.5, True, None, "8", [8], float("nan")]),
    ("n = 8  # side | > 2, <= 64", [3, 64], [2, 65]),
    ("n = 8  # side | multiple of 4", [0, -4, 12], [2, 13]),
    ("n = 3  # side | odd", [1, -3], [2, 0]),
    ("n = 4  # side | even, >= 2 * 2", [4, 6], [3, 2]),
    ("x = 0.5  # share | 0 to 1", [0, 1, 0.3], [-0.1, 1.1, float("inf"), "x"]),
    ("x = 0.5  # share | any", [-1e300, 0], [float("inf"), float("nan"), True]),
    ("x = 0.5  # limit | > 0, may be infinite", [float("inf"), 3], [0.0, -1]),
    ("x = 0.5  # low | >= -0.5", [-0.5], [-0.6]),
    ("f = True  # whether to", [False], [0, 1, "yes", None]),
    ('t = "a"  # task | one of a, b c, ""', ["b c", ""], ["c", "A", 1, None]),
    ('t = "a"  # a text | any', ["", "anything"], [1, None]),
    ("s = [1, 2]  # seeds | >= 0, different", [[5], (7, 0)], [[], [1, 1], [-1], [1.5], 3, "12"]),
    ("s = [1.0]  # rates | > 0, rising", [[1, 2], [0.5]], [[2, 1], [1, 1], [0]]),
    ("s = [1, 2]  # edges | 2 values", [[3, 1]], [[1], [1, 2, 3]]),
    ("s = [1, 2]  # edges | at least 2 values, containing 2 and 3", [[2, 3, 4]], [[2, 4], [3], [2]]),
    ("s = []  # rates | numbers, > 0, may be empty", [[], [1, 0.5]], [[0], ["a"], [True]]),
    ("s = []  # sizes | whole numbers, may be empty", [[], [1]], [[0.5]]),
    ("s = []  # kinds | may be empty, one of a, b", [[], ["a", "b"]], [["c"], [1]]),
    ("s = [[1, 2]]  # widths | pairs, >= 1", [[[1, 2], [3, 4]]], [[[1]], [1, 2], [[0, 1]], []]),
    ('d = "cpu"  # where | torch device', ["cpu", "cuda", "cuda:1"], ["gpu", "CPU", "cuda:", ""]),
]


@pytest.mark.parametrize(("line", "taken", "refused"), RULES)
def test_a_rule_takes_and_refuses(line, taken, refused):
    assert [v for v in taken if asked(v, line)] == []
    assert [v for v in refused if not asked(v, line)] == []
    assert re.match(rf"toy: parameter {line[0]}: got .+, needs .+", asked(refused[0], line))


ACROSS = [
    (("depth = 2  # halvings | 1 to 8", "n = 48  # side | multiple of 2**(depth + 1)"), [8, 64], [50, 12]),
    (("views = 9  # views | >= 1", "view = 1  # drawn | >= 0, < views"), [0, 8], [9, -1]),
    (("w = [1, 2]  # widths | >= 1", "b = [3, 4]  # blocks | >= 0, as many as w"), [[0, 0]], [[1], [1, 2, 3]]),
    (("s = [2, 3]  # scales | >= 1", "n = 8  # side | >= 2 * 2**max(s, 1)"), [16, 17], [15]),
    (("s = [2, 3]  # scales | >= 1", "n = 8  # side | <= len(s) * 2"), [4, 1], [5]),
    (("a = 1  # low | any", "b = 2  # high | a to 2 * a"), [1, 2], [0, 3]),
]


@pytest.mark.parametrize(("lines", "taken", "refused"), ACROSS)
def test_a_bound_may_name_another_parameter(lines, taken, refused):
    assert [v for v in taken if asked(v, *lines)] == []
    assert [v for v in refused if not asked(v, *lines)] == []


def test_a_default_that_does_not_go_with_what_was_given_is_told_with_both():
    found = cell("n = 48  # side | multiple of 2**(depth + 1)", "depth = 2  # halvings | 1 to 8")
    with pytest.raises(UsageError, match=r"n: got 48, the default, beside depth = 4, needs .*\(depth \+ 1\) is 32\)"):
        declarations.checked(found, {"depth": 4}, "toy")
    with pytest.raises(UsageError, match="depth: got 1000000000000, needs"):  # before 2 to the power of it
        declarations.checked(found, {"depth": 10**12}, "toy")


def test_a_comment_goes_on_below_its_line():
    found = cell(
        "n = 8  # side of", "       # the image [pixels]", "       # | 2 to 64,", "       # even", "m = 1  # | any"
    )
    assert (found["n"].meaning, found["n"].rule) == ("side of the image [pixels]", "2 to 64, even")
    assert (found["m"].meaning, found["m"].rule) == ("", "any")
    assert cell("x = 1.0  # mean |error| | > 0")["x"].meaning == "mean |error|"


WRONG_DECLARATIONS = {
    "n = 16            # pixels": "says no range",
    "n = 16            # pixels | about 5": "'about 5' is no clause of a rule",
    "n = 16            # pixels | >= 2 +": "'2 +' is no bound",
    "n = 16            # pixels | >= os.getpid()": "a rule names os, which is no parameter",
    "n = 16            # pixels | 32 to 64": "a default breaks its own rule: 01-alpha: parameter n: got 16",
    "n = 16            # pixels | < m": "a rule names m, which is no parameter",
    "n = 16            # pixels | >= 1, one of a, b": "a default breaks its own rule",
    "n = 16            # pixels | rising": "its rule cannot be asked of 16",
    "n = []            # pixels | may be empty": "[] has no kind",
}


@pytest.mark.parametrize("line", WRONG_DECLARATIONS)
def test_lint_tells_a_declaration_that_is_not_in_order(mini, line):
    path = mini.source("01-alpha")
    path.write_text(path.read_text().replace("n = 16            # pixels | 1 to 4096", line))
    told = [p for p in lint.problems(mini, "01-alpha") if p.rule == "PARAMETER"]
    assert [p.line for p in told] == [19]
    assert WRONG_DECLARATIONS[line] in told[0].text


TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="0123456789+-.eE_,[]() '\"xobnaif:", max_size=12),
    st.floats().map(repr),
    st.integers().map(str),
    st.lists(st.integers(-9, 99), max_size=4).map(str),
)


@settings(deadline=None, max_examples=400)
@given(text=TEXTS, kind=st.sampled_from(["whole number", "number", "truth"]), depth=st.integers(0, 2))
def test_any_text_is_a_value_of_its_kind_or_one_error(text, kind, depth):
    try:
        value = reading.read(text, kind, depth)
    except ValueError:
        return
    for _ in range(depth):
        assert value is None or isinstance(value, list)
        value = value[0] if value else None
    types = {"whole number": (int, float), "number": (float,), "truth": (bool,)}[kind]
    assert value is None or type(value) in types


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_python_writes_it_is_that_number(value):
    assert reading.read(repr(value), "number") == value


@settings(deadline=None)
@given(st.integers(-(10**17), 10**17))
def test_a_whole_number_is_exact_with_zeros_before_it_or_grouped(value):
    assert reading.read(f"{value:+020d}", "whole number") == value
    assert reading.read(f"{value:_}", "whole number") == value


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-99, 99), max_size=3), max_size=3))
def test_a_list_of_lists_as_python_writes_it_is_that_list(value):
    assert reading.read(str(value), "whole number", 2) == value
    if len(value) > 1:
        assert reading.read(str(value)[1:-1], "whole number", 2) == value


@pytest.fixture
def with_paths(mini, monkeypatch, tmp_path):
    """The miniature book with three parameters that name files and folders; the command is run in a folder beside."""
    path = mini.source("lab-beta")
    lines = [
        'data = ""  # scans | folder to read',
        'image = ""  # slice | file to read',
        'out = ""  # | folder to write',
    ]
    path.write_text(path.read_text().replace("seed = 0 ", "\n".join([*lines, "seed = 0 "])))
    here = tmp_path / "elsewhere"
    (here / "exams" / "deep").mkdir(parents=True)
    (here / "slice").write_text("")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    return mini


PLACES = [
    ("data", "exams", "exams"),
    ("data", "exams/", "exams"),
    ("data", "./exams/../exams", "exams"),
    ("data", "~/exams", "exams"),
    ("data", " exams ", "exams"),
    ("data", "'exams'", "exams"),
    ("data", ".", ""),
    ("image", "slice", "slice"),
    ("image", "exams/../slice", "slice"),
    ("out", "ckpt", "ckpt"),
    ("out", "./new/er/est", "new/er/est"),
    ("out", "~/ckpt", "ckpt"),
    ("out", "exams", "exams"),
]


@pytest.mark.parametrize(("name", "text", "place"), PLACES)
def test_a_path_is_relative_to_where_the_command_is_run(with_paths, tmp_path, name, text, place):
    assert parameters.parse(with_paths, "lab-beta", name, text) == str((tmp_path / "elsewhere" / place).resolve())
    assert parameters.parse(with_paths, "lab-beta", name, "") == ""


NOT_PLACES = [
    ("data", "slice", "is a file"),
    ("data", "exam", "no such file or folder: .*elsewhere/exam"),
    ("image", "exams", "is a folder"),
    ("image", "~nobody/x", "no such file"),
    ("out", "slice", "is no folder"),
    ("out", "slice/below", "slice is no folder"),
    ("data", " ", "the name is empty"),
]


@pytest.mark.parametrize(("name", "text", "says"), NOT_PLACES)
def test_a_path_that_cannot_be_used_is_refused(with_paths, name, text, says):
    with pytest.raises(UsageError, match=f"parameter {name}: got '{text}', needs a (file|folder) to .*{says}"):
        parameters.parse(with_paths, "lab-beta", name, text)


def test_inputs_are_what_a_run_reads_and_folders_to_write_are_made(with_paths, tmp_path):
    values = parameters.parse_given(with_paths, "lab-beta", [("data", "exams"), ("out", "a/b")])
    here = tmp_path / "elsewhere"
    assert parameters.inputs(with_paths, "lab-beta", values) == {"data": here / "exams"}
    assert not (here / "a").exists(), "asking makes nothing"
    parameters.prepare(with_paths, "lab-beta", values)
    assert (here / "a" / "b").is_dir()


def test_a_device_that_is_not_here_is_told_before_a_run():
    torch = pytest.importorskip("torch")
    found = cell('device = "cpu"  # where | torch device')
    parameters.check_devices(found, {"device": "cpu"}, "toy")
    number = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"device: got 'cuda:{number}', needs a device of this machine"):
        parameters.check_devices(found, {"device": f"cuda:{number}"}, "toy")


def test_of_two_devices_there_is_no_third(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = cell('device = "cpu"  # where | torch device')
    for name in ("cuda", "cuda:0", "cuda:1"):
        parameters.check_devices(found, {"device": name}, "toy")
    with pytest.raises(UsageError, match="device: got 'cuda:2'"):
        parameters.check_devices(found, {"device": "cuda:2"}, "toy")


@pytest.mark.parametrize("slug", sorted(TINY))
def test_the_smallest_sizes_that_the_tests_run_are_allowed(slug):
    parameters.resolve(Project(), slug, "ci", TINY[slug])


@pytest.mark.parametrize("slug", Project().chapters())
def test_every_parameter_of_the_book_has_a_meaning(slug):
    assert [p.name for p in parameters.declarations_of(Project(), slug).values() if not p.meaning] == []
