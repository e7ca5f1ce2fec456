"""Where images come from: tensors in memory, the cache of prepared images, a DataLoader over the same cache.

The same training loop reads from memory and from the cache, normalising batch by batch from either; the DataLoader has
a loop as it is usually written. Small sets, which the loop normalises once and holds, are read from the file all the
same. A loop without a network shows what the reading alone takes.

Run by `make bench`, or alone: python -m benchmarks.loading [--repeats N]
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from archimed.batch import target_loss
from archimed.data.arrays import Arrays
from archimed.data.preparation.flat_file import FlatFile
from archimed.seeding import torch_seed
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages, make_optimizer, training_pass
from benchmarks.timing import interleaved, machine, markdown_table

MEMORY, ONCE = "tensors in memory", "normalised once, held (sets up to 1 GiB)"
CACHE, LOADER = "cache", "DataLoader over the cache, 2 workers"


@dataclass(frozen=True)
class Set:
    """A set of random images and how it is trained on."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    cases: int
    batch_size: int

    def images(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (self.cases, *self.shape), generator=generator, dtype=torch.uint8).to(self.dtype)

    def network(self) -> nn.Module:
        """Two strided convolutions: small, so that loading shows."""
        flat = len(self.shape) == 3
        convolution, pool = (nn.Conv2d, nn.AdaptiveAvgPool2d) if flat else (nn.Conv3d, nn.AdaptiveAvgPool3d)
        with torch_seed(0, "small"):
            return nn.Sequential(
                convolution(self.shape[0], 8, 3, stride=2, padding=1),
                nn.ReLU(),
                convolution(8, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                pool(1),
                nn.Flatten(),
                nn.Linear(16, 2),
            )


SETS = (
    Set("2D, 28x28, uint8", (1, 28, 28), torch.uint8, 4096, 64),
    Set("2D, 224x224, RGB, uint8", (3, 224, 224), torch.uint8, 256, 32),
    Set("3D, 64x64x64, float32", (1, 64, 64, 64), torch.float32, 64, 8),
)


@dataclass(frozen=True)
class Examples:
    images: Arrays
    target: Tensor


class PerCase(Dataset[tuple[Tensor, Tensor]]):
    """The cache as a data set for a DataLoader is usually written: normalised one by one."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples.target)

    def __getitem__(self, case: int) -> tuple[Tensor, Tensor]:
        return normalise(self.examples.images[case]), self.examples.target[case]


def normalise(images: Tensor) -> Tensor:
    return images.to(torch.float32, copy=True).mul_(1 / 127.5).sub_(1)


def arms(one: Set, folder: Path) -> dict[str, Callable[[], object]]:
    """One epoch each."""
    raw, target = one.images(), torch.arange(one.cases) % 2
    path = folder / "images.bin"
    path.write_bytes(raw.numpy().tobytes())
    cached = Arrays.end_to_end(FlatFile(path, raw.dtype), [one.shape] * one.cases)
    where, recipe = Machine(torch.get_num_threads()), Recipe(epochs=1)

    def ours(images: Arrays, *, once: bool) -> Callable[[], object]:
        with patch("archimed.training.steps.NORMALISED_BYTES_LIMIT", 2**40 if once else 0):
            held = NormalisedImages(Examples(images, target), normalise, where)
        network = where.place_network(one.network())
        optimizer = make_optimizer(network, recipe)
        return lambda: training_pass(
            network,
            optimizer,
            feed=lambda cases, _: held.batch(cases),
            order=torch.randperm(one.cases),
            batch_size=one.batch_size,
            weights=None,
            machine=where,
        )

    def loader() -> Callable[[], object]:
        network = where.place_network(one.network())
        optimizer = make_optimizer(network, recipe)
        batches = DataLoader(
            PerCase(Examples(cached, target)), one.batch_size, shuffle=True, num_workers=2, persistent_workers=True
        )

        def epoch() -> None:
            for part, labels in batches:
                loss = target_loss(network(part), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return epoch

    return {
        MEMORY: ours(Arrays.of(raw), once=False),
        ONCE: ours(Arrays.of(raw), once=True),
        CACHE: ours(cached, once=False),
        LOADER: loader(),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    print(f"## Loading\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    rows = []
    for one in SETS:
        with tempfile.TemporaryDirectory() as folder, Machine(arguments.threads).session():
            times = interleaved(arms(one, Path(folder)), arguments.repeats, 40)
        rows += [
            [
                one.name,
                name,
                f"{one.cases / seconds:,.0f}",
                f"{times[MEMORY] / seconds:.2f}",
                f"{times[ONCE] / seconds:.2f}",
            ]
            for name, seconds in times.items()
        ]
    print(markdown_table(["images", "read from", "images/s", "of tensors in memory", "of those normalised once"], rows))
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
