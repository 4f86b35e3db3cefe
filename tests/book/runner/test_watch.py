"""A long run says how far it is and what is left, from how long its cells took before."""

import pytest

from ctlib.book.runner import times, watch
from ctlib.book.runner.times import Times
from ctlib.book.runner.watch import Watch, spoken, watching

CELLS = ["a = 1", "b = 2", "c = 3", "d = 4"]


def known(folder, preset, seconds):
    found = Times(folder, preset)
    for source, s in zip(CELLS, seconds, strict=False):
        found.add(source, s)
    found.save()
    return found


def test_what_is_left_is_what_the_cells_took_at_this_preset(tmp_path):
    known(tmp_path, "laptop", [10, 20, 30, 40])
    again = Times(tmp_path, "laptop")
    assert again.left(CELLS, 0, 0.0) == 100
    assert again.left(CELLS, 2, 10.0) == 60
    assert again.left(CELLS, 2, 300.0) == 40  # longer than expected: the next cells remain
    assert again.left(CELLS, 4, 0.0) == 0


def test_at_another_preset_by_how_much_longer_the_first_cells_took(tmp_path):
    known(tmp_path, "ci", [1, 2, 3, 4])
    now = Times(tmp_path, "laptop")
    assert now.left(CELLS, 0, 0.0) is None
    now.add(CELLS[0], 10.0)
    now.add(CELLS[1], 20.0)
    assert now.left(CELLS, 2, 0.0) == pytest.approx(70)


def test_a_cell_that_nobody_knows_takes_the_mean_and_too_many_give_no_estimate(tmp_path):
    found = known(tmp_path, "laptop", [10, 20])
    assert found.left([*CELLS[:2], "new"], 0, 0.0) == 45
    assert found.left(["x", "y", CELLS[0]], 0, 0.0) is None


@pytest.mark.parametrize("text", ["{", "[1]", '{"ci": 3}', '{"ci": {"a": "x"}}'])
def test_a_damaged_file_is_as_none(text, tmp_path):
    (tmp_path / times.FILE).write_text(text)
    found = Times(tmp_path, "laptop")
    assert found.left(CELLS, 0, 0.0) is None
    assert known(tmp_path, "laptop", [1, 2, 3, 4]).left(CELLS, 0, 0.0) == 10


class Hours:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_lines_come_after_a_minute_and_further_and_further_apart(tmp_path, capsys):
    clock = Hours()
    run = Watch("alpha at laptop", clock=clock)
    run.begin(CELLS, known(tmp_path, "laptop", [100, 3600, 3600, 3600]), spent=60)
    run.tick()
    assert capsys.readouterr().err == ""
    clock.now = 100.0
    run(1, 4)
    assert capsys.readouterr().err == "alpha at laptop: 1 of 4 cells, 3 min, about 3 h 00 min left\n"
    for step in range(1, 300):
        clock.now += 10
        run.step(step, 1000)
        run.tick()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].endswith("training: step 295 of 1000, 1 h 58 min left of it")
    assert 40 < len(lines) < 51
    clock.now += 3600 * 20
    for _ in range(100):
        clock.now += 60
        run.tick()
    assert len(capsys.readouterr().err.splitlines()) < 7


def test_another_training_starts_its_own_estimate_and_a_cell_ends_it():
    clock = Hours()
    run = Watch("alpha", clock=clock)
    for step in (7, 8, 9, 1, 2):
        clock.now += 5
        run.step(step, 10)
    assert run.line() == "alpha, 25 s, training: step 2 of 10, 40 s left of it"
    run(1, 2)
    assert run.line() == "alpha, 25 s"


def test_a_run_that_reports_nothing_is_spoken_of_all_the_same(monkeypatch, capsys):
    monkeypatch.setattr(watch, "LIVE_S", 0.01)
    monkeypatch.setattr(watch, "EVERY_S", 0.0)
    monkeypatch.setattr(watch, "SHARE", 0.0)
    with watching("alpha") as run:
        while run.said == run.started:
            pass
    assert capsys.readouterr().err.startswith("alpha, 0 s\n")


def test_durations_are_said_in_their_unit():
    assert [spoken(s) for s in (0, 89.6, 91, 5399, 5400, 36060)] == [
        "0 s", "90 s", "2 min", "1 h 30 min", "1 h 30 min", "10 h 01 min",
    ]  # fmt: skip
