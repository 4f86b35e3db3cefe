"""The loop itself: steps one after another, and everything they change in one checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ctlib.contract import count
from ctlib.errors import ArgumentError, ConvergenceError, DataError
from ctlib.files import Unwritable, check_writable
from ctlib.train.checkpoint import load_checkpoint, plain, save_checkpoint
from ctlib.train.distributed import rank_and_size
from ctlib.train.identity import differing, of_parts
from ctlib.train.sampling import stream

FORMAT = 2  # of what a checkpoint says about its training
OTHERWISE = "give another path, or delete this file"
WATCH: ContextVar[Callable[[int, int], None] | None] = ContextVar("watch", default=None)
"""What every training tells its steps done and their number, for whoever runs it and shows how far it is."""


def _told(name: str, stored: dict, own: dict) -> str:
    """How an ingredient differs, where that can be said in few words."""
    for key in name.split("."):
        stored, own = (d.get(key) if isinstance(d, dict) else None for d in (stored, own))
    if all(isinstance(v, (int, float, str)) and len(str(v)) < 20 for v in (stored, own)):
        return f"is {stored!r}, this training has {own!r}"
    trained = " (one that is trained already starts elsewhere)" if name == "initial weights" else ""
    return f"is that of another training{trained}"


@dataclass
class Run:
    """A training under way.

    parts    what steps change, by name: networks, optimizers, scalers; anything with state_dict and load_state_dict
    about    what must be the same when it goes on: settings, data, loss, as numbers, texts and sketches; the parts as
             they are before the first step are added, `of_parts`
    seed     of the random numbers that a step draws from the global stream (dropout, torch.randn)
    step     steps done; history: what each step reported, by name
    """

    parts: Mapping[str, object]
    about: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    identity: dict[str, object] = field(default_factory=dict, init=False, repr=False)

    def identify(self) -> dict[str, object]:
        """What a checkpoint of this training says of it; taken before the first step."""
        if not self.identity:
            known = {} if "architecture" in self.about else of_parts(self.parts)
            self.identity = plain({**self.about, "seed": self.seed, "parts": list(self.parts), **known})
        return self.identity

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (the first process alone)."""
        if rank_and_size()[0] == 0:
            state = {"step": self.step, "history": self.history, "about": self.identify(), "format": FORMAT}
            save_checkpoint(path, {**state, "parts": {name: part.state_dict() for name, part in self.parts.items()}})

    def load(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        """Continue from a checkpoint; DataError when it is damaged or of another training, and says in what."""
        state = load_checkpoint(path, device)
        if state.get("format") != FORMAT:
            raise DataError(path, "about", f"is of an older version: says too little to go on from; {OTHERWISE}")
        if rank_and_size()[0] == 0 and (name := differing(state["about"], self.identify())):
            raise DataError(path, name, f"{_told(name, state['about'], self.identify())}; {OTHERWISE}")
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
    anew: bool = False,
) -> Run:
    """Call update(step) for every step that is not done yet; with a path, continue from it and save to it.

        loss_k = update(k),    k = run.step, ..., steps - 1

    update    does one step of whatever is trained and gives named numbers for the history; what it does may depend
              on the step, on the run's parts and on the global random stream, which is set from (seed, step, process)
              before it and put back after it. Then a training that was killed goes on bit by bit as if it was not.
    path      of the checkpoint; its folder is made. One that cannot be written at the start raises `Unwritable`, later
              it is warned of, and the next one is tried
    every     steps between checkpoints; one is always written at the end
    callback  after every step and before it is saved, for curves: what it adds to the history is kept; one that has
              a state_dict is a part of the run like the others
    anew      begin again where the checkpoint is damaged or of another training; the first one saved takes its place.
              For one process
    """
    steps, every = count("steps", steps), count("every", every)
    if anew and rank_and_size()[1] > 1:
        raise ArgumentError("anew", f"set in {rank_and_size()[1]} processes", "one process, or delete the checkpoint")
    if hasattr(callback, "state_dict"):
        run.parts = {**run.parts, "callback": callback}
    if path is not None:
        _begin(run, Path(path), device, anew)
    rank, device = rank_and_size()[0], torch.device(device)
    while run.step < steps:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            number = stream("step", run.seed, run.step, rank)
            torch.default_generator.manual_seed(number)  # torch.manual_seed looks for every kind of device, 0.3 ms
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(number)
            report = {name: float(value) for name, value in update(run.step).items()}
        if not all(abs(v) < float("inf") for v in report.values()):
            raise ConvergenceError(f"step {run.step}: {report}")
        for name, value in report.items():
            run.history.setdefault(name, []).append(value)
        run.step += 1
        if (watch := WATCH.get()) is not None:
            watch(run.step, steps)
        if callback is not None:
            callback(run)
        if path is not None and (run.step == steps or (every and run.step % every == 0)):
            _save(run, path)
    return run


def _begin(run: Run, path: Path, device: str | torch.device, anew: bool) -> None:
    """Continue from a checkpoint, or see that there may be one."""
    run.identify()
    if path.exists():
        try:
            return run.load(path, device)
        except DataError:
            if not anew:
                raise
    if rank_and_size()[0] == 0:
        check_writable(path)


def _save(run: Run, path: str | Path) -> None:
    """Save a checkpoint; a full disk costs the checkpoint, not the training."""
    try:
        run.save(path)
    except Unwritable as error:
        warnings.warn(f"step {run.step}: no checkpoint, the training goes on: {error}", RuntimeWarning, stacklevel=3)
