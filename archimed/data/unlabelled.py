"""Images without labels, as a trained network is asked about them: files, folders, tables and arrays, case by case."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.dataset import Case, Dataset
from archimed.data.formats.csv_table import list_csv
from archimed.data.formats.image_mask_folders import images_of, usual_patterns
from archimed.data.formats.npz import read_npz_images
from archimed.data.listing import Entry, Listing, Modality
from archimed.data.natural import natural
from archimed.data.preparation.case import prepare
from archimed.data.preparation.channels import with_channels
from archimed.data.preparation.fitting import fit_step
from archimed.data.preparation.resizing import resize
from archimed.data.problems import Problems
from archimed.data.readers.any_image import is_dicom_image, is_image
from archimed.data.settings import DataSettings
from archimed.data.source import lister_of, read_whole
from archimed.data.source_options import own_settings
from archimed.errors import DataError

CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})(?P<ending>\.\w+(?:\.gz)?)")  # as nnU-Net names them
DOUBLE_ENDING = ".gz"


@dataclass(frozen=True)
class ImageForm:
    """How a network's own images were made.

    Attributes:
        modalities: of every case, with the kind of their values; a region is none of them.
        settings: the `data.*` settings, with the size that its images have.
        spatial_dims: 2 or 3.
        regions: whether images were cropped to a region of each case, or have it as a channel.
        seed: of phantoms.
    """

    modalities: tuple[Modality, ...]
    settings: DataSettings
    spatial_dims: int
    regions: bool
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """Where a prepared image comes from.

    Attributes:
        file: of its first modality; None for arrays.
        shape: pixels along each axis before it was prepared.
        step: from indices of the prepared image to indices before, homogeneous.
        affine: from indices before to millimetres (as of `Volume`); None where unknown.
        spacing: millimetres along each axis of the prepared image; None where unknown.
    """

    file: Path | None
    shape: tuple[int, ...]
    step: Float[np.ndarray, "axes axes"]
    affine: Float[np.ndarray, "4 4"] | None
    spacing: tuple[float, ...] | None


@dataclass(frozen=True)
class UnlabelledCase:
    """One case to be read.

    Attributes:
        id: unique among the cases asked about.
        name: what the user knows it by: a path, or its place among arrays.
        read: gives the prepared image [channel, *space] as stored, and where it comes from.
    """

    id: str
    name: str
    read: Callable[[], tuple[Shaped[Tensor, "channel *space"], Source]]


def unlabelled_cases(
    words: Sequence[str],
    form: ImageForm,
    problems: Problems,
    by_modality: Mapping[str, Path] | None = None,
    region: Path | None = None,
) -> list[UnlabelledCase]:
    """The cases that the words name, none of them read yet.

    Args:
        words: image files, folders (of images, or of one DICOM series where volumes are wanted), or any data source;
            labels and masks are passed over.
        form: how the network's own images were made.
        problems: cautions go there.
        by_modality: the files of one more case.
        region: of all cases that are files by themselves.

    Raises:
        DataError: something is missing, unknown, or lacks a modality or region.
    """
    found: list[UnlabelledCase] = []
    if by_modality:
        found.append(_of_entry(_by_modality(by_modality, region, form), form.modalities, form.settings))
    for word in words:
        found.extend(_cases(word, form, problems, region))
    if not found:
        raise DataError("A network is asked about images; none is given. Name files, folders, tables or arrays.")
    counts: dict[str, int] = {}
    unique = []
    for case in found:
        counts[case.id] = counts.get(case.id, 0) + 1
        unique.append(case if counts[case.id] == 1 else replace(case, id=f"{case.id}-{counts[case.id]}"))
    if len({case.id for case in unique}) < len(unique):
        raise DataError("Cases need ids that differ; several of these are alike. Ask about them one after the other.")
    return unique


def _cases(word: str, form: ImageForm, problems: Problems, region: Path | None) -> Iterator[UnlabelledCase]:
    """The cases that one word names."""
    source, settings = own_settings(word, form.settings)
    path = Path(source).expanduser()
    if path.is_file() and path.suffix.lower() == ".npz":
        yield from _of_arrays(path, settings)
        return
    if listing := _listing(path, settings, form, problems):
        if region is not None:
            listing = replace(listing, entries=tuple(replace(entry, region=region) for entry in listing.entries))
        listing = _with_modalities(listing, form)
        for entry in listing.entries:
            if form.regions and entry.region is None:
                raise DataError(
                    "The network sees the surroundings of a region of interest; "
                    f"{entry.case.origin} names none. Give a mask by a column `region`, or with --region MASK."
                )
            yield _of_entry(entry, listing.modalities, settings)
        return
    yield from _of_dataset(read_whole(source, settings, form.seed, problems))


def _listing(path: Path, settings: DataSettings, form: ImageForm, problems: Problems) -> Listing | None:
    """The cases of a path with their files; None if it is no path to image files."""
    plain = replace(settings, image_pattern=None, mask_pattern=None)
    if path.is_file() and path.suffix.lower() == ".csv":
        return list_csv(path, replace(plain, modalities=None), problems, labelled=False)
    if path.is_dir() and not (path / "dataset.json").is_file():
        return _folder(path, settings.image_pattern, form)
    if path.suffix.lower() == ".json" or path.is_dir():
        lister = lister_of(path, plain)
        listing = lister(path, replace(plain, modalities=None, columns={}, labels=()), problems) if lister else None
        return listing and replace(listing, entries=tuple(replace(one, mask=None) for one in listing.entries))
    return Listing(path.name, "files", (_file_entry(path),)) if path.is_file() else None


def _folder(folder: Path, pattern: str | None, form: ImageForm) -> Listing:
    """The images of a folder: those that a pattern finds, those beside a folder of masks, else all."""
    usual = usual_patterns(folder)
    asked = pattern or (usual[0] if usual else None)
    files = images_of(folder, asked) if asked else []
    files = files or list(_images(folder, form.spatial_dims))
    if not files:
        raise DataError(f"A folder to predict holds images; {folder} has none. Name the folder with the images.")
    channels = [CHANNEL_FILE.fullmatch(file.name) for file in files]
    if all(channels) and len({one["channel"] for one in channels if one}) == len(form.modalities):
        return _channel_listing(folder, files, form)
    return Listing(folder.name, "files", tuple(_file_entry(file) for file in files))


def _images(folder: Path, dims: int) -> Iterator[Path]:
    """Images below a folder, in the same order on every machine; of volumes a folder with DICOM files is one."""
    try:
        inside = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: natural(path.name))
    except OSError as error:
        raise DataError(
            f"Images must be readable; {folder} is not ({error.strerror}). Check the permissions."
        ) from error
    if dims == 3 and any(path.is_file() for path in inside) and is_dicom_image(folder):
        yield folder
        return
    for path in inside:
        if path.is_dir():
            yield from _images(path, dims)
        elif is_image(path):
            yield path


def _channel_listing(folder: Path, files: Sequence[Path], form: ImageForm) -> Listing:
    """Cases of a file for each modality, named as nnU-Net does: CASE_0000.nii.gz, CASE_0001.nii.gz."""
    cases: dict[str, dict[int, Path]] = {}
    for file in files:
        if found := CHANNEL_FILE.fullmatch(file.name):
            cases.setdefault(found["case"], {})[int(found["channel"])] = file
    entries = [
        Entry(
            Case(name, name, origin=f"case {name} of {folder.name}"),
            tuple(channels.get(number) for number in range(len(form.modalities))),
        )
        for name, channels in cases.items()
    ]
    return Listing(folder.name, "files", tuple(entries), form.modalities)


def _file_entry(path: Path) -> Entry:
    name = stem(path)
    return Entry(Case(name, name, file=path, origin=str(path)), (path,))


def stem(path: Path) -> str:
    """The name of a file without its endings; of a folder its name."""
    name = path.resolve().name if path.is_dir() else path.name
    if path.is_dir():
        return name
    name = name[: -len(DOUBLE_ENDING)] if name.lower().endswith(DOUBLE_ENDING) else name
    return Path(name).stem


def _by_modality(files: Mapping[str, Path], region: Path | None, form: ImageForm) -> Entry:
    """One case from a file for each modality."""
    names = {modality.name.lower(): modality.name for modality in form.modalities}
    if {name.lower() for name in files} != {*names}:
        raise DataError(
            f"The network fuses {', '.join(names.values())}; the files given are of {', '.join(files)}. Give one "
            "--modality NAME=FILE for each."
        )
    by_name = {name.lower(): path for name, path in files.items()}
    paths = tuple(by_name[modality.name.lower()] for modality in form.modalities)
    if form.regions and region is None:
        raise DataError("The network sees the surroundings of a region of interest. Give its mask: --region MASK.")
    name = stem(paths[0])
    return Entry(Case(name, name, origin=str(paths[0])), paths, region=region)


def _with_modalities(listing: Listing, form: ImageForm) -> Listing:
    """The listing with the network's modalities in their order; names may differ in capitals.

    A file that the network needs alone may have any name; a single file may hold all channels.
    """
    wanted, known = [one.name for one in form.modalities], [one.name for one in listing.modalities]
    if len(wanted) == 1 and len(known) == 1:
        return replace(listing, modalities=form.modalities)
    if len(known) == 1 and len(wanted) > 1:
        return listing
    rows = [next((row for row, name in enumerate(known) if name.lower() == one.lower()), None) for one in wanted]
    missing = [name for name, row in zip(wanted, rows, strict=True) if row is None]
    if missing:
        raise DataError(
            f"The network needs {', '.join(wanted)}; {listing.name} has {', '.join(known)}, no {missing[0]}. Give "
            f"a table with a column image_{missing[0]}, or one --modality NAME=FILE for each."
        )
    picked = [
        replace(entry, images=tuple(entry.images[row] for row in rows if row is not None)) for entry in listing.entries
    ]
    may_lack = form.settings.missing_modality == "zero"
    for entry in picked:
        lacking = [name for name, image in zip(wanted, entry.images, strict=True) if image is None]
        if lacking and (not may_lack or len(lacking) == len(wanted)):
            raise DataError(
                f"The network needs {', '.join(wanted)} of every case; {entry.case.origin} has no {lacking[0]}. Name "
                "its file, or leave the case out."
            )
    return replace(listing, entries=tuple(picked), modalities=form.modalities)


def _of_entry(entry: Entry, modalities: tuple[Modality, ...], settings: DataSettings) -> UnlabelledCase:
    """A case of files, prepared when it is read."""
    file = next(path for path in entry.images if path is not None)
    own = replace(entry, label=None, mask=None)

    def read() -> tuple[Tensor, Source]:
        found = prepare(own, modalities, settings)
        affine = None if found.affine is None else np.asarray(found.affine @ np.linalg.inv(found.to_source))
        return found.image, Source(file, found.source_shape, found.to_source, affine, found.spacing)

    return UnlabelledCase(entry.case.id, str(file), read)


def _of_arrays(path: Path, settings: DataSettings) -> Iterator[UnlabelledCase]:
    """The images of a .npz file."""
    for name, images in read_npz_images(path).items():
        for number in range(len(images)):
            row = images[number : number + 1]
            yield UnlabelledCase(
                f"{name}-{number:05d}",
                f"{name} image {number} of {path.name}",
                lambda row=row: array_case(row, settings),  # type: ignore[misc]
            )


def array_case(image: Shaped[Tensor, "1 channel *space"], settings: DataSettings) -> tuple[Tensor, Source]:
    """One array with the channels and the size that the settings ask for."""
    image, wanted, space = with_channels(image, settings.channels), settings.image_size, tuple(image.shape[2:])
    size = (
        space if wanted is None or wanted == "auto" else (wanted,) * len(space) if isinstance(wanted, int) else wanted
    )
    if len(size) != len(space):
        raise DataError(f"The network sees images of {len(size)} axes; these arrays have {len(space)}. Give others.")
    return resize(image, size)[0], Source(None, space, fit_step(space, size, "resize"), None, None)


def _of_dataset(dataset: Dataset) -> Iterator[UnlabelledCase]:
    """The images of data that come with labels and from no image files."""
    for row, case in enumerate(dataset.cases):

        def read(row: int = row) -> tuple[Tensor, Source]:
            image = dataset.images[row]
            shape, spacing = tuple(image.shape[1:]), dataset.spacing[row] if dataset.spacing else None
            return image, Source(None, shape, np.eye(len(shape) + 1), None, spacing)

        yield UnlabelledCase(case.id, f"{case.id} of {dataset.name}", read)
