"""The residual U-Net in sizes XXS to XXL that reconstructs in the sinogram and in the image, {cite}`ronchetti2020`."""

from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.blocks_residual import DownBlock, LatentUpBlock, UpBlock

# first channels as in the paper; residual blocks per U-Net block are ours, the paper's table being lost
SIZES = {
    "XXS": (32, 1), "XS": (32, 2), "S": (32, 3), "S-64": (64, 3),
    "M": (64, 4), "L": (64, 6), "XL": (64, 8), "XXL": (64, 12),
}  # fmt: skip
LATENT_BLOCK = 2  # the third-last block takes z: the last works at full size, this one at a quarter


class ResidualUNet(nn.Module):
    """(B, in_channels, Y, X) -> (B, out_channels, Y, X), any Y and X.

    width         channels of the first block; doubled after every `double_every` strided convolutions
    num_blocks    residual blocks in every block
    depth         number of halvings
    z_channels    0, or channels of a latent z that enters the third-last block

    Down: strided convolution, residual blocks. Up: enlarge, join, channel attention, 1x1 convolution, residual blocks.
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int = 32, num_blocks: int = 1, depth: int = 4,
        double_every: int = 2, z_channels: int = 0,
    ):  # fmt: skip
        super().__init__()
        if min(width, num_blocks, depth, double_every) < 1:
            given = (width, num_blocks, depth, double_every)
            raise ArgumentError("width, num_blocks, depth, double_every", given, "numbers >= 1")
        widths = [width * 2 ** (i // double_every) for i in range(depth + 1)]
        if z_channels and (depth <= LATENT_BLOCK or not 0 < z_channels < widths[LATENT_BLOCK]):
            raise ArgumentError("z_channels", z_channels, f"depth > {LATENT_BLOCK}, fewer than the block's channels")
        self.in_channels, self.z_channels, self.depth = in_channels, z_channels, depth
        self.down = nn.ModuleList(
            DownBlock(widths[i - 1] if i else in_channels, widths[i], num_blocks, 2 if i else 1)
            for i in range(depth + 1)
        )
        self.up = nn.ModuleList(  # finest first
            LatentUpBlock(widths[i + 1], widths[i], widths[i], num_blocks, z_channels)
            if z_channels and i == LATENT_BLOCK
            else UpBlock(widths[i + 1], widths[i], widths[i], num_blocks)
            for i in range(depth)
        )
        self.head = nn.Conv2d(width, out_channels, 1)

    def deep(self, x: Tensor) -> list[Tensor]:
        """What does not depend on z: the skips that are still needed, finest first, and the features below them."""
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ArgumentError("x", tuple(x.shape), f"(B, {self.in_channels}, Y, X)")
        maps = []
        for block in self.down:
            x = block(x)
            maps.append(x)
        stop = LATENT_BLOCK if self.z_channels else self.depth - 1
        for i in range(self.depth - 1, stop, -1):
            h, skip = maps.pop(), maps.pop()
            maps.append(self.up[i](h, skip))
        return maps

    def late(self, maps: list[Tensor], z: Tensor | None = None) -> Tensor:
        """The image from `deep`'s maps and z: few layers, so that gradients to z are cheap."""
        if (z is not None) != bool(self.z_channels):
            raise ArgumentError("z", None if z is None else tuple(z.shape), f"{self.z_channels} channels")
        *skips, h = maps
        for i in range(len(skips) - 1, -1, -1):
            h = self.up[i](h, skips[i], z) if z is not None and i == LATENT_BLOCK else self.up[i](h, skips[i])
        return self.head(h)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        return self.late(self.deep(x), z)


def unet_of_size(size: str, in_channels: int, out_channels: int, **options) -> ResidualUNet:
    """The U-Net of a size of `SIZES`."""
    if size not in SIZES:
        raise ArgumentError("size", repr(size), f"one of {', '.join(SIZES)}")
    width, num_blocks = SIZES[size]
    return ResidualUNet(in_channels, out_channels, width, num_blocks, **options)
