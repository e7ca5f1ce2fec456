"""Networks that are fitted to all training cases at once instead of being trained by gradients."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from jaxtyping import Float, Num
from torch import Tensor, nn


class Fitted(nn.Module, ABC):
    """A network without weights to differentiate: what it learns are buffers, written by `fit` in one go.

    Built, it gives logits of any finite kind; fitted, those that count. Buffers may change their shape in `fit`, and
    must take that of the tensors they are loaded from.
    """

    @abstractmethod
    def fit(
        self, images: Iterable[Float[Tensor, "batch channel *space"]], target: Num[Tensor, "case *label"], seed: int
    ) -> Float[Tensor, "case output"]:
        """Learn from the training cases; a second call begins anew.

        Args:
            images: normalised images of all cases, batch by batch.
            target: as in `archimed.batch.Batch`, of all cases in the same order.
            seed: of whatever is drawn; the same gives the same result.

        Returns:
            Logits of the training cases by the fitted network.
        """
