"""Bodies of the scatter test in water and calcium: synthetic, from real CT by a stated rule, and numerical patients."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.anatomy import real_slices
from ctlib.errors import ArgumentError, DataError, MissingDependency
from ctlib.geometry import Volume
from ctlib.phantoms.materials import CORTICAL, MATERIALS, abdomen_densities
from ctlib.physics import Material, Spectrum, mass_attenuation

DENSE_HU = 100.0  # from here on a voxel is part bone
FIT_KEV = (40.0, 121.0, 2.0)  # energies at which a tissue is written in water and calcium: first, end, step
BONES = (*range(25, 51), *range(69, 79), *range(91, 117))  # labels of TotalSegmentator v2 that are skeleton


@dataclass(frozen=True, eq=False)
class Body:
    """A slice of a body, as high as the beam: its kind and name, the person, densities (2, Y, X) [g/cm3]."""

    kind: str
    name: str
    patient: str
    densities: Tensor


def basis_of_hu(hu: Tensor, bone: Tensor | None = None) -> Tensor:
    """Water and calcium (2, ...) [g/cm3] with the attenuation at 60 keV that a CT number says.

        HU <= 100:  water of density max(0, 1 + HU / 1000)
        HU > 100:   between water of density 1.1 and cortical bone, and beyond, along one line

    bone  where a voxel may hold calcium; elsewhere it is water however dense, as organs with contrast agent are
    """
    hu = contract.tensor("hu", hu, promote=True)
    cortical = hu.new_tensor(CORTICAL)
    water = (1 + hu.clamp_max(DENSE_HU) / 1000).clamp_min(0)
    share = (hu - DENSE_HU).clamp_min(0) / (_cortical_hu() - DENSE_HU)
    mixed = torch.stack([water + share * (cortical[0] - 1 - DENSE_HU / 1000), share * cortical[1]])
    if bone is None:
        return mixed
    dense = torch.stack([(1 + hu / 1000).clamp_min(0), torch.zeros_like(hu)])
    return torch.where(bone, mixed, dense)


def _cortical_hu() -> float:
    """CT number of cortical bone, as its basis has it, at 60 keV."""
    water, calcium = (float(mass_attenuation(m, 60.0)) for m in MATERIALS)
    return 1000 * (CORTICAL[0] + CORTICAL[1] * calcium / water - 1)


def basis_of_material(material: Material) -> np.ndarray:
    """Densities (2,) [g/cm3] of water and calcium that attenuate as a material from 40 to 120 keV; none negative."""
    energies = np.arange(*FIT_KEV)
    basis = np.stack([mass_attenuation(m, energies).numpy() for m in MATERIALS], 1)
    target = material.density * mass_attenuation(material, energies).numpy()
    found = np.linalg.lstsq(basis / target[:, None], np.ones(len(target)), rcond=None)[0]
    if found.min() >= 0:
        return found
    alone = (basis / target[:, None]).sum(0) / np.square(basis / target[:, None]).sum(0)
    return np.array([alone[0], 0.0])


def resampled(image: Tensor, spacing_mm: float, field: Volume, outside: float) -> Tensor:
    """An image (Y, X) of square pixels, averaged exactly over the pixels of a field about the same center."""
    contract.tensor("image", image, ("Y", "X"))
    spacing_mm = contract.number("spacing_mm", spacing_mm, above=0)
    sizes = zip(image.shape[-2:], field.shape, field.voxel_mm, strict=True)
    rows, cols = (_overlap(n, spacing_mm, m, pixel).to(image.device) for n, m, pixel in sizes)
    covered = rows.sum(1)[:, None] * cols.sum(1)
    return (rows @ image.double() @ cols.mT + outside * (1 - covered)).to(image)


def _overlap(num_in: int, size_in: float, num_out: int, size_out: float) -> Tensor:
    """Part (num_out, num_in) of every output pixel that each input pixel covers, both rows about one center."""
    edges = lambda n, p: (torch.arange(n + 1).double() - n / 2) * p  # noqa: E731
    edges_in, edges_out = edges(num_in, size_in), edges(num_out, size_out)
    low = torch.maximum(edges_out[:-1, None], edges_in[:-1])
    high = torch.minimum(edges_out[1:, None], edges_in[1:])
    return (high - low).clamp_min(0) / size_out


def synthetic_bodies(field: Volume, seeds) -> list[Body]:
    """Abdomens of ellipses, one a seed."""
    return [Body("synthetic", f"abdomen {s}", f"synthetic {s}", abdomen_densities(field, s)) for s in seeds]


def real_bodies(field: Volume, folder: str | Path | None, split: str, num: int) -> list[Body]:
    """People of a split, one slice each, whole inside the image; `num` of them in the order of their numbers.

    folder  as in `real_slices`; None: the sample that ships with the library
    """
    people: dict[str, Body] = {}
    for s in real_slices(folder, split=split):
        if s.cut_by_field or s.patient in people:
            continue
        hu = resampled(s.image, s.spacing_mm, field, -1000.0)
        people[s.patient] = Body("real", s.file, s.patient, basis_of_hu(hu))
    return [people[p] for p in sorted(people)[:num]]


def material_file(path: str | Path) -> Material:
    """A material of CatSim's text files: number of elements, density [g/cm3], then Z and mass fraction."""
    import xraylib

    lines = [s for s in (line.strip() for line in Path(path).read_text().splitlines()) if s and not s.startswith("#")]
    try:
        pairs = [line.split()[:2] for line in lines[2 : 2 + int(lines[0])]]
        total = sum(float(w) for _, w in pairs)
        parts = tuple((xraylib.AtomicNumberToSymbol(int(float(z))), float(w) / total) for z, w in pairs)
        return Material(Path(path).name, parts, float(lines[1]))
    except (ValueError, IndexError) as error:
        raise DataError(path, "material", f"cannot be read ({error})") from error


def chest_body(field: Volume, folder: str | Path) -> Body:
    """The numerical man's chest of `folder` (CatSim's phantom and material files), materials in water and calcium."""
    found = sorted(Path(folder).rglob("*Chest_Phantom_slab*.zip"))
    if not found:
        raise DataError(folder, "phantom", "holds no chest slab (*Chest_Phantom_slab*.zip)")
    with zipfile.ZipFile(found[0]) as z:
        name = next(n for n in z.namelist() if n.endswith(".json"))
        about, root = json.loads(z.read(name)), name.rpartition("/")[0]
        parts = [f"{root}/{n}" if root else n for n in about["volumefractionmap_filename"]]
        maps = [np.frombuffer(z.read(n), np.int8) for n in parts]
    height, width = 1050, 1700
    whole = torch.zeros(2, height, width, dtype=torch.float64)
    for k, values in enumerate(maps):
        rows, cols = about["rows"][k], about["cols"][k]
        left = round((width + 1) / 2 - about["x_offset"][k])
        top = round((height + 1) / 2 - (rows + 1 - about["y_offset"][k]))
        own = torch.from_numpy(values.reshape(rows, cols).astype(np.float64))
        tissue = basis_of_material(material_file(Path(folder, "material", about["mat_name"][k])))
        whole[:, top : top + rows, left : left + cols] += torch.from_numpy(tissue)[:, None, None] * own
    slab = torch.stack([resampled(m, about["x_size"][0], field, 0.0) for m in whole])
    return Body("numerical", "XCAT chest", "XCAT", slab.clamp_min(0).float())


def labeled_body(field: Volume, folder: str | Path) -> Body:
    """The middle slice of an abdomen whose organs are labeled: calcium where the label is skeleton, and nowhere else.

    folder  holds example_ct_sm.nii.gz [HU] and example_seg.nii.gz (labels of TotalSegmentator), axes R-A-S
    """
    try:
        import nibabel
    except ImportError as error:
        raise MissingDependency("nibabel", "NIfTI files") from error
    images = [nibabel.load(Path(folder, n)) for n in ("example_ct_sm.nii.gz", "example_seg.nii.gz")]
    hu, labels = (np.asarray(i.dataobj)[:, :, i.shape[2] // 2].T[::-1].copy() for i in images)
    hu = torch.from_numpy(hu.astype(np.float32)).clamp_min(-1000)
    bone = torch.from_numpy(np.isin(labels, BONES))
    densities = basis_of_hu(hu, bone)
    spacing = float(images[0].header.get_zooms()[0])
    return Body(
        "labeled",
        "abdomen, organs labeled",
        "labeled",
        torch.stack([resampled(d, spacing, field, 0.0) for d in densities]),
    )


def catsim_spectrum(folder: str | Path, filters_mm: dict[str, float], bin_kev: float = 1.0) -> Spectrum:
    """The 120 kV spectrum that the paper names, from CatSim's table, behind flat filters that it does not give."""
    path = Path(folder, "spectrum", "tungsten_tar7.0_120_filt.dat")
    if not path.exists():
        raise DataError(path, "file", "does not exist")
    energies, photons = np.loadtxt(path, delimiter=",", skiprows=1).T
    if len(energies) < 2 or not np.allclose(np.diff(energies), 0.5):
        raise ArgumentError("folder", str(path), "a table in bins of 0.5 keV")
    fine = Spectrum(np.append(energies - 0.25, energies[-1] + 0.25), photons).trimmed()
    return fine.filtered(filters_mm).rebinned(bin_kev).trimmed()
