"""MONAI and Medical Segmentation Decathlon datalists: a .json file that lists images with their labels.

{"training": [{"image": "a.nii.gz" or [one path per modality], "label": "a_mask.nii.gz" or 1 or [0, 1], "fold": 0},
 ...], "validation": [...], "testing" or "test": [...], "modality": {"0": "CT"}, "labels": {"0": "background", ...}}

Paths count from the file's folder, or from `dataroot`. A label is a mask if it is a path, a class if it is a number or
a word, and one value per label (0, 1, or null where unknown) if it is a list. `mask`, `region`, `patient` and `id` may
stand beside; `data.columns` names other keys for the same. Entries to test on without a label are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archimed.data.dataset import SplitName
from archimed.data.formats.datalist_entries import EntryReader, entry_keys
from archimed.data.formats.fields import SPLIT_WORDS, enumerated, file_path
from archimed.data.formats.json_files import as_list, as_object, as_text, given_name, numbered_names, read_json, shown
from archimed.data.formats.listing_rules import apply_rules, channel_kind
from archimed.data.listing import Entry, Listing, Modality
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError

PARTS: Mapping[str, SplitName] = {**SPLIT_WORDS, "testing": "test"}


def list_datalist(path: Path, settings: DataSettings, problems: Problems) -> Listing:
    """The cases of one datalist; flaws of single entries go to `problems`, of the list are raised as DataError."""
    content = as_object(read_json(path), "A datalist", str(path))
    parts = _parts(content, path)
    entries = _official(_entries(content, parts, path, settings, problems), problems)
    _check_count(content, parts, path, problems)
    listing = Listing(
        name=given_name(content, path.stem, str(path)),
        source_kind="datalist",
        entries=tuple(entries),
        modalities=_modalities(content, len(entries[0].images), path),
        label_names=_label_names(content, entries[0].label, path),
        mask_names=_mask_names(content, path) if entries[0].mask is not None else (),
        patients_known=all(entry.case.patient != entry.case.id for entry in entries),
    )
    return apply_rules(listing, settings, problems)


def _parts(content: Mapping[str, Any], path: Path) -> dict[SplitName, list[Any]]:
    """The entries of each split that the file names."""
    parts: dict[SplitName, list[Any]] = {}
    for key, split in PARTS.items():
        if content.get(key) is None:
            continue
        if split in parts:
            raise DataError(f"A datalist names each part once; {path} has {key!r} under another word too. Join them.")
        parts[split] = as_list(content[key], f"The part {key!r}", str(path))
    if "train" not in parts:
        step = "It describes an nnU-Net folder: name the folder." if "channel_names" in content else "Add it."
        raise DataError(f"A datalist has a list 'training'; {path} has {enumerated(map(shown, content), 10)}. {step}")
    return parts


def _entries(
    content: Mapping[str, Any],
    parts: Mapping[SplitName, list[Any]],
    path: Path,
    settings: DataSettings,
    problems: Problems,
) -> list[Entry]:
    """The entries that can be used, which are alike in what their labels are and in the number of images."""
    reader = EntryReader(_root(content, path), entry_keys(settings, path))
    entries: list[Entry] = []
    ids: set[str] = set()
    unlabelled = 0
    for number, (split, origin, value) in enumerate(_values(parts, path), 1):
        if split == "test" and not reader.has_target(value):
            unlabelled += 1
            continue
        try:
            entry = reader.read(value, f"case-{number:05d}", split, origin)
            if entry.case.id in ids:
                raise DataError(f"Ids must be unique; {origin} repeats {shown(entry.case.id)}. Rename one.")
            if entries and _form(entry) != _form(entries[0]):
                raise DataError(
                    f"All entries must be alike; {entries[0].case.origin} has {_form(entries[0])} and {origin} has "
                    f"{_form(entry)}. Correct one of them."
                )
        except DataError as error:
            problems.fatal(str(error))
        else:
            ids.add(entry.case.id)
            entries.append(entry)
    if not entries:
        raise DataError(f"A datalist needs entries that can be used; {path} has none. Add images with labels.")
    if unlabelled:
        problems.caution(f"{unlabelled} test entries of {path.name} have no label and were left out.")
    return entries


def _root(content: Mapping[str, Any], path: Path) -> Path:
    """The folder that paths count from."""
    root = next((content[key] for key in ("dataroot", "data_root") if content.get(key) is not None), ".")
    return file_path(as_text(root, "`dataroot`", str(path)), path.parent, "`dataroot`", str(path))


def _values(parts: Mapping[SplitName, list[Any]], path: Path) -> Iterator[tuple[SplitName, str, Any]]:
    """Split, place for messages, and content of each entry."""
    for split, values in parts.items():
        for number, value in enumerate(values, 1):
            yield split, f"{split} entry {number} of {path.name}", value


def _form(entry: Entry) -> str:
    """What an entry has, in words."""
    label = f"{len(entry.label)} labels" if isinstance(entry.label, tuple) else "a class" if entry.label else "a mask"
    return f"{len(entry.images)} images and {label}"


def _official(entries: list[Entry], problems: Problems) -> list[Entry]:
    """Splits are official only if there is more than one; folds make way for a validation part."""
    splits = {entry.case.split for entry in entries}
    if splits == {"train"}:
        return [replace(entry, case=replace(entry.case, split=None)) for entry in entries]
    if "validation" in splits and any(entry.case.fold for entry in entries):
        problems.caution("The datalist names a validation part and folds: the part is used and the folds are not.")
        return [replace(entry, case=replace(entry.case, fold=None)) for entry in entries]
    return entries


def _check_count(
    content: Mapping[str, Any], parts: Mapping[SplitName, list[Any]], path: Path, problems: Problems
) -> None:
    told, there = content.get("numTraining"), len(parts["train"])
    if told is not None and told != there:
        problems.caution(f"numTraining is {shown(told)}, and there are {there} training entries in {path.name}.")


def _modalities(content: Mapping[str, Any], count: int, path: Path) -> tuple[Modality, ...]:
    """As the file names them; the channels of a single file, such as the four of a 4D one, have one name together."""
    told = content.get("channel_names", content.get("modality"))
    names = numbered_names(told, "A modality", str(path)) if told else ()
    if count == 1 and len(names) > 1:
        kinds = {channel_kind(name) for name in names}
        return (Modality("image", kinds.pop() if len(kinds) == 1 else None),)
    if names and len(names) != count:
        raise DataError(
            f"A datalist names a modality for each image of a case; {path} names {len(names)}, and its entries have "
            f"{count}. Correct `modality`."
        )
    if len(set(names)) < len(names):
        raise DataError(f"Modalities must have different names; {path} has {enumerated(names)}. Rename one.")
    if not names:
        return (Modality("image"),) if count == 1 else tuple(Modality(f"image {n}") for n in range(1, count + 1))
    return tuple(Modality(name, channel_kind(name)) for name in names)


def _label_names(content: Mapping[str, Any], label: object, path: Path) -> tuple[str, ...]:
    """Names for the values of lists of labels."""
    if not isinstance(label, tuple):
        return ()
    names = numbered_names(content["labels"], "A label", str(path)) if content.get("labels") else ()
    if names and len(names) != len(label):
        raise DataError(
            f"A datalist names each label; {path} names {len(names)}, and its entries have {len(label)}. Correct "
            "`labels`."
        )
    return names or tuple(f"label {number}" for number in range(1, len(label) + 1))


def _mask_names(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Class names by their number in the masks; none if the file does not tell."""
    names = numbered_names(content["labels"], "A class", str(path)) if content.get("labels") else ()
    if len(names) == 1 or len(names) > 256:
        raise DataError(
            f"A segmentation has a background and 1 to 255 classes; {path} names {len(names)} in all. Correct `labels`."
        )
    return names
