"""What a source says of its own form, so that several can differ: --data 'folder?image_pattern=*.png&channels=3'."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from archimed.data.settings import DataSettings
from archimed.errors import SettingsError

OWN = (  # of the fields of DataSettings, those that tell of one source and not of the run
    *("image_size", "fit", "spacing_mm", "channels", "modalities", "kind", "missing_modality", "columns"),
    *("label_columns", "labels", "image_pattern", "mask_pattern", "mask_values", "roi", "region_margin_mm", "ordinal"),
    "positive_class",
)


def own_settings(source: str, settings: DataSettings) -> tuple[str, DataSettings]:
    """The source without its options, and the settings with them.

    Options follow the first `?` as `name=value`, with `&` between them; values are written as for `--set data.name`,
    and `columns.<role>=<column>` sets one column. What a phantom says after `?` is its own matter.

    Raises:
        SettingsError: an option is no setting of one source, or cannot hold its value.
    """
    path, mark, options = source.partition("?")
    if not mark or source.startswith("phantom:") or Path(source).expanduser().exists():
        return source, settings
    values: dict[str, Any] = {}
    for option in options.split("&"):
        name, equals, text = option.partition("=")
        field, _, role = name.partition(".")
        if not equals or field not in OWN or (role and field != "columns"):
            near = difflib.get_close_matches(field, OWN, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(OWN)}."
            raise SettingsError(
                f"After ? a source sets data settings, as in ?channels=3&kind=mr; got {option!r}. {hint}"
            )
        if role:
            values["columns"] = {**values.get("columns", settings.columns), role: text}
        else:
            values[field] = _value(text, isinstance(getattr(settings, field), tuple) or field == "modalities")
    fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    try:
        found: DataSettings = TypeAdapter(DataSettings).validate_python(fields | values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "an option"
        told = f"{first['msg'][0].lower()}{first['msg'][1:]}; got {first['input']!r}"
        raise SettingsError(f"After ? of {path}: {name}: {told}. Correct it.") from None
    return path, found


def _value(text: str, is_list: bool) -> Any:
    """A value as written for `--set`: YAML, else plain text; commas make lists where there can be several."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value.split(",") if is_list and isinstance(value, str) else value
