"""Where the time of each stage goes, and how far it is from the floor of its multiplications.

Run by `make bench`, or alone: python -m benchmarks.profiles [--threads N] [stage ...]
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from archimed.batch import Batch
from archimed.indicators import score
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.training.machine import Machine
from benchmarks import scoring, stages, supernet, training, weave, zen
from benchmarks.timing import interleaved, machine, markdown_table

Step = Callable[[], object]
GROUPS: Mapping[str, tuple[str, ...]] = {  # the first whose word a name holds
    "convolutions back": ("convolution_backward",),
    "convolutions": ("conv",),
    "matrix products": ("mm", "linear"),
    "normalisation": ("norm",),
    "pooling, resizing": ("pool", "upsample"),
    "copies": ("copy", "clone", "cat", "contiguous", "fill", "zero", "empty", "pad"),
}
REST, OUTSIDE = "other operations", "Python and autograd"


@dataclass(frozen=True)
class Spent:
    """Of one step: seconds by the clock, the share of each group, calls of operations, and FLOPs."""

    seconds: float
    shares: Mapping[str, float]
    calls: int
    flops: int


def scoring_step() -> Step:
    """A candidate of MSTF-NAS, built and scored."""
    space = MultiscaleCellSpace(stem_stride=4)
    (genotype,) = scoring.connected_genotypes(space, 1)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(64, 1, 28, 28, generator=generator), torch.arange(64) % 2)
    return lambda: score(space.build(genotype, scoring.TASK), batch, ("naswot", "log_synflow"))


def zen_step() -> Step:
    """A candidate of Zen-NAS."""
    task = zen.ImagingTask("multi-class", zen.CLASSES, 3, (32, 32))
    (genotype,) = zen.drawn(task, "resnet18", 1)
    measure = zen.ours(task)
    return lambda: measure(genotype)


def path_step() -> Step:
    """A path of EMARS, eight volumes of 32x64x64."""
    step = stages.ours(8, (32, 64, 64), plain=False)
    genotype = stages.random_genotype(stages.SPACE.choices, numpy_generator(0, "paths"))
    return lambda: step(genotype)


def training_step_of(space: str, batch_size: int) -> Step:
    """A step of a network, channels-last."""
    data = training.examples(batch_size)
    batch = Batch(training.normalise(data.images), data.target)
    return training.stepper(space, batch, Machine(torch.get_num_threads(), memory_format="channels_last"))


STAGES: Mapping[str, Callable[[], Step]] = {
    "MSTF-NAS candidate": scoring_step,
    "Zen-NAS candidate": zen_step,
    "DARTS weight step": lambda: supernet.darts_arms(16)["ours, weight step"],
    "MM-NAS mixed cell, 3D": lambda: supernet.volume_arms("ours")["ours"],
    "EMARS path step": path_step,
    "MixSearch supernet step": lambda: weave.ours(2, 128),
    "training, multiscale_cell": lambda: training_step_of("multiscale_cell", 64),
    "training, ResNet-18": lambda: training_step_of("resnet", 32),
}


def spent(step: Step) -> Spent:
    """Profile one step after two that warm up; the clock is read without the profiler."""
    step()
    seconds = min(_seconds(step) for _ in range(2))
    with FlopCounterMode(display=False) as counter:
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        step()
        profiled = time.perf_counter() - began
    totals = dict.fromkeys((*GROUPS, REST), 0.0)
    calls = 0
    for event in profiler.key_averages():
        if event.key.startswith("aten::") or "Backward" not in event.key:
            totals[group_of(event.key)] += event.self_cpu_time_total / 1e6
            calls += event.count * event.key.startswith("aten::")
    shares = {name: total / profiled for name, total in totals.items()}
    return Spent(seconds, {**shares, OUTSIDE: max(0.0, 1 - sum(shares.values()))}, calls, counter.get_total_flops())


def group_of(operation: str) -> str:
    """The group that an operation of PyTorch counts to, by its name."""
    found = (group for group, words in GROUPS.items() if any(word in operation for word in words))
    return next(found, REST)


def _seconds(step: Step) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def flop_rate() -> float:
    """FLOPs a second of a product of large matrices: what this machine can do at best."""
    left = torch.from_numpy(np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32))
    seconds = interleaved({"product": lambda: left @ left}, 5)["product"]
    return float(2 * 2048**3 / seconds)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("stages", nargs="*", default=list(STAGES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rate = flop_rate()
    print(f"## Profiles\n\n{machine()}; products of large matrices run at {rate / 1e9:.0f} GFLOP/s.\n")
    rows = []
    for name in arguments.stages:
        with torch_seed(0):
            one = spent(STAGES[name]())
        floor = one.flops / rate
        shares = [f"{100 * one.shares[group]:.0f}" for group in (*GROUPS, REST, OUTSIDE)]
        times = f"{one.seconds / floor:.1f}" if floor else "-"
        rows.append([name, f"{1000 * one.seconds:.0f}", f"{one.flops / 1e9:.1f}", times, str(one.calls), *shares])
    header = ["one step", "ms", "GFLOP", "times the FLOP floor", "operations"]
    print(markdown_table([*header, *(f"{group}, %" for group in (*GROUPS, REST, OUTSIDE))], rows))


if __name__ == "__main__":
    main()
