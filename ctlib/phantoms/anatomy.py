"""The anatomy of an abdomen: where its tissues lie, drawn from a random stream into whatever collects ellipses."""

import math
from collections.abc import Mapping

import numpy as np

from ctlib.phantoms.ellipsoids import Ellipsoids

# Linear attenuation at 60 keV [1/mm]: mass attenuation (water 0.2059 cm2/g) times density, rounded
MU = {
    "fat": 0.0188, "muscle": 0.0215, "liver": 0.0221, "spleen": 0.0219, "kidney": 0.0228, "blood": 0.0226,
    "fluid": 0.0207, "gas": 0.0005, "marrow": 0.0270, "spongy bone": 0.0330, "cortical bone": 0.0520,
}  # fmt: skip


class Anatomy:
    """Collects ellipses of tissues, each with one value or M of them; each adds the difference to what it lies in."""

    def __init__(self, rng: np.random.Generator, unit_mm: float, tissues: Mapping = MU):
        self.rng, self.unit, self.tissues, self.rows = rng, unit_mm, tissues, []

    def jitter(self, value: float, spread: float) -> float:
        return value + self.rng.uniform(-spread, spread)

    def add(self, tissue: str, inside: str | None, center, axes, angle: float = 0.0) -> None:
        values = np.subtract(self.tissues[tissue], self.tissues[inside] if inside else 0.0)
        place = (*(c * self.unit for c in center), *(a * self.unit for a in axes), angle)
        self.rows.append((*np.atleast_1d(values), *place))

    def ellipsoids(self, k: int = 0) -> Ellipsoids:
        """What the ellipses add of their value k, where they add any."""
        t = np.array([r for r in self.rows if r[k] != 0])
        return Ellipsoids(t[:, k], t[:, -5:-3], t[:, -3:-1], t[:, -1])


def abdomen_of(a: Anatomy) -> None:
    """A whole body: wall, organs, spine and ribs."""
    half_axes = wall(a)
    organs(a)
    spine(a)
    ribs(a, *half_axes)


def wall(a: Anatomy) -> tuple[float, float]:
    """Skin fat, muscle and the fat within; half axes of the ellipse that the ribs lie on."""
    width, height = a.jitter(0.86, 0.05), a.jitter(0.62, 0.04)
    thickness = a.jitter(0.09, 0.02)
    a.add("fat", None, (0, 0), (width, height))
    a.add("muscle", "fat", (0, 0), (width - thickness, height - thickness))
    a.add("fat", "muscle", (0, 0.06), (width - thickness - 0.07, height - thickness - 0.10))
    return width - thickness - 0.03, height - thickness - 0.045


def organs(a: Anatomy) -> None:
    """Liver with vessels and lesions, stomach with gas, spleen, kidneys, aorta, vena cava, bowel; all in the fat."""
    j = a.jitter
    x, y = j(-0.37, 0.02), j(0.14, 0.02)
    a.add("liver", "fat", (x, y), (j(0.27, 0.02), j(0.22, 0.02)), j(0.35, 0.15))
    for _ in range(a.rng.integers(5, 9)):
        r, t = a.rng.uniform(0.02, 0.15), a.rng.uniform(0, 2 * math.pi)
        kind = "blood" if a.rng.random() < 0.7 else "fluid"
        size = a.rng.uniform(0.008, 0.026, 2)
        a.add(kind, "liver", (x + r * math.cos(t), y + r * math.sin(t)), size, a.rng.uniform(0, math.pi))
    sx, sy = j(0.22, 0.02), j(0.24, 0.02)
    a.add("fluid", "fat", (sx, sy), (j(0.17, 0.02), j(0.10, 0.01)), j(-0.3, 0.1))
    a.add("gas", "fluid", (sx - 0.02, sy + 0.035), (j(0.07, 0.01), j(0.035, 0.005)), j(-0.3, 0.1))
    a.add("spleen", "fat", (j(0.49, 0.01), j(0.0, 0.02)), (j(0.06, 0.008), j(0.12, 0.01)), j(0.35, 0.1))
    for side in (-1, 1):
        kx, ky = side * j(0.27, 0.015), j(-0.18, 0.01)
        a.add("kidney", "fat", (kx, ky), (j(0.075, 0.008), j(0.105, 0.008)), side * j(0.3, 0.1))
        a.add("fluid", "kidney", (kx - side * 0.02, ky), (j(0.028, 0.006), j(0.05, 0.01)), side * 0.3)
    a.add("blood", "fat", (j(0.035, 0.01), j(-0.10, 0.01)), (j(0.038, 0.005),) * 2)
    a.add("blood", "fat", (j(-0.075, 0.01), j(-0.10, 0.01)), (j(0.042, 0.004), j(0.030, 0.004)))
    for _ in range(a.rng.integers(3, 6)):
        a.add("muscle", "fat", (j(0.14, 0.15), j(0.02, 0.04)), a.rng.uniform(0.012, 0.03, 2), a.rng.uniform(0, 3))


def spine(a: Anatomy) -> None:
    """Vertebral body with its canal, two transverse processes and a spinous process."""
    y = a.jitter(-0.27, 0.01)
    a.add("cortical bone", "fat", (0, y), (0.105, 0.082))
    a.add("spongy bone", "cortical bone", (0, y), (0.092, 0.070))
    a.add("fluid", "muscle", (0, y - 0.130), (0.034, 0.030))
    for side in (-1, 1):
        a.add("marrow", "muscle", (side * 0.100, y - 0.120), (0.055, 0.014), -side * 0.25)
    a.add("marrow", "muscle", (0, y - 0.205), (0.014, 0.040))


def ribs(a: Anatomy, half_width: float, half_height: float) -> None:
    """Ribs along the muscle wall, cut obliquely: a cortical shell around marrow."""
    for t in np.linspace(math.radians(-35), math.radians(215), 9):
        t = t + a.rng.uniform(-0.06, 0.06)
        x, y = half_width * math.cos(t), half_height * math.sin(t)
        along = math.atan2(half_height * math.cos(t), -half_width * math.sin(t))
        length = a.rng.uniform(0.035, 0.06)
        a.add("cortical bone", "muscle", (x, y), (length, 0.019), along)
        a.add("marrow", "cortical bone", (x, y), (length - 0.009, 0.010), along)
