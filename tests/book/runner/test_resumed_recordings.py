"""A run in this process that was stopped goes on: the same numbers as in one go, and nothing is computed twice."""

import json
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch
from minibook import ALPHA

from ctlib.book.ledger.stored_runs import read_run
from ctlib.book.project import BookError
from ctlib.book.runner import inprocess, record, resume

STATE = """
import torch
from torch import nn

def log(text):
    with open("../cells.log", "a") as f:
        f.write(text + "\\n")

def adding(amount):
    held = [amount]

    def add(x):
        return x + held[0] + offset

    return add, held

torch.manual_seed(3)
np.random.seed(4)
offset = 0.25
own = torch.Generator().manual_seed(5)
rng = np.random.default_rng(6)
net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Dropout(0.5), nn.Linear(4, 1))
optimizer = torch.optim.Adam(net.parameters(), 0.1)
grid = torch.zeros(4, 4)
row = grid[1]
add, held = adding(1.0)
square = {"of": lambda x: add(x) ** 2}
here = torch
log("made")
"""
STEP = """
for _ in range(3):
    optimizer.zero_grad()
    loss = (net(torch.rand(8, 4, generator=own)) - torch.rand(8, 1)).square().mean()
    loss.backward()
    optimizer.step()
row += torch.randn(4)
held[0] += float(np.random.rand() + rng.random())
print("step", TIMES)
log("step TIMES")
"""
STOP = """
import pathlib, os, signal

if pathlib.Path("../stop").exists():
    pathlib.Path("../stop").unlink()
    os.kill(os.getpid(), signal.SIGKILL)
"""
LAST = """
numbers = [float(loss), float(grid.sum()), float(row.sum()), square["of"](2.0), float(net[2].weight.grad.sum())]
numbers += [float(here.rand(1)), float(own.get_state().sum()), float(np.random.rand()), float(rng.random())]
ledger.check("alpha-sum", [100 + number for number in numbers])
"""


def cell(source: str) -> str:
    return f"```{{code-cell}} ipython3\n{source.strip()}\n```\n\n"


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """What all processes below need is loaded once, before they fork: optimizers load torch's compiler, two seconds."""
    torch.optim.Adam([torch.zeros(1)])
    pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def chapter(mini):
    """The chapter Alpha with a training in two parts, between which it ends its process if a file says so."""
    head, tail = ALPHA.split("```{code-cell} ipython3\n:tags: [remove-input]")
    parts = [STATE, STEP.replace("TIMES", "1"), STOP, STEP.replace("TIMES", "2"), LAST]
    tail = tail.replace('ledger.check("alpha-sum", [n * 1.0, n * 1.1, n * 1.2])', "n + 1")
    text = head + "".join(map(cell, parts)) + "```{code-cell} ipython3\n:tags: [remove-input]" + tail
    mini.source("01-alpha").write_text(text.replace('Ledger("01-alpha")', f'Ledger("01-alpha", {str(mini.book)!r})'))
    (mini.root / "ctlib").mkdir()
    return replace(mini, library=mini.root / "ctlib")  # an empty one: to hash the real one takes seconds


class Done:
    """How a process ended, and what it said."""

    def __init__(self, status, folder):
        self.returncode = os.waitstatus_to_exitcode(status)
        self.stdout, self.stderr = ((folder / name).read_text() for name in ("out", "err"))


def run(project):
    """Record the chapter in a process of its own, which writes a file after every cell."""
    if pid := os.fork():
        return Done(os.waitpid(pid, 0)[1], project.root)
    code = 99
    try:
        resume.KEEP_AFTER_S, resume.SHARE = 0.0, 1e9
        for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
            os.dup2(os.open(project.root / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
        record.record(project, "01-alpha", "laptop", in_process=True)
        code = 0
    except BookError as error:
        print(error, file=sys.stderr)
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def cells_run(project):
    path = project.root / "cells.log"
    found = path.read_text().splitlines()
    path.unlink()
    return found


def recorded(project):
    found = read_run(project.book / "results" / "laptop" / "01-alpha.json", project.book)
    return found["claims"]["alpha-sum"]["values"], found["figures"]["board"]["sha256"]


def test_a_killed_run_goes_on_and_gives_what_an_unbroken_one_gives(chapter):
    done = run(chapter)
    assert done.returncode == 0, done.stderr
    unbroken, printed = recorded(chapter), done.stdout
    assert cells_run(chapter) == ["made", "step 1", "step 2"]
    assert not list(chapter.store.rglob("*.cells"))  # nothing is left of a run that ended

    (chapter.root / "stop").touch()
    assert run(chapter).returncode == -signal.SIGKILL
    assert cells_run(chapter) == ["made", "step 1"]
    assert len(list(chapter.store.rglob("*.cells"))) == 1
    done = run(chapter)
    assert done.returncode == 0, done.stderr
    assert "goes on after code cell 4 of" in done.stderr
    assert cells_run(chapter) == ["step 2"]
    assert recorded(chapter) == unbroken
    assert done.stdout == printed


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("step 2", "step two", ["step two"]),  # a later cell: what came before holds
        ("step 1", "step one", ["made", "step one", "step 2"]),
        ("offset = 0.25", "offset = 0.5", ["made", "step 1", "step 2"]),
        ("n = 16 ", "n = 17 ", ["made", "step 1", "step 2"]),
    ],
)
def test_only_what_an_edit_leaves_alone_is_kept(chapter, old, new, again):
    (chapter.root / "stop").touch()
    run(chapter)
    cells_run(chapter)
    path = chapter.source("01-alpha")
    path.write_text(path.read_text().replace(old, new))
    assert run(chapter).returncode == 0
    assert cells_run(chapter) == again


def test_a_damaged_file_is_told_and_the_run_starts_at_its_first_cell(chapter):
    (chapter.root / "stop").touch()
    run(chapter)
    cells_run(chapter)
    (path,) = chapter.store.rglob("*.cells")
    path.write_bytes(path.read_bytes()[:-200])
    done = run(chapter)
    assert done.returncode == 0
    assert "starts at the first cell" in done.stderr
    assert cells_run(chapter) == ["made", "step 1", "step 2"]


def test_what_cannot_be_written_is_told_and_its_cell_runs_again(chapter):
    path = chapter.source("01-alpha")
    path.write_text(path.read_text().replace("here = torch\n", "here = torch\nstrange = (k for k in [1])\n"))
    (chapter.root / "stop").touch()
    done = run(chapter)
    assert "code cell 3: `strange` (cannot pickle 'generator' object) cannot be written" in done.stderr
    assert done.stderr.count("strange") == 1
    cells_run(chapter)
    assert run(chapter).returncode == 0
    assert cells_run(chapter) == ["made", "step 1", "step 2"]


def test_a_gradient_through_a_graph_that_was_not_kept_is_refused_not_cut_short(chapter):
    path = chapter.source("01-alpha")
    text = path.read_text().replace(
        'log("made")', "weight = torch.ones(2, requires_grad=True)\nleft = (weight * 2).sum()"
    )
    path.write_text(text.replace("numbers = [", "left.backward()\nnumbers = ["))
    (chapter.root / "stop").touch()
    run(chapter)
    done = run(chapter)
    assert done.returncode == 1
    assert "the graph of gradients" in done.stderr
    assert "start the run again" in done.stderr
    assert run(chapter).returncode == 0


TRAINED = """
import os, signal
from pathlib import Path

import torch
from ctlib.papers.dip.fit import fit_dip
from ctlib.papers.dip.network import skip_prior
from ctlib.papers.dip.operators import Identity
from ctlib.train import Settings, fit

torch.set_num_threads(1)
stops, log = Path("../stops"), open("../cells.log", "a")

def after(name, step):
    print(name, step, file=log, flush=True)
    if stops.exists() and f"{name} {step}" in (left := stops.read_text().splitlines()):
        stops.write_text("\\n".join(w for w in left if w != f"{name} {step}"))
        os.kill(os.getpid(), signal.SIGKILL)

def prior(seed):
    net, z = skip_prior((8, 8), seed, 2, channels=2, scales=1)
    image, noise = torch.full((8, 8), 0.3), torch.Generator().manual_seed(seed)
    return fit_dip(
        Identity((8, 8)), image, net, z, 9, noise, truth=image, path=Path(checkpoints, f"prior-{seed}.ckpt"), every=2,
        callback=lambda step, x: after(f"prior {seed}", step + 1),
    )

fits = [prior(seed) for seed in range(2)]
x = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
torch.manual_seed(1)
mlp = torch.nn.Linear(4, 1)
trained = fit(
    mlp, torch.nn.functional.mse_loss, lambda i, s: (x[i], x[i, :1]), 12, Settings(9, 3, 0.1),
    Path(checkpoints, "mlp"), 2,
    callback=lambda run: after("mlp", run.step), validate=lambda net: (net(x[:4]) - x[:4, :1]).square().mean(),
    validate_every=2,
)
numbers = [value for f in fits for value in (*f.psnr_truth, float(f.last.sum()))]
numbers += [*trained.history["loss"], *trained.history["validation"], float(mlp.weight.sum())]
"""
CHECK = 'ledger.check("alpha-sum", [100 + number for number in numbers])'


@pytest.fixture
def trainings(mini):
    """The chapter Alpha with two fits and a training in one cell, which have checkpoints."""
    head, tail = ALPHA.split("```{code-cell} ipython3\n:tags: [remove-input]")
    head = head.replace("flag = False", 'checkpoints = ""    # of trainings | folder to write\nflag = False')
    tail = tail.replace('ledger.check("alpha-sum", [n * 1.0, n * 1.1, n * 1.2])', "n + 1")
    text = head + cell(TRAINED) + cell(CHECK) + "```{code-cell} ipython3\n:tags: [remove-input]" + tail
    mini.source("01-alpha").write_text(text.replace('Ledger("01-alpha")', f'Ledger("01-alpha", {str(mini.book)!r})'))
    (mini.root / "ctlib").mkdir()
    return replace(mini, library=mini.root / "ctlib")


def test_a_record_killed_twice_within_its_trainings_equals_one_that_was_not(trainings):
    done = run(trainings)
    assert done.returncode == 0, done.stderr
    unbroken = recorded(trainings)
    assert len(cells_run(trainings)) == 27
    (trainings.root / "stops").write_text("prior 1 5\nmlp 7")
    for _ in range(2):
        assert run(trainings).returncode == -signal.SIGKILL
    done = run(trainings)
    assert done.returncode == 0, done.stderr
    assert recorded(trainings) == unbroken
    steps = cells_run(trainings)
    assert steps.count("prior 0 1") == steps.count("prior 1 1") == 1  # nothing begins again
    assert [s for s in steps if steps.count(s) > 1] == ["prior 1 5", "prior 1 5", "mlp 7", "mlp 7"]
    assert not list(trainings.store.rglob("*.ckpt"))


def test_the_time_of_a_cell_that_was_stopped_counts(trainings, monkeypatch):
    monkeypatch.setattr(resume, "NOTE_S", 0.0)
    (trainings.root / "stops").write_text("mlp 7")
    assert run(trainings).returncode == -signal.SIGKILL
    (note,) = trainings.store.rglob(resume.NOTE)
    name, seconds = json.loads(note.read_text())
    assert seconds > 0
    note.write_text(json.dumps([name, 1000.0]))
    assert run(trainings).returncode == 0
    body = json.loads((trainings.book / "results" / "laptop" / "01-alpha.json").read_text())
    assert 1000 < body["seconds"] < 1100


def test_a_record_in_a_kernel_gives_its_trainings_the_same_folder_and_no_limit(trainings, monkeypatch):
    seen = {}
    monkeypatch.setattr(record.run, "execute", lambda *args, **options: seen.update(options, args=args) or stopped())
    with pytest.raises(BookError, match="stopped"):
        record.record(trainings, "01-alpha", "laptop")
    kept = resume.kept(trainings, "01-alpha", {"n": 32}, "laptop")
    assert seen["args"][2] == {"n": 32, "checkpoints": kept.trainings()}
    assert seen["cell_limit_s"] is None


def test_trainings_get_a_folder_beside_it_which_is_no_parameter_of_the_record(mini, monkeypatch):
    path = mini.source("01-alpha")
    text = path.read_text().replace(
        "flag = False", 'checkpoints = ""    # of trainings | folder to write\nflag = False'
    )
    path.write_text(text.replace("n * rate, 2", "n * rate + len(checkpoints), 2"))
    seen = []
    monkeypatch.setattr(inprocess, "run_cells", lambda *args: seen.append(args[2:4]) or stopped())
    with pytest.raises(BookError, match="stopped"):
        record.record(mini, "01-alpha", "laptop", in_process=True)
    values, preset = seen[0]
    kept = resume.kept(mini, "01-alpha", {"n": 32}, "laptop")
    assert (values, preset) == ({"n": 32, "checkpoints": str(kept.folder / "trainings")}, "laptop")


def stopped():
    raise BookError("stopped")
