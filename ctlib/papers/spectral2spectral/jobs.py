"""What a reconstruction of the chapter is of, and what its file is called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """A specimen and its scan: kind, seed, size [pixels], photons, slices, and how far shapes move between slices."""

    kind: str
    seed: int
    n: int
    counts: float
    slices: int
    drift: float = 0.0


@dataclass(frozen=True)
class Job:
    """One reconstruction; `block` is its part of the plan, `options` the method's settings in order."""

    block: str
    site: Site
    method: str
    options: tuple[tuple[str, object], ...] = ()

    @property
    def name(self) -> str:
        """The readable part of its file's name."""
        s = self.site
        parts = [
            s.kind,
            f"seed{s.seed}",
            f"{s.n}px",
            f"{s.counts:g}",
            f"drift{s.drift:g}",
            self.method.replace(" ", "-"),
        ]
        return "-".join([*parts, *(f"{k}{v}" for k, v in self.options)])
