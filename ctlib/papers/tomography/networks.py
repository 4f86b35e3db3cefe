"""Reconstruction with networks on both sides of the back-projection, g2(A^T g1(r)), {cite}`ronchetti2020`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch
from ctlib.train.precision import full

POSITIONS = ("fixed", "learned", "none")


def position_maps(shape: tuple[int, int]) -> Tensor:
    """(x, y, x^2 + y^2, 1) of every pixel, x and y in [-1, 1]: (4, Y, X)."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in contract.shape("shape", shape, 2)), indexing="ij")
    return torch.stack([x, y, x * x + y * y, torch.ones_like(x)])


class Positions(nn.Module):
    """Four more channels that say where a pixel is: (B, C, Y, X) -> (B, C + 4, Y, X).

    kind   "fixed": `position_maps`; "learned": four maps of the image's size, trained; "none": no channels
    shape  (Y, X)
    """

    def __init__(self, kind: str, shape: tuple[int, int]):
        super().__init__()
        contract.choice("kind", kind, POSITIONS)
        shape = contract.shape("shape", shape, 2)
        self.num = 0 if kind == "none" else 4
        if kind == "learned":
            self.maps = nn.Parameter(0.1 * torch.randn(4, *shape))
        else:
            self.register_buffer("maps", position_maps(shape)[: self.num], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch("x", x, nn.Identity(), "C", "Y", "X")  # its maps follow the images
        if x.shape[-2:] != self.maps.shape[-2:]:
            raise ArgumentError("x", tuple(x.shape), f"images of {tuple(self.maps.shape[-2:])} pixels")
        return torch.cat([x, self.maps.to(x).expand(len(x), -1, -1, -1)], 1)


class PostProcessor(nn.Module):
    """FBP + U-Net, the baseline: an image (B, C, Y, X) -> unet([image, positions]), not added to the image.

    unet  takes C + positions.num channels; also g2 of `EndToEnd`, where the image has many channels
    """

    def __init__(self, unet: nn.Module, positions: Positions):
        super().__init__()
        self.unet, self.positions = unet, positions

    def forward(self, image: Tensor, *z: Tensor) -> Tensor:
        inputs = getattr(self.unet, "in_channels", None)
        shape = self.positions.maps.shape[-2:]
        batch("image", image, self, "C" if inputs is None else inputs - self.positions.num, *shape)
        return self.unet(self.positions(image), *z)


class EndToEnd(nn.Module):
    """g(r) = g2(A^T g1(r)), {eq}`gtr-end-to-end`: features (B, F, V, U) of readings -> images (B, 1, Y, X).

    g1, g2       networks F -> C channels of sinograms, and C channels of images -> 1
    backproject  (B, C, V, U) -> (B, C, Y, X), linear, differentiable by its adjoint; not part of the network's state
    ramp         ours, not the paper's: (B, 1, V, U) -> the same. The first feature, filtered by it, is added to the
                 first channel of g1, which otherwise has to learn this filter of infinite reach
    """

    def __init__(
        self, g1: nn.Module, backproject: Callable[[Tensor], Tensor], g2: nn.Module,
        ramp: Callable[[Tensor], Tensor] | None = None,
    ):  # fmt: skip
        super().__init__()
        self.g1, self.g2 = g1, g2
        self.operators = (backproject, ramp)  # in a tuple, so that no operator becomes a part of the module

    def sinogram(self, features: Tensor) -> Tensor:
        """The C channels that are back-projected."""
        batch("features", features, self, getattr(self.g1, "in_channels", "F"), "V", "U")
        s, ramp = self.g1(features), self.operators[1]
        return s if ramp is None else torch.cat([s[:, :1] + ramp(features[:, :1]), s[:, 1:]], 1)

    def images(self, features: Tensor) -> Tensor:
        """The C back-projected images; autocast's half precision ends here, before sums over all views."""
        return self.operators[0](full(self.sinogram(features)))

    def forward(self, features: Tensor) -> Tensor:
        return self.g2(self.images(features))


class Sampler(EndToEnd):
    """G(r, z): the same network, with z in the third-last block of g2, a `PostProcessor` of a U-Net with z_channels."""

    def prepare(self, features: Tensor) -> list[Tensor]:
        """All that does not depend on z: done once for many samples."""
        return self.g2.unet.deep(self.g2.positions(self.images(features)))

    def render(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """Images (B, 1, Y, X) of z (B, Z, y, x); maps of one reading serve any number of z."""
        return self.g2.unet.late([m.expand(len(z), -1, -1, -1) if len(m) == 1 else m for m in maps], z)

    def forward(self, features: Tensor, z: Tensor) -> Tensor:
        return self.render(self.prepare(features), z)
