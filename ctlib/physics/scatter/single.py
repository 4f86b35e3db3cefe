"""Single scatter by quadrature: no random numbers, no photons, the same tables as the simulation."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import ConeBeam
from ctlib.physics.scatter.beam import TABLE_KEV, Beam, coarser, require_cone, response_table
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import Media, VoxelPhantom
from ctlib.physics.scatter.paths import attenuation_along, material_paths
from ctlib.physics.scatter.tracking import COMPTON, RAYLEIGH, scattered_share

PROCESS = {"compton": COMPTON, "rayleigh": RAYLEIGH}


def single_scatter(
    phantom: VoxelPhantom, geometry: ConeBeam, spectrum, response, *, process: str = "compton",
    num_rays: tuple[int, int] = (4, 32), num_depths: int = 64, points_per_cell: int = 1,
    sections: CrossSections | None = None,
) -> Tensor:  # fmt: skip
    """Photons that scattered once, counts (E, V, R, U) per photon of the open beam in a cell.

        S_i(u) = sum over rays, depths and energies of
            N share(E) exp(-depth from the source) mu_s(E) dr p(E, angle) A cos / r^2 exp(-depth to u at E') R_i(E')

    process          "compton" (E' = k E) or "rayleigh" (E' = E); multiple scatter is not in it
    num_rays         rays that sample the beam along the detector's rows and columns; N photons each
    num_depths       midpoints on the part of each ray inside the grid
    points_per_cell  per axis of the detector's cell
    sections         with bound=False this is the free-electron quadrature by the Klein-Nishina formula
    """
    require_cone(geometry)
    contract.choice("process", process, tuple(PROCESS))
    num_rays, num_depths = contract.shape("num_rays", num_rays, 2), contract.count("num_depths", num_depths, 1)
    k = contract.count("points_per_cell", points_per_cell, 1)
    sections = CrossSections.for_scan(sections, phantom, spectrum)
    media, like = Media.of(phantom, sections), phantom.densities
    fine = coarser(geometry, geometry.num_cols * k, geometry.num_rows * k)
    beam, table = Beam.of(fine, like), response_table(response, sections.highest_kev).to(like)
    lit = spectrum.weights > 0
    light = spectrum.energies_kev[lit].to(like), spectrum.weights[lit].to(like), table
    views = [_one_view(media, beam, v, light, process, num_rays, num_depths) for v in range(geometry.num_views)]
    signal = torch.stack(views, 1).unflatten(2, (beam.rows, beam.cols))  # (E, V, R k, U k)
    return signal.unflatten(3, (-1, k)).unflatten(2, (-1, k)).mean((3, 5))


def _one_view(media: Media, beam: Beam, view: int, light, process: str, num_rays, num_depths: int) -> Tensor:
    """Signal (E, cells) of one view."""
    point, direction, reached, length = beam_points(media, beam, view, num_rays, num_depths)
    photons = length * (beam.rows * beam.cols / (num_rays[0] * num_rays[1]))  # of the open beam in a cell, times dr
    cells = torch.arange(beam.rows * beam.cols, device=point.device)
    target = beam.point(torch.full_like(cells, view), (cells % beam.cols + 0.5) / beam.cols,
                        (cells // beam.cols + 0.5) / beam.rows)  # fmt: skip
    columns = [
        _to_cell(media, beam.normal[view], point, direction, reached, photons, cell, light, process) for cell in target
    ]
    return torch.stack(columns, 1) * (beam.width * beam.height / (beam.rows * beam.cols))


def beam_points(media: Media, beam: Beam, view: int, num_rays: tuple[int, int], num_depths: int):
    """Midpoints (n, 3) along rays that sample the beam, directions (n, 3), material paths (M, n) from the source to
    the points, and the length of ray (n,) [mm] that each point stands for."""
    w, u = ((torch.arange(n).to(beam.source) + 0.5) / n for n in num_rays)
    w, u = (t.flatten() for t in torch.meshgrid(w, u, indexing="ij"))
    which = torch.full((len(u),), view, device=u.device)
    ray, source = beam.point(which, u, w) - beam.source[which], beam.source[which]
    ray = ray / ray.norm(dim=1, keepdim=True)
    near, far = media.crossing(source, ray)
    length = (far - near).clamp_min(0)[:, None].expand(-1, num_depths) / num_depths
    depth = near[:, None] + length * (torch.arange(num_depths).to(u) + 0.5)
    point = (source[:, None] + depth[..., None] * ray[:, None]).flatten(0, 1)
    direction = ray.repeat_interleave(num_depths, 0)
    whole = material_paths(media, source, ray).repeat_interleave(num_depths, 1)
    return point, direction, whole - material_paths(media, point, direction), length.flatten()


def _to_cell(media, normal, point, direction, reached, photons, cell, light, process) -> Tensor:
    """Signal (E,) that all points send to one cell center, per detector area [1/mm2]."""
    ray = cell - point
    distance = ray.norm(dim=1)
    ray = ray / distance[:, None]
    cosine = (ray * direction).sum(1).clamp(-1, 1)
    paths, density = material_paths(media, point, ray), media.densities[:, media.voxel(point)[0]]  # (M, n)
    aperture = photons * (ray @ normal).clamp_min(0) / distance**2
    total = 0.0
    for energy, share in zip(*light[:2], strict=True):
        into = energy[None]  # of all points: tables are read once
        after = into * scattered_share(torch.full_like(cosine, PROCESS[process] - 1).long(), into, cosine)
        depth = attenuation_along(media, reached, into) + attenuation_along(media, paths, after)
        sent = share * aperture * torch.exp(-depth) * _events(media, density, into, cosine, PROCESS[process])
        total = total + light[2][:, (after / TABLE_KEV).long()] @ sent
    return total


def _events(media: Media, density: Tensor, energy: Tensor, cosine: Tensor, process: int) -> Tensor:
    """Scattering events per length and solid angle (n,) [1/mm/sr] of photons of one energy (1,) in densities (M, n)."""
    rates = media.sections.interpolate(media.sections.rates, energy)  # (3 M, 1)
    row = lambda m: torch.full_like(cosine, 2 * m + process - 1).long()  # noqa: E731
    parts = [
        density[m] * rates[3 * m + process] * media.sections.density(row(m), energy, cosine)
        for m in range(len(density))
    ]
    return torch.stack(parts).sum(0)
