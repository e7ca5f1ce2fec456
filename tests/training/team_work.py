"""What each process of a team does in the tests; run as a script, with torchrun's variables, it writes what came of it.

Without these variables the same functions are the work of one process.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archimed.errors import ArchimedError, SettingsError
from archimed.networks.members import Members
from archimed.seeding import torch_seed
from archimed.task import ImagingTask
from archimed.training.loop import join, train
from archimed.training.machine import Machine
from archimed.training.progress import EpochRecord, TrainingError
from archimed.training.recipe import Recipe
from archimed.training.steps import make_optimizer, training_pass
from archimed.training.team import ALONE, Team, join_team, leave_team

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Examples

MACHINE = Machine(2, "cuda:0" if "cuda" in sys.argv else "cpu")
BATCH, CASES = 8, 19  # batches of 8, 8 and 3
TASK = ImagingTask("binary", ("benign", "malignant"), 1, (8, 8))
RECIPE = Recipe(epochs=3, batch_size=8, augment_flips=True, augment_turns=True, augment_noise=0.1, augment_shift=0.2)


class TwoExits(nn.Module):
    """Answers twice in training, and has a weight that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = image_network(), image_network()
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        answers = self.first(images), self.second(images)
        return answers if self.training else answers[0]


class Narrow(nn.Module):
    """Fails as a GPU does for more images than fit into the memory of a process."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits, self.network = fits, image_network()

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        answers: Tensor = self.network(images)
        return answers


def image_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def pixel_network() -> nn.Module:
    return nn.Conv2d(1, 3, 3, padding=1)


def two_members() -> nn.Module:
    return Members([image_network(), image_network()], each_output_alone=False)


def classes() -> Tensor:
    return torch.arange(CASES) % 3


def labels() -> Tensor:
    found = (torch.arange(CASES * 3).view(CASES, 3) % 2).float()
    found[:5], found[7, 1] = torch.nan, torch.nan  # of a whole part of the first batch nothing is known
    return found


def masks() -> Tensor:
    return (torch.arange(CASES * 81) % 3).view(CASES, 9, 9)


WEIGHTS = torch.tensor([0.2, 1.0, 3.0])
PASSES: dict[str, tuple[Callable[[Team], nn.Module], Callable[[], Tensor], Tensor | None]] = {
    "classes": (lambda _: image_network(), classes, None),
    "weighted classes": (lambda _: image_network(), classes, WEIGHTS),
    "labels": (lambda _: image_network(), labels, WEIGHTS),
    "masks": (lambda _: pixel_network(), masks, None),
    "members": (lambda _: two_members(), classes, None),
    "two exits": (lambda _: TwoExits(), classes, None),
    "little memory in one process": (lambda team: Narrow(1 if team.rank else 99), classes, None),
}


def two_passes(name: str, team: Team) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of two passes, and the weights after them."""
    make, target_of, weights = PASSES[name]
    with torch_seed(0, name):
        network, images = make(team), torch.randn(CASES, 1, 9, 9)
    target, machine = target_of(), team.machine(MACHINE)
    machine.place_network(network)
    optimizer = make_optimizer(network, Recipe(learning_rate=1e-2, weight_decay=1e-2))

    def feed(cases: Tensor, _step: int) -> tuple[Tensor, Tensor]:
        own = cases[team.part(len(cases), 1)]
        return images[own].to(machine.device), target[own].to(machine.device)

    def passed() -> float:
        return training_pass(
            network,
            optimizer,
            feed=feed,
            order=torch.arange(CASES),
            batch_size=BATCH,
            weights=None if weights is None else weights.to(machine.device),
            machine=machine,
            team=team,
        )[0]

    return [passed(), passed()], network.state_dict()


def examples(count: int) -> Examples:
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    target = torch.arange(count) % 2
    images[target == 1, :, 2:5, 2:5] += 100
    return Examples(images, target)


def small_network() -> nn.Module:
    with torch_seed(0, "network"):
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def normalise(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def metrics(target: Any, scores: Any) -> Mapping[str, float | None]:
    return {"auc": float((scores.argmax(1) == target).mean())}


def fit(folder: Path, team: Team = ALONE, last: int = 99, **changes: Any) -> nn.Module:
    """The small network, trained by the recipe or till an epoch is over, as one process or the first of a team."""
    network = small_network()

    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == last:
            raise SettingsError("Enough.")

    named: dict[str, Any] = {"on_epoch": on_epoch, "validation_metrics": metrics, **changes}
    train(
        network,
        examples(19),
        examples(12),
        normalise,
        task=TASK,
        recipe=RECIPE,
        seed=0,
        machine=MACHINE,
        state_folder=folder,
        warn=lambda _: None,
        team=team,
        call=team.send,
        **named,
    )
    return network


def follow(team: Team) -> Iterator[nn.Module | str]:
    """Join trainings until there are no more; the network of each, or why it was given up."""
    while (begun := team.receive()) is not None:
        network = nn.Sequential(*small_network().children())
        try:
            join(
                network,
                examples(19),
                normalise,
                task=TASK,
                recipe=RECIPE,
                seed=0,
                machine=MACHINE,
                team=team,
                begun=begun,
            )
            yield network
        except TrainingError as error:
            yield str(error)


def lead(folder: Path, team: Team) -> Iterator[nn.Module | str]:
    """A whole training; one that ends after its first epoch and goes on; one that fails as it is judged."""
    yield fit(folder / "whole", team)
    for last in (1, 99):
        try:
            yield fit(folder / "broken off", team, last)
        except ArchimedError as error:
            yield str(error)

    def failing(_target: Any, _scores: Any) -> Mapping[str, float | None]:
        raise SettingsError("No metric.")

    try:
        fit(folder / "failing", team, validation_metrics=failing)
    except ArchimedError as error:
        yield str(error)
    yield fit(folder / "whole", team)  # is finished: nobody is called
    yield fit(folder / "stopped", team, stop=lambda _: True)
    team.send(None)


def told(found: nn.Module | str) -> Any:
    return found if isinstance(found, str) else found.state_dict()


if __name__ == "__main__":
    team = join_team()
    passes = {name: two_passes(name, team) for name in PASSES}
    out = Path(sys.argv[1])
    trainings = [told(found) for found in (lead(out, team) if team.leads else follow(team))]
    torch.save({"passes": passes, "trainings": trainings}, out / f"{team.rank}.pt")
    leave_team()
