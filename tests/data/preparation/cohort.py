"""A small PET-CT cohort as files: volumes of several sizes and grids, and a region in each."""

from pathlib import Path

import nibabel
import numpy as np

CENTRES = [(20, 14, 17), (9, 30, 12), (15, 10, 25)]  # millimetres towards head, back and left


def ball(centre: tuple[float, ...], radius: float, shape: tuple[int, ...], spacing: float) -> np.ndarray:
    places = np.meshgrid(*(np.arange(n) * spacing for n in shape), indexing="ij")
    distance = sum((place - middle) ** 2 for place, middle in zip(places, centre, strict=True))
    return np.asarray(distance <= radius**2)


def cohort(folder: Path, *, with_region: bool = True, radius: float = 6) -> Path:
    """Volumes of several sizes, PET at 2 mm and CT at 1 mm; the region, on the CT grid, is a ball."""
    lines = ["patient,image_PET,image_CT,label" + ",region" * with_region]
    for number in range(12):
        centre = CENTRES[number % 3]
        shape = (36 + 2 * number, 44, 40 + 4 * (number % 4))
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        inside = ball(centre, radius, shape, 1.0)
        hot = ball(centre, radius, tuple(n // 2 for n in shape), 2.0)
        for name, values, step in (("CT", 100.0 * inside, 1), ("PET", 5.0 * hot, 2), ("region", inside, 1)):
            placed = affine @ np.diag([step, step, step, 1])
            image = nibabel.Nifti1Image(values.astype(np.float32).transpose(2, 1, 0), placed)
            nibabel.save(image, folder / f"{name}{number}.nii")
        lines.append(f"p{number},PET{number}.nii,CT{number}.nii,{number % 2}" + f",region{number}.nii" * with_region)
    path = folder / "labels.csv"
    path.write_text("\n".join(lines))
    return path
