"""What a search space is: choices, and a network for every way of making them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype
from archimed.task import ImagingTask

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class SearchSpace(Protocol):
    """What every method needs of a space.

    A space may also define `canonical(genotype) -> Genotype`, one representative of all genotypes that build the
    same network; a search then measures each network once.
    """

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The decisions of a genotype, in its order; none for a fixed network."""
        ...

    def build(self, genotype: Genotype, task: ImagingTask) -> "nn.Module":
        """A network that maps images [batch, channel, *space] to logits [batch, output].

        Weights are drawn from PyTorch's global generator (see `archimed.seeding.torch_seed`).

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the space has no network for this task.
        """
        ...


def canonical(space: SearchSpace, genotype: Genotype) -> Genotype:
    """The representative of all genotypes that build the same network; the genotype itself if the space knows none."""
    own: Callable[[Genotype], Genotype] | None = getattr(space, "canonical", None)
    return genotype if own is None else own(genotype)


def refuse_masks(task: ImagingTask, network: str) -> None:
    """Raise SettingsError if the task asks for masks, which networks that end in global pooling cannot give."""
    if task.kind == "segmentation":
        raise SettingsError(
            f"The {network} networks classify whole images; the task asks for masks of {', '.join(task.class_names)}. "
            "Give labels instead of masks, or use mixsearch, the method that takes masks."
        )
