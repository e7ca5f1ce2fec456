import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from archimed.networks.fitted import Fitted
from archimed.networks.forest import RadiomicsForest
from archimed.training.machine import Machine
from archimed.training.prediction import predict
from archimed.training.progress import EpochRecord, TrainingError
from archimed.training.recipe import Recipe

RECIPE = Recipe(epochs=50, batch_size=8, early_stop_patience=5)


def forest() -> RadiomicsForest:
    return RadiomicsForest(2, trees=30)


def test_a_forest_is_trained_like_any_network(problem: Any) -> None:
    told: list[EpochRecord] = []
    network = forest()
    training = problem.train(network, RECIPE, on_epoch=told.append)
    assert (training.best_epoch, training.epochs, training.stopped_early) == (1, (told[0],), False)
    assert sorted(path.name for path in problem.folder.iterdir()) == [
        *("epochs.jsonl", "training.json", "weights.safetensors")
    ]
    validation = problem.examples(20, 2)
    scores = predict(network, validation.images, problem.normalise, "binary", Machine(1))
    assert told[0].validation["auc"] == pytest.approx(roc_auc_score(validation.target, scores[:, 1]))
    assert np.isfinite([told[0].train_loss, told[0].validation_loss]).all()
    assert told[0].validation["auc"] > 0.9  # type: ignore[operator]


def test_a_finished_fit_is_taken_from_its_folder(problem: Any) -> None:
    first = forest()
    done = problem.train(first, RECIPE)
    again = forest()
    assert problem.train(again, RECIPE) == done
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_fit_cut_off_is_made_again_with_the_same_result(problem: Any) -> None:
    def cut(_: EpochRecord) -> None:
        raise KeyboardInterrupt

    first = forest()
    with pytest.raises(KeyboardInterrupt):
        problem.train(first, RECIPE, on_epoch=cut)
    assert not (problem.folder / "training.json").exists()
    again = forest()
    training = problem.train(again, RECIPE)
    assert len(training.epochs) == 1
    assert torch.equal(again.forest.threshold, first.forest.threshold)
    assert len((problem.folder / "epochs.jsonl").read_text().splitlines()) == 1


def test_epochs_and_initial_weights_are_of_no_account(problem: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    one = forest()
    problem.train(one, RECIPE)
    problem.folder = tmp_path_factory.mktemp("other")
    other = forest()
    problem.train(other, replace(RECIPE, epochs=1, initial_weights=problem.folder / "absent.safetensors"))
    assert torch.equal(one.forest.value, other.forest.value)
    assert json.loads((problem.folder / "training.json").read_text())["best_epoch"] == 1


class Broken(Fitted):
    """Learns nothing that is a number."""

    def fit(self, images: Iterable[Tensor], target: Tensor, seed: int) -> Tensor:  # noqa: ARG002
        return torch.full((len(target), 2), torch.nan)

    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 2), torch.nan)


def test_a_fit_that_gives_no_numbers_fails_as_a_training_does(problem: Any) -> None:
    with pytest.raises(TrainingError, match="not a number"):
        problem.train(Broken(), RECIPE)
