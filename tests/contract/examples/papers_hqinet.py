"""Chapter 4: blocks, networks, filters, synthetic patients; readers get folders and are tried on those."""

import torch

from ctlib.geometry import Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.hqinet.blocks_aspp import ASPP, separable_conv
from ctlib.papers.hqinet.blocks_decoder import DecoderBlock, Reconstruction
from ctlib.papers.hqinet.blocks_scse import SCSE, Bottleneck
from ctlib.papers.hqinet.network import HQINet, initialize, stage
from ctlib.papers.hqinet.redcnn import REDCNN
from ctlib.papers.hqinet.scan import Scanner

SMALL = {"stem": 2, "mids": (2,), "blocks": (1,), "aspp": 2, "rates": (1,), "low": 2, "decoder": 2}


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def made(make):
    """A constructor whose weights come from a stream of their own, so that two calls agree."""
    return lambda **options: seeded(0, make, **options)


def net(make, *args, **options):
    return seeded(0, make, *args, **options).double().eval()


def scanner():
    return Scanner(16, 20.0, 12)


EXAMPLES = {
    "ctlib.papers.hqinet.blocks_aspp.separable_conv": lambda: dict(
        call=made(separable_conv), in_channels=2, out_channels=3, rate=2
    ),
    "ctlib.papers.hqinet.blocks_aspp.ASPP": lambda: dict(call=made(ASPP), in_channels=2, out_channels=3, rates=(1, 2)),
    "ctlib.papers.hqinet.blocks_aspp.ASPP.forward": lambda: dict(call=net(ASPP, 2, 3, (1, 2)), x=rand(2, 2, 4, 5)),
    "ctlib.papers.hqinet.blocks_decoder.DecoderBlock": lambda: dict(
        call=made(DecoderBlock), in_channels=2, skip_channels=3, out_channels=4, low=2
    ),
    "ctlib.papers.hqinet.blocks_decoder.DecoderBlock.forward": lambda: dict(
        call=net(DecoderBlock, 2, 3, 4, 2), x=rand(2, 2, 2, 3), skip=rand(2, 3, 4, 6, seed=1)
    ),
    "ctlib.papers.hqinet.blocks_decoder.Reconstruction": lambda: dict(
        call=made(Reconstruction), channels=2, num_scales=3
    ),
    "ctlib.papers.hqinet.blocks_scse.SCSE": lambda: dict(call=made(SCSE), channels=4, reduction=2),
    "ctlib.papers.hqinet.blocks_scse.SCSE.forward": lambda: dict(call=net(SCSE, 4, 2), x=rand(2, 4, 3, 5)),
    "ctlib.papers.hqinet.blocks_scse.SCSE.place_weights": lambda: dict(
        call=net(SCSE, 4, 2).place_weights, x=rand(2, 4, 3, 5)
    ),
    "ctlib.papers.hqinet.blocks_scse.Bottleneck": lambda: dict(
        call=made(Bottleneck), in_channels=2, mid=2, stride=2, reduction=2
    ),
    "ctlib.papers.hqinet.blocks_scse.Bottleneck.forward": lambda: dict(
        call=net(Bottleneck, 2, 2, 2), x=rand(2, 2, 4, 6)
    ),
    "ctlib.papers.hqinet.network.HQINet": lambda: dict(call=made(HQINet), num_slices=1, **SMALL),
    "ctlib.papers.hqinet.network.HQINet.forward": lambda: dict(call=net(HQINet, 3, **SMALL), x=rand(2, 3, 4, 6)),
    "ctlib.papers.hqinet.network.make_hqinet": lambda: dict(seed=3, num_slices=1, **SMALL),
    "ctlib.papers.hqinet.network.stage": lambda: dict(
        call=lambda in_channels, mid, num_blocks: seeded(0, stage, in_channels, mid, num_blocks, True),
        in_channels=2,
        mid=2,
        num_blocks=2,
    ),
    "ctlib.papers.hqinet.network.initialize": lambda: dict(
        call=lambda seed: initialize(net(REDCNN, 1, 2, 1, 3), "paper", seed), seed=3
    ),
    "ctlib.papers.hqinet.redcnn.REDCNN": lambda: dict(call=made(REDCNN), num_slices=1, width=2, depth=2, kernel=3),
    "ctlib.papers.hqinet.redcnn.REDCNN.forward": lambda: dict(call=net(REDCNN, 3, 2, 2, 3), x=rand(2, 3, 6, 7)),
    "ctlib.papers.hqinet.redcnn.make_redcnn": lambda: dict(seed=1, num_slices=1, gain=0.5, width=2, depth=1),
    "ctlib.papers.hqinet.wiener.wiener_response": lambda: dict(noisy=rand(2, 4, 5), target=rand(2, 4, 5, seed=1)),
    "ctlib.papers.hqinet.wiener.apply_response": lambda: dict(
        call=lambda x: __import__("ctlib.papers.hqinet.wiener", fromlist=["x"]).apply_response(
            x, torch.fft.rfft2(rand(4, 5))
        ),
        x=rand(2, 4, 5, seed=1),
    ),
    "ctlib.papers.hqinet.information.entropy": lambda: dict(x=rand(2, 4, 5), bins=8, value_range=(0.0, 1.2)),
    "ctlib.papers.hqinet.information.occupied_bins": lambda: dict(x=rand(2, 4, 5), bins=8, value_range=(0.0, 1.2)),
    "ctlib.papers.hqinet.information.mutual_information_bias": lambda: dict(
        x=rand(2, 4, 5), ref=rand(2, 4, 5, seed=1), bins=8, value_range=(0.0, 1.2)
    ),
    "ctlib.papers.hqinet.filters.filter_trials": lambda: dict(num=3),
    "ctlib.papers.hqinet.noise_power.tile_pixels": lambda: dict(pixel_mm=1.5),
    "ctlib.papers.hqinet.observer.detectability": lambda: dict(present=rand(2, 9), absent=rand(2, 9, seed=1)),
    "ctlib.papers.hqinet.scan.Scanner.open_beam": lambda: dict(call=scanner().open_beam, photons=1e4),
    "ctlib.papers.hqinet.volume.torso_solids": lambda: dict(seed=1, size_mm=300.0, height_mm=30.0),
    "ctlib.papers.hqinet.volume.torso_volume": lambda: dict(
        volume=Volume((2, 6, 6), (5.0, 60.0, 60.0)), seed=1, texture=0.01, supersample=1, dtype=torch.float64
    ),
}
RECORD, WIRING = "a record that a reader fills", "wiring of the chapter; its numbers are checked by what it calls"
SKIP = {
    "ctlib.papers.hqinet.ct_pd_fields.private": "reads a field of an opened file: tests/papers/hqinet",
    "ctlib.papers.hqinet.dicom_projections.Projections": RECORD,
    "ctlib.papers.hqinet.ldct_cohort.SlicePair": RECORD,
    "ctlib.papers.hqinet.ldct_header.*": RECORD,
    "ctlib.papers.hqinet.ldct_headers.*": RECORD,
    "ctlib.papers.hqinet.ldct.*": "reads a folder: tests/papers/hqinet/test_ldct.py",
    "ctlib.papers.hqinet.ldct_split.*": "reads a folder: tests/papers/hqinet/test_ldct.py",
    "ctlib.papers.hqinet.blocks_decoder.Reconstruction.forward": "maps, one argument each: tests/papers",
    "ctlib.papers.hqinet.cases.*": "slices in HU with a scanner: tests/papers/hqinet/test_cases.py",
    "ctlib.papers.hqinet.cohort.*": "reads folders: tests/papers/hqinet",
    "ctlib.papers.hqinet.detection.*": WIRING,
    "ctlib.papers.hqinet.filters.*": "another type for every filter: tests/papers/hqinet/test_hqinet_study.py",
    "ctlib.papers.hqinet.judged.*": "records of cases, checked by body_scores",
    "ctlib.papers.hqinet.lesions.*": "slices in HU with a scanner: tests/papers/hqinet/test_lesions.py",
    "ctlib.papers.hqinet.noise_power.*": "as many tiles as the image happens to have: tests/papers/hqinet",
    "ctlib.papers.hqinet.noise_study.*": WIRING,
    "ctlib.papers.hqinet.observer.*": "random halves of images: tests/papers/hqinet/test_observer.py",
    "ctlib.papers.hqinet.patches.*": "random places in cases: tests/papers/hqinet/test_cases.py",
    "ctlib.papers.hqinet.rivals.*": WIRING,
    "ctlib.papers.hqinet.scan.*": "counts are random, and a geometry's own: tests/papers/hqinet/test_scan.py",
    "ctlib.papers.hqinet.study.*": WIRING,
    "ctlib.papers.hqinet.tables.*": WIRING,
    "ctlib.papers.hqinet.training.*": WIRING,
}
