"""The two kinds of bodies of the chapter, people and drawings: images for training, choosing and testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.contract import choice
from ctlib.data.anatomy import SPLITS, RealSlice, real_slices
from ctlib.data.deeplesion import divide_lesions, find_lesions, load_images, prepared
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import Volume
from ctlib.papers.tomography.bodies import FIELD_MM, Body, body
from ctlib.units import MU_WATER

WORLDS = ("real", "synthetic")
FIRST_SEED = {"train": 0, "val": 100_000, "test": 300_000}  # of drawn bodies


@dataclass(frozen=True, eq=False)
class World:
    """Images (N, Y, X) [1/mm] by split, 0 outside the inscribed circle of a field of view of `FIELD_MM`.

    regions  (N, Y, X) bool by split, inside the skin: where images are judged
    people   one name an image, by split: whose images belong together in an interval
    sources  one attribution an image, by split;  bodies  of drawings, with their inserts: else empty
    """

    name: str
    images: dict[str, Tensor]
    regions: dict[str, Tensor]
    people: dict[str, list[str]]
    sources: dict[str, list[str]]
    bodies: dict[str, list[Body]]


def inside_skin(images: Tensor) -> Tensor:
    """Pixels (N, Y, X) of the largest connected part above half of water's attenuation, all that it encloses included.

    images  (N, Y, X) [1/mm]
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingDependency("scipy", "the silhouette of a body") from error
    found = []
    for image in contract.tensor("images", images, ("N", "Y", "X")).flatten(0, -3).detach().cpu():
        dense = (image > 0.5 * MU_WATER).numpy()
        labels, num = ndimage.label(ndimage.binary_opening(dense))
        if num:
            sizes = ndimage.sum_labels(dense, labels, range(1, num + 1))
            dense = labels == 1 + int(sizes.argmax())
        found.append(torch.from_numpy(ndimage.binary_fill_holes(dense)))
    return torch.stack(found).reshape(images.shape) if found else torch.zeros_like(images, dtype=torch.bool)


def in_turn(slices: Sequence[RealSlice], limit: int) -> list[RealSlice]:
    """At most `limit` slices: one of each person, then another of each, and so on, spread over a person's slices."""
    of: dict[str, list[RealSlice]] = {}
    for s in slices:
        of.setdefault(s.patient, []).append(s)
    turns = max((len(v) for v in of.values()), default=0)
    found = []
    for turn in range(turns):
        for own in of.values():
            order = sorted(range(len(own)), key=lambda k, own=own: (k * 0.618034) % 1)  # far apart first
            if turn < len(own):
                found.append(own[order[turn]])
    return found[: contract.count("limit", limit, 1)]


def real_world(n: int, folder: str = "", limits: Sequence[int] = (10_000, 10_000, 10_000)) -> World:
    """People: the sample that ships with the library, a folder of the same layout, or DeepLesion.

    limits  most images of training, validation and test, taken in turn from each person

    The whole slice in its inscribed circle is scaled to `FIELD_MM`: attenuations stay, so that a few photons pass.
    """
    n, images, people, sources = contract.count("n", n, 8), {}, {}, {}
    if folder and not _has_tables(folder):
        parts = divide_lesions(find_lesions(folder))[0]
        for part, limit in zip(SPLITS, limits, strict=True):
            images[part], slices = load_images(parts[part], n, limit)
            people[part] = [s.patient for s in slices]
            sources[part] = [f"DeepLesion, {s.path.parent.name}/{s.path.name}" for s in slices]
    else:
        for part, limit in zip(SPLITS, limits, strict=True):
            slices = in_turn(real_slices(folder or None, split=part), limit)
            made = [(s, prepared(s.image, n)) for s in slices]
            kept = [(s, x) for s, x in made if x is not None]
            if not kept:
                raise ArgumentError("folder", folder, f"a slice of {n} pixels or more in the split {part}")
            images[part] = torch.stack([x for _, x in kept])
            people[part], sources[part] = [s.patient for s, _ in kept], [s.attribution for s, _ in kept]
    return World("real", images, {p: inside_skin(x) for p, x in images.items()}, people, sources, {})


def _has_tables(folder: str) -> bool:
    from ctlib.data.fields import as_path

    return (as_path("folder", folder) / "slices.csv").exists()


def synthetic_world(n: int, limits: Sequence[int]) -> World:
    """Drawn bodies with inserts whose places are known; each is a person of its own."""
    volume = Volume((n, n), FIELD_MM / n)
    seeds = {p: range(FIRST_SEED[p], FIRST_SEED[p] + k) for p, k in zip(SPLITS, limits, strict=True)}
    bodies = {p: [body(s, volume) for s in own] for p, own in seeds.items()}
    images = {p: torch.stack([b.image for b in own]) for p, own in bodies.items()}
    names = {p: [f"drawing {s}" for s in own] for p, own in seeds.items()}
    return World("synthetic", images, {p: inside_skin(x) for p, x in images.items()}, names, names, bodies)


def world_of(name: str, n: int, folder: str, limits: Sequence[int]) -> World:
    """A world by its name."""
    if choice("name", name, WORLDS) == "real":
        return real_world(n, folder, limits)
    return synthetic_world(n, limits)


def nearest(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(index (N,), root mean square difference (N,)) of the nearest of other images (M, Y, X), any turn or flip of it.

    How new is a test image to a network that has seen so few bodies?
    """
    for name, several in (("images", images), ("others", others)):
        if contract.tensor(name, several, ("N", "Y", "X")).ndim != 3 or not several.numel():
            raise ArgumentError(name, f"shape {tuple(several.shape)}", "one image or more (N, Y, X)")
    others = contract.alike("others", contract.trailing("others", others, images.shape[1:]), "images", images)
    turned = [t for k in range(4) for t in (others.rot90(k, (-2, -1)), others.flip(-1).rot90(k, (-2, -1)))]
    far = torch.stack([torch.cdist(images.flatten(1).double(), t.flatten(1).double()) for t in turned])
    least = far.amin(0).min(1)
    return least.indices, least.values / images[0].numel() ** 0.5
