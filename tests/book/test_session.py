"""A chapter that plain papermill or a person in JupyterLab runs is held to what `python -m ctlib.book run` does."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from minibook import without_figure

from ctlib.book import session
from ctlib.book.chapter import read_notebook
from ctlib.book.project import ROOT, UsageError

CELLS = ["", 'n = 16  # pixels\nname = "plain"\nsizes = [1, 2]', "", "import ctlib.book"]
# papermill as its command runs it, without jsonschema's grammar of web addresses, see `ctlib.book.__main__`
PAPERMILL = "import sys; sys.modules['rfc3987_syntax'] = None; from papermill.cli import papermill; papermill()"
THREADS = """
import numba, numpy, os, torch, threadpoolctl

print(torch.get_num_threads(), numba.get_num_threads(), os.environ["OMP_NUM_THREADS"], ledger.preset)
print(sorted({pool["num_threads"] for pool in threadpoolctl.threadpool_info()}))
"""


def injected(text):
    """Sources of a kernel's cells with these values injected, and its variables."""
    cells = [*CELLS[:2], session.INJECTED + text, *CELLS[3:]]
    variables = {}
    for source in cells[1:3]:
        exec(source, variables)
    return cells, variables


def test_values_that_the_chapter_declares_pass():
    session.check_injected(*injected('n = 8\nname = "other"\nsizes = [3]'))
    session.check_injected(CELLS, {})  # nothing injected


WRONG = {
    "m = 8": "this notebook: no parameter 'm'; it has: n, name, sizes",
    "n = 8.5": "parameter n: got 8.5, needs a whole number, like 16",
    'n = "many"': "parameter n: got 'many', needs a whole number",
    "n = True": "parameter n: got True, needs a whole number",
    "n = None": "parameter n: got None, needs a whole number",
    'sizes = "[3"': "parameter sizes: got '.3', needs a list of whole numbers",
    "sizes = 3": "parameter sizes: got 3, needs a list",
    'sizes = [float("nan")]': r"parameter sizes: got .nan., needs a list of whole numbers",
}


@pytest.mark.parametrize("text", WRONG)
def test_other_injected_values_are_refused(text):
    with pytest.raises(UsageError, match=WRONG[text]):
        session.check_injected(*injected(text))


def test_nothing_is_touched_outside_a_kernel():
    code = "import os, torch; n = torch.get_num_threads(); import ctlib.book; print(n == torch.get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if k not in session.ONE_THREAD}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.fixture
def papermill(mini):
    """papermill(-p, name, value, ...): the miniature chapter by plain papermill; its outputs, or the error's texts."""

    def call(*words, first="", last=THREADS, **env):
        nb = read_notebook(mini.source("01-alpha"))
        nb.cells = [c for c in nb.cells if "board" not in c.source]  # nobody looks at the figure
        nb.cells.append(nbformat.v4.new_code_cell(last))
        if first:
            nb.cells.insert(1, nbformat.v4.new_code_cell(first))
        path, out = mini.root / "plain.ipynb", mini.root / "out.ipynb"
        nbformat.write(nb, path)
        clean = {k: v for k, v in os.environ.items() if k not in session.ONE_THREAD and k != "CTLIB_PRESET"}
        clean |= {"PYTHONPATH": str(ROOT), "CTLIB_BOOK": str(mini.book), "JUPYTER_PREFER_ENV_PATH": "1", **env}
        command = [sys.executable, "-c", PAPERMILL, "--no-progress-bar", str(path), str(out), *words]
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            return done.stderr
        return nbformat.read(out, 4).cells[-1].outputs[0].text.splitlines()

    return call


def test_plain_papermill_runs_on_one_thread_at_the_preset_of_its_values(papermill):
    assert papermill() == ["1 1 1 ci", "[1]"]
    assert papermill("-p", "n", "32", last="print(ledger.preset)") == ["laptop"]
    assert papermill("-p", "n", "33", last="print(ledger.preset)") == ["custom"]


def test_it_does_so_when_libraries_were_loaded_before(papermill):
    first = "import numba, numpy, scipy.linalg, torch\n\ntorch.ones(9) @ torch.ones(9)"
    assert papermill(first=first) == ["1 1 1 ci", "[1]"]


def test_a_person_s_own_numbers_of_threads_stay(papermill):
    assert papermill(OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2")[0] == "2 2 2 ci"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-p", "m", "3"), "no parameter 'm'; it has: n, rate"),
        (("-p", "n", "3.5"), "parameter n: got 3.5, needs a whole number, 1 to 4096"),
        (("-p", "n", "0"), "parameter n: got 0, needs a whole number, 1 to 4096"),
        (("-p", "name", "no.dcm"), "needs a word or file to read: no such file or folder: "),
    ],
)
def test_plain_papermill_refuses_what_run_refuses(papermill, words, says):
    assert says in "".join(papermill(*words))


OPENING = "from ctlib.book import opening"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-p", "m", "3"), "no parameter 'm'; it has: n, rate"),
        (("-p", "n", "0"), "parameter n: got 0, needs a whole number, 1 to 4096"),
        (("-p", "name", "no.dcm"), "needs a word or file to read: no such file or folder: "),
        (("-r", "n", "32"), "32 laptop"),
        (("-p", "sizes", "[3, 4]"), "16 custom"),
    ],
)
def test_a_cell_above_the_parameters_that_imports_the_book_changes_nothing_of_it(papermill, words, says):
    assert says in "".join(papermill(*words, first=OPENING, last="print(n, ledger.preset)"))


def test_infinite_values_stay_what_they_are():
    assert session._written([float("inf"), 1.5, "a"]) == "[float(\"inf\"), 1.5, 'a']"


def test_a_value_changed_by_hand_in_jupyterlab_is_checked_at_the_ledger(mini):
    variables = {"n": 16, "rate": 0.5, "name": "plain", "flag": False, "sizes": [1, 2]}
    code = (
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.user_ns.update(json.loads(sys.argv[1]))\n"
        "from ctlib.book import Ledger\n"
        "print(Ledger('01-alpha').preset)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CTLIB_PRESET"} | {"CTLIB_BOOK": str(mini.book)}

    def preset(**changes):
        given = {k: v for k, v in {**variables, **changes}.items() if v is not None}
        command = [sys.executable, "-c", code, json.dumps(given)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    assert [preset(), preset(n=32), preset(n=32, rate=1.0)] == ["ci", "laptop", "custom"]
    assert preset(n="many").endswith("01-alpha: parameter n: got 'many', needs a whole number, 1 to 4096")
    assert preset(n=None).endswith("01-alpha: parameter n is not set; the parameters cell sets it")
    assert preset(**dict.fromkeys(variables)) == "ci"  # a notebook that looks at the claims


def test_texts_that_mean_a_value_become_it_as_in_run():
    cells, values = injected('n = "010"\nsizes = "[3, 4]"\nname = "other"')
    session.check_injected(cells, values)
    assert (values["n"], values["sizes"], values["name"]) == (10, [3, 4], "other")


def test_papermill_takes_paths_from_where_it_is_started(papermill, mini, tmp_path):
    """It works in the folder of --cwd, and says nothing of the one where the command was run."""
    cell = mini.source("01-alpha")
    lines = 'data = ""  # scans | folder to read\nout = ""  # | folder to write\nn = 16 '
    cell.write_text(cell.read_text().replace("n = 16 ", lines))
    (tmp_path / "exams").mkdir()
    words = ("-p", "data", "exams", "-p", "out", "new/ckpt", "--cwd", str(mini.book))
    said = papermill(*words, last="print(data, out)", PWD=str(tmp_path))
    assert said[-1] == f"{tmp_path / 'exams'} {tmp_path / 'new' / 'ckpt'}"
    assert (tmp_path / "new" / "ckpt").is_dir()
    assert "needs a folder to read: no such file or folder: " in "".join(papermill("-p", "data", "exam"))


EDITED = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
import ctlib.book


def ran(source):
    result = shell.run_cell(source, store_history=True)
    return f"{type(result.error_in_exec or result.error_before_exec).__name__}"
"""


def edited(*calls, folder):
    """Last lines of what a shell in which the book was imported prints to these calls."""
    code = EDITED + "\n".join(f"print(({call},))" for call in calls)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_parameters_cell_that_is_edited_and_run_again_in_jupyterlab_is_checked(tmp_path):
    cell = "n = {}  # side | 2 to 64\nx = 0.5  # | any"
    told = edited(
        f"ran({cell.format(8)!r}), shell.user_ns['n']",
        f"ran({cell.format(1)!r}), shell.user_ns['n']",
        "ran('n = 1'), shell.user_ns['n']",
        "ran('%time m = 3')",
        "ran('for')",
        folder=tmp_path,
    )
    assert told.count("this notebook: parameter n: got 1, needs a whole number, 2 to 64") == 1
    kept = [line for line in told.splitlines() if line.startswith("('")]
    assert kept == ["('NoneType', 8)", "('UsageError', 8)", "('NoneType', 1)", "('NoneType',)", "('SyntaxError',)"], (
        "a cell of one's own is nobody's concern"
    )


def test_a_path_in_an_edited_cell_is_where_the_notebook_lies(tmp_path):
    (tmp_path / "exams").mkdir()
    source = 'data = "exams"  # scans | folder to read\nout = "~"  # | folder to write'
    told = edited(f"ran({source!r}), shell.user_ns['data'], shell.user_ns['out']", folder=tmp_path)
    assert told.splitlines()[-1] == repr(("NoneType", str(tmp_path / "exams"), os.path.expanduser("~")))


@pytest.mark.long
def test_an_outcome_ends_the_page_but_not_a_run_with_other_values(mini, book):
    path = mini.source("01-alpha")
    text = without_figure(path.read_text()).replace(
        "ledger.verify()", 'ledger.expect("n is sixteen", n == 16)\nledger.verify()'
    )
    path.write_text(text)
    assert book("run", "alpha").returncode == 0
    done = book("run", "alpha", "-p", "n=24")
    assert (done.returncode, done.stdout.splitlines()[-2]) == (0, "does not hold here: n is sixteen"), done.stderr
    path.write_text(text.replace("n == 16", "n == 17"))
    done = book("run", "alpha")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "ClaimFailed: n is sixteen: does not hold" in done.stderr


def test_a_comment_called_parameters_in_a_notebook_of_one_s_own_is_no_injection():
    session.check_injected(["", "import math", session.INJECTED + "n = 3", "import ctlib.book"], {"n": 3})


def test_a_whole_number_becomes_one_with_a_fraction_as_in_run():
    cells = ["", "rate = 0.5", session.INJECTED + "rate = 1", "import ctlib.book"]
    values = {"rate": 1}
    session.check_injected(cells, values)
    assert type(values["rate"]) is float
