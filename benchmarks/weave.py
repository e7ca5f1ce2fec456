"""The supernet of MixSearch: steps and memory beside the public code, where PEER_DIR has it.

Run by `make bench`, or alone: python -m benchmarks.weave [--threads N] [--repeats N] [--batch N] [--size N]
Nothing of the public code is kept here.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

import psutil
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from archimed.processor import keep_freed_memory
from archimed.seeding import torch_seed
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.task import ImagingTask
from benchmarks.peer import peer_folder
from benchmarks.timing import apart, interleaved, machine, markdown_table

Step = Callable[[], object]
PEER, OURS, AGAIN, ARCHITECTURE = "public code", "ours", "ours with recomputation", "ours, architecture step"
WIDTH, NODES, LAYERS = 16, 4, 7  # the public code counts its layers from the stem


def example(batch: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, size, size, generator=generator)
    return images, (images[:, 0] > 0).long()


def ours(batch: int, size: int, *, recompute: bool = False, architecture: bool = False) -> Step:
    """A step on the weights, or on the mixture alone, with deep supervision, and the optimizer of our searches."""
    space = WeavedUnetSpace(width=WIDTH, num_nodes=NODES, details=False, group_size=16)
    with torch_seed(0):
        network = space.supernet(ImagingTask("segmentation", ("background", "a"), 3, (size, size)), recompute=recompute)
    images, masks = example(batch, size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9, weight_decay=3e-4, fused=True)
    alpha = {choice.name: torch.zeros(len(choice.options)) for choice in space.mixed_choices}

    def step() -> None:
        mixture = {name: values.clone().requires_grad_(architecture).softmax(0) for name, values in alpha.items()}
        for weight in network.parameters():
            weight.requires_grad_(not architecture)
        outputs = network(images, mixture)
        optimizer.zero_grad()
        torch.stack([cross_entropy(logits, masks) for logits in outputs]).mean().backward()
        if not architecture:
            optimizer.step()

    return step


def peer(batch: int, size: int) -> Step | None:
    """Its first stage, as released; the same loss on its single output channel."""
    folder = peer_folder("nas_search/nas_model/UnetFabrices7.py")
    if folder is None:
        return None
    sys.path[:0] = [str(folder / "nas_search"), str(folder / "nas_search" / "nas_model")]
    from UnetFabrices7 import UnetLayer7  # type: ignore[import-not-found]

    tables = {f"switches_{kind}": [[True] * count] * 14 for kind, count in (("normal", 7), ("down", 6), ("up", 4))}
    with torch_seed(0):
        network: nn.Module = UnetLayer7(c=WIDTH, num_classes=1, meta_node_num=NODES, layers=LAYERS, **tables)
    images, masks = example(batch, size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9, weight_decay=3e-4)

    def step() -> None:
        outputs = network(images)
        optimizer.zero_grad()
        target = masks[:, None].float()
        torch.stack([binary_cross_entropy_with_logits(logits, target) for logits in outputs]).mean().backward()
        optimizer.step()

    return step


def make(name: str, batch: int, size: int) -> Step | None:
    if name == PEER:
        return peer(batch, size)
    return ours(batch, size, recompute=name == AGAIN, architecture=name == ARCHITECTURE)


def arms(names: Sequence[str], batch: int, size: int) -> dict[str, Step]:
    """The steps of these names that can be had."""
    made = {name: make(name, batch, size) for name in names}
    return {name: step for name, step in made.items() if step is not None}


def peak(name: str, batch: int, size: int) -> None:
    """Print by how many MB a step raises the memory of a process of its own above what it held before."""
    if name != PEER:
        keep_freed_memory()
    step = make(name, batch, size)
    if step is not None:
        before = psutil.Process().memory_info().rss
        step()
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20)


def measured_peak(name: str, arguments: argparse.Namespace) -> float:
    options = [f"--{key}={getattr(arguments, key)}" for key in ("threads", "batch", "size")]
    command = [sys.executable, "-m", "benchmarks.weave", *options, f"--memory={name}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout or "nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        peak(arguments.memory, arguments.batch, arguments.size)
        return
    print(f"## MixSearch\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    names = (PEER, OURS, AGAIN, ARCHITECTURE)
    memory = {name: measured_peak(name, arguments) for name in names}  # first: a process begins with its parent's peak
    size = (arguments.batch, arguments.size)
    steps = apart(partial(arms, names[:1], *size), ours=False) | apart(partial(arms, names[1:], *size), ours=True)
    times = interleaved(steps, arguments.repeats, 240)
    rows = [
        [name, f"{1000 * seconds:.0f}", f"{times[PEER] / seconds:.2f}" if PEER in times else "", f"{memory[name]:.0f}"]
        for name, seconds in times.items()
    ]
    images = f"{arguments.batch} images of {arguments.size}x{arguments.size}"
    print(markdown_table([f"first stage, {images}", "ms", "times the public code", "MB above before"], rows))
    if PEER not in times:
        print("\nPEER_DIR names no folder with the public code, so its arm was skipped.")


if __name__ == "__main__":
    main()
