"""Masks by a trained network, one case after the other; images larger than its patch by a sliding window."""

import math
from collections.abc import Iterator
from math import prod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from archimed.data.arrays import Arrays, Shape
from archimed.training.machine import Machine
from archimed.training.prediction import Normalise

PIXELS_AT_ONCE = 2**18  # of images or windows in one forward pass
OVERLAP = 0.5  # of neighbouring windows, as a share of their sides (nnU-Net)


def predict_masks(
    network: nn.Module,
    images: Shaped[Tensor, "case channel *space"] | Arrays,
    normalise: Normalise,
    machine: Machine,
    *,
    patch_size: tuple[int, ...] | None = None,
    overlap: float = OVERLAP,
) -> Iterator[Float[Tensor, "class *space"]]:
    """Probabilities of the classes of each pixel, for one raw image after the other, on the CPU at its own size.

    Images that are larger than the patch along any axis are predicted by windows of its size, whose logits are averaged
    with weights that fall off from a window's middle (MONAI's `sliding_window_inference`). All else is predicted
    whole, a few neighbours of one size at a time. Always float32 and in eval mode; the network is moved to the machine,
    and its mode is restored after the last image.

    Args:
        network: maps images to logits of their size.
        images: as stored, of one size or several.
        normalise: raw images -> float32.
        machine: how to compute.
        patch_size: pixels per axis of a window; None predicts every image whole.
        overlap: of neighbouring windows, as a share of their sides, 0 to less than 1.
    """
    shapes = images.shapes if isinstance(images, Arrays) else (tuple(images.shape[1:]),) * len(images)
    machine.place_network(network)
    training = network.training
    network.eval()
    try:
        for rows in _groups(shapes, patch_size):
            with machine.session(), torch.inference_mode():
                stored = images[rows[0] : rows[-1] + 1] if isinstance(images, Tensor) else _stacked(images, rows)
                logits = _logits(network, normalise(stored), machine, patch_size, overlap)
                found = logits.float().cpu().contiguous().softmax(1)
            yield from (case.clone() for case in found)
    finally:
        network.train(training)


def windows(shape: Shape, patch_size: tuple[int, ...] | None, overlap: float = OVERLAP) -> int:
    """How many windows an image of a shape [channel, *space] takes."""
    if patch_size is None:
        return 1
    sides = [(side, min(side, patch)) for side, patch in zip(shape[1:], patch_size, strict=True)]
    return prod(
        math.ceil((side - window) / max(1, int(window * (1 - overlap)))) + 1 if side > window else 1
        for side, window in sides
    )


def _logits(
    network: nn.Module, inputs: Tensor, machine: Machine, patch_size: tuple[int, ...] | None, overlap: float
) -> Tensor:
    if windows(tuple(inputs.shape[1:]), patch_size, overlap) == 1 or patch_size is None:
        return network(machine.place_images(inputs))  # type: ignore[no-any-return]
    from monai.inferers.utils import sliding_window_inference

    window = tuple(map(min, inputs.shape[2:], patch_size))
    return sliding_window_inference(  # type: ignore[no-any-return]
        inputs,
        window,
        max(1, PIXELS_AT_ONCE // prod(window)),
        lambda part: network(machine.place_images(part)),
        overlap,
        mode="gaussian",
        sw_device=machine.device,
        device=inputs.device,
    )


def _stacked(images: Arrays, rows: list[int]) -> Tensor:
    return torch.stack([images[row] for row in rows])


def _groups(shapes: tuple[Shape, ...], patch_size: tuple[int, ...] | None) -> Iterator[list[int]]:
    """Rows that are predicted together: neighbours of one shape, few pixels in all, each in a single window."""
    rows: list[int] = []
    for row, shape in enumerate(shapes):
        full = (len(rows) + 1) * prod(shape[1:]) > PIXELS_AT_ONCE or windows(shape, patch_size) > 1
        if rows and (full or shape != shapes[rows[0]]):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
