"""What training and prediction read is the same from a tensor, from a file, normalised at once or batch by batch."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.data.preparation.flat_file import FlatFile
from archimed.training.machine import Machine, MemoryFormat
from archimed.training.prediction import VALUES_AT_ONCE, predict, predict_logits
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages, make_optimizer, training_pass
from tests.training.conftest import SmallProblem

SHAPES = [(1, 8, 8), (3, 9, 7), (2, 5, 6, 7)]


@dataclass(frozen=True)
class Examples:
    images: Arrays
    target: Tensor


def normalise(images: Tensor) -> Tensor:
    return images.float().mul_(1 / 127.5).sub_(1)


def in_file(images: Tensor, path: Path) -> Arrays:
    path.write_bytes(images.numpy().tobytes())
    return Arrays.end_to_end(FlatFile(path, images.dtype), [tuple(images.shape[1:])] * len(images))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("limit", [0, 2**30])
def test_batches_are_those_of_plain_indexing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shape: tuple[int, ...], layout: MemoryFormat, limit: int
) -> None:
    monkeypatch.setattr("archimed.training.steps.NORMALISED_BYTES_LIMIT", limit)
    monkeypatch.setattr("archimed.training.steps.PART", 5)
    images = torch.randint(0, 256, (12, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    machine = Machine(1, memory_format=layout)
    whole = machine.place_images(normalise(images))
    rows = torch.tensor([11, 3, 4, 5, 0])
    for arrays in (Arrays.of(images), in_file(images, tmp_path / "images.bin")):
        held = NormalisedImages(Examples(arrays, torch.arange(12) % 2), normalise, machine)
        assert isinstance(held.images, Tensor if limit else Arrays)
        batch, target = held.batch(rows)
        assert torch.equal(batch, whole[rows])
        assert batch.stride() == machine.place_images(normalise(images[rows])).stride()
        assert target.tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("limit", [0, 2**30])
def test_training_and_prediction_from_a_file_are_those_from_a_tensor(
    problem: SmallProblem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: MemoryFormat, limit: int
) -> None:
    machine, made = Machine(1, memory_format=layout), problem.examples(33, 1)

    def trained(images: Arrays) -> tuple[dict[str, Tensor], Tensor]:
        network = machine.place_network(problem.network())
        held = NormalisedImages(Examples(images, made.target), normalise, machine)
        optimizer = make_optimizer(network, Recipe())

        def feed(cases: Tensor, _: int) -> tuple[Tensor, Tensor]:
            return held.batch(cases)

        torch.manual_seed(0)
        for order in (torch.arange(33), torch.arange(32, -1, -1)):
            training_pass(network, optimizer, feed=feed, order=order, batch_size=8, weights=None, machine=machine)
        return network.state_dict(), predict(network, images, normalise, "binary", machine, batch_size=16)

    expected, probabilities = trained(Arrays.of(made.images))
    monkeypatch.setattr("archimed.training.steps.NORMALISED_BYTES_LIMIT", limit)
    weights, found = trained(in_file(made.images, tmp_path / "images.bin"))
    assert torch.equal(found, probabilities)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_large_images_are_predicted_few_at_a_time(tmp_path: Path) -> None:
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.float()

    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 1024, 2048).contiguous()
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for held in (images, in_file(images, tmp_path / "images.bin")):
        seen.clear()
        assert predict_logits(network, held, counted, Machine(1), 256).flatten().tolist() == [0, 1, 2, 3, 4]
        assert seen == [2, 2, 1]
    assert images[0].numel() * 2 == VALUES_AT_ONCE


BOUNDED = """
import resource, sys
from pathlib import Path
import torch
from torch import nn
from archimed.training import steps
from archimed.training.machine import Machine
from archimed.training.prediction import predict
from archimed.training.recipe import Recipe
from tests.training.test_steps import Arrays, Examples, FlatFile, normalise

torch.set_num_threads(1)
steps.NORMALISED_BYTES_LIMIT = 60 * 2**20
volumes = Arrays.end_to_end(FlatFile(Path(sys.argv[1]), torch.float32), [(1, 64, 64, 64)] * 320)
network = nn.Sequential(nn.Conv3d(1, 2, 4, stride=4), nn.AdaptiveAvgPool3d(1), nn.Flatten())
machine = Machine(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
parts = [Examples(volumes.select(rows), torch.arange(len(rows)) % 2) for rows in (range(280), range(280, 320))]
held = [steps.NormalisedImages(part, normalise, machine) for part in parts]
optimizer, order = steps.make_optimizer(network, Recipe()), torch.randperm(280)
feed = lambda cases, _: held[0].batch(cases)
steps.training_pass(network, optimizer, feed=feed, order=order, batch_size=8, weights=None, machine=machine)
predict(network, held[1].images, held[1].normalise, "binary", machine)
predict(network, volumes, normalise, "binary", machine)
print(type(held[1].images).__name__, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_training_from_a_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "volumes.bin"
    with path.open("wb") as file:
        file.truncate(320 * 2**20)  # zeros that take no room
    command, root = [sys.executable, "-c", BOUNDED, str(path)], Path(__file__).parents[2]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=root, check=True)
    held, growth = said.stdout.split()
    assert held == "Tensor"  # 40 MiB of validation images normalised once
    assert int(growth) < 220  # MiB, of 320
