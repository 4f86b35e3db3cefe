"""Other libraries, taken where they happen to be installed. A peer enters the race only after the accuracy check."""

import torch

from ctlib.geometry import ParallelBeam


class Deepinv:
    """deepinv's Tomography with the adjoint by automatic differentiation, the exact one; units of pixels."""

    name = "deepinv"

    def __init__(self, geometry):
        from deepinv.physics import Tomography

        if not isinstance(geometry, ParallelBeam):
            raise NotImplementedError("only its parallel beam is compared")
        size, self.voxel = geometry.volume.shape[0], geometry.volume.voxel_mm[0]
        degrees = torch.rad2deg(torch.tensor(geometry.angles))
        self.physics = Tomography(angles=degrees, img_width=size, circle=False, adjoint_via_backprop=True)

    def forward(self, x):
        return self.physics.A(x)

    def adjoint(self, y):
        return self.physics.A_adjoint(y)

    def native(self, t: torch.Tensor) -> torch.Tensor:
        """(B, Y, X) or (B, V, U) to theirs: a channel axis, and the views last."""
        t = t[:, None]
        return t if t.shape[-1] == t.shape[-2] else t.transpose(-1, -2).contiguous()

    def tensor(self, t: torch.Tensor) -> torch.Tensor:
        return (t if t.shape[-1] == t.shape[-2] else t.transpose(-1, -2))[:, 0] * self.voxel


PEERS = {"deepinv": Deepinv}
