"""What a checkpoint of a deep image prior's fit holds, and what it says of the fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ctlib.linop import LinearOperator
from ctlib.train.described import FOREIGN, digest, layers, name_of, sources, states
from ctlib.train.sketch import form, sketch

CURVES = ("energy", "psnr_fit", "psnr_truth", "psnr_average", "variance", "held_out")
IMAGES = ("snapshots", "averages", "average", "last", "restored")
CODE = [f"ctlib.{m}" for m in ("papers.dip.fit", "papers.dip.resume", "metrics.image", "train.loop", "train.precision")]


class Progress:
    """All that a step changes beside the network, as a part of a `ctlib.train.Run`; what is done, is the result alone.

    fit        a `Fit`, its curves kept as float64
    under_way  Guard, MovingVariance and Adam, which a finished fit leaves out: two thirds of the file
    """

    def __init__(self, fit, guard, moving, optimizer: torch.optim.Optimizer, generator: torch.Generator, steps: int):
        self.fit, self.generator, self.steps = fit, generator, steps
        self.under_way = {"guard": guard, "moving": moving, "optimizer": optimizer}

    def state_dict(self) -> dict:
        curves = {name: torch.tensor(getattr(self.fit, name), dtype=torch.float64) for name in CURVES}
        images = {name: getattr(self.fit, name) for name in IMAGES}
        state = {"curves": curves, "images": images, "noise": self.generator.get_state()}
        if len(self.fit.energy) < self.steps:
            state |= {name: part.state_dict() for name, part in self.under_way.items()}
        return state

    def load_state_dict(self, state: dict) -> None:
        for name, values in {**state["curves"], **state["images"]}.items():
            setattr(self.fit, name, values.tolist() if name in CURVES else values)
        self.generator.set_state(state["noise"].cpu())
        for name in self.under_way.keys() & state.keys():
            self.under_way[name].load_state_dict(state[name])


def identity(
    A: LinearOperator, net: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator,
    settings: Mapping[str, object], images: Mapping[str, Tensor | None], held_out: tuple | None,
) -> dict[str, object]:  # fmt: skip
    """A fit before its first step: settings, operators, images, network, noise, and the code of what is computed.

    images  or None; compared row by row
    """
    rows = lambda t: (form(t), sketch(t.reshape(-1, *t.shape[-1:])))  # noqa: E731
    probe = torch.rand(A.domain_shape, generator=torch.Generator().manual_seed(0)).to(images["x0"])
    operators = {"operator": A} | ({"operator held out": held_out[0]} if held_out is not None else {})
    data = {**images, "observation held out": held_out and held_out[1]}
    used = {type(m).__module__ for m in (*net.modules(), *operators.values())}
    with torch.no_grad():
        acting = {
            k: [name_of(type(B)), str(getattr(B, "num_observed", "")), *rows(B(probe))] for k, B in operators.items()
        }
    return {
        "settings": dict(settings),
        **{name: None if t is None else rows(t) for name, t in data.items()},
        **acting,
        "architecture": digest(layers(net)),
        "initial weights": [sketch(t.reshape(1, -1)) for t in states(net)],
        "optimizer": name_of(type(optimizer)),
        "noise": digest(generator.get_state().numpy().tobytes().hex()),
        **sources(*CODE, *(m for m in used if m.partition(".")[0] not in FOREIGN)),
    }
