"""One document holds every setting of a run; what it says, checked, is an experiment."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.data.settings import DataSettings
from archimed.errors import SettingsError
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.tune_settings import TuneSettings
from archimed.methods import find_method
from archimed.methods.protocol import Method
from archimed.spaces import space_from_settings, space_settings
from archimed.userfile import is_user_object
from archimed.workers import Crew

GIVEN = ("archimed", "method")  # of the document, but no settings: the program's version and the command's own word
SECTIONS = ("data", "space", "search", "training", "tune", "evaluation", "machine")


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
    candidates: Literal["threads", "processes"] | None = Field(
        default=None,
        description="how one worker's threads measure candidates: one at a time with all threads, or as many at a time "
        "as there are threads, in processes of one thread each; empty: the faster one, by a short trial",
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


def own_search_parts(values: Mapping[str, Any]) -> dict[str, str]:
    """The parts of the user's own that settings of a search name, each with the setting: indicators, strategies."""
    found: dict[str, str] = {}
    for key, value in flatten(values).items():
        if key.startswith("search."):
            texts = value if isinstance(value, list | tuple) else str(value).split(",")
            found |= {str(text): key for text in texts if is_user_object(str(text))}
    return found


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


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested sections as dotted keys; dotted keys stay."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": setting for inner, setting in value.items()}
        else:
            flat[key] = value
    return flat


def plain(settings: object) -> dict[str, Any]:
    """A settings dataclass as JSON-like values."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json")  # type: ignore[no-any-return]
