"""Several networks of one architecture that answer together: the mean of their probabilities (a deep ensemble)."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Members(nn.Module):
    """Networks that see the same images and are trained side by side, each by its own loss, from its own first weights.

    The mean of probabilities of independently begun networks varies less than any of them, most where cases are few
    (Lakshminarayanan et al., 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles").
    """

    def __init__(self, networks: Iterable[nn.Module], *, each_output_alone: bool) -> None:
        """`each_output_alone`: outputs are labels with a sigmoid each, not classes under one softmax."""
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.each_output_alone = each_output_alone

    def forward(
        self, images: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch output *space"] | tuple[Tensor, ...]:
        """In training mode the outputs of every member; else the logits of the mean of their probabilities."""
        outputs = [member(images) for member in self.members]
        number = len(outputs)
        if self.training:
            parts = [part for output in outputs for part in (output if isinstance(output, tuple) else (output,))]
            for part in parts:
                if part.requires_grad:  # the mean of all losses then gives each member the gradient of its own
                    part.register_hook(lambda gradient: gradient * number)
            return tuple(parts)
        logits = torch.stack(outputs)
        if not self.each_output_alone:
            return logits.log_softmax(2).logsumexp(0) - math.log(number)
        positive = nn.functional.logsigmoid(logits).logsumexp(0)
        negative = nn.functional.logsigmoid(-logits).logsumexp(0)
        return positive - negative
