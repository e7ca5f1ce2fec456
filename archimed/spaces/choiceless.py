"""What spaces of one fixed network share: no choices, and the same checks before the network is built."""

from typing import ClassVar

from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.spaces.protocol import refuse_masks, require_masks
from archimed.task import ImagingTask


class Choiceless:
    """A search space without choices.

    `shown` is what messages call it; `gives_masks` tells whether it answers every pixel or the whole image.
    """

    shown: ClassVar[str]
    gives_masks: ClassVar[bool] = False

    @property
    def choices(self) -> tuple[Choice, ...]:
        """None: the network is fixed."""
        return ()

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network, its weights drawn from PyTorch's global generator.

        Raises:
            GenotypeError: the genotype is not empty.
            SettingsError: the task asks for masks where the network gives none, or the reverse, or does not fit it.
        """
        check_genotype(genotype, self.choices)
        (require_masks if self.gives_masks else refuse_masks)(task, self.shown)
        check_spatial_dims(task.spatial_dims)
        return self._network(task)

    def _network(self, task: ImagingTask) -> nn.Module:
        raise NotImplementedError
