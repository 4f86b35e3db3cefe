"""Write the tube tables of ctlib.physics: unfiltered tungsten output at 70 and 120 kV, computed with SpekPy.

    pip install spekpy
    python tools/make_tube_spectra.py

Target angle 12 degrees, bins of 0.5 keV, photons per (keV cm2 mAs) at 1 m, no filter of any kind.
"""

from pathlib import Path

import spekpy

TABLES = Path(__file__).resolve().parents[1] / "ctlib" / "physics" / "tables"
ANGLE_DEG, BIN_KEV = 12.0, 0.5


def main() -> None:
    for kvp in (70, 120):
        energies, fluence = spekpy.Spek(kvp=kvp, th=ANGLE_DEG, dk=BIN_KEV).get_spectrum(edges=False)
        head = f"# tungsten tube, {kvp} kV, target angle {ANGLE_DEG:g} degrees, unfiltered; SpekPy {spekpy.__version__}"
        rows = [f"{e:.2f},{f:.6g}" for e, f in zip(energies, fluence, strict=True)]
        text = "\n".join([head, "# bin center [keV], photons per (keV cm2 mAs) at 1 m", *rows])
        (TABLES / f"tungsten_{kvp}kv.csv").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
