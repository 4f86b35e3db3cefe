"""What reaches the detector unscattered: exact paths, Beer and Lambert."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import ConeBeam
from ctlib.physics.scatter.beam import TABLE_KEV, Beam, response_table
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import Media, VoxelPhantom
from ctlib.physics.scatter.paths import material_paths


def scan_paths(media: Media, beam: Beam, rays_per_cell: int = 1) -> Tensor:
    """Mass per area (K, M, V, R, U) [g/cm3 mm] along K = rays_per_cell^2 rays spread evenly over each cell."""
    k, views = rays_per_cell, len(beam.source)
    u, w = ((torch.arange(n * k).to(beam.source) + 0.5) / (n * k) for n in (beam.cols, beam.rows))
    view, w, u = torch.meshgrid(torch.arange(views).to(u), w, u, indexing="ij")
    view = view.flatten().long()
    ray = beam.point(view, u.flatten(), w.flatten()) - beam.source[view]
    paths = material_paths(media, beam.source[view], ray / ray.norm(dim=1, keepdim=True))
    paths = paths.reshape(-1, views, beam.rows, k, beam.cols, k)
    return paths.permute(3, 5, 0, 1, 2, 4).flatten(0, 1)


def primary_signal(
    phantom: VoxelPhantom, geometry: ConeBeam, spectrum, response, *, rays_per_cell: int = 2,
    sections: CrossSections | None = None,
) -> Tensor:  # fmt: skip
    """Unscattered counts (E, V, R, U) per photon of the open beam, Beer-Lambert averaged over a cell, float64.

    sum over energies of  share(E) response(E) exp(-sum over materials of attenuation(E) path)
    """
    sections = CrossSections.for_scan(sections, phantom, spectrum)
    rays = contract.count("rays_per_cell", rays_per_cell, 1)
    media = Media.of(phantom, sections)
    paths = scan_paths(media, Beam.of(geometry, phantom.densities), rays).double()
    energies = spectrum.energies_kev.to(paths)
    table = response_table(response, sections.highest_kev).to(paths)
    counts = table[:, (energies / TABLE_KEV).long()] * spectrum.weights.to(paths)  # (E, N)
    mu = sections.interpolate(sections.total.to(paths), energies)  # (M, N)
    left = torch.exp(-torch.einsum("kmvru,mn->kvrun", paths, mu))
    return torch.einsum("kvrun,en->evru", left, counts) / len(paths)
