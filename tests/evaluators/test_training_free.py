from collections.abc import Mapping

import pytest
import torch
from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.evaluators.training_free import TrainingFree, one_line
from archimed.genotype import Choice, Genotype
from archimed.indicators import Indicator, Probe, find_indicator
from archimed.seeding import torch_generator
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(8, 8))


class Layers:
    """Two layers whose widths add up, so that (a, b) and (b, a) count as one network."""

    choices = (Choice("one", ("2", "4", "8")), Choice("other", ("2", "4", "8")))

    def __init__(self) -> None:
        self.built: list[Genotype] = []

    def canonical(self, genotype: Genotype) -> Genotype:
        return tuple(sorted(genotype))

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        self.built.append(genotype)
        width = 2 + sum(genotype)
        return nn.Sequential(
            nn.Conv2d(task.channels, width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, task.num_outputs),
        )


class Broken(Layers):
    """Fails to build (2, 2), in the given way."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        if genotype == (2, 2):
            raise self.error
        return super().build(genotype, task)


def evaluator(space: Layers, indicators: Mapping[str, Indicator] | None = None, seed: int = 0) -> TrainingFree:
    generator = torch_generator(0, "images")
    batch = Batch(torch.randn(6, 1, 8, 8, generator=generator), torch.tensor([0, 1, 0, 1, 0, 1]))
    chosen = indicators or {name: find_indicator(name) for name in ("naswot", "log_synflow", "zen_score")}
    return TrainingFree(space, TASK, batch, chosen, seed)


def values(evaluate: TrainingFree, *genotypes: Genotype) -> list[dict[str, float]]:
    return [dict(measured.values) for measured in evaluate(genotypes)]


def test_measures_what_was_asked_and_always_the_size() -> None:
    (measured,) = evaluator(Layers())([(1, 2)])
    width = 5
    assert list(measured.values) == ["naswot", "log_synflow", "zen_score", "macs", "parameters"]
    assert measured.values["parameters"] == (9 * width + width) + (2 * width + 2)
    assert measured.values["macs"] == 9 * width * 64 + 2 * width
    assert measured.failure is None
    assert measured.seconds > 0


def test_a_score_depends_on_seed_and_genotype_alone() -> None:
    genotypes = [(0, 0), (0, 1), (1, 2), (2, 2)]
    together = values(evaluator(Layers()), *genotypes)
    torch.manual_seed(99)  # whatever happened before
    backwards = values(evaluator(Layers()), *reversed(genotypes))
    assert together == backwards[::-1]
    assert together[2]["naswot"] != values(evaluator(Layers(), seed=1), (1, 2))[0]["naswot"]


def test_isomorphic_twins_have_one_score() -> None:
    space = Layers()
    assert values(evaluator(space), (2, 0)) == values(evaluator(space), (0, 2))
    assert space.built == [(0, 2), (0, 2)]


def test_an_indicator_that_draws_repeats_too() -> None:
    def drawn(_probe: Probe) -> float:
        return float(torch.rand(()))

    one, two, three = (
        values(evaluator(Layers(), {"drawn": drawn}), genotype)[0] for genotype in [(0, 0), (0, 0), (0, 1)]
    )
    assert one == two
    assert one["drawn"] != three["drawn"]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    values(evaluator(Layers()), (0, 1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_after_the_other() -> None:
    space = Layers()
    measured = evaluator(space)([(0, 0), (0, 1), (1, 1)])
    next(measured)
    assert space.built == [(0, 0)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("no memory: you tried to allocate 9 bytes.\nRaised from ..."),
            "RuntimeError: no memory: you tried to allocate 9 bytes.",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "out of memory (OutOfMemoryError: CUDA out of memory.)",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            "out of memory (RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.)",
        ),
        (ValueError("Expected more than 1 value per channel"), "ValueError: Expected more than 1 value per channel"),
        (MemoryError(), "out of memory (MemoryError)"),
        (TypeError("a mistake"), "TypeError: a mistake"),
        (type("OfTheirOwn", (Exception,), {})("odd"), "OfTheirOwn: odd"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_network_that_fails_says_why_and_the_next_is_measured(error: Exception, reason: str) -> None:
    failed, fine = evaluator(Broken(error))([(2, 2), (0, 1)])
    assert failed.failure == reason
    assert failed.values == {}
    assert fine.failure is None


def test_an_indicator_that_fails_is_the_candidates_failure() -> None:
    def singular(_probe: Probe) -> float:
        return float(torch.linalg.inv(torch.zeros(2, 2)).sum())

    (measured,) = evaluator(Layers(), {"singular": singular})([(0, 0)])
    assert measured.failure is not None
    assert "singular" in measured.failure


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), SettingsError("Rule.")])
def test_what_is_not_the_candidates_fault_ends_the_search(error: BaseException) -> None:
    with pytest.raises(type(error)):
        values(evaluator(Broken(error)), (2, 2))


def test_one_line_has_no_line_breaks() -> None:
    assert one_line(ValueError("\n  first \nsecond")) == "ValueError: first"
    assert one_line(ValueError("  ")) == "ValueError"
