"""What a search space is: choices, and a network for every way of making them."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype
from archimed.task import ImagingTask

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from archimed.spaces.budgets import Budgets, Cost

Mixture = Mapping[str, "Tensor"]  # name of a mixed choice -> weight of each of its options [option]


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


@runtime_checkable
class RelaxableSpace(SearchSpace, Protocol):
    """What gradients and weight sharing need: one network that holds all others, its architecture weights an input."""

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """What the supernet mixes; the option `zero`, where there is one, adds nothing and is never computed."""
        ...

    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> "nn.Module":
        """A network `forward(images, mixture) -> logits`, differentiable in the mixture.

        Weights are drawn from PyTorch's global generator. Options of weight zero are not computed. Normalisation has
        no learnt scale and shift, unless the space is made for single paths.

        Args:
            task: as in `build`.
            recompute: compute each cell again in the backward pass instead of keeping what is in it.
            channel_share: k > 1 mixes 1/k of the channels and carries the rest over; such a supernet has no weights
                to inherit.

        Raises:
            SettingsError: the space has no supernet for this task, or the share does not divide its channels.
        """
        ...

    def derive(self, mixture: Mixture) -> Genotype:
        """The genotype that a mixture favours."""
        ...

    def one_hot(self, genotype: Genotype) -> Mixture:
        """The mixture that walks the genotype's path alone."""
        ...

    def inherit(self, supernet: "nn.Module", genotype: Genotype, network: "nn.Module") -> None:
        """Copy the supernet's weights along a path into the network that `build` made of the genotype.

        In the same mode both then give the same logits, the supernet by `one_hot(genotype)`.

        Raises:
            SettingsError: the supernet mixes a share of its channels only.
        """
        ...


@runtime_checkable
class BudgetedSpace(SearchSpace, Protocol):
    """What a search within budgets needs: costs without building, and moves from network to network."""

    def cost(self, genotype: Genotype, task: ImagingTask) -> "Cost":
        """What the network of a genotype costs; exactly what one counts on the built network."""
        ...

    def least(self) -> Iterable[Genotype]:
        """Genotypes such that no network of the space costs less than all of theirs."""
        ...

    def draw(self, rng: "np.random.Generator", task: ImagingTask, budgets: "Budgets") -> Genotype:
        """A random genotype that keeps its budgets.

        Raises:
            SettingsError: none does.
        """
        ...

    def mutated(self, genotype: Genotype, rng: "np.random.Generator") -> Genotype:
        """The genotype with one block changed, whatever it then costs."""
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


def require_masks(task: ImagingTask, network: str) -> None:
    """Raise SettingsError if the task asks for no masks, which are all that a segmentation network gives."""
    if task.kind != "segmentation":
        raise SettingsError(
            f"{network} gives a class to every pixel; the task is {task.kind} of whole images. Give masks (see "
            "`archimed data --help`), or use another network."
        )
