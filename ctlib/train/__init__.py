"""One training loop: seeds, schedules, checkpoints that resume bit by bit, mixed precision, one or many devices."""

from ctlib.train.checkpoint import load_checkpoint, save_checkpoint
from ctlib.train.distributed import process_group, rank_and_size, replicate
from ctlib.train.loop import Run, train
from ctlib.train.memory import activation_bytes
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.settings import Settings, learning_rate
from ctlib.train.supervised import fit
from ctlib.train.tuning import tune

__all__ = [
    "Run",
    "Settings",
    "activation_bytes",
    "batch_indices",
    "fit",
    "learning_rate",
    "load_checkpoint",
    "process_group",
    "rank_and_size",
    "replicate",
    "save_checkpoint",
    "stream",
    "train",
    "tune",
]
