import json
from pathlib import Path

import pytest
import torch

from archimed.data.normalisation import Normalisation
from archimed.errors import RunError
from archimed.experiment.networks import (
    architecture_document,
    build_network,
    load_chosen,
    load_network,
    network_size,
    read_task,
)
from archimed.genotype import random_genotype
from archimed.methods.baselines import fixed_baseline
from archimed.methods.protocol import Selection
from archimed.runs import RunDirectory
from archimed.seeding import numpy_generator
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.task import ImagingTask
from tests.experiment.tiny import read

TASK = ImagingTask("multi-label", ("a", "b", "c"), 3, (16, 16))
SPACE = MultiscaleCellSpace(width=4, num_blocks=2)
NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5] * 3, "std": [0.25] * 3})


@pytest.fixture
def document() -> dict[str, object]:
    genotype = random_genotype(SPACE.choices, numpy_generator(0, "test"))
    return architecture_document(Selection("mine", SPACE, genotype, "a rule"), TASK, NORMALISE)


def test_a_network_is_built_from_its_json_alone(document: dict[str, object]) -> None:
    stored = json.loads(json.dumps(document))
    one, two = build_network(document, 5), build_network(stored, 5)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(one(images), two(images))
    assert one(images).shape == (2, 3)
    assert read_task(stored["task"]) == TASK
    assert Normalisation.from_json(stored["normalisation"]) == NORMALISE


def test_initial_weights_belong_to_the_seed(document: dict[str, object]) -> None:
    first, again, other = (build_network(document, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_size_is_counted(document: dict[str, object]) -> None:
    size = network_size(document)
    assert size["parameters"] == sum(parameter.numel() for parameter in build_network(document, 0).parameters())
    assert isinstance(size["macs"], int)


def test_a_fixed_network_needs_no_choices() -> None:
    document = architecture_document(fixed_baseline("resnet18"), TASK, NORMALISE)
    assert document["genotype"] == {}
    assert document["space"]["name"] == "resnet"


def test_an_untrained_network_says_how_to_train_it(finished: Path, tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path).network("mstf-nas", 0, 0)
    folder.path.mkdir(parents=True)
    with pytest.raises(RunError, match=r"missing: .*architecture\.json"):
        load_network(folder)
    source = RunDirectory(finished).network("mstf-nas", 0, 0)
    folder.architecture.write_bytes(source.architecture.read_bytes())
    folder.weights.write_bytes(source.weights.read_bytes())
    with pytest.raises(RunError, match="archimed resume"):  # weights without the mark of a finished training
        load_network(folder)


def test_weights_of_another_network_are_refused(finished: Path, tmp_path: Path, document: dict[str, object]) -> None:
    source, folder = RunDirectory(finished).network("mstf-nas", 0, 0), RunDirectory(tmp_path).network("mstf-nas", 0, 0)
    folder.path.mkdir(parents=True)
    folder.weights.write_bytes(source.weights.read_bytes())
    folder.training.write_bytes(source.training.read_bytes())
    folder.architecture.write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"damaged: .*weights\.safetensors"):
        load_network(folder)


def test_the_chosen_network_is_that_of_the_method(finished: Path) -> None:
    stored = load_chosen(finished)
    assert read(finished / "summary.json")["chosen"] == "mstf-nas"
    weights = load_network(RunDirectory(finished).network("mstf-nas", 0, 0)).network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in stored.network.state_dict().items())
    assert stored.task.image_size == (12, 12)
