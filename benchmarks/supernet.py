"""Supernets: steps and memory against the plain form of DARTS, and a mixed cell in 3D against its own.

Run by `make bench`, or alone: python -m benchmarks.supernet [--threads N] [--repeats N] [--batch N]
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from archimed.networks.layers import with_normalisation
from archimed.networks.mixed_cell import MixedCell, cell_weights, channels_innermost, edge_choices
from archimed.networks.operations import ZERO, Operation
from archimed.networks.summing_cell import CellShape
from archimed.seeding import torch_seed
from archimed.spaces import darts_cell, fusion_cell
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.protocol import Mixture
from archimed.task import ImagingTask
from archimed.training.memory import peak_bytes
from benchmarks.peer import peer_folder
from benchmarks.timing import apart, interleaved, machine, markdown_table

TASK = ImagingTask("multi-class", tuple("abcdefghij"), 3, (28, 28))
WIDTH, CELLS, NODES = 16, 8, 4
FEW = 16  # images whose features are counted; four times as many hold four times as much
VOLUME = (48, 48, 48)
PET_CT = (112, 112, 144)
Weigh = Callable[[bool], dict[str, Tensor]]


class PlainMixture(nn.Module):
    """An edge as the DARTS paper writes it: all operations, zero too, each times its weight, summed."""

    def __init__(self, operations: Sequence[Operation], channels: int, spatial_dims: int, stride: int) -> None:
        super().__init__()
        self.options = nn.ModuleList(operation.build(channels, spatial_dims, stride) for operation in operations)

    def forward(self, features: Tensor, weights: Tensor) -> Tensor:
        terms = (weight * option(features) for weight, option in zip(weights, self.options, strict=True))
        return sum(terms)  # type: ignore[return-value]


class PlainCell(nn.Module):
    """A cell of such edges, in the layout PyTorch starts from."""

    def __init__(self, operations: Sequence[Operation], ours: MixedCell, spatial_dims: int) -> None:
        super().__init__()
        self.bring = ours.bring
        width, stride = ours.width, ours.step
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                PlainMixture(operations, width, spatial_dims, stride if state < ours.inputs else 1)
                for state in range(ours.inputs + node)
            )
            for node in range(ours.num_nodes)
        )

    def forward(self, inputs: Sequence[Tensor], weights: Iterable[Sequence[Tensor]]) -> Tensor:
        states = [bring(features) for bring, features in zip(self.bring, inputs, strict=True)]
        for node, edges in zip(self.nodes, weights, strict=True):
            terms = [edge(states[k], edges[k]) for k, edge in enumerate(node)]  # type: ignore[arg-type]
            states.append(sum(terms))  # type: ignore[arg-type]
        return torch.cat(states[len(inputs) :], dim=1)


class PlainNetwork(nn.Module):
    """The supernet with such cells."""

    def __init__(self, space: DartsCellSpace) -> None:
        super().__init__()
        ours = space.supernet(TASK)
        self.stem, self.head, self.kinds, self.choices = ours.stem, ours.head, ours.kinds, ours.choices
        operations = (ZERO, *darts_cell.OPERATIONS)
        self.cells = nn.ModuleList(PlainCell(operations, cell, 2) for cell in ours.cells)  # type: ignore[arg-type]
        with_normalisation(self, "batch", affine=False)
        plainly(self)

    def forward(self, images: Tensor, mixture: Mixture) -> Tensor:
        before = last = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, last = last, cell((before, last), by_node(mixture, kind))
        logits: Tensor = self.head(last)
        return logits


def by_node(mixture: Mixture, kind: str) -> list[list[Tensor]]:
    """The weights of each node's edges."""
    nodes: dict[str, list[Tensor]] = {}
    for name, weights in mixture.items():
        cell, node, _ = name.split(".")
        if cell == kind:
            nodes.setdefault(node, []).append(weights)
    return list(nodes.values())


def plainly(network: nn.Module) -> None:
    """Convolutions as the library chooses them."""
    for layer in network.modules():
        if hasattr(layer, "quick"):
            layer.quick = False


def softmax_of(choices: Sequence[object], learnt: bool) -> dict[str, Tensor]:
    """A mixture near the uniform one, as a search begins."""
    generator = torch.Generator().manual_seed(0)
    alpha = {c.name: 1e-3 * torch.randn(len(c.options), generator=generator) for c in choices}  # type: ignore[attr-defined]
    return {name: values.requires_grad_(learnt).softmax(0) for name, values in alpha.items()}


def weight_step(network: nn.Module, images: Tensor, target: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9, weight_decay=3e-4)
    mixture = softmax_of(network.choices, learnt=False)  # type: ignore[arg-type]

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images, mixture), target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()

    return step


def architecture_step(network: nn.Module, images: Tensor, target: Tensor, *, frozen: bool) -> Callable[[], object]:
    """First order; `frozen` does without the weights' gradients, which are not used."""

    def step() -> None:
        mixture = softmax_of(network.choices, learnt=True)  # type: ignore[arg-type]
        for weight in network.parameters():
            weight.requires_grad_(not frozen)
        cross_entropy(network(images, mixture), target).backward()
        for weight in network.parameters():
            weight.requires_grad_(True)
            weight.grad = None

    return step


def peer(batch: int) -> dict[str, Callable[[], object]]:
    """The public DARTS code, if PEER_DIR has it; without its stem's three times as many channels."""
    folder = peer_folder("cnn/model_search.py")
    if folder is None:
        return {}
    sys.path.insert(0, str(folder / "cnn"))
    cuda = Tensor.cuda
    Tensor.cuda = lambda tensor: tensor  # type: ignore[method-assign, assignment]
    try:
        from model_search import Network  # type: ignore[import-not-found]

        with torch_seed(0):
            network = Network(WIDTH, TASK.num_outputs, CELLS, None, stem_multiplier=1)
    finally:
        Tensor.cuda = cuda  # type: ignore[method-assign]
    images, target = example(batch)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9, weight_decay=3e-4)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(images), target).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimizer.step()

    return {"public code, weight step": step}


def example(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, TASK.channels, *TASK.image_size, generator=generator)
    return images, torch.arange(batch) % TASK.num_outputs


def darts_arms(batch: int) -> dict[str, Callable[[], object]]:
    """Ours."""
    space = DartsCellSpace(num_cells=CELLS, num_nodes=NODES, width=WIDTH, stem_stride=1)
    with torch_seed(0):
        ours, again = space.supernet(TASK), space.supernet(TASK, recompute=True)
    images, target = example(batch)
    return {
        "ours, weight step": weight_step(ours, images, target),
        "ours with recomputation, weight step": weight_step(again, images, target),
        "ours, architecture step": architecture_step(ours, images, target, frozen=True),
    }


def plain_darts_arms(batch: int) -> dict[str, Callable[[], object]]:
    """The public code, or the plain form where it is not there, and the plain form's architecture step."""
    with torch_seed(0):
        plain = PlainNetwork(DartsCellSpace(num_cells=CELLS, num_nodes=NODES, width=WIDTH, stem_stride=1))
    images, target = example(batch)
    return {
        **(peer(batch) or {"plain form, weight step": weight_step(plain, images, target)}),
        "plain form, architecture step": architecture_step(plain, images, target, frozen=False),
    }


def volume_arms(name: str) -> dict[str, Callable[[], object]]:
    """Forward and backward of one 3D cell of two nodes on two stems' features, one volume: `ours` or `plain form`."""
    operations = (ZERO, *fusion_cell.OPERATIONS)
    names = tuple(operation.name for operation in operations)
    choices = edge_choices("normal", 2, 2, names)
    shape = CellShape((8, 8), 8, reduces=False, bridges=False)
    with torch_seed(0):
        ours = MixedCell(operations, shape, num_nodes=2, spatial_dims=3, normalisation="instance")
        from archimed.networks.layers import use_quick_forms

        plain = PlainCell(operations, ours, 3)
        plain.bring = MixedCell(operations, shape, num_nodes=2, spatial_dims=3, normalisation="batch").bring
        with_normalisation(plain, "batch", affine=False)
        use_quick_forms(ours)
        plainly(plain)
        stems = [torch.randn(1, 8, *VOLUME) for _ in range(2)]
    mixture = softmax_of(choices, learnt=False)
    weights = cell_weights(mixture, choices, torch.device("cpu"))["normal"]
    inner = [channels_innermost(stem) for stem in stems]

    def step(cell: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
        def once() -> None:
            cell.zero_grad()
            run().square().mean().backward()

        return once

    if name == "ours":
        return {name: step(ours, lambda: ours(inner, weights))}
    return {name: step(plain, lambda: plain(stems, by_node(mixture, "normal")))}


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, each storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storages.values())


def memory_rows(batch: int) -> list[list[str]]:
    """What is kept for the backward pass at most, counted by autograd's hooks on saved tensors.

    With recomputation: the states between operations, and the largest mixed operation or the cells that are spared.
    """
    space = DartsCellSpace(num_cells=CELLS, num_nodes=NODES, width=WIDTH, stem_stride=1)
    plain, ours, again = PlainNetwork(space), space.supernet(TASK), space.supernet(TASK, recompute=True)
    images, _ = example(batch)
    mixture = softmax_of(ours.choices, learnt=True)
    kept = {"plain form": kept_bytes(lambda: plain(images, mixture)), "ours": kept_bytes(lambda: ours(images, mixture))}
    parts: list[list[int]] = []
    states: dict[int, Tensor] = {}

    def alone(operation: nn.Module, inputs: tuple[Tensor, Sequence[object]]) -> None:
        states[inputs[0].data_ptr()] = inputs[0]
        parts[-1].append(kept_bytes(lambda: operation.forward(*inputs)))

    for cell in again.cells:
        cell.register_forward_pre_hook(lambda _cell, _inputs: parts.append([]))
        for operation in cell.states:  # type: ignore[union-attr]
            operation.register_forward_pre_hook(alone)  # type: ignore[arg-type]
    again(images, mixture)
    spared = sum(map(sum, parts[again.recomputed :]))
    between = sum(state.nbytes for state in states.values())
    kept["ours with recomputation"] = between + max(spared, *(max(cell) for cell in parts[: again.recomputed]))
    return [[name, f"{size / 2**20:.0f}", f"{size / kept['plain form']:.2f}"] for name, size in kept.items()]


def volume_memory_rows() -> list[list[str]]:
    """Bytes of all tensors alive at once in a weight step of MM-NAS's default supernet on one large PET-CT."""
    task = ImagingTask("binary", ("a", "b"), 2, PET_CT)
    images, target = torch.zeros(1, 2, *PET_CT), torch.zeros(1, dtype=torch.int64)
    peaks = {}
    for name, again in (("all features kept", False), ("with recomputation", True)):
        with torch_seed(0):
            supernet = fusion_cell.FusionCellSpace().supernet(task, recompute=again)
        peaks[name] = peak_bytes(weight_step(supernet, images, target))
    return [[name, f"{size / 2**30:.2f}", f"{size / peaks['all features kept']:.2f}"] for name, size in peaks.items()]


def rows(times: dict[str, float], pairs: dict[str, str]) -> list[list[str]]:
    return [
        [name, f"{1000 * seconds:.0f}", f"{times[pairs[name]] / seconds:.2f}" if name in pairs else ""]
        for name, seconds in times.items()
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"## Supernets\n\n{machine()}; arms in turn, medians of up to {arguments.repeats} rounds.\n")
    mine, others = (
        apart(partial(make, arguments.batch), ours=make is darts_arms) for make in (darts_arms, plain_darts_arms)
    )
    times = interleaved(others | mine, arguments.repeats, 70)
    first = {name.rsplit(", ", maxsplit=1)[-1]: name for name in others}
    pairs = {name: first[name.rsplit(", ", maxsplit=1)[-1]] for name in mine}
    header = [
        f"DARTS supernet, C={WIDTH}, {CELLS} cells, {arguments.batch} images of 28x28",
        "ms",
        "times the one above of its kind",
    ]
    print(markdown_table(header, rows(times, pairs)) + "\n", flush=True)
    print(markdown_table([f"kept for the backward pass, {FEW} images", "MB", "of the plain"], memory_rows(FEW)) + "\n")
    mine, others = (apart(partial(volume_arms, name), ours=name == "ours") for name in ("ours", "plain form"))
    times = interleaved(others | mine, arguments.repeats, 60)
    header = [
        "3D mixed cell, 5 edges x 10 options, C=8, 48^3, one volume, forward and backward",
        "ms",
        "times the plain",
    ]
    print(markdown_table(header, rows(times, {"ours": "plain form"})) + "\n", flush=True)
    print(markdown_table(["MM-NAS, default, one PET-CT of 112x112x144", "GiB", "of all"], volume_memory_rows()))


if __name__ == "__main__":
    main()
