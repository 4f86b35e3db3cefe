"""Resolve the lock for every platform the README names, from the registry's wheels, without installing anything.

    python tools/check_platforms.py            # or `make platforms`; needs the network

A line with an environment marker counts where the marker holds. Platforms may be named: "Linux ARM" Windows.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).resolve().parents[1] / "requirements.txt"
PYTHON = "3.11"
LINUX = [f"manylinux_2_{minor}_{{0}}" for minor in range(39, 16, -1)] + ["manylinux2014_{0}", "linux_{0}"]
MAC = [f"macosx_{major}_0_{arch}" for major in range(15, 10, -1) for arch in ("arm64", "universal2")]
PLATFORMS = {
    "Linux x86-64": (
        [t.format("x86_64") for t in [*LINUX, "manylinux2010_{0}", "manylinux1_{0}"]],
        ("linux", "Linux", "x86_64"),
    ),
    "Linux ARM": ([t.format("aarch64") for t in LINUX], ("linux", "Linux", "aarch64")),
    "macOS ARM": (MAC, ("darwin", "Darwin", "arm64")),
    "Windows": (["win_amd64"], ("win32", "Windows", "AMD64")),
}


def environment(name: str) -> dict[str, str]:
    """The values of environment markers on a platform."""
    sys_platform, system, machine = PLATFORMS[name][1]
    return {
        "sys_platform": sys_platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "nt" if system == "Windows" else "posix",
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


def needed(name: str) -> list[Requirement]:
    """The lock's packages on a platform."""
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    found = [Requirement(line) for line in lines]
    return [r for r in found if r.marker is None or r.marker.evaluate(environment(name))]


def without_wheel(name: str, requirements: list[Requirement]) -> list[str]:
    """Pins for which the registry has no wheel for the platform."""
    missing, left = [], [f"{r.name}{r.specifier}" for r in requirements]
    while said := _complaint(name, left):
        found = re.search(r"No matching distribution found for (\S+)", said)
        if not found or found[1] not in left:
            raise SystemExit(said)  # no network, say
        missing.append(found[1])
        left.remove(found[1])
    return missing


def _complaint(name: str, pins: list[str]) -> str:
    """What pip says when it does not find a wheel of every pin, by the platform's tags alone; empty when it does."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "lock.txt")
        lock.write_text("\n".join(pins), encoding="utf-8")
        tags = [word for tag in PLATFORMS[name][0] for word in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *tags]
        command += ["--target", folder, "--disable-pip-version-check", "-r", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stderr.strip() or f"pip ended with {done.returncode}") if done.returncode else ""


def main() -> int:
    missing = {}
    for name in sys.argv[1:] or PLATFORMS:
        pins = needed(name)
        missing[name] = without_wheel(name, pins)
        told = ", ".join(missing[name]) or "none"
        print(f"{name:14s} {len(pins)} packages; without a wheel: {told}", flush=True)
    return 1 if any(missing.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
