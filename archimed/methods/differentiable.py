"""What methods that learn an architecture by gradients share: their checks, the search and what is selected."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

from archimed.errors import SettingsError
from archimed.genotype import random_genotype
from archimed.methods.bilevel_data import CaseHalves, SearchData
from archimed.methods.bilevel_found import Found
from archimed.methods.bilevel_loop import search_bilevel
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.supernet_memory import build_supernet, settle_memory
from archimed.seeding import numpy_generator, torch_generator
from archimed.spaces import SearchSpace
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import BilevelSettings, Learner
from archimed.strategies.mixtures import draw_alpha
from archimed.training.losses import class_weights
from archimed.training.recipe import Recipe

OF_THE_SUPERNET = ("width", "num_cells")  # settings of the search that replace those of the space
TRIAL_STEPS = 2
VALIDATION_COST = 1 / 3  # of an image in validation, in units of a step on the weights on one: one pass of three
RULES = {
    "auc": "the epoch of the highest validation AUC of the supernet, of equals the lower loss, then the earlier",
    "loss": "the epoch of the lowest validation loss of the supernet, of equals the earlier",
    "dice": "the epoch of the highest validation Dice of the supernet, of equals the lower loss, then the earlier",
    "last": "the last epoch",
}


def searched_space(space: SearchSpace, settings: BilevelSettings) -> RelaxableSpace:
    """The space as the search sees it: with the supernet's width and number of cells.

    Raises:
        SettingsError: the space has no supernet, or not what the search would set.
    """
    if not isinstance(space, RelaxableSpace):
        raise SettingsError(
            f"A gradient search needs a space with a supernet; {type(space).__name__} has none. Use "
            "--set space.name=darts_cell or fusion_cell, or another method."
        )
    wanted = {name: getattr(settings, name, None) for name in OF_THE_SUPERNET}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    known: set[str] = {field.name for field in dataclasses.fields(space)} if dataclasses.is_dataclass(space) else set()
    if missing := [name for name in changes if name not in known]:
        raise SettingsError(
            f"search.{missing[0]} replaces that of the space, and {type(space).__name__} has none; got "
            f"{changes[missing[0]]}. Leave it out with --set search.{missing[0]}=null."
        )
    return dataclasses.replace(space, **changes)  # type: ignore[type-var]


def run_bilevel(
    name: str,
    space: SearchSpace,
    settings: BilevelSettings,
    training: Recipe,
    problem: SearchProblem,
    journal: Journal,
) -> SearchOutcome:
    """Search, derive the architecture of the epoch picked, and draw one at random from the same space beside it."""
    searched = searched_space(space, settings)
    weights = class_weights(problem.train.target, problem.task.num_outputs, training)
    found = search_bilevel(searched, settings, CaseHalves(problem, weights), journal)
    rule = f"derived from the mixture of {RULES[settings.pick_by]}"
    drawn = random_genotype(space.choices, numpy_generator(problem.seed, "random architecture"))
    return SearchOutcome(
        (
            Selection(name, space, searched.derive(found.mixture), rule, figures(found)),
            Selection("random-search", space, drawn, "one architecture drawn at random from the same space"),
        ),
        unique_candidates=0,
    )


def figures(found: Found) -> dict[str, float]:
    """What is told of the epoch that a search picked."""
    told = {"epoch": float(found.epoch), "validation_loss": found.validation_loss}
    return told | {f"validation_{key}": value for key, value in found.validation.items() if value is not None}


def bilevel_seconds(space: RelaxableSpace, settings: BilevelSettings, data: SearchData) -> float:
    """How long a search will take to its last epoch, from a few steps."""
    problem, machine = data.problem, data.problem.machine
    size = min(settings.batch_size, *data.sizes)
    steps = data.steps(1, size)
    with machine.session():
        memory = settle_memory(space, settings, data, lambda _: None)
        built = build_supernet(space, problem.task, settings, memory, problem.seed, data.further_tasks)
        supernet = machine.place_network(built)
        alpha = draw_alpha(space.mixed_choices, torch_generator(problem.seed, "alpha"))
        architecture = settings.architecture_step(alpha, problem.task, problem.seed)
        learner = Learner.of(supernet, architecture, settings, data.batch_loss)
        batches = steps[0][0](), steps[0][1]()
        on_weights = trial_seconds(lambda: float(learner.learn_weights(batches[0])))  # reading waits for a GPU
        on_alpha = trial_seconds(lambda: architecture.rehearse(learner, batches[1]))
    validation = VALIDATION_COST * on_weights * data.validation_size / size
    learning = settings.epochs - settings.warmup_epochs
    epochs = settings.epochs * (len(steps) * on_weights + validation)
    return epochs + learning * architecture.rehearsals(len(steps)) * on_alpha


def trial_seconds(step: Callable[[], object]) -> float:
    """The median time of a few steps, the first left out."""
    times = []
    for _ in range(TRIAL_STEPS + 1):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


class BilevelMethod:
    """What methods that search by gradients do alike; each is a frozen dataclass with these fields."""

    name: ClassVar[str]
    searched_baselines: ClassVar[tuple[str, ...]] = ("random-search",)
    space: SearchSpace
    search: BilevelSettings
    training: Recipe

    def __post_init__(self) -> None:
        searched_space(self.space, self.search)

    def pool(self, unique_candidates: int) -> None:
        """None: `run_search` draws the random architecture itself."""

    def check_problem(self, problem: SearchProblem) -> None:
        """DataError unless the cases can be halved and some judge an epoch."""
        CaseHalves(problem).sizes  # noqa: B018

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long all epochs take, from a few pairs of steps."""
        return bilevel_seconds(searched_space(self.space, self.search), self.search, CaseHalves(problem))

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Let weights and alpha learn in turn; derive per node the two strongest edges, each with its operation."""
        return run_bilevel(self.name, self.space, self.search, self.training, problem, journal)
