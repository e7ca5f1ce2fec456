"""Answered masks as files: on the grid of the image that was asked about, as NIfTI or, for pictures, as PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from archimed.data.readers.any_image import NIFTI
from archimed.data.readers.nifti import in_file_order
from archimed.data.unlabelled import Source
from archimed.experiment.case_drawing import ANSWERS
from archimed.explain.heat_map import own_affine
from archimed.files import write_through

if TYPE_CHECKING:
    from nibabel import Nifti1Image

TEXTS = ("descrip", "aux_file", "intent_name", "db_name")  # of a header, which may tell of the patient
SAME = 1e-6  # pixels: grids that differ by less are the same


def answered_mask(
    probabilities: Float[np.ndarray, "class *space"], source: Source
) -> UInt8[np.ndarray, "*source_space"]:
    """The likeliest class of each pixel of the image as it was read; the background outside of what was seen.

    Probabilities are carried over, linearly between pixels, and then compared: so the borders are as smooth as the
    image's own grid allows.
    """
    from scipy.ndimage import affine_transform

    step, axes = np.linalg.inv(source.step), len(source.shape)
    if probabilities.shape[1:] == source.shape and np.abs(step - np.eye(axes + 1)).max() < SAME:
        return np.asarray(probabilities.argmax(0).astype(np.uint8))
    how: dict[str, Any] = {"matrix": step[:-1, :-1], "offset": step[:-1, -1], "output_shape": source.shape}
    seen = affine_transform(np.ones(probabilities.shape[1:], np.uint8), **how, order=0, mode="grid-constant")
    mask = np.zeros(source.shape, np.uint8)
    highest = affine_transform(probabilities[0], **how, order=1, mode="nearest")
    for number in range(1, len(probabilities)):
        values = affine_transform(probabilities[number], **how, order=1, mode="nearest")
        better = (values > highest) & (seen > 0)
        mask[better], highest[better] = number, values[better]
    return mask


def write_mask(folder: Path, name: str, mask: UInt8[np.ndarray, "*space"], source: Source) -> Path:
    """Write a mask of class numbers beside others, and return its path.

    A NIfTI image gets a mask with its own axes, sizes and position; any other volume one in canonical orientation with
    the position that its files tell; a picture a PNG whose numbers are shown in colours.
    """
    is_nifti = source.file is not None and source.file.name.lower().endswith(NIFTI)
    if mask.ndim == 2 and not is_nifti:
        path = folder / f"{name}.png"
        write_through(path, lambda temporary: _write_png(temporary, mask))
        return path
    import nibabel

    if is_nifti and source.file is not None:
        image = _like_file(source.file, mask)
    else:
        affine = source.affine if source.affine is not None else own_affine(source.spacing, mask.ndim)
        image = nibabel.Nifti1Image(mask, affine)
        image.header.set_xyzt_units("mm")
    path = folder / f"{name}.nii.gz"
    write_through(path, lambda temporary: _write_nifti(temporary, image))
    return path


def pixel_volume_ml(source: Source) -> float | None:
    """Millilitres of one voxel of the image as it was read; None of pictures, or where its size is unknown."""
    if source.affine is None:
        return None
    return abs(float(np.linalg.det(source.affine[:3, :3]))) / 1000


def _like_file(path: Path, mask: UInt8[np.ndarray, "*space"]) -> "Nifti1Image":
    """A mask with the header of its image's file, but for texts and the type of its numbers."""
    import nibabel

    found: Any = nibabel.load(path)
    header = found.header.copy()
    header.set_data_dtype(np.uint8)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = 0, 0
    for text in TEXTS:
        if text in header:
            header[text] = b""
    header.extensions.clear()
    image: Nifti1Image = type(found)(in_file_order(path, mask), None, header)
    return image


def _write_nifti(path: Path, image: "Nifti1Image") -> None:
    import gzip

    with gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) as file:
        file.write(image.to_bytes())


def _write_png(path: Path, mask: UInt8[np.ndarray, "height width"]) -> None:
    from PIL import Image

    picture = Image.fromarray(mask, mode="P")
    colours = [(0, 0, 0), *(ANSWERS[number % len(ANSWERS)] for number in range(255))]
    picture.putpalette([part for colour in colours for part in colour])
    picture.save(path, "PNG", optimize=True)
