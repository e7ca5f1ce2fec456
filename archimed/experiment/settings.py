"""One resolved document holds every setting of a run: defaults, then preset, then file, then `--set`."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.data.own_files import remember_named
from archimed.data.settings import DataSettings
from archimed.errors import SettingsError
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.tune_settings import TuneSettings
from archimed.files import read_yaml
from archimed.methods import find_method
from archimed.methods.protocol import Method
from archimed.runs.directory import first_line
from archimed.spaces import space_from_settings, space_settings
from archimed.userfile import is_user_object
from archimed.workers import Crew

GIVEN = ("archimed", "method")  # of the document, but no settings: the program's version and the command's own word
SECTIONS = ("data", "space", "search", "training", "tune", "evaluation", "machine")
# whose default, none or one word, does not tell
LISTS = (("search", "objectives"), ("data", "modalities"), ("space", "modalities"))


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MachineSettings:
    """What of the machine a run uses. Empty ones are chosen by measuring at the start, recorded, and reused."""

    device: str = Field(default="auto", description="where networks run: auto, cpu, cuda or cuda:<index>")
    workers: int = Field(
        default=1, ge=1, description="candidates, or trainings of folds and seeds, that are worked on at a time"
    )
    cluster: str | None = Field(
        default=None,
        description="address of the Ray cluster whose nodes do the work, auto for that of this machine, local to start "
        "one here; empty: processes of this machine",
    )
    candidate_seconds: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which a candidate is dropped; empty: 600 until three are measured, then twenty "
        "times their median and at least 60 (ours)",
    )
    candidate_gib: float | None = Field(
        default=None,
        gt=0,
        description="memory in GiB that measuring a candidate may take, on Linux and a CPU; more fails and drops it; "
        "empty: what is free at the start",
    )
    threads: int | None = Field(
        default=None, ge=1, description="processor threads per process; empty: chosen by the load"
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        default=None, description="arithmetic of training; empty: the faster one, by a short trial"
    )
    memory_format: Literal["contiguous", "channels_last"] | None = Field(
        default=None, description="order of image memory; empty: the faster one, by a short trial"
    )


@dataclass(frozen=True)
class Experiment:
    """Everything that is asked of one run.

    `method_name` is how the user named the method; `architecture` the run whose architecture is trained in place of a
    search, as the user typed it, None if there is a search.
    """

    method_name: str
    method: Method
    sources: tuple[str, ...]
    data: DataSettings
    evaluation: EvaluationSettings
    machine: MachineSettings
    seed: int
    repeats: int
    budget_seconds: float | None
    architecture: str | None = None
    tune: TuneSettings = field(default_factory=TuneSettings)

    @property
    def crew(self) -> Crew:
        """Who works, and what a candidate may take."""
        machine = self.machine
        return Crew(machine.workers, machine.cluster, machine.candidate_seconds, machine.candidate_gib)

    @property
    def seeds(self) -> range:
        """One seed per repeat: seed, seed + 1, ..."""
        return range(self.seed, self.seed + self.repeats)

    def document(self) -> dict[str, Any]:
        """The resolved document, as experiment.yaml holds it."""
        return {
            "archimed": version("archimed"),
            "method": self.method_name,
            "sources": list(self.sources),
            "seed": self.seed,
            "repeats": self.repeats,
            "budget_seconds": self.budget_seconds,
            "data": plain(self.data),
            "space": space_settings(self.method.space),
            "search": plain(self.method.search),
            "training": plain(self.method.training),
            "tune": plain(self.tune),
            "evaluation": plain(self.evaluation),
            "machine": plain(self.machine),
            **({"architecture": self.architecture} if self.architecture else {}),
        }


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


def own_search_parts(values: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the user's own that settings of a search name, each with the setting: indicators, strategies."""
    found: dict[str, str] = {}
    for key, value in flatten(values).items():
        if key.startswith("search."):
            texts = value if isinstance(value, list | tuple) else str(value).split(",")
            found |= {str(text): key for text in texts if is_user_object(str(text))}
    return found


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


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested sections as dotted keys; dotted keys stay."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": setting for inner, setting in value.items()}
        else:
            flat[key] = value
    return flat


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


def experiment_from_document(
    document: Mapping[str, Any], trust_files: bool = False, searches: bool = True
) -> Experiment:
    """Check a whole document and build what it describes.

    Args:
        document: as `Experiment.document` gives it.
        searches: whether the search may be run: if not, indicators and the like from the user's own files, which only
            a search needs, do not stand in the way, and the section `search` is that of the defaults.
        trust_files: whether a method or space named `path/file.py:Object` may be imported: only if the user typed it
            just now.

    Raises:
        SettingsError: a setting is missing, unknown or cannot hold its value; one line names it.
    """
    needed = ("method", "sources", "seed", "repeats", *SECTIONS)
    if missing := [name for name in needed if name not in document and name != "tune"]:  # which older runs lack
        raise SettingsError(f"The settings of a run name all of them; {missing[0]!r} is missing. Start the run anew.")
    for name in SECTIONS:
        if not isinstance(document.get(name, {}), Mapping):
            raise SettingsError(f"{name} is a section of settings by name; got {document[name]!r}. Start the run anew.")
    own = own_search_parts(document)
    fields = dict(document["space"])
    space = str(fields.pop("name", None))
    named = (str(document["method"]), space, *(own if searches else ()))
    for part in named:
        if is_user_object(part) and not trust_files:
            raise SettingsError(
                f"A part from a file executes that file, which needs your word; got {part!r}. "
                "If you trust it, go on with the command that began the run."
            )
    method_class = find_method(str(document["method"]))
    defaults = method_class()
    method = dataclasses.replace(  # type: ignore[type-var]
        defaults,
        space=space_from_settings(space, fields, trust_files),
        search=section("search", type(defaults.search), {} if own and not searches else document["search"]),
        training=section("training", type(defaults.training), document["training"]),
    )
    return Experiment(
        method_name=str(document["method"]),
        method=method,
        sources=source_names(document["sources"]),
        data=section("data", DataSettings, document["data"]),
        evaluation=section("evaluation", EvaluationSettings, document["evaluation"]),
        machine=section("machine", MachineSettings, document["machine"]),
        seed=whole_number("seed", document["seed"], least=0),
        repeats=whole_number("repeats", document["repeats"], least=1),
        budget_seconds=time_budget(document.get("budget_seconds")),
        architecture=document.get("architecture"),
        tune=section("tune", TuneSettings, document.get("tune", {})),
    )


def section(name: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Validate one section of the document into its settings dataclass."""
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join([name, *(str(part) for part in first["loc"][:1])])
        raise SettingsError(
            f"{setting}: {first['msg'][0].lower()}{first['msg'][1:]}; got {first['input']!r}. "
            f"Set it with --set {setting}=VALUE."
        ) from None


def whole_number(name: str, value: object, least: int) -> int:
    """A whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingsError(f"{name} is a whole number of at least {least}; got {value!r}.")
    return value


def source_names(value: object) -> tuple[str, ...]:
    """What `--data` names, one or several."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"sources are what --data names; got {value!r}. Name them with --data DATA.")
    return tuple(names)


def time_budget(value: object) -> float | None:
    """Seconds, None for as long as it takes."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise SettingsError(f"budget_seconds is a number above 0; got {value!r}. Set it with --budget 10m.")
    return float(value)


def plain(settings: object) -> dict[str, Any]:
    """A settings dataclass as JSON-like values."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json")  # type: ignore[no-any-return]


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
