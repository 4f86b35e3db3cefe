"""HQINet: three adjacent low-dose slices in, the middle one as at full dose out, {cite}`lu2021`."""

from functools import partial

from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch, conv_unit
from ctlib.nets.seeded import draw_weights, he_normal, seeded
from ctlib.papers.hqinet.blocks_aspp import ASPP
from ctlib.papers.hqinet.blocks_decoder import DecoderBlock, Reconstruction
from ctlib.papers.hqinet.blocks_scse import Bottleneck


class HQINet(nn.Module):
    """Slices (B, num_slices, Y, X) -> image (B, 1, Y, X); Y and X multiples of 16.

    stem        channels of the two 3x3 convolutions in place of ResNet-50's 7x7 and pooling
    mids        bottleneck channels of the four stages; each halves the size and has 4 mid channels
    blocks      residual blocks per stage
    aspp, rates channels of the pyramid behind the last stage, and its atrous rates
    low, decoder  channels of a thinned encoder map, and of the decoder
    scse, use_aspp, multi_scale  False: without that part (the pyramid becomes one 1x1 convolution)

    The defaults are the paper's size, 36.7 million weights; widths the paper leaves out are DeepLabV3+'s.
    """

    def __init__(
        self,
        num_slices: int = 3,
        stem: int = 64,
        mids: tuple[int, ...] = (64, 128, 256, 512),
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        aspp: int = 256,
        rates: tuple[int, ...] = (6, 12, 18),
        low: int = 48,
        decoder: int = 256,
        scse: bool = True,
        use_aspp: bool = True,
        multi_scale: bool = True,
    ):
        super().__init__()
        mids, blocks = contract.shape("mids", mids), contract.shape("blocks", blocks)
        if len(mids) != len(blocks) or not mids:
            raise ArgumentError("mids, blocks", (mids, blocks), "as many numbers >= 1 in both")
        given = ("num_slices", num_slices), ("stem", stem), ("aspp", aspp), ("low", low), ("decoder", decoder)
        num_slices, stem, aspp, low, decoder = (contract.count(n, v, 1) for n, v in given)
        widths = [stem, *(4 * m for m in mids)]  # of what each decoder block gets from the encoder, and the deepest
        self.num_slices, self.step = num_slices, 2 ** len(mids)
        self.stem = nn.Sequential(conv_unit(num_slices, stem, 3), conv_unit(stem, stem, 3))
        self.stages = nn.ModuleList(stage(widths[i], mids[i], blocks[i], scse) for i in range(len(mids)))
        self.pyramid = ASPP(widths[-1], aspp, rates) if use_aspp else conv_unit(widths[-1], aspp, 1)
        skips = widths[-2::-1]  # coarse first
        self.decoder = nn.ModuleList(
            DecoderBlock(aspp if i == 0 else decoder, c, decoder, low) for i, c in enumerate(skips)
        )
        self.head = Reconstruction(decoder, len(mids), multi_scale)

    def forward(self, x: Tensor) -> Tensor:
        batch("x", x, self, self.num_slices, "Y", "X")
        if any(n % self.step for n in x.shape[2:]):
            raise ArgumentError("x", tuple(x.shape), f"(B, {self.num_slices}, Y, X), sizes multiples of {self.step}")
        encoded = [self.stem(x)]
        for stage_ in self.stages:
            encoded.append(stage_(encoded[-1]))
        h, maps = self.pyramid(encoded.pop()), []
        for block in self.decoder:
            h = block(h, encoded.pop())
            maps.append(h)
        return self.head(*maps)


def stage(in_channels: int, mid: int, num_blocks: int, scse: bool) -> nn.Sequential:
    """Residual blocks of one resolution, the first of which halves it."""
    num_blocks = contract.count("num_blocks", num_blocks, 1)
    first = Bottleneck(in_channels, mid, 2, scse)
    return nn.Sequential(first, *(Bottleneck(4 * mid, mid, 1, scse) for _ in range(num_blocks - 1)))


def initialize(net: nn.Module, how: str, seed: int) -> nn.Module:
    """Draw the weights of all convolutions anew, in place; biases 0, batch normalization as built. Returns the net.

    how  "paper": Gaussian of standard deviation 0.01, truncated at two of them; "kaiming": {cite}`he2015`
    """
    contract.choice("how", how, ("paper", "kaiming"))
    truncated = partial(nn.init.trunc_normal_, mean=0.0, std=0.01, a=-0.02, b=0.02)
    return seeded(seed, draw_weights, net, truncated if how == "paper" else he_normal)


def make_hqinet(seed: int, how: str = "kaiming", **options) -> HQINet:
    """An `HQINet(**options)` with weights from its own random stream; the global random state is left as it was.

    how  as in `initialize`; with "kaiming" the last 1x1 convolution starts at 0, so that no noise has to be unlearned
    """
    net = initialize(seeded(seed, HQINet, **options), how, seed)
    if how == "kaiming":
        nn.init.zeros_(net.head.image.weight)
    return net
