"""Alpha, the mixture it stands for, and what is told of a mixture: shares, entropy, skips of what it favours."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from archimed.genotype import Choice, Genotype

Alpha = Mapping[str, Tensor]  # name of a mixed choice -> one number per option [option], on the host
Mixture = Mapping[str, Tensor]  # name of a mixed choice -> weight of each option [option]
ALPHA_SPREAD = 1e-3  # standard deviation of the first alpha (DARTS)
SKIP = "identity"
KINDS = "type."  # what the names of choices between kinds of cell begin with


def draw_alpha(choices: Sequence[Choice], generator: torch.Generator) -> dict[str, Tensor]:
    """The first alpha, 1e-3 times standard normal numbers, ready to learn."""
    return {
        choice.name: (ALPHA_SPREAD * torch.randn(len(choice.options), generator=generator)).requires_grad_()
        for choice in choices
    }


def mixture_of(alpha: Alpha) -> dict[str, Tensor]:
    """The weights of the options: softmax over each choice (DARTS, Eq. 2; MM-NAS, Eq. 2)."""
    return {name: numbers.softmax(0) for name, numbers in alpha.items()}


def share_of(option: str, mixture: Mixture, choices: Sequence[Choice]) -> float:
    """The mean weight of an option over the choices that offer it; 0 if none does."""
    weights = [
        float(mixture[choice.name][choice.options.index(option)]) for choice in choices if option in choice.options
    ]
    return sum(weights) / len(weights) if weights else 0.0


def entropy_of(mixture: Mixture) -> float:
    """How undecided a mixture is: the mean entropy of its choices, 1 where all weigh the same, 0 if one is all."""
    parts = [
        float(torch.special.entr(weights.double()).sum()) / math.log(len(weights))
        for weights in mixture.values()
        if len(weights) > 1
    ]
    return sum(parts) / len(parts) if parts else 0.0


def entropies(mixture: Mixture) -> tuple[float, float | None]:
    """The entropy of the choices but those between kinds of cell, and of these, None without any."""
    kinds = {name: weights for name, weights in mixture.items() if name.startswith(KINDS)}
    others = {name: weights for name, weights in mixture.items() if name not in kinds}
    return entropy_of(others), entropy_of(kinds) if kinds else None


def count_skips(genotype: Genotype, choices: Sequence[Choice]) -> int:
    """Skip connections of a genotype's normal cell; of the whole genotype where no choice is of a normal cell."""
    skips = [choice.name for gene, choice in zip(genotype, choices, strict=True) if choice.options[gene] == SKIP]
    if any(choice.name.startswith("normal.") for choice in choices):
        skips = [name for name in skips if name.startswith("normal.")]
    return len(skips)
