"""The supernet of EMARS: a step along random paths beside the public code, where PEER_DIR has it.

Run by `make bench`, or alone: python -m benchmarks.stages [--threads N] [--repeats N] [--batch N] [--size D,H,W]
Nothing of the public code is kept here. The same paths are walked by the public network as it
is, by it in channels-last layout, by ours as PyTorch computes it from the start, and by ours.
"""

import argparse
import importlib
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from archimed.genotype import Genotype, random_genotype
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.mbconv_stages import OPTIONS, MbconvStagesSpace
from archimed.task import ImagingTask
from benchmarks.peer import peer_folder
from benchmarks.supernet import kept_bytes, plainly
from benchmarks.timing import apart, in_turn, interleaved, machine, markdown_table

Step = Callable[[], object]
PEER, PEER_INNER, PLAIN, OURS = "public code", "public code, channels last", "plain form, as a start", "ours"
SPACE = MbconvStagesSpace(strides="paper")
CLASSES = ("a", "b", "c")


class LayerChoice(nn.Module):
    """What the public code takes from nni: the picked candidate's result, and a mask that says which it was."""

    picked = 0

    def __init__(self, candidates: Sequence[nn.Module], **_: object) -> None:
        super().__init__()
        self.choices = nn.ModuleList(candidates)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.zeros(len(self.choices), dtype=torch.int64)
        mask[self.picked] = 1
        return self.choices[self.picked](features), mask


class Registry:
    """What the public code takes from the package of this name: a decorator that leaves functions as they are."""

    def __init__(self, *_: object) -> None: ...

    def register(self, function: Any = None, **_: object) -> Any:
        """The function itself."""
        return function if function is not None else lambda same: same


def load_peer() -> Callable[..., nn.Module] | None:
    """The class of its network."""
    folder = peer_folder("networks/mobile3d_net.py")
    if folder is None:
        return None
    sys.path.insert(0, str(folder))
    for name in ("nni", "nni.nas", "nni.nas.pytorch"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["nni.nas.pytorch"].mutables = types.SimpleNamespace(LayerChoice=LayerChoice)  # type: ignore[attr-defined]
    sys.modules["nni.nas"].pytorch = sys.modules["nni.nas.pytorch"]  # type: ignore[attr-defined]
    sys.modules["registry"] = types.SimpleNamespace(Registry=Registry)  # type: ignore[assignment]
    package = types.ModuleType("networks")  # its own imports all networks, and with them more libraries
    package.__path__ = [str(folder / "networks")]
    sys.modules["networks"] = package
    found: Callable[..., nn.Module] = importlib.import_module("networks.mobile3d_net")._Mobile3DNet
    return found


def example(batch: int, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 1, *size, generator=generator), torch.arange(batch) % len(CLASSES)


def stepping(network: nn.Module, target: Tensor, walk: Callable[[Genotype], Tensor]) -> Callable[[Genotype], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=3e-4)

    def step(genotype: Genotype) -> None:
        optimizer.zero_grad()
        cross_entropy(walk(genotype), target).backward()
        optimizer.step()

    return step


def peer(batch: int, size: Sequence[int], *, inner: bool) -> Callable[[Genotype], None] | None:
    make = load_peer()
    if make is None:
        return None
    with torch_seed(0):
        network = make(c_in=1, classes=len(CLASSES))
    images, target = example(batch, size)
    if inner:
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        images = images.to(memory_format=torch.channels_last_3d)
    blocks = [module for module in network.modules() if isinstance(module, LayerChoice)]

    def walk(genotype: Genotype) -> Tensor:
        for block, gene in zip(blocks, genotype, strict=True):
            block.picked = gene
        logits: Tensor = network(images)
        return logits

    return stepping(network, target, walk)


def ours(batch: int, size: Sequence[int], *, plain: bool) -> Callable[[Genotype], None]:
    with torch_seed(0):
        network = SPACE.supernet(ImagingTask("multi-class", CLASSES, 1, tuple(size)))
    images, target = example(batch, size)
    if plain:
        plainly(network)
    return stepping(network, target, lambda genotype: network(images, SPACE.one_hot(genotype)))


def memory_rows(batch: int, size: Sequence[int]) -> list[list[str]]:
    """What is kept for the backward pass of one path, which is all that a search step walks, and of all options."""
    images, _ = example(batch, size)
    with torch_seed(0):
        network = SPACE.supernet(ImagingTask("multi-class", CLASSES, 1, tuple(size)))
    path = SPACE.one_hot((OPTIONS.index("mbconv_7_e4"),) * len(SPACE.choices))
    even = {choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in SPACE.choices}
    mixtures = {"one path, the largest": path, "all options at once": even}
    return [
        [name, f"{kept_bytes(lambda mixture=mixture: network(images, mixture)) / 2**20:.0f}"]  # type: ignore[misc]
        for name, mixture in mixtures.items()
    ]


def arms(names: Sequence[str], batch: int, size: Sequence[int], paths: Sequence[Genotype]) -> dict[str, Step]:
    """Steps that can be had; each call walks the next path."""
    made = {
        name: peer(batch, size, inner=name == PEER_INNER)
        if name in (PEER, PEER_INNER)
        else ours(batch, size, plain=name == PLAIN)
        for name in names
    }
    rounds = {name: in_turn(paths, ours=name == OURS) for name in names}
    return {name: (lambda name=name, step=step: step(next(rounds[name]))) for name, step in made.items() if step}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", default="32,64,64")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = tuple(map(int, arguments.size.split(",")))
    rng = numpy_generator(0, "paths")
    paths = [random_genotype(SPACE.choices, rng) for _ in range(arguments.repeats + 1)]
    others, mine = (
        apart(partial(arms, names, arguments.batch, size, paths), ours=OURS in names)
        for names in ((PEER, PEER_INNER, PLAIN), (OURS,))
    )
    times = interleaved(others | mine, arguments.repeats)
    print(f"## EMARS\n\n{machine()}; arms in turn, each round another path, medians of {arguments.repeats} rounds.\n")
    first = PEER if PEER in times else PLAIN
    rows = [[name, f"{1000 * seconds:.0f}", f"{times[first] / seconds:.2f}"] for name, seconds in times.items()]
    what = f"a step, {arguments.batch} volumes of {'x'.join(map(str, size))}"
    print(markdown_table([what, "ms", f"times the {first}"], rows) + "\n", flush=True)
    if PEER not in times:
        print("PEER_DIR names no folder with the public code, so its arms were skipped.\n")
    print(markdown_table(["kept for the backward pass", "MB"], memory_rows(arguments.batch, size)))


if __name__ == "__main__":
    main()
