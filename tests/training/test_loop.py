import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archimed.batch import target_loss
from archimed.errors import DataError, RunError, SettingsError
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.prediction import predict
from archimed.training.progress import EpochRecord, TrainingError, best_of
from archimed.training.recipe import Recipe
from archimed.training.steps import batches


class Script:
    """Validation metrics told beforehand, one per epoch."""

    def __init__(self, *values: float | None) -> None:
        self.values = iter(values)

    def __call__(self, _target: Any, _scores: Any) -> Mapping[str, float | None]:
        return {"auc": next(self.values)}


def test_the_small_problem_is_learnt(problem: Any) -> None:
    result = problem.train(problem.network(), Recipe(epochs=20, batch_size=8, learning_rate=1e-2))
    assert result.epochs[-1].train_loss < 0.5 * result.epochs[0].train_loss
    assert result.epochs[result.best_epoch - 1].validation["auc"] == 1.0
    assert [record.epoch for record in result.epochs] == list(range(1, len(result.epochs) + 1))


def test_the_network_ends_with_the_weights_of_the_best_epoch(problem: Any) -> None:
    after: dict[int, dict[str, Tensor]] = {}
    network = problem.network()

    def remember(record: EpochRecord) -> None:
        after[record.epoch] = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    script = Script(0.5, 0.9, 0.7, 0.8)
    result = problem.train(network, Recipe(epochs=4), validation_metrics=script, on_epoch=remember)
    assert result.best_epoch == 2
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, after[2][name])
    assert not torch.equal(after[2]["0.weight"], after[4]["0.weight"])


def test_the_loss_of_the_records_is_the_networks(problem: Any) -> None:
    network, validation = problem.network(), problem.examples(20, 2)
    result = problem.train(network, Recipe(epochs=1, class_weights="balanced"))
    with torch.inference_mode():
        logits = network(problem.normalise(validation.images))
    weights = torch.tensor([33 / (2 * 17), 33 / (2 * 16)])
    expected = target_loss(logits, validation.target, weights)
    assert result.epochs[0].validation_loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "losses", "best"),
    [
        ([0.5, 0.9, 0.9, 0.2], [1.0, 0.5, 0.4, 0.1], 3),  # a tie goes to the lower loss
        ([0.5, 0.9, 0.9, 0.2], [1.0, 0.5, 0.5, 0.1], 2),  # then to the earlier epoch
        ([None, None, None], [1.0, 0.3, 0.4], 2),  # undefined: the loss decides
        ([None, 0.1, None], [0.1, 0.9, 0.1], 2),  # undefined ranks lowest
    ],
)
def test_best_epoch(values: list[float | None], losses: list[float], best: int) -> None:
    records = [
        EpochRecord(number, 1e-3, 1.0, loss, {"auc": value}, 0.0)
        for number, (value, loss) in enumerate(zip(values, losses, strict=True), start=1)
    ]
    assert best_of(records, "auc").epoch == best


def test_patience_ends_a_training_that_no_longer_improves(problem: Any) -> None:
    script = Script(0.5, 0.9, *[0.8] * 20)
    result = problem.train(problem.network(), Recipe(epochs=20, early_stop_patience=3), validation_metrics=script)
    assert (len(result.epochs), result.best_epoch, result.stopped_early) == (5, 2, True)


def test_without_patience_every_epoch_is_trained(problem: Any) -> None:
    script = Script(0.9, *[0.1] * 9)
    result = problem.train(problem.network(), Recipe(epochs=10, early_stop_patience=None), validation_metrics=script)
    assert (len(result.epochs), result.best_epoch, result.stopped_early) == (10, 1, False)


def test_an_undefined_metric_is_said_and_the_loss_decides(problem: Any) -> None:
    said: list[str] = []
    script = Script(None, None, None)
    result = problem.train(problem.network(), Recipe(epochs=3), validation_metrics=script, warn=said.append)
    losses = [record.validation_loss for record in result.epochs]
    assert result.best_epoch == losses.index(min(losses)) + 1
    assert "auc is undefined" in said[0]
    assert result.cautions == tuple(said)


def test_an_unknown_metric_is_refused_with_the_known_ones(problem: Any) -> None:
    with pytest.raises(SettingsError, match="accuracy"):
        problem.train(problem.network(), Recipe(epochs=1, checkpoint_metric="dice"))


class Breaks(nn.Module):
    """The loss stops being a number at a given training pass."""

    def __init__(self, network: nn.Module, at: int) -> None:
        super().__init__()
        self.network, self.at, self.passes = network, at, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        return self.network(images) * (math.nan if self.passes == self.at else 1.0)


def test_a_loss_that_is_no_number_keeps_the_last_good_weights(problem: Any) -> None:
    said: list[str] = []
    network = Breaks(problem.network(), at=8)  # 4 batches an epoch: the second
    result = problem.train(network, Recipe(epochs=5, batch_size=10), warn=said.append)
    assert (result.best_epoch, len(result.epochs), result.stopped_early) == (1, 1, False)
    assert "epoch 2" in result.cautions[0]
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    again = problem.train(Breaks(problem.network(), at=0), Recipe(epochs=5, batch_size=10))
    assert again == result


def test_a_first_epoch_that_fails_is_an_error_then_and_when_resumed(problem: Any) -> None:
    for at in (1, 0):
        with pytest.raises(TrainingError, match=r"epoch 1, the first\. Lower"):
            problem.train(Breaks(problem.network(), at=at), Recipe(epochs=5))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17, 24])
@pytest.mark.parametrize("size", [1, 4, 8])
def test_batches_hold_every_case_once_and_never_one_alone(count: int, size: int) -> None:
    parts = list(batches(torch.arange(count), size))
    assert torch.cat(parts).tolist() == list(range(count))
    assert all(len(part) <= size + 1 for part in parts)
    if size > 1 and count > 1:
        assert min(len(part) for part in parts) > 1


def test_the_order_of_cases_changes_with_epoch_and_seed_only(problem: Any) -> None:
    first = problem.train(problem.network(), Recipe(epochs=2, batch_size=8))
    problem.folder = problem.folder.with_name("same")
    same = problem.train(problem.network(), Recipe(epochs=2, batch_size=8))
    problem.folder = problem.folder.with_name("other")
    other = problem.train(problem.network(), Recipe(epochs=2, batch_size=8), seed=1)
    assert [record.train_loss for record in first.epochs] == [record.train_loss for record in same.epochs]
    assert first.epochs[0].train_loss != other.epochs[0].train_loss


def test_the_callers_random_numbers_and_threads_are_left_alone(problem: Any) -> None:
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    problem.train(problem.network(), Recipe(epochs=1), machine=Machine(threads + 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_images_that_do_not_fit_give_the_same_numbers(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = problem.train(problem.network(), Recipe(epochs=2, batch_size=8))
    monkeypatch.setattr("archimed.training.steps.NORMALISED_BYTES_LIMIT", 0)
    problem.folder = problem.folder.with_name("streamed")
    streamed = problem.train(problem.network(), Recipe(epochs=2, batch_size=8))
    assert [r.train_loss for r in held.epochs] == [r.train_loss for r in streamed.epochs]


def test_multi_label_with_unknown_labels(problem: Any) -> None:
    task = ImagingTask("multi-label", ("opacity", "effusion", "mass"), 1, (8, 8))
    sets = [problem.examples(count, seed) for count, seed in ((33, 1), (20, 2))]
    labelled = []
    for one in sets:
        target = torch.nn.functional.one_hot(one.target, 3).float()
        target[::5, 1] = math.nan
        labelled.append(type(one)(one.images, target))
    network = problem.network(3)
    seen = []

    def metrics(target: Any, scores: Any) -> dict[str, float]:
        seen.append((target.shape, scores.shape))
        return {"auc": 0.5}

    recipe = Recipe(epochs=2, class_weights="balanced", checkpoint_metric="auc")
    result = problem.train(
        network, recipe, training_set=labelled[0], validation=labelled[1], task=task, validation_metrics=metrics
    )
    assert len(result.epochs) == 2
    assert seen == [((20, 3), (20, 3))] * 2
    scores = predict(network, sets[0].images, problem.normalise, "multi-label", Machine(1))
    assert torch.allclose(scores, network(problem.normalise(sets[0].images)).sigmoid(), atol=1e-6)


def test_no_images_is_a_data_error(problem: Any) -> None:
    with pytest.raises(DataError, match="validation split has none"):
        problem.train(problem.network(), Recipe(), validation=problem.examples(0, 1))


def test_a_folder_of_other_settings_is_refused(problem: Any) -> None:
    problem.train(problem.network(), Recipe(epochs=1))
    with pytest.raises(RunError, match="settings it began with"):
        problem.train(problem.network(), Recipe(epochs=2))
