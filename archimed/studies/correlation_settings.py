"""What a correlation is asked: a space, indicators, how many networks, and the short training that judges them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.data.settings import DataSettings
from archimed.errors import SettingsError
from archimed.evaluation.settings import EvaluationSettings
from archimed.evaluators.training_free import ALWAYS
from archimed.experiment.layers import laid_over
from archimed.experiment.settings import Experiment, MachineSettings, section, source_names, whole_number
from archimed.indicators import INDICATORS, find_indicators
from archimed.methods.budget_settings import BudgetSettings
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem
from archimed.spaces import SearchSpace, space_from_settings
from archimed.training.recipe import Recipe
from archimed.userfile import part_name

NAME = "correlate"  # in experiment.yaml, where runs name their method
SHORT = Recipe(epochs=10, early_stop_patience=None)  # ours: long enough to tell good from bad, short enough for fifty


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CorrelationSettings(BudgetSettings):
    """Which networks are drawn, and by what they are measured before they are trained."""

    indicators: tuple[str, ...] = Field(
        default=tuple(name for name in INDICATORS if name not in ALWAYS),
        min_length=1,
        description="training-free indicators, or path/file.py:function of your own; parameters and macs are counted "
        "beside them",
    )
    networks: int = Field(default=50, ge=3, description="unique networks drawn at random and trained")
    batch_size: int = Field(
        default=64, ge=2, description="training images that indicators look at (Abdelfattah et al., 2021)"
    )
    image_size: int | None = Field(
        default=None, ge=8, description="pixels per side of these images; empty: as those trained on"
    )

    def __post_init__(self) -> None:
        find_indicators(self.indicators)

    @property
    def planned_candidates(self) -> int:
        """Networks that are measured at most."""
        return self.networks

    @property
    def measured(self) -> tuple[str, ...]:
        """The indicators, and what is counted beside them."""
        return tuple(dict.fromkeys((*map(part_name, self.indicators), *ALWAYS)))


@dataclass(frozen=True)
class Correlation:
    """What stands in the place of a method: a space and a recipe, and no search."""

    space: SearchSpace
    search: CorrelationSettings = field(default_factory=CorrelationSettings)
    training: Recipe = SHORT

    name: ClassVar[str] = NAME
    searched_baselines: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def pool(self, unique_candidates: int) -> None:
        """None: there are no baselines."""

    def search_seconds(self, problem: SearchProblem) -> float:  # noqa: ARG002
        """Nothing is searched."""
        return 0.0

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:  # noqa: ARG002
        """Nothing is searched."""
        return SearchOutcome((), 0)


def resolve_correlation(
    space: str, config: Path | None, assignments: Sequence[str], flags: Mapping[str, Any]
) -> Experiment:
    """Lay file, `--set` and the command line's own options over the defaults, and check all of it.

    Args:
        space: name of a search space, or `file.py:Object`.
        config: a YAML file of settings; the experiment.yaml of a correlation repeats it.
        assignments: `key=value` texts.
        flags: dotted settings of the command line's own options; None means not given.

    Raises:
        SettingsError: a setting is unknown or cannot hold its value, there are no data, or nothing to choose.
    """
    defaults = Correlation(space=space_from_settings(space, {}, trust_files=True))
    if not defaults.space.choices:
        raise SettingsError(
            f"A correlation draws networks of a search space; {space} holds one network alone. "
            "The spaces are listed by: archimed list spaces"
        )
    own = Experiment(
        method_name=NAME,
        method=defaults,
        sources=(),
        data=DataSettings(),
        evaluation=EvaluationSettings(baselines="none"),
        machine=MachineSettings(),
        seed=0,
        repeats=1,
        budget_seconds=None,
    )
    document = laid_over(own.document(), NAME, config, assignments, flags)
    return correlation_from_document(document)


def correlation_from_document(document: Mapping[str, Any]) -> Experiment:
    """Check a whole document and build what it describes."""
    fields = dict(document["space"])
    name = str(fields.pop("name"))
    if whole_number("repeats", document["repeats"], least=1) != 1:
        raise SettingsError(f"A correlation trains each network once; got repeats={document['repeats']}. Leave it out.")
    return Experiment(
        method_name=NAME,
        method=Correlation(
            space=space_from_settings(name, fields, trust_files=True),
            search=section("search", CorrelationSettings, document["search"]),
            training=section("training", Recipe, document["training"]),
        ),
        sources=source_names(document["sources"]),
        data=section("data", DataSettings, document["data"]),
        evaluation=section("evaluation", EvaluationSettings, document["evaluation"]),
        machine=section("machine", MachineSettings, document["machine"]),
        seed=whole_number("seed", document["seed"], least=0),
        repeats=1,
        budget_seconds=None,
    )
