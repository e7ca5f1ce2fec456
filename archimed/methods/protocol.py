"""What a method is: a space, a search and a training recipe, and one verb that turns data into genotypes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from archimed.candidate import Candidate
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.genotype import Genotype
from archimed.spaces import SearchSpace
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe
from archimed.workers import Crew

DataSets = Literal["one", "together", "apart"]


@dataclass(frozen=True)
class SearchProblem:
    """What a search may see of the data: the training and validation part of one fold, never the test part.

    Attributes:
        task: the task at the image size of the search.
        train: training images and targets.
        validation: validation images and targets.
        normalise: fitted on `train`.
        seed: the seed of this repeat; every stream of random numbers derives from it.
        machine: threads, device, precision.
        crew: who scores candidates, and what one may take.
        patients: who each training case is of; empty if every case counts as its own. Kept in memory only.
        beside: the same of the other data sets, for methods that search on several together; one image size and
            number of channels holds for all.
        name: what the data set is called.
    """

    task: ImagingTask
    train: Subset
    validation: Subset
    normalise: Normalisation
    seed: int
    machine: Machine
    crew: Crew = field(default_factory=Crew)
    patients: tuple[str, ...] = field(default=(), repr=False)
    beside: "tuple[SearchProblem, ...]" = ()
    name: str = ""


@dataclass(frozen=True)
class Journal:
    """Where a search finds what it did before an interruption and tells what it does.

    Attributes:
        known: the candidates logged so far, in order; a search takes their results instead of measuring again.
        record: called with each newly measured candidate.
        progress: called with (units done, units planned, what they are and how it goes).
        stop: asked between candidates or steps; True ends the search with what it has.
        seconds_left: how long until `stop` says so; infinite without a limit.
        folder: where a search that learns keeps its state between interruptions, its own; None keeps none.
        restore_epochs: called once, before new epochs, with the records of all epochs that the state holds.
        record_epoch: called with the record of each new epoch, after its state is on disk.
        say: called with what a person should know, in a sentence.
    """

    known: Sequence[Candidate] = ()
    record: Callable[[Candidate], None] = lambda _: None
    progress: Callable[[float, float, str], None] = lambda _done, _planned, _note: None
    stop: Callable[[], bool] = lambda: False
    seconds_left: Callable[[], float] = lambda: math.inf
    folder: Path | None = None
    restore_epochs: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None
    record_epoch: Callable[[Mapping[str, Any]], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Selection:
    """One network that a search chose, under the name it has in the run."""

    network: str
    space: SearchSpace
    genotype: Genotype
    rule: str
    measurements: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchOutcome:
    """What came of a search: its selections, and how many unique candidates it scored one by one (0 if it learnt)."""

    selections: tuple[Selection, ...]
    unique_candidates: int


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass, one file per paper. Its fields are the sections `space`, `search` and `training` of a run.

    `name` is what the command line calls it and the name of its network in a run; `presets` are overlays of dotted
    settings, at least `quick` and `paper`; `searched_baselines` are the baselines that a search gives: its own, or
    that of `pool`. A method that takes several `--data` also has `data_sets`, see `data_sets_of`; one whose paper
    compares with other fixed networks has `named_baselines`, see `named_baselines_of`; one that needs more of the data
    than the splits promise has `check_problem`, see `check_problem`; one whose search spreads its candidates over the
    problem's crew has `spreads_its_search`, see there.
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    searched_baselines: ClassVar[tuple[str, ...]]

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        ...

    @property
    def search(self) -> Any:
        """The settings of the search: a frozen pydantic dataclass with at least `image_size`, `planned_candidates`."""
        ...

    @property
    def training(self) -> Recipe:
        """How every network of the run is trained, the baselines included."""
        ...

    def pool(self, unique_candidates: int) -> "Method | None":
        """The search that gives `searched_baselines`, at the cost of this one; None if `run_search` gives them too."""
        ...

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long one search will take, by a short trial."""
        ...

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Search, and choose by a rule that never sees the test part."""
        ...


def data_sets_of(method: Method) -> DataSets:
    """How many data sets a method takes: `one`, or several, searched `together` or each by itself (`apart`)."""
    found: DataSets = getattr(method, "data_sets", "one")
    return found


def check_problem(method: Method, problem: SearchProblem) -> None:
    """Raise now what the search would raise at its start, DataError or SettingsError, as far as the method can tell."""
    check: Callable[[SearchProblem], None] | None = getattr(method, "check_problem", None)
    if check is not None:
        check(problem)


def spreads_its_search(method: Method) -> bool:
    """Whether a search measures its candidates on the workers of the run; if not, whole searches are spread."""
    found: bool = getattr(method, "spreads_its_search", False)
    return found


def named_baselines_of(method: Method) -> tuple[str, ...]:
    """The fixed networks that `--baselines all` means for this method besides those of every method."""
    found: tuple[str, ...] = getattr(method, "named_baselines", ())
    return found
