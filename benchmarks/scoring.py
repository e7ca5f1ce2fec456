"""Training-free scoring of MSTF-NAS candidates: ours, the floor of bare convolutions, and the public code.

Run by `make bench`, or alone: python -m benchmarks.scoring [--threads N] [--repeats N]
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.genotype import Genotype, random_genotype
from archimed.indicators import score
from archimed.indicators.isolation import channels_last
from archimed.seeding import torch_seed
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.task import ImagingTask
from benchmarks.peer import load_peer, measure, naswot_as_published
from benchmarks.timing import Arm, apart, interleaved, machine, markdown_table

TASK = ImagingTask("binary", ("benign", "malignant"), 1, (28, 28))
EIGHT = ("naswot", "jacob_cov", "synflow", "log_synflow", "fisher", "grad_norm", "snip", "grasp")
THEIR_SEVEN = ("grad_norm", "snip", "grasp", "fisher", "jacob_cov", "plain", "synflow")  # its synflow_bn fails here


SHARES = ("build", "forward", "naswot", "synflow", "naswot + log_synflow + macs")  # arms that tell what takes how long


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer on its own: how it is called, and inputs of the shapes it has in the network."""

    call: Callable[[Tensor], Tensor]
    weight: Tensor
    batch: Tensor
    one: Tensor


def bare_layers(network: nn.Module, images: Tensor) -> list[Layer]:
    """The network's own convolutions and linear layers, channels-last, cut out of it."""
    layers = []

    def cut(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        batch = torch.rand_like(inputs[0])
        one = channels_last(batch[:1]).requires_grad_()
        layers.append(Layer(module.forward, module.weight, batch, one))

    kinds = (nn.Conv2d, nn.Linear)
    handles = [m.register_forward_hook(cut) for m in network.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        network(channels_last(images))
    for handle in handles:
        handle.remove()
    return layers


def forward_all(layers: list[Layer]) -> None:
    """What the forward pass on the batch cannot do without."""
    with torch.no_grad():
        for layer in layers:
            layer.call(layer.batch)


def both_ways_one(layers: list[Layer]) -> None:
    """Forward and backward for one image: the passes of synflow by its formula."""
    for layer in layers:
        output = layer.call(layer.one)
        torch.autograd.grad(output, [layer.one, layer.weight], torch.ones_like(output))


def both_ways(layers: list[Layer]) -> None:
    """Forward and the gradient by the images on the batch: the passes of jacob_cov."""
    for layer in layers:
        images = layer.batch.detach().requires_grad_()
        output = layer.call(images)
        torch.autograd.grad(output, images, torch.ones_like(output))


def example() -> Batch:
    """The batch that all are measured on."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 28, 28, generator=generator)
    return Batch(images, torch.randint(0, 2, (64,), generator=generator))


def built(space: MultiscaleCellSpace, genotypes: list[Genotype]) -> list[nn.Module]:
    """The networks, the same for all."""
    with torch_seed(0):
        return [space.build(genotype, TASK).train() for genotype in genotypes]


def connected_genotypes(space: MultiscaleCellSpace, count: int) -> list[Genotype]:
    """Random genotypes through which something flows."""
    rng = np.random.default_rng(0)
    found: list[Genotype] = []
    probe = Batch(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))
    while len(found) < count:
        genotype = random_genotype(space.choices, rng)
        with torch_seed(0):
            if score(space.build(genotype, TASK), probe, ["synflow"])["synflow"] > 0:
                found.append(genotype)
    return found


def our_arms(space: MultiscaleCellSpace, genotypes: list[Genotype], skip: Sequence[str]) -> dict[str, Arm]:
    """Ours and the floors, each over all networks."""
    batch = example()
    networks = built(space, genotypes)
    layers = [layer for network in networks for layer in bare_layers(network, batch.images)]
    images = channels_last(batch.images)

    def ours(*names: str) -> Arm:
        return lambda: [score(network, batch, names) for network in networks]

    def plain_forward() -> None:
        with torch.no_grad():
            for network in networks:
                network(images)

    arms: dict[str, Arm] = {
        "build": lambda: [space.build(genotype, TASK) for genotype in genotypes],
        "forward": plain_forward,
        "floor: forward": lambda: forward_all(layers),
        "floor: both ways, one image": lambda: both_ways_one(layers),
        "floor: both ways, batch": lambda: both_ways(layers),
        "naswot": ours("naswot"),
        "synflow": ours("synflow"),
        "naswot + log_synflow": ours("naswot", "log_synflow"),
        "naswot + log_synflow + macs": ours("naswot", "log_synflow", "macs", "parameters"),
        "naswot + synflow": ours("naswot", "synflow"),
        "jacob_cov + synflow": ours("jacob_cov", "synflow"),
        "all eight": ours(*EIGHT),
    }
    return {name: arm for name, arm in arms.items() if name not in skip}


def peer_arms(space: MultiscaleCellSpace, genotypes: list[Genotype], skip: Sequence[str]) -> dict[str, Arm]:
    """The public code, as shipped (NCHW) and with images and weights in channels-last."""
    find_measures = load_peer()
    if isinstance(find_measures, str):
        return {}
    batch = example()
    networks = built(space, genotypes)
    nhwc = Batch(channels_last(batch.images), batch.target)

    def theirs(given: Batch, *names: str) -> Arm:
        return lambda: [measure(find_measures, network, given, names) for network in networks]

    def naswot_and_synflow(given: Batch) -> Arm:
        def run() -> None:
            for network in networks:
                naswot_as_published(network, given.images)
                measure(find_measures, network, given, ["synflow"])

        return run

    arms = {}
    for form, given in (("as shipped", batch), ("channels-last", nhwc)):
        arms[f"peer {form}: naswot + synflow"] = naswot_and_synflow(given)
        arms[f"peer {form}: jacob_cov + synflow"] = theirs(given, "jacob_cov", "synflow")
        arms[f"peer {form}: all eight"] = theirs(given, *THEIR_SEVEN)
    return {name: arm for name, arm in arms.items() if name not in skip}


def report(stride: int, networks: int, times: dict[str, float]) -> str:
    """One Markdown section: times per candidate, ratios, shares."""
    per_one = {name: seconds / networks for name, seconds in times.items()}
    floors = {
        "naswot + log_synflow": per_one["floor: forward"] + per_one["floor: both ways, one image"],
        "naswot + synflow": per_one["floor: forward"] + per_one["floor: both ways, one image"],
        "jacob_cov + synflow": per_one["floor: both ways, batch"] + per_one["floor: both ways, one image"],
    }
    rows = []
    for name in ("naswot + log_synflow", "naswot + synflow", "jacob_cov + synflow", "all eight"):
        theirs = [per_one.get(f"peer {form}: {name.replace('log_', '')}") for form in ("as shipped", "channels-last")]
        rows.append(
            [
                name,
                f"{1000 * per_one[name]:.0f}" if name in per_one else "-",
                f"{per_one[name] / floors[name]:.2f}" if name in floors else "-",
                *(f"{1000 * t:.0f}, {t / per_one[name]:.1f}x" if t and name in per_one else "-" for t in theirs),
            ]
        )
    header = ["scores", "ours, ms", "of the floor", "peer as shipped, ms", "peer channels-last, ms"]
    title = f"### MSTF-NAS networks (C=128, 3 blocks, batch 64, 28x28), stem stride {stride}, mean of {networks}"
    floor = (
        f"Floors: bare convolutions forward {1000 * per_one['floor: forward']:.0f} ms, both ways on one image "
        f"{1000 * per_one['floor: both ways, one image']:.1f} ms, both ways on the batch (by the images) "
        f"{1000 * per_one['floor: both ways, batch']:.0f} ms."
    )
    table = markdown_table(header, rows)
    if not {*SHARES} <= per_one.keys():
        return "\n\n".join([title, table, floor])
    whole = per_one["build"] + per_one["naswot + log_synflow + macs"]
    shares = {
        "build": per_one["build"],
        "forward": per_one["forward"],
        "ReLU kernel": per_one["naswot"] - per_one["forward"],
        "synflow": per_one["naswot + log_synflow"] - per_one["naswot"],
        "MACs and parameters": per_one["naswot + log_synflow + macs"] - per_one["naswot + log_synflow"],
    }
    told = ", ".join(f"{stage} {max(0.0, seconds) / whole:.0%}" for stage, seconds in shares.items())
    candidate = (
        f"A candidate (build, naswot, log_synflow, MACs, parameters): {1000 * whole:.0f} ms, "
        f"{1 / whole:.1f} per second; {told}."
    )
    return "\n\n".join([title, table, candidate, floor])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"## Training-free scoring\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    missing = load_peer()
    if isinstance(missing, str):
        print(missing + "\n")
    slow = ("peer channels-last: all eight",)
    too_slow = ("all eight", "peer as shipped: all eight", *slow, *SHARES)
    for stride, networks, seconds, skip in ((4, 2, 35.0, slow), (1, 1, 80.0, too_slow)):
        space = MultiscaleCellSpace(stem_stride=stride)
        genotypes = connected_genotypes(space, networks)
        arms = {
            name: arm
            for make in (our_arms, peer_arms)
            for name, arm in apart(partial(make, space, genotypes, skip), ours=make is our_arms, settling=4).items()
        }
        print(report(stride, networks, interleaved(arms, arguments.repeats, seconds)) + "\n", flush=True)


if __name__ == "__main__":
    main()
