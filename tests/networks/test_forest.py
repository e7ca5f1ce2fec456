from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.ensemble import RandomForestClassifier

from archimed.networks.forest import Forest, RadiomicsForest, forest_arrays
from archimed.networks.radiomics import radiomic_features
from archimed.training.weights import save_tensors


def grown(classes: list[int], trees: int = 20) -> tuple[RandomForestClassifier, np.ndarray]:
    rng = np.random.default_rng(3)
    target = rng.choice(classes, 90)
    features = rng.normal(size=(90, 7)).astype(np.float32) + 0.7 * target[:, None]
    forest = RandomForestClassifier(trees, class_weight="balanced", random_state=0, max_depth=6)
    return forest.fit(features, target), rng.normal(0.7, 2, (200, 7)).astype(np.float32)


@pytest.mark.parametrize(("classes", "outputs"), [([0, 1], 2), ([0, 1, 2, 3], 4), ([0, 2], 3)])
def test_probabilities_are_those_of_scikit_learn(classes: list[int], outputs: int) -> None:
    classifier, features = grown(classes)
    forest = Forest(outputs)
    forest.plant(forest_arrays(classifier, outputs))
    expected = np.zeros((len(features), outputs))
    expected[:, classifier.classes_] = classifier.predict_proba(features)
    assert np.abs(forest(torch.from_numpy(features)).numpy() - expected).max() < 1e-12


def test_a_value_on_the_threshold_goes_where_scikit_learn_sends_it() -> None:
    classifier, features = grown([0, 1], trees=1)
    tree = classifier.estimators_[0].tree_
    features[:, tree.feature[0]] = np.float32(tree.threshold[0])
    forest = Forest(2)
    forest.plant(forest_arrays(classifier, 2))
    assert np.allclose(forest(torch.from_numpy(features)).numpy(), classifier.predict_proba(features))


def images(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.rand(count, 2, 6, 7, generator=torch.Generator().manual_seed(1))
    target = torch.arange(count) % 2
    values[target == 1, :, 2:5, 2:5] += 2
    return values, target


def test_the_network_is_the_forest_on_the_features() -> None:
    values, target = images()
    network = RadiomicsForest(2, trees=30)
    logits = network.fit([values[:10], values[10:]], target, seed=2**62 + 5)
    features = np.stack([radiomic_features(image) for image in values.numpy()]).astype(np.float32)
    classifier = RandomForestClassifier(30, class_weight="balanced", random_state=(2**62 + 5) % 2**32)
    expected = classifier.fit(features, target.numpy()).predict_proba(features)
    assert np.abs(network(values).softmax(1).numpy() - expected).max() < 1e-6
    assert torch.equal(logits, network(values))


def test_the_seed_decides_and_a_second_fit_begins_anew() -> None:
    values, target = images()
    target[:4] = 1 - target[:4]
    network = RadiomicsForest(2, trees=10)
    first = network.fit([values], target, seed=0)
    other = network.fit([values], target, seed=1)
    assert not torch.equal(first, other)
    assert torch.equal(network.fit([values], target, seed=0), first)


def test_unfitted_every_class_is_as_probable_as_the_others() -> None:
    assert torch.allclose(RadiomicsForest(4, trees=3)(images()[0]).softmax(1), torch.tensor(0.25))


def test_trees_survive_a_file_of_plain_arrays(tmp_path: Path) -> None:
    values, target = images()
    network = RadiomicsForest(2, trees=10)
    network.fit([values], target, seed=0)
    save_tensors(tmp_path / "weights.safetensors", network.state_dict(), {})
    again = RadiomicsForest(2, trees=10)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(values), network(values))
    assert not list(network.parameters())


def test_arrays_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(RuntimeError, match="value"):
        RadiomicsForest(3, trees=3).load_state_dict(RadiomicsForest(2, trees=3).state_dict())
