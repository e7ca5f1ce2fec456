"""nnU-Net folders: dataset.json, imagesTr/CASE_0000.nii.gz (one file per channel), labelsTr/CASE.nii.gz.

imagesTs with labelsTs, where there, is the official test split. The folds of splits_final.json are kept (see
`nnunet_splits`). Format: nnU-Net v2, documentation/dataset_format.md; dataset.json of v1 (`modality`, names by number)
is read too, and one that lists its files as the Medical Segmentation Decathlon does is a datalist.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archimed.data.dataset import Case, SplitName
from archimed.data.formats.datalist import list_datalist
from archimed.data.formats.fields import enumerated, file_path, plain_text, refuse_columns
from archimed.data.formats.json_files import as_list, as_object, as_text, given_name, numbered_names, read_json, shown
from archimed.data.formats.listing_rules import apply_rules, channel_kind
from archimed.data.formats.nnunet_splits import with_folds
from archimed.data.listing import Entry, Listing, Modality
from archimed.data.natural import natural
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.volume import ChannelKind
from archimed.errors import DataError

PICTURES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")  # may hold several channels in one file
UNTOUCHED = ("nonorm", "rescale_to_0_1", "rescale_0_1", "rgb_to_0_1", "rgb", "r", "g", "b", "red", "green", "blue")
LARGEST_CLASS = 255  # masks are kept as uint8

Files = dict[str, dict[int, Path]]  # by case and channel


def list_nnunet(folder: Path, settings: DataSettings, problems: Problems) -> Listing:
    """The cases of one nnU-Net folder; flaws of single cases go to `problems`, of the whole are raised as DataError."""
    path = folder / "dataset.json"
    description = as_object(read_json(path), "A description of data", str(path))
    if _is_datalist(description, folder):
        return list_datalist(path, settings, problems)
    refuse_columns(settings, f"the folder {folder}")
    channels = _channel_names(description, path)
    mask_names = _class_names(description, path)
    training, masks = _training(folder, description, path)
    names = sorted({*training, *masks}, key=natural)
    known = {case: masks[case] for case in names if case in masks}
    for case in names:
        if case not in masks:
            problems.fatal(f"Every training case needs a mask; {case} of {folder} has none in labelsTr. Add it.")
    tests, test_masks = _tests(folder, description, path)
    labelled = {case: test_masks[case] for case in tests if case in test_masks}
    if len(labelled) < len(tests):
        problems.caution(f"{len(tests) - len(labelled)} cases of imagesTs have no mask in labelsTs and were left out.")
    if not known:
        raise DataError(f"An nnU-Net folder needs training cases with masks; {folder} has none. Add them to imagesTr.")
    _check_count(description, len(names), problems)
    modalities = _modalities(channels, [*training.values(), *tests.values()], path)
    entries = [
        *_entries(training, known, "train" if labelled else None, "imagesTr", modalities, 0),
        *_entries(tests, labelled, "test" if labelled else None, "imagesTs", modalities, len(known)),
    ]
    entries = with_folds(entries, list(known), folder, problems)
    listing = Listing(
        name=given_name(description, folder.resolve().name, str(path)),
        source_kind="nnunet",
        entries=tuple(entries),
        modalities=modalities,
        mask_names=mask_names,
    )
    return apply_rules(listing, settings, problems)


def _is_datalist(description: Mapping[str, Any], folder: Path) -> bool:
    """Whether dataset.json lists files of its own and those of nnU-Net, with channel numbers, are not there."""
    return (
        "channel_names" not in description
        and isinstance(description.get("training"), list)
        and not any(re.search(r"_0000\.", path.name) for path in _visible(folder / "imagesTr"))
    )


def _channel_names(description: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = description.get("channel_names", description.get("modality"))
    if not names:
        raise DataError(
            f'dataset.json must name the channels, as in "channel_names": {{"0": "CT"}}; {path} does not. Add them.'
        )
    return numbered_names(names, "A channel name", str(path))


def _class_names(description: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Names by their number in the masks, the background first."""
    labels = as_object(description.get("labels"), "The classes (`labels`)", str(path))
    for name, value in labels.items():
        if isinstance(value, list):
            raise DataError(
                f"Every class must have one number of its own; {path} makes {shown(name)} a region of several "
                f"({shown(value)}), which archimed does not support. Number the classes 0, 1, 2, ..."
            )
        if "ignore" in (name, value):
            raise DataError(
                f"Masks must be complete; {path} has a class 'ignore' of unknown pixels, which archimed does not "
                "support. Fill these pixels in and remove the class."
            )
    names = numbered_names(labels, "A class", str(path))
    if not 2 <= len(names) <= LARGEST_CLASS + 1:
        raise DataError(
            f"A segmentation has a background and 1 to {LARGEST_CLASS} classes; {path} names {len(names)} in all. "
            "Correct `labels`."
        )
    if len(set(names)) < len(names):
        raise DataError(f"Classes must have different names; {path} repeats one. Rename it.")
    return names


def _training(folder: Path, description: Mapping[str, Any], path: Path) -> tuple[Files, dict[str, Path]]:
    """Channel files and masks of the training cases, of the folders or as `dataset` lists them."""
    listed = description.get("dataset")
    if listed is None:
        ending = _ending(description, folder / "imagesTr", path)
        return _channel_files(folder / "imagesTr", ending), _mask_files(folder / "labelsTr", ending)
    images: Files = {}
    masks: dict[str, Path] = {}
    for case, value in as_object(listed, "The list of cases (`dataset`)", str(path)).items():
        origin = f"case {shown(case)} of {path}"
        files = as_object(value, "A case", origin)
        images[plain_text(case, "a case name", str(path))] = {
            channel: file_path(as_text(file, "An image", origin), folder, "an image", origin)
            for channel, file in enumerate(as_list(files.get("images"), "The images of a case", origin))
        }
        if files.get("label") is not None:
            masks[case.strip()] = file_path(as_text(files["label"], "A label", origin), folder, "the mask", origin)
    return images, masks


def _tests(folder: Path, description: Mapping[str, Any], path: Path) -> tuple[Files, dict[str, Path]]:
    if not (folder / "imagesTs").is_dir():
        return {}, {}
    ending = _ending(description, folder / "imagesTs", path)
    return _channel_files(folder / "imagesTs", ending), _mask_files(folder / "labelsTs", ending)


def _ending(description: Mapping[str, Any], folder: Path, path: Path) -> str:
    """How the files' names end, as .nii.gz; v1 of the format does not tell and has that one only."""
    ending = as_text(description.get("file_ending", ".nii.gz"), "`file_ending`", str(path))
    if not re.fullmatch(r"(\.\w+)+", ending):
        raise DataError(f"`file_ending` is the end of file names, as .nii.gz; {path} has {shown(ending)}. Correct it.")
    files = _visible(folder)
    if files and not any(file.name.endswith(ending) for file in files):
        raise DataError(
            f"The images must end as dataset.json says, in {ending}; {files[0]} and all others beside it do not. "
            "Correct `file_ending`."
        )
    return ending


def _channel_files(folder: Path, ending: str) -> Files:
    """CASE_0000.nii.gz and so on, by case and channel."""
    cases: Files = {}
    for path in _visible(folder):
        found = re.fullmatch(r"(.+)_([0-9]{4})", path.name.removesuffix(ending))
        if found and path.name.endswith(ending):
            cases.setdefault(found[1], {})[int(found[2])] = path
    return cases


def _mask_files(folder: Path, ending: str) -> dict[str, Path]:
    return {path.name.removesuffix(ending): path for path in _visible(folder) if path.name.endswith(ending)}


def _visible(folder: Path) -> Sequence[Path]:
    """Files of a folder, sorted; none if it does not exist."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"Data must be readable; {folder} is not ({error.strerror}). Check the permissions.") from error
    for path in found:
        plain_text(path.name, "a file name", f"the folder {folder}")
    return sorted(found, key=lambda path: natural(path.name))


def _check_count(description: Mapping[str, Any], count: int, problems: Problems) -> None:
    told = description.get("numTraining")
    if told is not None and told != count:
        problems.caution(f"dataset.json says numTraining {shown(told)}, and there are {count} training cases.")


def _modalities(channels: tuple[str, ...], cases: Sequence[Mapping[int, Path]], path: Path) -> tuple[Modality, ...]:
    """One per channel; a single one where pictures hold all channels (RGB) in one file."""
    present = sorted({channel for case in cases for channel in case})
    if len(channels) > 1 and present == [0] and all(case[0].suffix.lower() in PICTURES for case in cases):
        return (Modality("image", "other"),)
    if present and present[-1] >= len(channels):
        raise DataError(
            f"dataset.json must name every channel; {path} names {len(channels)} ({enumerated(channels)}), and some "
            f"case has a file of channel {present[-1]:04d}. Name it or remove the files."
        )
    unique = [f"{name} {n}" if channels.count(name) > 1 else name for n, name in enumerate(channels)]
    return tuple(Modality(name, _kind(channel)) for name, channel in zip(unique, channels, strict=True))


def _kind(channel: str) -> ChannelKind | None:
    return "other" if channel.lower() in UNTOUCHED else channel_kind(channel)


def _entries(
    files: Files,
    masks: Mapping[str, Path],
    split: SplitName | None,
    where: str,
    modalities: Sequence[Modality],
    before: int,
) -> list[Entry]:
    """The cases that have a mask, numbered from `before` + 1."""
    return [
        Entry(
            case=Case(f"case-{number:05d}", f"case-{number:05d}", split=split, origin=f"{where}/{case}"),
            images=tuple(files.get(case, {}).get(channel) for channel in range(len(modalities))),
            mask=mask,
        )
        for number, (case, mask) in enumerate(masks.items(), before + 1)
    ]
