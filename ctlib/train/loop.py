"""The loop itself: steps one after another, and everything they change in one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ctlib.errors import ArgumentError, ConvergenceError, DataError
from ctlib.train.checkpoint import load_checkpoint, save_checkpoint
from ctlib.train.distributed import rank_and_size
from ctlib.train.sampling import stream


@dataclass
class Run:
    """A training under way.

    parts    what steps change, by name: networks, optimizers, scalers; anything with state_dict and load_state_dict
    about    what must be the same when it goes on: settings, as numbers and texts
    seed     of the random numbers that a step draws from the global stream (dropout, torch.randn)
    step     steps done; history: what each step reported, by name
    """

    parts: Mapping[str, object]
    about: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (the first process alone)."""
        if rank_and_size()[0] == 0:
            states = {name: part.state_dict() for name, part in self.parts.items()}
            state = {"step": self.step, "history": self.history, "about": dict(self.about), "seed": self.seed}
            save_checkpoint(path, {**state, "parts": states})

    def load(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        """Continue from a checkpoint; DataError when it is damaged or of another training."""
        state = load_checkpoint(path, device)
        for name, value in (("seed", self.seed), ("about", dict(self.about)), ("parts", list(self.parts))):
            stored = state.get(name)
            stored = list(stored) if name == "parts" and stored is not None else stored
            if stored != value:
                raise DataError(path, name, f"is {stored!r}, this training has {value!r}")
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self.step, self.history = state["step"], state["history"]


def train(
    run: Run,
    update: Callable[[int], Mapping[str, float]],
    steps: int,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
    device: str | torch.device = "cpu",
) -> Run:
    """Call update(step) for every step that is not done yet; with a path, continue from it and save to it.

        loss_k = update(k),    k = run.step, ..., steps - 1

    update    does one step of whatever is trained and gives named numbers for the history; what it does may depend
              on the step, on the run's parts and on the global random stream, which is set from (seed, step, process)
              before it and put back after it. Then a training that was killed goes on bit by bit as if it was not.
    every     steps between checkpoints; one is always written at the end
    callback  after every step and before it is saved, for curves: what it adds to the history is kept; one that has
              a state_dict is a part of the run like the others
    """
    if steps < 0 or every < 0:
        raise ArgumentError("steps, every", (steps, every), "numbers >= 0")
    if hasattr(callback, "state_dict"):
        run.parts = {**run.parts, "callback": callback}
    if path is not None and Path(path).exists():
        run.load(path, device)
    rank, device = rank_and_size()[0], torch.device(device)
    while run.step < steps:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(stream("step", run.seed, run.step, rank))
            report = {name: float(value) for name, value in update(run.step).items()}
        if not all(abs(v) < float("inf") for v in report.values()):
            raise ConvergenceError(f"step {run.step}: {report}")
        for name, value in report.items():
            run.history.setdefault(name, []).append(value)
        run.step += 1
        if callback is not None:
            callback(run)
        if path is not None and (run.step == steps or (every and run.step % every == 0)):
            run.save(path)
    return run
