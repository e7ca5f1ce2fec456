"""The last maps of a network: what it still knew by place before the answer, found by walking back from a logit."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Node = tuple[Any, int]  # of the graph of gradients: the function, and which of its outputs


@dataclass(frozen=True)
class LastMap:
    """One map that reaches the logits through no other one.

    Attributes:
        name: of the module that makes it, as in `named_modules`.
        features: [1, channel, *cells].
    """

    name: str
    features: Float[Tensor, "1 channel *cells"]


def forward_with_maps(
    network: nn.Module, images: Float[Tensor, "1 channel *space"]
) -> tuple[Float[Tensor, "1 output"], list[tuple[str, Tensor]]]:
    """Logits with their graph, and every map that a module made on the way, by the module's name.

    A map has the axes of an image and more than one cell. A module that works in place hands on the tensor it was
    given: all are looked at only when the pass is over, so such a tensor is what it was in the end.
    """
    made: list[tuple[str, Tensor]] = []

    def keep(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        tensors = output if isinstance(output, tuple | list) else (output,)
        made.extend((name, tensor) for tensor in tensors if is_map(tensor, images.ndim))

    with ExitStack() as hooks, torch.enable_grad():
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(keep, name)).remove)
        logits: Tensor = network(images.detach().requires_grad_())
    return logits, made


def is_map(value: object, ndim: int) -> bool:
    """Whether it is a tensor of that many axes, of more than one cell."""
    return isinstance(value, Tensor) and value.ndim == ndim and prod(value.shape[2:]) > 1


def last_maps(logit: Float[Tensor, ""], made: Sequence[tuple[str, Tensor]]) -> list[LastMap]:
    """Of the maps that were made, those from which the logit is reached without passing another; in their order.

    A network with one path has one; encoders side by side have one each, and a head that also reads an early map has
    that too.
    """
    known: dict[Node, tuple[int, LastMap]] = {}
    for position, (name, tensor) in enumerate(made):
        if tensor.grad_fn is not None:
            known[tensor.grad_fn, tensor.output_nr] = position, LastMap(name, tensor)
    found: dict[Node, tuple[int, LastMap]] = {}
    walk((logit.grad_fn, 0), lambda node: node in known and bool(found.setdefault(node, known[node])))
    return [one for _, one in sorted(found.values(), key=lambda pair: pair[0])]


def walk(start: Node, is_end: Callable[[Node], bool]) -> None:
    """Visit every node of a graph of gradients from its end on, going no further at those that are ends."""
    waiting, seen = [start], {start}
    while waiting:
        node = waiting.pop()
        if node[0] is None or is_end(node):
            continue
        for following in node[0].next_functions:
            if following not in seen:
                seen.add(following)
                waiting.append(following)
