"""The contracts for a user's own parts: ours keep them, and each planted mistake is told with what to do."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archimed.data.dataset import Case, Dataset
from archimed.methods.mstf_nas import MstfNas, MstfNasSearch
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem
from archimed.methods.random_search import RandomSearch, RandomSearchSettings
from archimed.networks import operations
from archimed.networks.operations import Operation
from archimed.objectives import SignedSums, TargetsAndSize, WrittenObjectives
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.task import ImagingTask
from archimed.testing import ContractError, check_dataset, check_method, check_objective, check_operation

OURS = [value for value in vars(operations).values() if isinstance(value, Operation)]


@pytest.mark.parametrize("operation", OURS, ids=lambda operation: operation.name)
def test_our_operations_keep_the_contract(operation: Operation) -> None:
    check_operation(operation)


class Inplace(nn.Module):
    def __init__(self, *_form: int) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            features.relu_()
        return features * 1.0


class Idle(nn.Module):
    def __init__(self, *_form: int) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.ones(1))
        self.forgotten = nn.Parameter(torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.used


class OwnChance(Idle):
    def __init__(self, *_form: int) -> None:
        nn.Module.__init__(self)
        self.used = nn.Parameter(torch.from_numpy(np.random.default_rng().normal(size=1)).float())


class Restless(nn.Module):
    def __init__(self, *_form: int) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> Tensor:
        return features * torch.rand(())


def module(function: Callable[[Tensor], Tensor]) -> Operation:
    class Made(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return function(features)

    return Operation("made", lambda *_: Made())


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (nn.Identity(), "Wrap your module"),
        (Operation("my op", lambda *_: nn.Identity()), "Rename it"),
        (Operation("made", lambda c, _d: nn.Conv2d(c, c, 3, padding=1)), "For layers of 2 and 3 axes"),
        (Operation("made", lambda c, d: (nn.Conv2d if d == 2 else nn.Conv3d)(c, c, 3)), "Check padding"),
        (Operation("made", lambda *_: nn.Identity(), lambda *_: nn.Identity()), "Check padding"),
        (Operation("made", lambda *_: abs), "Return a module"),
        (Operation("made", Inplace), "in-place"),
        (module(lambda features: features.log()), "finite"),
        (module(lambda features: features.detach() + 0.0), "cut off"),
        (Operation("made", Idle), "no gradient for forgotten"),
        (Operation("made", OwnChance), "global generator"),
        (Operation("made", Restless), "repeats exactly"),
    ],
)
def test_mistakes_in_operations_are_told(operation: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_operation(operation)


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        (SignedSums(("a+b", "-a")), ("a", "b")),
        (WrittenObjectives(("a+b", "-a")), ("a", "b")),
        (TargetsAndSize(("accuracy", "potential", "size:small")), ("accuracy", "potential", "size")),
        (lambda candidates: [one.measurements["a"] for one in candidates], ("a",)),
    ],
)
def test_our_objectives_keep_the_contract(objective: Any, names: tuple[str, ...]) -> None:
    check_objective(objective, names)


def column(candidates: Any) -> np.ndarray:
    return np.array([candidate.measurements["a"] for candidate in candidates])


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (lambda candidates: float(column(candidates).sum()), "one number, or one row"),
        (lambda candidates: column(candidates)[:-1], "one number, or one row"),
        (lambda candidates: [one.measurements["macs"] for one in candidates], "asked for 'macs'.*Name it there"),
        (lambda candidates: (column(candidates) - column(candidates).min()) / np.ptp(column(candidates)), "rescale"),
        (lambda candidates: column(candidates) + np.random.default_rng().normal(), "Chance belongs to the strategy"),
        (lambda candidates: np.sort(column(candidates)), "another order"),
        (lambda candidates: np.tile(column(candidates)[:, None], len(candidates)), "number of objectives"),
        (lambda candidates: column(candidates) / 0 if len(candidates) < 7 else column(candidates), "finite"),
        (lambda candidates: [1 / (len(candidates) - 3) for _ in candidates], "ZeroDivisionError"),
    ],
)
def test_mistakes_in_objectives_are_told(objective: Any, words: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(ContractError, match=words):
        check_objective(objective, ("a",))


def test_an_objective_that_changes_measurements_is_told() -> None:
    def greedy(candidates: Any) -> np.ndarray:
        for candidate in candidates:
            candidate.measurements["b"] = 1.0
        return column(candidates)

    with pytest.raises(ContractError, match="Work on a copy"):
        check_objective(greedy, ("a",))


def dataset(**changed: Any) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    given: dict[str, Any] = {
        "name": "made",
        "source_kind": "object",
        "task": ImagingTask("binary", ("no", "yes"), channels=1, image_size=(8, 8)),
        "cases": tuple(Case(id=f"case-{n}", patient=f"p{n}") for n in range(6)),
        "images": torch.rand(6, 1, 8, 8, generator=generator),
        "target": torch.arange(6) % 2,
    }
    return Dataset(**{**given, **changed})


LABELS = ImagingTask("multi-label", ("a", "b"), channels=1, image_size=(8, 8))
MASKS = ImagingTask("segmentation", ("background", "organ"), channels=1, image_size=(8, 8))


def test_data_sets_that_keep_the_contract() -> None:
    check_dataset(dataset)
    check_dataset(dataset(task=LABELS, target=torch.tensor([[0.0, torch.nan]] * 6)))
    check_dataset(dataset(task=MASKS, target=torch.ones(6, 2), masks=torch.ones(6, 8, 8, dtype=torch.uint8)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": torch.rand(6, 1, 8, 8).double()}, "float64. Convert"),
        ({"images": torch.full((6, 1, 8, 8), torch.nan)}, "case case-0 has NaN"),
        ({"images": torch.rand(6, 8, 8)}, "Add or move an axis"),
        ({"images": torch.rand(6, 8, 8, 1)}, "Add or move an axis"),
        ({"images": torch.rand(6, 1, 9, 9)}, "Correct task.image_size"),
        ({"target": torch.arange(6)}, "there is class 2"),
        ({"target": torch.rand(6)}, "whole numbers"),
        ({"task": LABELS}, "Several labels"),
        ({"task": LABELS, "target": torch.full((6, 2), 0.5)}, "Threshold"),
        (
            {"task": MASKS, "target": torch.ones(6, 2), "masks": torch.full((6, 8, 8), 255, dtype=torch.uint8)},
            "has 255",
        ),
        ({"task": MASKS, "target": torch.ones(6, 2), "masks": torch.ones(6, 8, 8)}, "uint8"),
    ],
)
def test_mistakes_in_data_sets_are_told(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_dataset(dataset(**changed))


def test_a_data_set_that_changes_between_calls_is_told() -> None:
    with pytest.raises(ContractError, match="same images and targets"):
        check_dataset(lambda: dataset(images=torch.rand(6, 1, 8, 8)))
    with pytest.raises(ContractError, match="Return a Dataset"):
        check_dataset(lambda: [dataset()])  # type: ignore[arg-type, return-value]


SPACE = MultiscaleCellSpace(width=4, num_blocks=1, num_nodes=2, num_pools=2)
SMALL = MstfNas(space=SPACE, search=MstfNasSearch(population_size=3, offspring_size=3, generations=1, batch_size=8))


def test_our_methods_keep_the_contract() -> None:
    check_method(SMALL)
    check_method(RandomSearch(space=SPACE, search=RandomSearchSettings(candidates=4, batch_size=8)))


@dataclass(frozen=True)
class Changed(MstfNas):
    """A method with one mistake."""

    mistake: ClassVar[Callable[[SearchOutcome], Any]] = lambda outcome: outcome

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        changed: SearchOutcome = type(self).mistake(super().run_search(problem, journal))
        return changed


def with_mistake(mistake: Callable[[Any], Any]) -> MstfNas:
    kind = dataclasses.make_dataclass(
        "Wrong", [], bases=(Changed,), frozen=True, namespace={"mistake": staticmethod(mistake)}
    )
    wrong: MstfNas = kind(space=SMALL.space, search=SMALL.search)
    return wrong


def renamed(outcome: SearchOutcome, **changed: Any) -> SearchOutcome:
    return replace(outcome, selections=tuple(replace(one, **changed) for one in outcome.selections))


CALLS: list[int] = []


def moody(outcome: SearchOutcome) -> SearchOutcome:
    CALLS.append(1)
    return renamed(outcome, genotype=(*outcome.selections[0].genotype[:-1], len(CALLS) % 2))


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda outcome: outcome.selections, "returns a SearchOutcome"),
        (lambda outcome: renamed(outcome, network="other"), "Name it so"),
        (lambda outcome: replace(outcome, unique_candidates=99), "Take result.unique_candidates"),
        (lambda outcome: renamed(outcome, rule=""), "Write it"),
        (lambda outcome: renamed(outcome, genotype=(9, 9)), "builds in its space"),
        (moody, "repeats under the same seed"),
    ],
)
def test_mistakes_in_outcomes_of_methods_are_told(mistake: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_method(with_mistake(mistake))


@dataclass(frozen=True)
class Forgetful(MstfNas):
    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        return super().run_search(problem, replace(journal, known=()))


@dataclass(frozen=True)
class Misspelt(MstfNas):
    presets: ClassVar[dict[str, Any]] = {"quick": {"search.populations": 3}, "paper": {}}


@dataclass(frozen=True)
class OnePreset(MstfNas):
    presets: ClassVar[dict[str, Any]] = {"quick": {}}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Forgetful(SMALL.space, SMALL.search), "Pass journal.known"),
        (Misspelt(SMALL.space, SMALL.search), "search.populations.*Correct the name"),
        (OnePreset(SMALL.space, SMALL.search), "no 'paper'"),
        (MstfNas, "Call the class"),
    ],
)
def test_mistakes_in_methods_are_told(method: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_method(method)
