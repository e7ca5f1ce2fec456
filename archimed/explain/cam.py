"""Class activation maps of any classifying network: exact where it allows, else by gradients (Grad-CAM), 2D and 3D.

Exact (Zhou et al., 2016; EMARS, Sec. VI-E): where a last map f is averaged over space and read by one linear layer of
weights w and bias b, the map of class c is sum_k w_ck f_k(x), and the logit is its mean over x, plus b_c.

Grad-CAM (Selvaraju et al., 2017, Eqs. 1-2) takes for w_ck the mean gradient of the logit by channel k, here times the
number of cells, so that both maps are in logits and agree where both exist; negative values are kept. A network whose
logit is reached from several maps (encoders of modalities, a head that reads an early map) has the sum of their maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.errors import SettingsError
from archimed.explain.last_maps import forward_with_maps, last_maps
from archimed.networks.fitted import Fitted
from archimed.networks.members import Members
from archimed.networks.reference_cnn import SliceNetwork

Kind = Literal["cam", "grad-cam"]
SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by number of axes


@dataclass(frozen=True)
class Evidence:
    """The evidence of one map, by cell.

    Attributes:
        module: that made the map, as in `named_modules`.
        cells: [*cells], in logits: above 0 what speaks for the class; their mean is their part of the logit.
    """

    module: str
    cells: Float[Tensor, "*cells"]


@dataclass(frozen=True)
class ClassMap:
    """Where in one image a network sees evidence for one of its outputs.

    Attributes:
        kind: `cam`, exact, or `grad-cam`.
        logit: of the output; of members, the mean of theirs.
        evidence: of each map that is read.
        slice: of a network that looks at one slice of a volume, which; else None.
    """

    kind: Kind
    logit: float
    evidence: tuple[Evidence, ...]
    slice: int | None = None

    @property
    def elsewhere(self) -> float:
        """The rest of the logit, which has no place: of an exact map the bias of the linear layer."""
        return self.logit - sum(float(one.cells.double().mean()) for one in self.evidence)

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells along each axis, of the finest map."""
        return max((tuple(one.cells.shape) for one in self.evidence), key=prod)

    def on_image(self, space: Sequence[int]) -> Float[Tensor, "*space"]:
        """The sum of all maps, each brought to the size of the image; in a volume 0 outside of the slice looked at."""
        size = tuple(space) if self.slice is None else tuple(space)[1:]
        total = torch.zeros(size)
        for one in self.evidence:
            total += functional.interpolate(one.cells[None, None].float(), size=size, mode=SMOOTH[len(size)])[0, 0]
        if self.slice is None:
            return total
        volume = torch.zeros(tuple(space))
        volume[self.slice] = total
        return volume


def class_maps(
    network: nn.Module, image: Float[Tensor, "1 channel *space"], outputs: Sequence[int], *, exact: bool = True
) -> list[ClassMap]:
    """The maps of some outputs for one normalised image; the network is in eval mode.

    Args:
        network: any network that classifies.
        image: on the network's device.
        outputs: numbers of classes or labels.
        exact: False takes Grad-CAM even where the exact map exists.

    Raises:
        SettingsError: the network has no map: it is fitted to numbers, or all its maps have a single cell.
    """
    if isinstance(network, Fitted):
        raise no_maps("is fitted to numbers taken from the image")
    if isinstance(network, Members):
        return mean_maps([class_maps(one, image, outputs, exact=exact) for one in network.members])
    if isinstance(network, SliceNetwork):
        at = int(network.chosen(image)[0])
        return [replace(one, slice=at) for one in class_maps(network.network, image[:, :, at], outputs, exact=exact)]
    if exact and hasattr(network, "cam_parts"):
        return exact_maps(network, image, outputs)
    return gradient_maps(network, image, outputs)


@torch.no_grad()
def exact_maps(network: nn.Module, image: Float[Tensor, "1 channel *space"], outputs: Sequence[int]) -> list[ClassMap]:
    """The maps of a network that names the module whose map is averaged, and the linear layer on the averages."""
    module, linear = network.cam_parts()  # type: ignore[operator]
    seen: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        logits = network(image)
    finally:
        hook.remove()
    name = next(name for name, one in network.named_modules() if one is module)
    cells = torch.tensordot(linear.weight[list(outputs)], seen[0][0], dims=1).cpu()
    return [
        ClassMap("cam", float(logits[0, output]), (Evidence(name, own),))
        for output, own in zip(outputs, cells, strict=True)
    ]


def gradient_maps(
    network: nn.Module, image: Float[Tensor, "1 channel *space"], outputs: Sequence[int]
) -> list[ClassMap]:
    """Grad-CAM on the last maps of a network."""
    logits, made = forward_with_maps(network, image)
    found = []
    for output in outputs:
        logit = logits[0, output]
        maps = last_maps(logit, made)
        if not maps:
            raise no_maps("has no map of several cells")
        gradients = torch.autograd.grad(logit, [one.features for one in maps], retain_graph=True)
        evidence = tuple(
            Evidence(one.name, weighed(one.features.detach()[0], gradient[0]).cpu())
            for one, gradient in zip(maps, gradients, strict=True)
        )
        found.append(ClassMap("grad-cam", float(logit.detach()), evidence))
    return found


def weighed(
    features: Float[Tensor, "channel *cells"], gradient: Float[Tensor, "channel *cells"]
) -> Float[Tensor, "*cells"]:
    """Channels summed by the gradient of the logit by their mean: its sum over all cells."""
    cells: Tensor = torch.tensordot(gradient.flatten(1).sum(1), features, dims=1)
    return cells


def mean_maps(members: Sequence[Sequence[ClassMap]]) -> list[ClassMap]:
    """The maps of networks that answer together: the mean of those of each, of its own logit."""
    number = len(members)
    return [
        ClassMap(
            own[0].kind,
            sum(one.logit for one in own) / number,
            tuple(
                Evidence(f"members.{member}.{part.module}", part.cells / number)
                for member, one in enumerate(own)
                for part in one.evidence
            ),
            own[0].slice,
        )
        for own in zip(*members, strict=True)
    ]


def no_maps(why: str) -> SettingsError:
    """The error for a network that cannot be explained by maps."""
    return SettingsError(
        f"A map shows what a network still knows by place before it answers; this one {why}. Name another network of "
        "the run with --network."
    )
