"""Trains and writes its weights: torchrun --nproc_per_node=2 two_processes.py OUT STEPS."""

import sys

import torch

from ctlib.papers.hqinet.network import make_hqinet
from ctlib.train import Settings, fit, process_group, rank_and_size, save_checkpoint

SMALL = {"stem": 4, "mids": (2, 3), "blocks": (1, 1), "aspp": 4, "rates": (1,), "low": 2, "decoder": 4}


def weights(steps, path=None):
    """Weights and curve after some steps in float64, where rounding is all that may differ."""
    torch.set_num_threads(1)
    x = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = make_hqinet(0, **SMALL).double()

    def fetch(indices, seeds):
        noise = torch.stack(
            [torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
        )
        return x[indices] + 0.1 * noise, x[indices, 1:2]

    run = fit(net, lambda a, b: (a - b).abs().mean(), fetch, len(x), Settings(steps, 4, 1e-3, seed=2), path, every=2)
    return {"net": net.state_dict(), "loss": run.history["loss"]}


if __name__ == "__main__":
    with process_group():
        result = weights(int(sys.argv[2]), sys.argv[1] + ".ckpt")
        if rank_and_size()[0] == 0:
            save_checkpoint(sys.argv[1], result)
