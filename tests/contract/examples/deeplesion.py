"""Preparation of DeepLesion's slices; what reads files is tried on files."""

import torch


def hu():
    y, x = torch.meshgrid(*(torch.arange(12.0, dtype=torch.float64) - 5.5,) * 2, indexing="ij")
    return torch.where(y.square() + x.square() < 20, 40.0 + y, torch.tensor(-1000.0, dtype=torch.float64))


EXAMPLES = {
    "ctlib.data.deeplesion.body_crop": lambda: dict(hu=hu(), threshold_hu=-900.0),
    "ctlib.data.deeplesion.prepared": lambda: dict(hu=hu(), size=6, threshold_hu=-900.0, mu_water=0.02),
    "ctlib.data.deeplesion.inscribed_circle": lambda: dict(size=6),
}
SKIP = {
    "ctlib.data.deeplesion.load_images": "reads files: tests/data/test_deeplesion.py",
    "ctlib.data.lesion_files.*": "names of files: tests/data/test_deeplesion.py",
}
ALLOW = {
    "ctlib.data.deeplesion.body_crop": {"nan": "a pixel without a value is no body"},
    "ctlib.data.deeplesion.prepared": {"nan": "outside the circle the image is 0, whatever the slice holds"},
}
