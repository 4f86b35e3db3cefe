"""A small training in a process of its own: python killed.py CHECKPOINT STEPS; says its step after every one."""

import sys
from functools import partial

import torch

from ctlib.losses import l1_ssim_loss
from ctlib.papers.hqinet.network import make_hqinet
from ctlib.train import Settings, fit

SMALL = {"stem": 4, "mids": (2, 3), "blocks": (1, 1), "aspp": 4, "rates": (1,), "low": 2, "decoder": 4}


def main(path, steps, wait=lambda: None):
    torch.set_num_threads(1)
    x = torch.rand(10, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    net = make_hqinet(0, **SMALL)
    loss = partial(l1_ssim_loss, data_range=1.0)

    def fetch(indices, seeds):
        shift = [int(torch.randint(4, (), generator=torch.Generator().manual_seed(s))) for s in seeds]
        crops = torch.stack([x[i, :, k : k + 16, k : k + 16] for i, k in zip(indices, shift, strict=True)])
        return crops, crops[:, 1:2].sqrt()

    def callback(run):
        print(run.step, flush=True)
        wait()

    settings = Settings(steps, 4, 3e-3, "cosine", seed=5)
    return net, fit(net, loss, fetch, len(x), settings, path, every=3, callback=callback)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
