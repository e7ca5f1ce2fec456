from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from archimed.errors import SettingsError
from archimed.spaces.fixed import ResNet
from archimed.task import ImagingTask
from archimed.training.initial_weights import CHILDREN, load_initial_weights, read_weights
from archimed.training.recipe import Recipe


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


TASK = ImagingTask("multi-label", ("a", "b", "c"), 3, (64, 64))
TORCHVISION = (  # the names and shapes of its ResNet-50, by its documentation
    ("conv1.weight", (64, 3, 7, 7)),
    ("layer1.0.downsample.0.weight", (256, 64, 1, 1)),
    ("layer4.2.conv3.weight", (2048, 512, 1, 1)),
    ("layer4.2.bn3.running_var", (2048,)),
)


def resnet50(classes: int = 3) -> torch.nn.Module:
    return ResNet(depth=50).build((), replace(TASK, class_names=tuple(map(str, range(classes)))))


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """Weights as published networks of 1000 classes have them, without counters of batches."""
    state = {name: tensor for name, tensor in resnet50(1000).state_dict().items() if "num_batches" not in name}
    assert all(tuple(state[name].shape) == shape for name, shape in TORCHVISION)
    return {name: tensor.detach() for name, tensor in state.items()}


def wrapped(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}


def in_a_row(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    numbers = {name: number for number, name in CHILDREN.items()}
    parts = ((name.partition("."), tensor) for name, tensor in state.items() if not name.startswith("fc."))
    return {f"backbone.{numbers[first]}.{rest}": tensor for (first, _, rest), tensor in parts}


@pytest.mark.parametrize("layout", [dict, wrapped, in_a_row])
def test_resnet50_begins_with_published_weights(published: dict[str, Any], tmp_path: Path, layout: Any) -> None:
    torch.save(layout(published), tmp_path / "r50.pth")
    network = resnet50()
    fresh = network.fc.weight.clone()  # type: ignore[operator, union-attr]
    assert load_initial_weights(network, tmp_path / "r50.pth", 3) == ("fc.weight", "fc.bias")
    state = network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in published.items() if not name.startswith("fc."))
    assert torch.equal(state["fc.weight"], fresh)


def test_weights_of_other_channels_name_the_tensor_and_both_shapes(published: dict[str, Any], tmp_path: Path) -> None:
    save_file(published, tmp_path / "r50.safetensors")
    grey = ResNet(depth=50).build((), replace(TASK, channels=1))
    with pytest.raises(SettingsError) as caught:
        load_initial_weights(grey, tmp_path / "r50.safetensors", 3)
    message = str(caught.value)
    assert "'conv1.weight' has shape (64, 3, 7, 7) in the file, (64, 1, 7, 7) in the network" in message
    assert "--set data.channels=3" in message
    assert "\n" not in message
    smaller = ResNet(depth=18).build((), TASK)
    with pytest.raises(SettingsError, match=r"layer1\.0\.conv1\.weight"):
        load_initial_weights(smaller, tmp_path / "r50.safetensors", 3)


@pytest.mark.parametrize("content", [{"a": 1}, {"state_dict": {}}, [1, 2], Path("a")])
def test_files_that_hold_code_or_no_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SettingsError, match=r"training\.initial_weights must") as caught:
        read_weights(tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
