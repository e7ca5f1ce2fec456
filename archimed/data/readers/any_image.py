"""Any image file to a `Volume`, any mask file to class numbers on the grid of its image."""

from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped

from archimed.data.preparation.resampling import resample, same_grid
from archimed.data.readers.decoding import PICTURE_FORMATS, decode
from archimed.data.readers.decoding import SUFFIXES as PICTURES
from archimed.data.readers.voxels import NO_PLACE
from archimed.data.volume import Volume
from archimed.errors import DataError

NIFTI = (".nii", ".nii.gz")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
DICOM = (".dcm", ".dicom", ".ima")
LARGEST_EXACT = 2**24  # above it float32 leaves whole numbers out


def is_image(path: Path) -> bool:
    """Whether `read_image` has a reader for it: by its suffix, else by whether it is, or holds, DICOM."""
    from archimed.data.dicom.reader import is_dicom

    name = path.name.lower()
    if name.startswith("."):
        return False
    if name.endswith((*PICTURES, *NIFTI, *ITK)):
        return path.is_file()
    return is_dicom(path)


def is_dicom_image(path: Path) -> bool:
    """Whether `read_image` reads it as DICOM: it has the suffix of nothing else."""
    from archimed.data.dicom.reader import is_dicom

    name = path.name.lower()
    other = path.is_file() and name.endswith((*PICTURES, *NIFTI, *ITK))
    return not other and (name.endswith(DICOM) or is_dicom(path))


def read_image(path: Path, origin: str) -> Volume:
    """Read an image file or the folder of a DICOM series.

    Args:
        path: the file or folder.
        origin: where a message points to, for example "line 12 of cases.csv".

    Raises:
        DataError: if it is missing, of an unknown kind, or not one complete image.
    """
    if not path.exists():
        raise DataError(
            f"Every image must exist; {origin} names {path}, which does not. Correct the path (a path in a table "
            "counts from the table's folder)."
        )
    name = path.name.lower()
    if path.is_file() and name.endswith(PICTURES):
        return decode(path, origin)
    if path.is_file() and name.endswith(NIFTI):
        from archimed.data.readers.nifti import read_nifti

        return read_nifti(path, origin)
    if path.is_file() and name.endswith(ITK):
        from archimed.data.readers.itk_image import read_itk

        return read_itk(path, origin)
    from archimed.data.dicom.reader import is_dicom, read_dicom

    if not is_dicom(path) and not name.endswith(DICOM):
        known = " ".join((*PICTURES, *NIFTI, *ITK))
        raise DataError(
            f"Every image must be of a known kind; {origin}, {path}, is neither DICOM nor one of {known}. Convert it."
        )
    return read_dicom(path, origin)


def read_mask(path: Path, origin: str, reference: Volume, roi: str | None) -> Integer[np.ndarray, "*space"]:
    """Whole numbers on the grid of the reference, as the file has them: class numbers, or 0 and 255, or instances.

    A mask on another grid is brought over by nearest neighbour if both files tell where they lie; else the sizes must
    be equal. Colours of a palette count as their numbers in it.

    Args:
        path: a picture, a volume, or a DICOM RTSTRUCT or SEG file.
        origin: where a message points to.
        reference: the image, or any volume on the grid that is wanted.
        roi: the name of the structure, for RTSTRUCT and SEG.

    Raises:
        DataError: if the file is no mask or does not belong to the grid.
    """
    if path.exists() and not path.name.lower().endswith((*PICTURES, *NIFTI, *ITK)):
        from archimed.data.dicom.masks import read_dicom_mask
        from archimed.data.dicom.reader import is_dicom

        if is_dicom(path):
            return read_dicom_mask(path, origin, reference, roi)
    mask = read_image(path, origin)
    values = _whole_numbers(_one_channel(mask.pixels, path, origin), path, origin)
    mask = Volume(values[None], mask.affine, mask.spacing, remarks=mask.remarks)
    if _placed(mask) != _placed(reference) and (mask.affine is None) == (reference.affine is None):
        known = "its image" if _placed(reference) else "the mask"
        raise DataError(
            f"A mask and its image must both tell where they lie, or neither; of {origin}, {path}, only {known} does. "
            "Save the mask with the header of the image."
        )
    return _on_grid(mask, reference, path, origin)


def _one_channel(pixels: Shaped[np.ndarray, "channel *space"], path: Path, origin: str) -> Shaped[np.ndarray, "*space"]:
    if (pixels == pixels[:1]).all():
        return np.asarray(pixels[0])
    if path.suffix.lower() in (".png", ".bmp"):
        from PIL import Image

        with Image.open(path, formats=PICTURE_FORMATS) as image:
            if image.mode == "P":
                return np.asarray(image)
    raise DataError(
        f"A mask has one number per pixel; {origin}, {path}, has {len(pixels)} channels that differ. "
        "Save it as grey values."
    )


def _whole_numbers(values: Shaped[np.ndarray, "*space"], path: Path, origin: str) -> Integer[np.ndarray, "*space"]:
    if values.dtype.kind in "iu":
        return values
    if np.abs(values).max() > LARGEST_EXACT or (values != np.rint(values)).any():
        odd = values[(values != np.rint(values)) | (np.abs(values) > LARGEST_EXACT)].flat[0]
        raise DataError(
            f"A mask holds whole numbers up to 2^24; {origin}, {path}, holds {odd:g}. Save class numbers, not "
            "probabilities or interpolated values."
        )
    return values.astype(np.int32)


def _placed(volume: Volume) -> bool:
    return volume.affine is not None or NO_PLACE not in volume.remarks


def _on_grid(mask: Volume, reference: Volume, path: Path, origin: str) -> Integer[np.ndarray, "*space"]:
    sizes = ["x".join(map(str, volume.pixels.shape[1:])) for volume in (reference, mask)]
    if mask.affine is None or reference.affine is None:
        if (mask.affine is None) == (reference.affine is None) and same_grid(mask, reference):
            return np.asarray(mask.pixels[0])
        raise DataError(
            f"A mask must have the size of its image, or both files must tell where they lie; {origin}, {path}, is "
            f"{sizes[1]} where the image is {sizes[0]}. Save the mask with the size and the header of the image."
        )
    if same_grid(mask, reference):
        return np.asarray(mask.pixels[0])
    if sizes[0] == sizes[1] and _is_default(mask) and not _is_default(reference):
        raise DataError(
            f"A mask must lie where its image lies; {origin}, {path}, has the image's size but a header without "
            "spacing and position. Save the mask with the header of the image."
        )
    found = resample(mask, reference.pixels.shape[1:], reference.affine, nearest=True).pixels[0]
    if mask.pixels.any() and not found.any():
        raise DataError(
            f"A mask must lie where its image lies; {origin}, {path}, holds nothing above 0 there. Save the mask with "
            "the header of the image."
        )
    return np.asarray(found)


def _is_default(volume: Volume) -> bool:
    """Whether the affine is what a program writes that knows no position: voxels of 1 mm from 0 on, no rotation."""
    if volume.affine is None or not np.array_equal(np.abs(volume.affine[:3, :3]), np.eye(3)[::-1]):
        return False
    ends = np.array(volume.pixels.shape[:0:-1]) - 1  # along x, y, z
    starts = np.abs(volume.affine[:3, 3])
    return bool(((starts == 0) | (starts == ends)).all())
