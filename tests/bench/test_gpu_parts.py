"""Parts of the benchmark on a device: what is merged, and what a note says of what was left out."""

import json
from types import SimpleNamespace

import gpu
import pytest
import report
from failures import in_short

from ctlib.book.project import ROOT


def test_parts_of_other_code_device_or_versions_are_left_out(tmp_path):
    now = gpu.stamp("code")
    others = {"b": {"code": "other"}, "c": {"gpu": "another"}, "d": {"versions": {"torch": "1.0"}}}
    for name, other in {"a": {"date": "2000-01-01", "commit": "older"}, **others}.items():
        made = {**now, "bounds": {}, "notes": [f"note {name}"], "records": [{"case": name}], **other}
        (tmp_path / f"{name}.json").write_text(json.dumps(made))
    result = gpu.merged(tmp_path, now)
    assert result["records"] == [{"case": "a"}]
    assert result["notes"] == ["note a", *(f"{n}: left out, of other code, device or versions" for n in others)]
    assert {k: result[k] for k in now} == now
    assert result.pop("digest") == report.digest(result)


def test_versions_that_keep_a_part_out_make_its_step_run_again():
    source = (ROOT / "tools" / "gpu" / "stamp.py").read_text()
    assert all(f'"{name}"' in source for name in report.PACKAGES)


def test_a_case_that_ctlib_cannot_do_is_left_out_and_told(monkeypatch):
    def fails():
        raise RuntimeError("out of memory\nat /home/somebody/x.py")

    groups = {"A": {gpu.AUTO: fails, "other": lambda: 1}, "FBP": {gpu.AUTO: lambda: 1, "other": fails}}
    monkeypatch.setattr(gpu, "calls", lambda *args: groups)
    notes = []
    rows = gpu.records(SimpleNamespace(geometry=None, name="a scan"), notes, "cpu", (1,), 1)
    assert [(r["case"], r["engine"]) for r in rows] == [("FBP", gpu.AUTO)]
    assert notes == [
        "ctlib auto, a scan, A: left out, RuntimeError: out of memory",
        "a scan, A, batch 1: left out, nothing to compare with",
        "other, a scan, FBP: left out, RuntimeError: out of memory",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/jo/.venv/lib/libastra.so.1: undefined symbol", "libastra.so.1: undefined symbol"),
        ("cannot load '/Users/Jo Doe/my files/a.so' now", "cannot load 'a.so' now"),
        (r"no C:\Users\jo\a.dll (2/3 of it)", "no a.dll (2/3 of it)"),
        ("in [~/scans/a.py], ctlib/recon/fbp.py", "in [a.py], ctlib/recon/fbp.py"),
        ("first\n/home/jo/second", "first"),
    ],
)
def test_notes_hold_no_folders_of_the_machine(said, told):
    assert in_short(OSError(said)) == f"OSError: {told}"
    assert in_short(MemoryError()) == "MemoryError"
