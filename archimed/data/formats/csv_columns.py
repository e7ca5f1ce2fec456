"""Which column of a CSV table holds what: by its name, or as `data.columns` and the settings of labels say."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from archimed.data.formats.fields import UNKNOWN, enumerated, nearest, plain_text
from archimed.data.settings import DataSettings
from archimed.errors import DataError

ROLES = ("id", "image", "label", "mask", "patient", "split", "fold", "region", "lesion_area", "sex", "age", "scanner")
GROUPS = ("sex", "age", "scanner")  # by which results are told apart
IMAGE_PREFIX = "image_"
LABEL_PREFIX = "label_"
FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Row:
    """A row of the table: its place for messages, and its fields by column."""

    number: int
    origin: str
    values: Mapping[str, str] = field(repr=False)

    def get(self, column: str) -> str:
        """The field without blanks; empty if programs would read it as missing."""
        value = plain_text(self.values[column], f"column {column!r}", self.origin)
        return "" if value in UNKNOWN else value


@dataclass(frozen=True)
class Source:
    """Where a table keeps something: in a column, or in several that a template puts together.

    Attributes:
        columns: the columns it takes values from.
        template: the text around them, as in "{patient}/CT.nii.gz"; None for a column as it is.
    """

    columns: tuple[str, ...]
    template: str | None = None

    def of(self, row: Row) -> str:
        """The text for a row; empty if a field that it needs is empty."""
        if self.template is None:
            return row.get(self.columns[0])
        values = {column: row.get(column) for column in self.columns}
        if not all(values.values()):
            return ""
        return FIELD.sub(lambda found: values[found[1].strip()], self.template)


@dataclass(frozen=True)
class Columns:
    """Where a table keeps what.

    Attributes:
        images: by modality, in order; "image" for the only one.
        labels: by label, for a multi-label task.
        roles: the rest (`ROLES` without image), for those that the table has.
    """

    images: Mapping[str, Source]
    labels: Mapping[str, Source]
    roles: Mapping[str, Source]

    def text(self, role: str, row: Row) -> str:
        """What a row says for a role; empty if it says nothing or the table does not have it."""
        return self.roles[role].of(row) if role in self.roles else ""


def find_columns(header: Sequence[str], settings: DataSettings, path: Path, *, labelled: bool = True) -> Columns:
    """Columns by their names, unless the settings say otherwise.

    Of a table that is not `labelled`, targets are passed over, and so is what the settings name and the table lacks.

    What the settings name takes the place of all columns that would otherwise do the same: labels and masks make way
    for a target of `data.columns`, `data.label_columns` or `data.labels`, `image` for `image_<modality>`.

    Raises:
        DataError: a column or role is unknown, or the table lacks images or has not exactly one kind of target.
    """
    _check_header(header, path)
    if not labelled:
        settings = _without_targets(header, settings)
    asked = {role.strip(): _source(role.strip(), text, header, path) for role, text in settings.columns.items()}
    setting = "data.label_columns" if settings.label_columns else "data.labels"
    for column in settings.label_columns or _plain_labels(settings.labels, header):
        asked[LABEL_PREFIX + column.removeprefix(LABEL_PREFIX)] = _column(column, setting, header, path)
    found = {name: Source((name,)) for name in header if _is_role(name) and (labelled or not _is_target(name))}
    given = [role for role, source in asked.items() if source is not None]
    if any(_is_target(role) for role in given):
        found = {role: source for role, source in found.items() if not _is_target(role)}
    if "image" in given:
        found = {role: source for role, source in found.items() if not role.startswith(IMAGE_PREFIX)}
    if any(role.startswith(IMAGE_PREFIX) for role in given):
        found.pop("image", None)
    sources = {role: source for role, source in {**found, **asked}.items() if source is not None}
    _check_roles(sources, header, path)
    if labelled:
        _check_target(sources, header, path)
    by_modality = {role.removeprefix(IMAGE_PREFIX): one for role, one in sources.items() if role.startswith("image")}
    by_label = {role.removeprefix(LABEL_PREFIX): one for role, one in sources.items() if role.startswith(LABEL_PREFIX)}
    return Columns(by_modality, by_label, {role: one for role, one in sources.items() if role in ROLES})


def _without_targets(header: Sequence[str], settings: DataSettings) -> DataSettings:
    """The settings without columns of labels and masks, and without those that the table lacks."""
    kept = {
        role: text
        for role, text in settings.columns.items()
        if not _is_target(role.strip()) and {*(FIELD.findall(text) or [text])} <= {*header, ""}
    }
    return dataclasses.replace(settings, columns=kept, label_columns=(), labels=())


def _plain_labels(names: Sequence[str], header: Sequence[str]) -> Sequence[str]:
    """Columns of labels that `data.labels` names, if some are not called `label_<name>`; else none."""
    prefixed = [LABEL_PREFIX + name for name in names]
    if all(name in header for name in prefixed):
        return ()
    return [column if column in header else name for name, column in zip(names, prefixed, strict=True)]


def _is_role(name: str) -> bool:
    return name in ROLES or any(name.startswith(prefix) and name != prefix for prefix in (IMAGE_PREFIX, LABEL_PREFIX))


def _is_target(role: str) -> bool:
    return role in ("label", "mask") or role.startswith(LABEL_PREFIX)


def _source(role: str, text: str, header: Sequence[str], path: Path) -> Source | None:
    """What a setting `data.columns.<role>` means; None if it is empty, so that no column has that role."""
    if not _is_role(role):
        raise DataError(
            f"data.columns knows the roles {', '.join(ROLES)}, image_<modality> and label_<name>; got {role!r}."
            f"{nearest(role, ROLES)} Correct the setting."
        )
    setting = f"data.columns.{role}"
    text = plain_text(text, setting, "the settings")
    if not text:
        return None
    fields = tuple(name.strip() for name in FIELD.findall(text))
    if not fields:
        return _column(text, setting, header, path)
    for name in fields:
        _column(name, setting, header, path)
    return Source(tuple(dict.fromkeys(fields)), text)


def _column(name: str, setting: str, header: Sequence[str], path: Path) -> Source:
    if name not in header:
        raise DataError(
            f"{setting} names columns of the table; {path} has {enumerated(header)}, not {name[:50]!r}."
            f"{nearest(name, header)} Correct the setting."
        )
    return Source((name,))


def _check_header(header: Sequence[str], path: Path) -> None:
    for name in header:
        plain_text(name, "the header", str(path))
    repeated = sorted({name for name in header if header.count(name) > 1}) if len(set(header)) < len(header) else []
    if repeated:
        raise DataError(f"Column names must be unique; {path} repeats {enumerated(repeated)}. Rename or remove one.")


def _check_roles(sources: Mapping[str, Source], header: Sequence[str], path: Path) -> None:
    modalities = [role for role in sources if role.startswith(IMAGE_PREFIX)]
    if not modalities and "image" not in sources:
        raise DataError(
            "A table needs the column `image` or columns `image_<modality>` with the path of each image; "
            f"{path} has {enumerated(header)}.{nearest('image', header)} Rename the column of the paths, or name it "
            "with --set data.columns.image=NAME."
        )
    if modalities and "image" in sources:
        raise DataError(
            f"A table needs either the column `image` or columns `image_<modality>`; {path} has both: image, "
            f"{enumerated(modalities)}. Leave one out, as with --set data.columns.{modalities[0]}= (nothing after it)."
        )


def _check_target(sources: Mapping[str, Source], header: Sequence[str], path: Path) -> None:
    labels = [role for role in sources if role.startswith(LABEL_PREFIX)]
    targets = [role for role in ("label", "mask") if role in sources] + labels[:1]
    if len(targets) == 1:
        return
    rule = f"A table needs either the column `label`, columns `label_<name>`, or the column `mask`; {path} has"
    if not targets:
        raise DataError(
            f"{rule} neither: {enumerated(header)}.{nearest('label', header)} Rename the column, or name it with --set "
            "data.columns.label=NAME, or name several with --set data.labels=A,B."
        )
    use_region = " (a mask may be the region of interest: --set data.columns.region=mask)" if "mask" in targets else ""
    raise DataError(
        f"{rule} both {' and '.join(targets)}. Leave one out, as with --set data.columns.{targets[1]}= "
        f"(nothing after it){use_region}."
    )
