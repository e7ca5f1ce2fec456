"""Operations of cells in a box's few letters, in a sentence, and by the colour of their kind."""

from collections.abc import Iterable, Mapping

KINDS: Mapping[str, str] = {  # how an operation's name begins: the class of its box
    "conv": "conv",
    "separable": "separable",
    "dilated": "dilated",
    "factorised": "asymmetric",
    "max": "max",
    "average": "average",
    "zero": "zero",
    "atrous": "dilated",
    "shuffle": "conv",
    "transposed": "conv",
    "attention": "attention",
}
SHORT: Mapping[str, str] = {
    "separable_conv": "sep",
    "dilated_conv": "dil",
    "max_pool": "max",
    "average_pool": "avg",
    "conv": "conv",
}
LONG: Mapping[str, str] = {
    "separable_conv": "separable convolution",
    "dilated_conv": "dilated convolution",
    "max_pool": "max pooling",
    "average_pool": "average pooling",
    "conv": "convolution",
}
MEANINGS: Mapping[str, tuple[str, str]] = {  # how an operation's name begins: its letters and their meaning
    "conv": ("conv", "convolution"),
    "separable": ("sep", "separable convolution"),
    "dilated": ("dil", "dilated separable convolution"),
    "factorised": ("7×1, 1×7", "two thin convolutions in turn"),
    "max": ("max", "max pooling"),
    "average": ("avg", "average pooling"),
    "identity": ("identity", "unchanged, as a skip connection"),
    "zero": ("zero", "nothing; it and what reads it are drawn dashed and left out of the network"),
}
WOVEN: Mapping[str, str] = {  # the operations of MixSearch's cells, whose kernels are all of one size
    "average_pool": "average of neighbours, halves the size",
    "max_pool": "largest of neighbours, halves the size",
    "conv": "convolution",
    "atrous_conv": "convolution with gaps between what it reads",
    "separable_conv": "a convolution of each channel by itself, then one that mixes them",
    "shuffle_conv": "convolution of groups of channels, which are then interleaved",
    "attention_conv": "channels weighed by how strong each is (squeeze-and-excitation), then a convolution",
    "attention_identity": "channels weighed by how strong each is (squeeze-and-excitation)",
    "transposed_conv": "transposed convolution, doubles the size",
    "atrous_transposed_conv": "transposed convolution with gaps, doubles the size",
    "separable_transposed_conv": "transposed convolution of each channel by itself, then one that mixes them",
    "attention_transposed_conv": "channels weighed by how strong each is, then a transposed convolution",
}


def operation_words(name: str, spatial_dims: int = 2) -> str:
    """An operation in a box's few letters: separable_conv_3 is "sep 3×3", in volumes "sep 3³"."""
    stem, _, side = name.rpartition("_")
    if not side.isdecimal():
        return name.replace("_", " ")
    if stem == "factorised_conv":
        return f"{side}×1, 1×{side}"
    return (
        f"{SHORT.get(stem, stem.replace('_', ' '))} {side}³"
        if spatial_dims == 3
        else (f"{SHORT.get(stem, stem.replace('_', ' '))} {side}×{side}")
    )


def operation_of(name: str, what: str, spatial_dims: int = 2) -> str:
    """An operation on something, in a sentence: "separable convolution 3×3 of PET", "PET unchanged"."""
    if name == "identity":
        return f"{what} unchanged"
    stem, _, side = name.rpartition("_")
    if not side.isdecimal():
        return f"{name.replace('_', ' ')} of {what}"
    return f"{LONG.get(stem, stem.replace('_', ' '))} {'×'.join([side] * max(spatial_dims, 2))} of {what}"


def operation_kind(name: str) -> str:
    """The class of an operation's box."""
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), "")


def legend(operations: Iterable[str], spatial_dims: int = 2) -> dict[str, str]:
    """What the letters of these operations mean, in a fixed order."""
    found = set(operations)
    if woven := [name for name in WOVEN if name in found]:
        meanings = {operation_words(name): WOVEN[name] for name in woven}
        return {**meanings, **legend(name for name in found if name in {"identity", "zero"})}
    kernel = "k³" if spatial_dims == 3 else "k×k"
    meanings = {}
    for start, (letters, meaning) in MEANINGS.items():
        if any(name.startswith(start) for name in found):
            sized = start not in {"factorised", "identity", "zero"}
            meanings[f"{letters} {kernel}" if sized else letters] = meaning
    return meanings
