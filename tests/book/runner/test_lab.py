"""`lab`: JupyterLab is told to open chapters as notebooks, and nothing else is changed."""

import json

from ctlib.book.runner import lab


def test_overrides_open_markdown_as_notebooks_and_keep_what_was_there(tmp_path):
    path = lab.write_overrides(tmp_path)
    assert path == tmp_path / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    viewers = json.loads(path.read_text())["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Jupytext Notebook", "myst": "Jupytext Notebook"}
    path.write_text(json.dumps({"other": {"dark": True}}))
    lab.write_overrides(tmp_path)
    assert json.loads(path.read_text())["other"] == {"dark": True}
