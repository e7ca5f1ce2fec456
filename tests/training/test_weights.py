from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from archimed.errors import SettingsError
from archimed.training.recipe import Recipe
from archimed.training.weights import load_initial_weights


def saved(network: torch.nn.Module, path: Path, without: str = "", **more: torch.Tensor) -> Path:
    tensors = {name: tensor for name, tensor in network.state_dict().items() if name != without}
    save_file(tensors | more, path)
    return path


def test_a_network_starts_from_a_file_of_its_own_kind(problem: Any, tmp_path: Path) -> None:
    source, network = problem.network(), problem.network()
    torch.nn.init.normal_(source[0].weight)
    assert load_initial_weights(network, saved(source, tmp_path / "w.safetensors"), 2) == ()
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in source.state_dict().items())


def test_the_classifier_of_other_classes_stays_fresh(problem: Any, tmp_path: Path) -> None:
    source, network = problem.network(7), problem.network(2)
    torch.nn.init.normal_(source[0].weight)
    fresh = network[8].weight.clone()
    assert load_initial_weights(network, saved(source, tmp_path / "w.safetensors"), 2) == ("8.weight", "8.bias")
    assert torch.equal(network[8].weight, fresh)
    assert torch.equal(network[0].weight, source[0].weight)


def test_the_first_misfit_is_named(problem: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(SettingsError, match=r"'4\.bias' is missing"):
        load_initial_weights(problem.network(), saved(problem.network(), path, without="4.bias"), 2)
    with pytest.raises(SettingsError, match=r"no 'extra'"):
        load_initial_weights(problem.network(), saved(problem.network(), path, extra=torch.zeros(1)), 2)
    saved(problem.network(), path, without="0.weight", **{"0.weight": torch.zeros(4, 3, 3, 3)})
    before = problem.network().state_dict()
    network = problem.network()
    with pytest.raises(SettingsError, match=r"\(4, 3, 3, 3\) in the file, \(4, 1, 3, 3\)"):
        load_initial_weights(network, path, 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("content", [None, b"not tensors"])
def test_a_file_that_cannot_be_read_is_a_settings_error(problem: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="initial_weights"):
        load_initial_weights(problem.network(), path, 2)


def test_training_starts_from_the_recipes_weights(problem: Any, tmp_path: Path) -> None:
    source = problem.network(3)
    problem_folder = problem.folder
    problem.train(source, Recipe(epochs=1, learning_rate=1e-12), training_set=problem.examples(8, 0))
    path = saved(source, tmp_path / "w.safetensors")
    problem.folder = problem_folder.with_name("next")
    network = problem.network()
    torch.nn.init.zeros_(network[4].weight)
    result = problem.train(network, Recipe(epochs=1, learning_rate=1e-12, initial_weights=path))
    torch.testing.assert_close(network[4].weight, source[4].weight)
    assert "classifier starts afresh" in result.cautions[0]
