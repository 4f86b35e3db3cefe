"""A miniature of LDCT-and-Projection-data: patients, studies and series in the collection's layout."""

import csv
import shutil

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


def write_collection(root, patients=PATIENTS, table=False, described=True, **options):
    """The collection's folders below root/LDCT-and-Projection-data; `table` adds metadata.csv. Returns that folder.

    described  False: headers without SeriesDescription, so that folders or the table have to name the dose
    """
    base, rows = root / "LDCT-and-Projection-data", []
    for k, patient in enumerate(patients):
        full, low = volumes(patient, **options)
        study = base / patient / f"12-23-2021-NA-NA-{10000 + k}"
        for series, (name, volume) in enumerate((("Full Dose Images", full), ("Low Dose Images", low))):
            folder = study / f"{series + 1}.000000-{name}-{40000 + k}"
            text = {"SeriesDescription": name} if described else {}
            write_image_series(folder, volume, patient, series + 4, StudyInstanceUID=f"1.3.1{patient[1:]}", **text)
            uid, place = f"1.2.{series + 4}.1{patient[1:]}", folder.relative_to(root).as_posix()
            rows.append([uid, patient, name, "SIEMENS", len(volume), f"./{place}"])
    write_views(
        base / patients[0] / "12-23-2021-NA-NA-10000" / "3.000000-Low dose projections-50000", 2,
        SeriesDescription="Low dose projections", PatientID=patients[0], SeriesInstanceUID="1.2.8",
    )  # fmt: skip
    if table:
        with (base / "metadata.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            names = ("Series UID", "Subject ID", "Series Description", "Manufacturer", "Number of Images")
            writer.writerow([*names, "File Location"])
            writer.writerows(rows)
    return base


def rearranged(base, target, layout):
    """The same files in another layout, as people have them; returns the folder to read."""
    series = sorted(p for p in base.rglob("*") if p.is_dir() and any(f.is_file() for f in p.iterdir()))
    for k, folder in enumerate(series):
        patient, _, name = folder.relative_to(base).parts
        place = {
            "parent of the manifest": target / "manifest-1600000000000" / base.name / folder.relative_to(base),
            "no study level": target / patient / name,
            "flat UID folders": target / f"1.3.6.1.4.1.14519.5.2.1.{k}",
            "classic UIDs": target / base.name / patient / f"1.3.6.{k}" / f"1.3.7.{k}",
            "without extension": target / patient.lower() / f"S{k}",
            "UIDs as file names": target / patient / f"{k}",
            "one folder": target,
        }[layout]
        place.mkdir(parents=True, exist_ok=True)
        for j, path in enumerate(sorted(folder.iterdir())):
            name = path.name
            name = f"I{j:07d}" if layout == "without extension" else name
            name = f"1.3.6.1.4.{k}.{j}" if layout == "UIDs as file names" else name
            name = f"{k}-{name}" if layout == "one folder" else name
            shutil.copy(path, place / name)
    return target


LAYOUTS = ("parent of the manifest", "no study level", "flat UID folders", "classic UIDs", "without extension",
           "UIDs as file names", "one folder")  # fmt: skip


def low_of(base, patient="C095"):
    return next((base / patient).glob("*/*Low Dose Images*"))


def write_scout(folder, patient):
    """A localizer among the slices of the low dose."""
    write_ct(folder / "0.dcm", np.zeros((40, 16), np.uint16), PatientID=patient, SOPInstanceUID="1.2.77",
             SeriesInstanceUID=f"1.2.5.1{patient[1:]}", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])  # fmt: skip


def write_awkward(root):
    """Five patients of one region, gaps, a localizer, a bad file; none in the public validation set."""
    base = write_collection(root, ("L004", "L006", "L019", "L049", "L056"), num_slices=9, size=32)
    (low_of(base, "L004") / "1-005.dcm").unlink()
    (low_of(base, "L006") / "1-002.dcm").unlink()
    (low_of(base, "L019") / "1-009.dcm").write_bytes(b"not a scan")
    write_scout(low_of(base, "L049"), "L049")
    return base
