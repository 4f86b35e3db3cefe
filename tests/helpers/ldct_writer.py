"""A miniature of LDCT-and-Projection-data: patients, studies and series in the collection's layout."""

import csv

import numpy as np
from dicom_writer import write_ct
from projection_writer import write_views

PATIENTS = ("C095", "C121", "C202", "L081", "L241", "N190")  # train, test, validation, train, test, train in public


def write_image_series(folder, volume_hu, patient, series, positions=None, **changes):
    """One series of a volume (Z, Y, X) in HU, intercept -1024, file names unrelated to height."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = (np.asarray(volume_hu) + 1024).round().astype(np.uint16)
    for k, image in enumerate(stored):
        z = 2.0 * k if positions is None else positions[k]
        uid = f"1.2.{series}.1{patient[1:]}.{k + 1}"
        write_ct(folder / f"1-{len(stored) - k:03d}.dcm", image, z, PatientID=patient, SOPInstanceUID=uid,
                 SeriesInstanceUID=f"1.2.{series}.1{patient[1:]}", SliceThickness="2", **changes)  # fmt: skip


def volumes(patient, num_slices=5, size=16, seed=0):
    """(full, low) in whole HU: a disc with organs and noise, other noise at low dose."""
    rng = np.random.default_rng([seed, *patient.encode()])
    y, x = np.mgrid[:size, :size] / size - 0.5
    body = np.where(x**2 + (1.3 * y) ** 2 < 0.18, 40.0, -1000.0)
    organ = np.stack([60.0 * (((x - 0.1 * rng.standard_normal()) ** 2 + y**2) < 0.02) for _ in range(num_slices)])
    full, low = (np.round(body + organ + s * rng.standard_normal(organ.shape)) for s in (10, 60))
    return np.clip(full, -1000, 2000), np.clip(low, -1000, 2000)


def write_collection(root, patients=PATIENTS, table=False, **options):
    """The collection's folders below root/LDCT-and-Projection-data; `table` adds metadata.csv. Returns that folder."""
    base, rows = root / "LDCT-and-Projection-data", []
    for k, patient in enumerate(patients):
        full, low = volumes(patient, **options)
        study = base / patient / f"12-23-2021-NA-NA-{10000 + k}"
        for series, (name, volume) in enumerate((("Full Dose Images", full), ("Low Dose Images", low))):
            folder = study / f"{series + 1}.000000-{name}-{40000 + k}"
            write_image_series(folder, volume, patient, series + 4)
            rows.append(
                [
                    patient,
                    name,
                    "SIEMENS",
                    len(volume),
                    f"./LDCT-and-Projection-data/{patient}/{study.name}/{folder.name}",
                ]
            )
    write_views(base / patients[0] / "12-23-2021-NA-NA-10000" / "3.000000-Low dose projections-50000", 2)
    if table:
        with (base / "metadata.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["Subject ID", "Series Description", "Manufacturer", "Number of Images", "File Location"])
            writer.writerows(rows)
    return base
