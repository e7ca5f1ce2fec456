"""A candidate of Zen-NAS, built and scored, beside the public code, where PEER_DIR has it.

Run by `make bench`, or alone: python -m benchmarks.zen [--threads N] [--rounds N] [--size PIXELS] [--like RESNET]
Nothing of the public code is kept here. Each round takes another structure, drawn within the
budgets of a ResNet; the public network of the same stages is built without residual links, as its search builds it, and
scored on as many noise images, as it is and in channels-last layout.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from archimed.batch import Batch
from archimed.evaluators.training_free import TrainingFree
from archimed.genotype import Genotype
from archimed.indicators import INDICATORS
from archimed.methods.budget_settings import BudgetSettings
from archimed.seeding import numpy_generator
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.task import ImagingTask
from benchmarks.peer import peer_folder
from benchmarks.timing import apart, in_turn, interleaved, machine, markdown_table

OURS, PEER, PEER_INNER = "ours", "public code", "public code, channels last"
NOISE_IMAGES = 16
SPACE = ResidualStagesSpace()
CLASSES = tuple(map(str, range(10)))
Arm = Callable[[Genotype], object]


def load_peer() -> tuple[Any, Any] | None:
    """Its class of networks and its module of the score."""
    folder = peer_folder("ZeroShotProxy/compute_zen_score.py")
    if folder is None:
        return None
    sys.path.insert(0, str(folder))
    stand_in = type(sys)("ModelLoader")  # its own imports networks that the search does not need
    sys.modules.setdefault("ModelLoader", stand_in)
    return importlib.import_module("Masternet").MasterNet, importlib.import_module("ZeroShotProxy.compute_zen_score")


def in_its_words(genotype: Genotype, task: ImagingTask) -> str:
    """A structure as the public code writes it, where a bottleneck layer is two blocks: an odd one is rounded up."""
    structure = SPACE.fitted(SPACE.structure(genotype), task.image_size)
    words = [f"SuperConvK3BNRELU({task.channels},{structure.stem_width},{structure.stem_stride},1)"]
    width = structure.stem_width
    for stage in structure.stages:
        form = "SuperResK{0}K{0}" if stage.block == "basic" else "SuperResK1K{0}K1"
        layers = stage.layers if stage.block == "basic" else stage.layers // 2
        numbers = (width, stage.width, stage.stride, stage.bottleneck_width, layers)
        words.append(f"{form.format(stage.kernel)}({','.join(map(str, numbers))})")
        width = stage.width
    return "".join(words)


def peer(task: ImagingTask, *, inner: bool) -> Arm | None:
    loaded = load_peer()
    if loaded is None:
        return None
    network_of, proxy = loaded

    def score(genotype: Genotype) -> object:
        network = network_of(
            num_classes=task.num_outputs, plainnet_struct=in_its_words(genotype, task), no_create=False, no_reslink=True
        )
        if inner:
            network = network.to(memory_format=torch.channels_last)
        return proxy.compute_nas_score(
            gpu=None, model=network, mixup_gamma=1e-2, resolution=task.image_size[0], batch_size=NOISE_IMAGES, repeat=1
        )["avg_nas_score"]

    return score


def ours(task: ImagingTask) -> Arm:
    images = torch.zeros(NOISE_IMAGES, task.channels, *task.image_size)
    batch = Batch(images, torch.zeros(NOISE_IMAGES, dtype=torch.int64))
    evaluator = TrainingFree(SPACE, task, batch, {"zen_score": INDICATORS["zen_score"]}, seed=0)
    return evaluator.measure


def drawn(task: ImagingTask, like: Any, count: int) -> list[Genotype]:
    """Structures within the budgets of a ResNet, whose bottleneck parts have even numbers of blocks."""
    budgets, rng = BudgetSettings(as_large_as=like).budgets(task), numpy_generator(0, "structures")
    found: list[Genotype] = []
    while len(found) < count:
        genotype = SPACE.draw(rng, task, budgets)
        parts = [part for stage in SPACE.decoded(genotype)[1] for part in stage]
        if all(part.block == "basic" or part.layers % 2 == 0 for part in parts):
            found.append(genotype)
    return found


def arms(who: str, size: int, genotypes: Sequence[Genotype]) -> dict[str, Callable[[], object]]:
    """Ours or those of the public code; each call scores the next structure."""
    task = ImagingTask("multi-class", CLASSES, 3, (size, size))
    made = {OURS: ours(task)} if who == OURS else {PEER: peer(task, inner=False), PEER_INNER: peer(task, inner=True)}
    rounds = {name: in_turn(genotypes, ours=name == OURS) for name in made}
    return {name: (lambda name=name, arm=arm: arm(next(rounds[name]))) for name, arm in made.items() if arm is not None}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--like", default="resnet18")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    task = ImagingTask("multi-class", CLASSES, 3, (arguments.size, arguments.size))
    genotypes = drawn(task, arguments.like, arguments.rounds + 1)
    made = {who: apart(partial(arms, who, arguments.size, genotypes), ours=who == OURS) for who in (PEER, OURS)}
    times = interleaved(made[PEER] | made[OURS], arguments.rounds)
    print(f"## Zen-NAS\n\n{machine()}; arms in turn, another structure each round, medians of {arguments.rounds}.\n")
    first = next(iter(times))
    rows = [[name, f"{1000 * seconds:.0f}", f"{times[first] / seconds:.2f}"] for name, seconds in times.items()]
    what = f"one candidate, as large as {arguments.like}, {NOISE_IMAGES} images of {arguments.size} pixels"
    print(markdown_table([what, "ms", f"times faster than {first}"], rows) + "\n", flush=True)
    if PEER not in times:
        print("PEER_DIR names no folder with the public code, so its arms were skipped.\n")


if __name__ == "__main__":
    main()
