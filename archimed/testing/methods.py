"""The contract of a method: a space, a search and a recipe."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from archimed.candidate import Candidate
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.errors import ArchimedError, ContractError
from archimed.genotype import describe
from archimed.methods import PARTS
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem
from archimed.seeding import torch_generator, torch_seed
from archimed.task import ImagingTask
from archimed.training.machine import Machine

CASES = 24
TASK = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(16, 16))
SECTIONS = ("space", "search", "training")


def check_method(method: Method, task: ImagingTask = TASK) -> None:
    """Check a method by small searches on made-up images; make it small first, for it is run three times.

    It is a frozen dataclass with the parts of a method, whose presets name its own settings. Its search chooses a
    network under the method's name that its space builds, repeats under the same seed, and goes on from the candidates
    that an interrupted search had logged, to the same end and without measuring them again.

    Args:
        method: an instance with a small space and a short search.
        task: what its images are like.

    Raises:
        ContractError: the first law that does not hold.
    """
    _check_parts(method)
    _check_presets(method)
    problem = _problem(task)
    seconds = method.search_seconds(problem)
    if not math.isfinite(seconds) or seconds < 0:
        raise ContractError(f"`search_seconds` is a time in seconds, 0 or more; got {seconds}. Estimate it by a trial.")
    outcome, measured = _searched(method, problem)
    _check_outcome(method, outcome, measured, task)
    again, _ = _searched(method, problem)
    if _chosen(again) != _chosen(outcome):
        raise ContractError(
            f"A search repeats under the same seed; it chose {_chosen(outcome)}, then {_chosen(again)}. Draw from "
            "generators made of problem.seed, as archimed.seeding.numpy_generator(problem.seed, 'my search') does."
        )
    if measured:
        _check_resumes(method, problem, outcome, measured)


def _check_parts(method: Method) -> None:
    if isinstance(method, type) or not dataclasses.is_dataclass(method):
        raise ContractError(f"A method is an instance of a frozen dataclass; got {method!r}. Call the class: Mine().")
    if not method.__dataclass_params__.frozen:
        raise ContractError("A method is frozen, so that a run's settings cannot change; add @dataclass(frozen=True).")
    if missing := [part for part in PARTS if not hasattr(method, part)]:
        raise ContractError(f"A method has {', '.join(PARTS)}; this one lacks {', '.join(missing)}. Add it.")
    for name in ("image_size", "planned_candidates"):
        if not hasattr(method.search, name):
            raise ContractError(
                f"The settings `search` have image_size and planned_candidates; {name} is missing. Add it."
            )


def _check_presets(method: Method) -> None:
    if missing := {"quick", "paper"} - set(method.presets):
        raise ContractError(f"A method has the presets quick and paper; there is no {sorted(missing)[0]!r}. Add it.")
    for preset, settings in method.presets.items():
        for key in settings:
            section, _, name = key.partition(".")
            fields = dataclasses.fields(getattr(method, section)) if section in SECTIONS else ()
            known = [one.name for one in fields] if section in SECTIONS else []
            outside = section not in SECTIONS  # data.*, evaluation.* and the like
            if not outside and name not in known:
                raise ContractError(
                    f"Presets lay values over settings; {preset} sets {key}, and `{section}` has {', '.join(known)}. "
                    "Correct the name."
                )


def _problem(task: ImagingTask) -> SearchProblem:
    """Noise in which the second class is brighter."""
    target = torch.arange(CASES) % task.num_outputs
    images = torch.randint(
        0, 156, (CASES, task.channels, *task.image_size), generator=torch_generator(0, "check_method")
    )
    images += 99 * target.view(-1, *(1,) * (1 + task.spatial_dims)) // max(1, task.num_outputs - 1)
    whole = Subset(tuple(f"case-{n}" for n in range(CASES)), Arrays.of(images.to(torch.uint8)), target)
    return SearchProblem(
        task=task,
        train=whole,
        validation=whole,
        normalise=Normalisation.half(torch.uint8, task.channels),
        seed=0,
        machine=Machine(threads=1),
        patients=whole.ids,
        name="made-up",
    )


def _searched(
    method: Method, problem: SearchProblem, known: Sequence[Candidate] = ()
) -> tuple[SearchOutcome, list[Candidate]]:
    """The outcome of a search and the candidates that it measured anew."""
    recorded: list[Candidate] = []
    found: Any = method.run_search(problem, Journal(known=known, record=recorded.append))
    if not isinstance(found, SearchOutcome):
        raise ContractError(f"`run_search` returns a SearchOutcome; got {type(found).__name__}. Return one.")
    return found, recorded


def _check_outcome(method: Method, outcome: SearchOutcome, measured: Sequence[Candidate], task: ImagingTask) -> None:
    own = [selection for selection in outcome.selections if selection.network == method.name]
    if len(own) != 1:
        names = [selection.network for selection in outcome.selections]
        raise ContractError(f"A search chooses one network called {method.name!r}, its name; got {names}. Name it so.")
    if measured and outcome.unique_candidates != len(measured):
        raise ContractError(
            f"`unique_candidates` counts the candidates that were recorded, by which searches are compared; it says "
            f"{outcome.unique_candidates}, and {len(measured)} were recorded. Take result.unique_candidates."
        )
    for selection in outcome.selections:
        if not selection.rule:
            raise ContractError(
                f"A selection tells the rule that chose it; that of {selection.network} is empty. Write it."
            )
        try:
            describe(selection.genotype, selection.space.choices)
            with torch_seed(0, "check_method"):
                network = selection.space.build(selection.genotype, task)
        except ArchimedError as error:
            raise ContractError(
                f"The chosen genotype builds in its space; {selection.network} did not: {error}"
            ) from error
        shape = tuple(network.eval()(torch.zeros(2, task.channels, *task.image_size)).shape)
        if shape[:2] != (2, task.num_outputs):
            raise ContractError(
                f"The chosen network gives logits {(2, task.num_outputs)}; {selection.network} gave {shape}."
            )


def _check_resumes(
    method: Method, problem: SearchProblem, outcome: SearchOutcome, measured: Sequence[Candidate]
) -> None:
    half = measured[: max(1, len(measured) // 2)]
    resumed, fresh = _searched(method, problem, half)
    if len(fresh) != len(measured) - len(half):
        raise ContractError(
            f"A search goes on from journal.known without measuring it again; of {len(measured)} candidates "
            f"{len(half)} were known and {len(fresh)} were measured. Pass journal.known to search_population."
        )
    if _chosen(resumed) != _chosen(outcome):
        raise ContractError(
            f"A resumed search ends like an unbroken one; it chose {_chosen(resumed)}, not {_chosen(outcome)}. Let "
            "chance depend on problem.seed alone, not on how often something was called."
        )


def _chosen(outcome: SearchOutcome) -> list[tuple[str, tuple[int, ...]]]:
    return [(selection.network, selection.genotype) for selection in outcome.selections]
