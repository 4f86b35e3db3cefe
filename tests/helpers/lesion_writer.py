"""A miniature of DeepLesion: 16-bit PNGs in the collection's layout, and its table."""

import csv
import shutil

import numpy as np
from PIL import Image

PATIENTS = {"000001": "1", "000002": "1", "000007": "2", "000012": "3", "004000": "1"}  # and their official part


def body(size=40, radius=12.0, center=(19.5, 19.5), inside=40):
    """A disc of tissue in air with padding outside the round field, whole HU."""
    y, x = np.mgrid[:size, :size].astype(float)
    hu = np.full((size, size), -1000)
    hu[(y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2] = inside
    hu[(y - (size - 1) / 2) ** 2 + (x - (size - 1) / 2) ** 2 > (size / 2) ** 2] = -2048
    return hu


def write_png16(path, hu):
    """Stored value = HU + 32768, 16-bit gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.asarray(hu) + 32768).astype(np.uint16)).save(path)


def write_collection(root, patients=None, slices=(35, 37), **options):
    """Images_png/<patient>_01_02/<slice>.png and DL_info.csv."""
    patients = PATIENTS if patients is None else patients
    root.mkdir(parents=True, exist_ok=True)
    with (root / "DL_info.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["File_name", "Patient_index", "Key_slice_index", "Spacing_mm_px_", "Train_Val_Test"])
        for k, (patient, part) in enumerate(patients.items()):
            for number in slices:
                hu = body(inside=10 * k + number, **options)
                write_png16(root / "Images_png" / f"{patient}_01_02" / f"{number:03d}.png", hu)
            table.writerow([f"{patient}_01_02_{slices[0]:03d}.png", k, slices[0], "0.8, 0.8, 5", part])


def rearranged(root, target, layout):
    """The same files in another layout, as people have them; returns the folder to read."""
    for k, path in enumerate(sorted(root.rglob("*.png"))):
        series = path.parent.name
        place = {
            "as published": target / "Images_png" / series / path.name,
            "a folder for each archive": target / f"Images_png_{k % 3 + 1:02d}" / "Images_png" / series / path.name,
            "minideeplesion": target / "minideeplesion" / series / path.name,
            "key slices": target / "Key_slices" / f"{series}_{path.name}",
            "series at the top": target / series / path.name,
            "upper case": target / "DeepLesion" / series / path.name.replace(".png", ".PNG"),
        }[layout]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    shutil.copy(root / "DL_info.csv", target)
    return target


LAYOUTS = (
    "as published",
    "a folder for each archive",
    "minideeplesion",
    "key slices",
    "series at the top",
    "upper case",
)
