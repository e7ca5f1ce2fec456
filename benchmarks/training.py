"""The training loop: against its own bare steps, a DataLoader loop, and the plain memory layout.

Run by `make bench`, or alone: python -m benchmarks.training [--threads N] [--repeats N]
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from archimed.batch import Batch, target_loss
from archimed.genotype import random_genotype
from archimed.seeding import torch_seed
from archimed.spaces import SPACES
from archimed.task import ImagingTask
from archimed.training.loop import train
from archimed.training.machine import Machine
from archimed.training.machine_choice import Arm as Form
from archimed.training.machine_choice import arms_for, choose_machine
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages, make_optimizer, training_pass, training_step
from benchmarks.timing import apart, interleaved, machine, markdown_table

TASK = ImagingTask("binary", ("benign", "malignant"), 1, (28, 28))
RECIPE = Recipe(epochs=1)
CASES = 4096


@dataclass(frozen=True)
class Examples:
    images: Tensor
    target: Tensor


class PerCase(Dataset[tuple[Tensor, Tensor]]):
    """Images as a data set for a DataLoader is usually written: normalised one by one."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples.target)

    def __getitem__(self, case: int) -> tuple[Tensor, Tensor]:
        return normalise(self.examples.images[case]), self.examples.target[case]


def normalise(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def examples(cases: int) -> Examples:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (cases, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return Examples(images, torch.arange(cases) % 2)


def tiny() -> nn.Module:
    """So small that loading shows."""
    with torch_seed(0, "tiny"):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 2),
        )


def loading_arms(where: Machine) -> dict[str, Callable[[], object]]:
    """One epoch of the tiny network each."""
    data = examples(CASES)
    held = NormalisedImages(data, normalise, where)
    images, target = (part.clone() for part in held.batch(torch.arange(RECIPE.batch_size)))

    def bare(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(CASES // RECIPE.batch_size):
            training_step(network, optimizer, images=images, target=target, weights=None, machine=where)

    def ours(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        training_pass(
            network,
            optimizer,
            feed=lambda cases, _: held.batch(cases),
            order=torch.randperm(CASES),
            batch_size=RECIPE.batch_size,
            weights=None,
            machine=where,
        )

    def loader(workers: int) -> Callable[[nn.Module, torch.optim.Optimizer], None]:
        batches = DataLoader(
            PerCase(data), RECIPE.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )

        def epoch(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            for part, labels in batches:
                loss = target_loss(network(part), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return epoch

    def on_its_own(epoch: Callable[[nn.Module, torch.optim.Optimizer], None]) -> Callable[[], object]:
        network = where.place_network(tiny())
        optimizer = make_optimizer(network, RECIPE)
        return lambda: epoch(network, optimizer)

    return {
        "bare steps on one batch (the floor)": on_its_own(bare),
        "ours, images in memory": on_its_own(ours),
        "ours, with validation of 512 images, checkpoint and files": lambda: whole(data, where),
        "DataLoader": on_its_own(loader(0)),
        "DataLoader, 2 workers": on_its_own(loader(2)),
    }


def whole(data: Examples, where: Machine) -> None:
    """A complete training of one epoch, as a run makes it."""
    with tempfile.TemporaryDirectory() as folder:
        train(
            tiny(),
            data,
            Examples(data.images[:512], data.target[:512]),
            normalise,
            task=TASK,
            recipe=RECIPE,
            seed=0,
            machine=where,
            state_folder=Path(folder),
            on_epoch=lambda _: None,
            validation_metrics=lambda _target, _scores: {"auc": 0.5},
            warn=print,
        )


def optimizer_arms(network: nn.Module) -> dict[str, Callable[[], object]]:
    """One update of all weights of a network, by each of PyTorch's forms of Adam."""
    forms: Mapping[str, dict[str, Any]] = {
        "fused (ours)": {"fused": True},
        "foreach": {"foreach": True},
        "one by one (PyTorch's default on a CPU)": {"foreach": False},
    }
    arms: dict[str, Callable[[], object]] = {}
    for name, form in forms.items():
        weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        arms[name] = torch.optim.Adam(weights, **form).step
    return arms


def space_network(space: str) -> nn.Module:
    built = SPACES[space]()
    genotype = random_genotype(built.choices, np.random.default_rng(0))
    with torch_seed(0, "network"):
        network: nn.Module = built.build(genotype, TASK)
    return network


def form_arms(space: str, batch_size: int, threads: int, forms: Sequence[Form]) -> dict[str, Callable[[], object]]:
    """Training steps of one network in some number formats and memory layouts."""
    return {str(form): stepper(space, batch_of(batch_size), Machine(threads, "cpu", *form)) for form in forms}


def batch_of(batch_size: int) -> Batch:
    data = examples(batch_size)
    return Batch(normalise(data.images), data.target)


def form_rows(space: str, batch_size: int, threads: int, repeats: int) -> list[list[str]]:
    """A plain loop as PyTorch starts, and ours in every number format and memory layout."""
    forms = arms_for("cpu")
    plain, ours = (
        apart(partial(form_arms, space, batch_size, threads, which), ours=which is forms)
        for which in (forms[:1], forms)
    )
    chosen = choose_machine(space_network(space), batch_of(batch_size), device="cpu", threads=threads)
    times = interleaved({"plain": plain[str(forms[0])], **ours}, repeats, 20)
    pick = (chosen.precision, chosen.memory_format)
    rows = [("plain", ("a plain loop", *forms[0])), *((str(form), ("ours", *form)) for form in forms)]
    return [
        [
            space,
            *words,
            f"{batch_size / times[name]:.0f}",
            f"{times['plain'] / times[name]:.2f}",
            "yes" * (name == str(pick)),
        ]
        for name, words in rows
    ]


def stepper(space: str, batch: Batch, where: Machine) -> Callable[[], object]:
    network = where.place_network(space_network(space)).train()
    optimizer = make_optimizer(network, RECIPE)
    images = where.place_images(batch.images)
    return lambda: training_step(network, optimizer, images=images, target=batch.target, weights=None, machine=where)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"## Training\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    where = Machine(arguments.threads)
    with where.session():
        times = interleaved(loading_arms(where), arguments.repeats, 30)
        updates = interleaved(optimizer_arms(space_network("multiscale_cell")), 2 * arguments.repeats, 10)
    floor = next(iter(times.values()))
    rows = [[name, f"{CASES / seconds:,.0f}", f"{floor / seconds:.2f}"] for name, seconds in times.items()]
    print(markdown_table([f"an epoch of {CASES} images, 28x28, tiny network", "images/s", "of the floor"], rows) + "\n")
    rows = [[name, f"{1000 * seconds:.1f}"] for name, seconds in updates.items()]
    print(markdown_table(["Adam on the weights of a multiscale_cell network", "ms per step"], rows) + "\n", flush=True)
    header = [
        "network, 28x28",
        "loop",
        "precision",
        "memory format",
        "images/s",
        "times the plain loop",
        "chosen by the trial",
    ]
    rows = [
        row
        for space, batch_size in (("multiscale_cell", 64), ("resnet", 32))
        for row in form_rows(space, batch_size, arguments.threads, arguments.repeats)
    ]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
