"""RTK's decomposition of pixels in .npz files, to which it adds its own; run by `minima.py` in RTK's environment."""

import sys
import time

import itk
import numpy as np

VECTORS = itk.VectorImage[itk.D, 3]


def image(values, vector: bool = False):
    """An image of vectors, pixels along one line, or of single numbers."""
    kind = VECTORS if vector else itk.Image[itk.F, values.ndim]
    values = values[None, None] if vector else values
    return itk.image_from_array(np.ascontiguousarray(values, np.float64 if vector else np.float32), ttype=kind)


def decomposed(given: dict) -> np.ndarray:
    """The simplex's answer (P, M), started again from its own as in tests/decompose/test_rtk.py."""
    paths = given["start"]
    for _ in range(2):
        images = {
            "InputDecomposedProjections": image(paths, True),
            "InputMeasuredProjections": image(given["counts"], True),
            "InputIncidentSpectrum": image(given["spectrum"][None]),
            "DetectorResponse": image(given["response"]),
            "MaterialAttenuations": image(given["attenuation"]),
        }
        made = itk.RTK.SimplexSpectralProjectionsDecompositionImageFilter[tuple(type(i) for i in images.values())].New()
        for name, value in images.items():
            getattr(made, f"Set{name}")(value)
        thresholds = itk.VariableLengthVector[itk.D](len(given["thresholds"]))
        for k, value in enumerate(given["thresholds"].tolist()):
            thresholds[k] = value
        made.SetThresholds(thresholds)
        made.SetNumberOfWorkUnits(1)
        made.Update()
        paths = itk.array_from_image(made.GetOutput(0))[0, 0].copy()
    return paths


if __name__ == "__main__":
    for path in sys.argv[1:]:
        given = dict(np.load(path))
        decomposed(given | {k: given[k][:1] for k in ("start", "counts", "spectrum")})  # loads what it needs
        begin = time.process_time()
        paths = decomposed(given)
        np.savez(path, paths=paths, seconds=time.process_time() - begin)
