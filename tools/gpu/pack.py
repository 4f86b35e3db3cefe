"""What a bare GPU machine lacks, in one folder below 50 MiB: `make gpu-pack`, on a machine with a network.

Wheels of the versions in requirements.txt for Linux on x86-64 and Python 3.12 (`make gpu-pack ARGS="--python 3.11"`:
another), unpacked without what no step uses. The folder can be carried to the machine with the working tree; `make gpu`
puts it on the path where it is.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "_build" / "gpu-pack"
LIMIT_MIB = 50
PACKAGES = (
    "PyYAML", "xraylib", "pytest", "pluggy", "iniconfig", "Pygments", "hypothesis", "sortedcontainers", "scikit-image",
    "lazy-loader", "pydicom",
)  # fmt: skip
UNUSED = (  # patterns of files; the classical filters need a small part of scikit-image, pytest one lexer
    "*/tests/*", "xraylib_np*", "pydicom/sr/*", "pygments/lexers/[!_pd]*", "pygments/lexers/p[!y]*",
    "skimage/data/*.[!p]*", "skimage/data/*.png", "skimage/feature/*", "skimage/segmentation/*", "skimage/graph/*",
    "skimage/filters/rank/*", "skimage/io/*", "skimage/registration/*", "skimage/future/*",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def locked(names: tuple[str, ...]) -> list[str]:
    """name==version of the lock for each."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = {line.partition("==")[0].lower(): line.partition(";")[0].strip() for line in lines if "==" in line}
    return [found[name.lower()] for name in names]


def download(names: list[str], python: str, into: Path) -> None:
    """The wheels of these packages alone, for another Python than this one."""
    tag = "cp" + python.replace(".", "")
    words = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(into),
    ]
    words += ["--python-version", python, "--implementation", "cp"]
    words += [w for abi in (tag, "abi3", "none") for w in ("--abi", abi)]
    words += [w for platform in PLATFORMS for w in ("--platform", platform)]
    subprocess.run([*words, *names], check=True)


def unpack(wheels: Path, into: Path) -> int:
    """Bytes of what is used of the wheels, in a folder that takes the place of an older one."""
    new, size = into.with_name(into.name + ".part"), 0
    shutil.rmtree(new, ignore_errors=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if not entry.is_dir() and not any(fnmatch.fnmatch(entry.filename, p) for p in UNUSED):
                    archive.extract(entry, new)
                    size += entry.file_size
    shutil.rmtree(into, ignore_errors=True)
    new.replace(into)
    return size


def main() -> int:
    parser = argparse.ArgumentParser(prog="make gpu-pack", description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="3.12", help="of the GPU machine (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        download(locked(PACKAGES), options.python, Path(wheels))
        size = unpack(Path(wheels), options.out) / 2**20
    print(f"{options.out}: {len(PACKAGES)} packages for Python {options.python}, {size:.0f} MiB")
    return int(size > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
