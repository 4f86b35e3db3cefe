"""What the pages load lies in the repository, unchanged, with its license."""

import hashlib
import json

import pytest
import yaml

from ctlib.book.project import ROOT

STATIC = ROOT / "book" / "_static"
VENDOR = STATIC / "vendor"
FILES = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))["files"]


@pytest.mark.parametrize("entry", FILES, ids=lambda e: e["file"])
def test_vendored_file_is_the_one_in_the_manifest(entry):
    assert set(entry) == {"file", "package", "version", "source", "member", "license", "sha256"}
    assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]


def test_nothing_is_vendored_without_an_entry_and_each_folder_has_its_license():
    listed = {e["file"] for e in FILES}
    found = {p.relative_to(VENDOR).as_posix() for p in VENDOR.rglob("*") if p.is_file()}
    assert found == listed | {"manifest.json"}
    for folder in {f.split("/")[0] for f in listed}:
        assert f"{folder}/LICENSE" in listed


def test_the_configuration_loads_the_vendored_scripts_and_nothing_else():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    scripts = [config["mathjax_path"], *config["nb_ipywidgets_js"], *config.get("html_js_files", [])]
    for name in [*scripts, *config["html_css_files"]]:
        assert (STATIC / name).is_file(), name


def test_own_style_and_script_name_no_other_host():
    for path in (STATIC / "custom.css", STATIC / "sliders.js"):
        assert "//" not in path.read_text(encoding="utf-8").replace("// ", "")
