"""Scattered radiation: Monte-Carlo transport of photons through voxels, and single scatter by quadrature."""

from ctlib.physics.scatter.beam import coarser, with_height
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import VoxelPhantom
from ctlib.physics.scatter.primary import primary_signal
from ctlib.physics.scatter.single import single_scatter
from ctlib.physics.scatter.tally import ScatterTally
from ctlib.physics.scatter.transport import simulate_scatter

__all__ = [
    "CrossSections",
    "ScatterTally",
    "VoxelPhantom",
    "coarser",
    "primary_signal",
    "simulate_scatter",
    "single_scatter",
    "with_height",
]
