"""Shared weights: whose weights a step changes, whose score a measurement is, and the potential by hand."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.evaluators.shared_weights import Load, PathSteps, SharedWeights, potential
from archimed.genotype import Genotype, random_genotype
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("no", "yes"), 1, (8, 8))
SPACE = MbconvStagesSpace(blocks=(1, 2), widths=(4, 6), stem_width=4, first_width=4, head_width=8)


@dataclass
class Made:
    """Data that know what they were asked; the accuracy of a path is a number that its genes and the epoch make."""

    evaluator: SharedWeights | None = None
    learnt: list[Genotype] = field(default_factory=list)
    broken: Genotype | None = None

    def batches(self, epoch: int, least: int) -> Sequence[Load]:
        generator = torch.Generator().manual_seed(epoch)
        batch = Batch(torch.randn(4, 1, 8, 8, generator=generator), torch.arange(4) % 2)
        return [lambda: batch] * (2 * least)

    def batch_loss(self, supernet: nn.Module, batch: Batch, mixture: Any) -> Tensor:
        self.learnt.append(SPACE.derive(mixture))
        loss: Tensor = nn.functional.cross_entropy(supernet(batch.images, mixture), batch.target)
        return loss

    def judge(self, _supernet: nn.Module, mixture: Any) -> tuple[float, float]:
        path = SPACE.derive(mixture)
        if path == self.broken:
            raise RuntimeError("out of memory\nmore")
        assert self.evaluator is not None
        return true_accuracy(path, self.evaluator.epoch), 1.0


def true_accuracy(path: Genotype, epoch: int) -> float:
    return float(np.random.default_rng([epoch, *path]).random())


def shared(momentum: float = 0.9) -> tuple[SharedWeights, Made]:
    torch.manual_seed(0)
    supernet = SPACE.supernet(TASK).train()
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=momentum, weight_decay=0.1)
    data = Made()
    steps = PathSteps(population_size=5, clip=5.0, learning_rate_at=lambda epoch: 0.1 / epoch)
    data.evaluator = SharedWeights(
        SPACE, supernet, optimizer, data, steps, lambda genotype: sum(genotype) * 2**18, seed=3
    )
    return data.evaluator, data


def keep_on(_done: int, _planned: int) -> bool:
    return True


def test_a_step_changes_the_weights_of_its_path_alone() -> None:
    evaluator, data = shared()
    everywhere = [(option,) * 3 for option in range(8)]
    evaluator.train_epoch(everywhere, keep_on)  # momentum and decay have something to move now
    before = {name: tensor.clone() for name, tensor in evaluator.supernet.named_parameters()}
    path = (0, 3, 7)
    evaluator.step(data.batches(9, 1)[0](), path)
    moved = {name for name, tensor in evaluator.supernet.named_parameters() if not torch.equal(tensor, before[name])}
    options = [choice.options[gene] for choice, gene in zip(SPACE.choices, path, strict=True)]
    of_blocks = {name for name in before if name.startswith("blocks.")}
    on_path = {
        name for name in of_blocks for k, option in enumerate(options) if f"blocks.{k}.options.{option}." in name
    }
    assert moved & of_blocks == on_path
    assert {name for name in before if name not in of_blocks} <= moved  # stem, calibrations and head are everyone's


def test_every_path_gets_equally_many_batches_in_a_new_order_each_round() -> None:
    evaluator, data = shared()
    rng = np.random.default_rng(0)
    population = list({random_genotype(SPACE.choices, rng) for _ in range(6)})
    loss = evaluator.train_epoch(population, keep_on)
    assert loss is not None
    assert Counter(data.learnt) == dict.fromkeys(population, 2)
    half = len(population)
    assert data.learnt[:half] != data.learnt[half:]
    assert evaluator.optimizer.param_groups[0]["lr"] == 0.1
    assert evaluator.epoch == 1
    evaluator.warm_up_epoch(keep_on)
    assert len(data.learnt) == 12 + 10
    assert evaluator.optimizer.param_groups[0]["lr"] == 0.05


def test_an_epoch_that_is_ended_does_not_count() -> None:
    evaluator, _ = shared()
    assert evaluator.train_epoch([(0, 0, 0), (1, 1, 1)], lambda done, _: done < 3) is None
    assert evaluator.epoch == 0


def test_warm_up_draws_every_option_alike() -> None:
    evaluator, data = shared()
    evaluator.steps = PathSteps(400, 5.0, lambda _: 1e-9)
    evaluator.step = lambda _batch, path: data.learnt.append(path) or torch.zeros(())  # type: ignore
    evaluator.warm_up_epoch(keep_on)
    drawn = np.array(data.learnt)
    assert len(drawn) == 800
    for genes in drawn.T:
        assert np.bincount(genes, minlength=8) / 800 == pytest.approx(1 / 8, abs=0.045)


def test_every_score_belongs_to_its_path_and_its_epoch() -> None:
    evaluator, _ = shared()
    rng = np.random.default_rng(2)
    population = list(dict.fromkeys(random_genotype(SPACE.choices, rng) for _ in range(7)))
    for epoch in range(1, 5):
        evaluator.epoch = epoch
        order = [population[k] for k in rng.permutation(len(population))]
        for path, measured in zip(order, evaluator(order), strict=True):
            assert measured.values["accuracy"] == true_accuracy(path, epoch)
            assert measured.values["size"] == sum(path)
            history = [(one, true_accuracy(path, one)) for one in range(1, epoch + 1)]
            assert evaluator.histories[path] == history
            if epoch > 1:
                slope = np.polyfit(*zip(*history, strict=True), deg=1)[0]
                assert measured.values["potential"] == pytest.approx(slope, abs=1e-12)


@pytest.mark.parametrize(
    ("history", "slope"),
    [
        ([(1, 0.5), (2, 0.7)], 0.2),
        ([(1, 0.5), (3, 0.7)], 0.1),  # epochs, not the number of the sample
        ([(1, 0.2), (2, 0.5), (6, 0.5)], 0.3 / 7),  # centred epochs -2, -1, 3; sum of products .6, of squares 14
        ([(4, 0.5), (5, 0.5), (9, 0.5)], 0.0),
        ([(4, 0.5)], None),
        ([], None),
    ],
)
def test_potential_by_hand(history: list[tuple[int, float]], slope: float | None) -> None:
    assert potential(history) == (None if slope is None else pytest.approx(slope, abs=1e-12))


def test_paths_measured_once_get_the_median_of_their_generation() -> None:
    evaluator, _ = shared()
    old, new = [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4)], [(0, 0, 5), (0, 0, 6)]
    evaluator.epoch = 3
    assert [one.values["potential"] for one in evaluator(old)] == [0.0] * 4  # nothing to take the median of
    evaluator.epoch = 5
    measured = list(evaluator([new[0], *old, new[1]]))
    slopes = [(true_accuracy(path, 5) - true_accuracy(path, 3)) / 2 for path in old]
    assert [one.values["potential"] for one in measured[1:5]] == pytest.approx(slopes)
    assert measured[0].values["potential"] == measured[5].values["potential"] == pytest.approx(np.median(slopes))


def test_a_path_that_cannot_be_measured_is_told_and_has_no_history() -> None:
    evaluator, data = shared()
    data.broken = (0, 0, 1)
    good, bad = evaluator([(0, 0, 0), (0, 0, 1)])
    assert good.failure is None
    assert bad.failure == "out of memory (RuntimeError: out of memory)"
    assert dict(bad.values) == {}
    assert (0, 0, 1) not in evaluator.histories
