"""Settings laid over one another: a method's defaults, preset, file, `--set`, the command's own options."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from archimed.data.own_files import remember_named
from archimed.data.settings import DataSettings
from archimed.errors import SettingsError
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.settings import (
    GIVEN,
    SECTIONS,
    Experiment,
    MachineSettings,
    experiment_from_document,
    flatten,
    own_search_parts,
    plain,
    source_names,
)
from archimed.experiment.tune_settings import TuneSettings
from archimed.files import read_yaml
from archimed.methods import find_method
from archimed.runs.directory import first_line
from archimed.spaces import space_from_settings, space_settings

# whose default, none or one word, does not tell
LISTS = (("search", "objectives"), ("data", "modalities"), ("space", "modalities"))


def resolve(
    method_name: str, preset: str, config: Path | None, assignments: Sequence[str], flags: Mapping[str, Any]
) -> Experiment:
    """Lay preset, file, `--set` and the command line's own options over a method's defaults, and check all of it.

    Args:
        method_name: name of a method or `file.py:Class`.
        preset: quick, default or paper.
        config: a YAML file of settings; a run's experiment.yaml repeats that run.
        assignments: `key=value` texts.
        flags: dotted settings of the command line's own options; None means not given.

    Raises:
        SettingsError: a setting is unknown or cannot hold its value, or there is no data.
    """
    document = overlay(default_document(method_name), preset_assignments(method_name, preset))
    document = laid_over(document, method_name, config, assignments, flags)
    return experiment_from_document({**document, "method": method_name}, trust_files=True)


def laid_over(
    document: dict[str, Any],
    method_name: str,
    config: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    architecture: str | None = None,
) -> dict[str, Any]:
    """A document with file, `--set` and the command line's own options over it; see `resolve`."""
    typed = dict(parse_assignment(text) for text in assignments)
    if config is not None:
        values = read_config(config, method_name, architecture)
        space = values.get("space")
        name = space.get("name") if isinstance(space, Mapping) else space
        refuse_untyped(own_search_parts(values), {**flags, **typed}, str(config))
        document = overlay(document, values, trust_files=name in (typed.get("space"), typed.get("space.name")))
    document = overlay(document, typed)
    document = overlay(document, {key: value for key, value in flags.items() if value is not None})
    if not document["sources"]:
        raise SettingsError("A run needs images: name them with --data DATA (try --data phantom:lesions2d).")
    remember_named(source_names(flags.get("sources") or typed.get("sources") or ()))
    return document


def refuse_untyped(parts: Mapping[str, str], typed: Mapping[str, Any], file: str) -> None:
    """Raise SettingsError where a file names a part from a file that the user did not type now."""
    for part, setting in parts.items():
        if part not in own_search_parts(typed):
            raise SettingsError(
                f"A part from a file executes that file, which needs your word; {file} names {part!r}. If you trust "
                f"it, add --set {setting}={part}"
            )


def read_config(path: Path, method_name: str, architecture: str | None = None) -> dict[str, Any]:
    """Settings from a YAML file; its method and transferred architecture, if it names them, must be the command's.

    Raises:
        SettingsError: the file cannot be read, is no mapping, or is of another method or architecture.
    """
    try:
        values = read_yaml(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--config takes a YAML file; {path} cannot be read: {first_line(error)}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"--config takes a YAML file of settings; {path} holds none.")
    if values.pop("method", method_name) != method_name:
        raise SettingsError(f"--config {path} is of another method than {method_name}. Name its own method.")
    values.pop("archimed", None)
    if (transfer := values.pop("architecture", architecture)) != architecture:
        raise SettingsError(
            f"--config {path} is of a run that trains the architecture of {transfer}. Give that too: archimed train "
            f"--architecture {transfer}"
        )
    return values


def default_document(method_name: str) -> dict[str, Any]:
    """The document of a method with nothing asked of it but its defaults.

    Raises:
        SettingsError: there is no such method.
    """
    return Experiment(
        method_name=method_name,
        method=find_method(method_name)(),
        sources=(),
        data=DataSettings(),
        evaluation=EvaluationSettings(),
        machine=MachineSettings(),
        seed=0,
        repeats=1,
        budget_seconds=None,
    ).document()


def preset_assignments(method_name: str, preset: str) -> dict[str, Any]:
    """The dotted settings that a preset of a method lays over the defaults, those of its preset `default` included.

    Raises:
        SettingsError: the method has no such preset.
    """
    presets: dict[str, Mapping[str, Any]] = {"default": {}, **find_method(method_name).presets}
    if preset not in presets:
        raise SettingsError(f"{method_name} has the presets {', '.join(presets)}; got {preset!r}.")
    return {**presets["default"], **presets[preset]}


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read one `key=value` of `--set`; values are YAML, and commas make lists; entries of mappings are plain text.

    Raises:
        SettingsError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingsError(f"--set takes key=value, as in --set training.epochs=20; got {text!r}.")
    if key.count(".") > 1:
        return key.strip(), value.strip()
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        return key.strip(), value


def overlay(document: dict[str, Any], values: Mapping[str, Any], trust_files: bool = True) -> dict[str, Any]:
    """A copy of the document with dotted or nested values laid over it.

    Another `space.name` brings that space's own fields with it; `data.columns.patient` sets one entry of a mapping.

    Args:
        document: the settings so far.
        values: what is laid over them.
        trust_files: whether a space named `path/file.py:Object` may be imported: not if a file names it.

    Raises:
        SettingsError: a key names no setting; the nearest known one is suggested.
    """
    flat = flatten(values)
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    chosen_space = None if "space" not in result else flat.pop("space.name", None) or flat.pop("space", None)
    if chosen_space is not None and chosen_space != result["space"]["name"]:
        result["space"] = space_settings(space_from_settings(str(chosen_space), {}, trust_files))
    for key, value in flat.items():
        section, _, name = key.partition(".")
        target = result.get(section) if name else result
        field = name or section
        mapping, _, entry = name.partition(".")
        if entry and isinstance(target, dict) and isinstance(target.get(mapping), dict):
            target[mapping] = {**target[mapping], entry: value}
            continue
        if not isinstance(target, dict) or field not in target or key in (*SECTIONS, *GIVEN):
            raise SettingsError(unknown_setting(key, result))
        target[field] = as_list(value) if is_list(section, field, result) else value
    return result


def is_list(section: str, field: str, document: Mapping[str, Any]) -> bool:
    """Whether a setting holds several values, so that a text with commas means a list."""
    values = document.get(section)
    known = values.get(field) if isinstance(values, Mapping) else None
    return isinstance(known, list) or (section, field) in LISTS


def as_list(value: Any) -> Any:
    """A text with commas, or a single number, as the list that it means."""
    if isinstance(value, str):
        return value.split(",")
    return [value] if isinstance(value, int | float) else value


def unknown_setting(key: str, document: Mapping[str, Any]) -> str:
    """The message for a key that names no setting."""
    known = [
        name
        for section, value in document.items()
        if section not in GIVEN
        for name in ([f"{section}.{field}" for field in value] if section in SECTIONS else [section])
    ]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "the settings are listed by: archimed list settings"
    return f"There is no setting {key!r}; {hint}"


def explain_settings(method_name: str) -> list[dict[str, str]]:
    """Every dotted setting of a method with its default, meaning, unit and source.

    Raises:
        SettingsError: there is no such method.
    """
    method = find_method(method_name)()
    kinds = {
        "data": DataSettings(),
        "space": method.space,
        "search": method.search,
        "training": method.training,
        "tune": TuneSettings(),
        "evaluation": EvaluationSettings(),
        "machine": MachineSettings(),
    }
    rows = []
    own = preset_assignments(method_name, "default")
    for name, settings in kinds.items():
        values = {setting: own.get(f"{name}.{setting}", value) for setting, value in plain(settings).items()}
        for setting, info in settings.__pydantic_fields__.items():
            default = "" if values[setting] is None else str(values[setting])
            rows.append({"name": f"{name}.{setting}", "default": default, "summary": info.description or ""})
    return rows
