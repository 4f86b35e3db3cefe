"""A chapter's cells on the stand-in device, at the sizes of tests/helpers/tiny.py.

PYTHONPATH=tests/helpers python tests/devices/chapters.py 03-spectral2spectral mouse_slices=4   # a minute; 02-... five
"""

import json
import sys
from unittest import mock

from stand_in import DEVICE, stand_in
from tiny import TINY, few_steps

from ctlib.book.page import figures
from ctlib.book.project import Project
from ctlib.book.runner import inprocess

NOT_DRAWN = mock.patch.object(
    figures, "png", return_value=b"not drawn"
)  # what a figure shows has left the device by then


def run_on_device(slug: str, **changes):
    """What the chapter measured; BookError names the cell that mixes devices."""
    values = {**TINY[slug], **changes, "device": DEVICE}
    with stand_in(), few_steps(), NOT_DRAWN:
        return inprocess.run_cells(Project(), slug, values, "ci")


if __name__ == "__main__":
    slug, *changes = sys.argv[1:]
    run_on_device(slug, **{name: json.loads(value) for name, value in (c.split("=", 1) for c in changes)})
