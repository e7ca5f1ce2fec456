"""Images that occur twice: equal ones by content, and others that look alike by a small signature.

A signature is the image averaged to 16 x 16 (volumes 8 x 8 x 8), each channel brought to mean 0 and length 1. What all
images of a data set share (their mean and first eight principal components: the outline of a chest, the black corners
of a fundus image) is taken out, so that a correlation near 1 means the same picture and not merely the same organ.

The threshold was chosen on real images, by looking at the pairs found, and on altered copies (JPEG of quality 20,
other brightness, gamma 0.8, three quarters of the size):

* BreastMNIST: every pair above it shows one scan twice (the ultrasound set it is made of is known for this);
* PneumoniaMNIST: the known equal images and hardly another pair; chest X-rays of different patients of ChestX-ray14
  reach 0.79, hippocampi 0.63, adrenal glands (bare shapes) 0.92, patches of tumours in CT and PET 0.80;
* 95 % of altered copies are found at 224 pixels; at 28 pixels too, but for JPEG 20 and three quarters of the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor
from torch.nn import functional

from archimed.data.dataset import SPLIT_NAMES, Dataset

LOOK_ALIKE = 0.93  # correlation of signatures from which on two images are told to look alike
SIDE = {2: 16, 3: 8}  # of a signature, by dimensions
ONE_GREY = 1e-5  # deviation, as a share of the values, that is rounding
SHARED_COMPONENTS = 8
CASES_PER_COMPONENT = 25  # of few images no principal components are taken out, as a pair could be one of them
ALL_PAIRS = 8000  # up to here all pairs are compared; of more images, those that agree in a band of sign bits
BANDS, BAND_BITS = 8, 14  # of a correlation of 0.93 two images agree in some band with probability 0.9; of 0.98, 0.98
BLOCK = 1000  # images compared with others at a time
MOST_PAIRS = 20_000  # kept at most

Pairs = Int[np.ndarray, "pair 2"]


@dataclass(frozen=True)
class Duplicates:
    """Images that occur more than once.

    Attributes:
        equal: rows of images equal pixel by pixel, group by group.
        alike: pairs of rows of different patients that look alike, the most alike first; no equal ones.
        likeness: correlation of the signatures of each of those pairs.
    """

    equal: tuple[tuple[int, ...], ...]
    alike: tuple[tuple[int, int], ...] = ()
    likeness: tuple[float, ...] = ()


def find_duplicates(
    dataset: Dataset, digests: Sequence[bytes], signature: Float[np.ndarray, "case feature"] | None
) -> Duplicates:
    """Equal images and, given signatures, images of different patients that look alike."""
    number: dict[bytes, int] = {}
    content = np.array([number.setdefault(digest, len(number)) for digest in digests])
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(content.tolist()):
        groups.setdefault(group, []).append(row)
    equal = tuple(tuple(rows) for rows in groups.values() if len(rows) > 1)
    if signature is None:
        return Duplicates(equal)
    who: dict[str, int] = {}
    patients = np.array([who.setdefault(case.patient, len(who)) for case in dataset.cases])
    pairs, likeness = look_alikes(signature, LOOK_ALIKE)
    kept = (patients[pairs[:, 0]] != patients[pairs[:, 1]]) & (content[pairs[:, 0]] != content[pairs[:, 1]])
    return Duplicates(
        equal,
        tuple((int(first), int(second)) for first, second in pairs[kept]),
        tuple(round(float(value), 4) for value in likeness[kept]),
    )


def signatures(images: Shaped[Tensor, "case channel *space"]) -> Float32[np.ndarray, "case feature"]:
    """What images look like, whatever their size and brightness; zeros for an image of one grey."""
    side = SIDE[images.ndim - 2]
    pool = functional.adaptive_avg_pool2d if images.ndim == 4 else functional.adaptive_avg_pool3d
    parts = []
    for channel in range(images.shape[1]):
        values = images[:, channel].to(torch.float32)
        if images.is_floating_point():
            values = torch.nan_to_num(values, posinf=0.0, neginf=0.0)
        small = pool(values[:, None], side).flatten(1)
        rest = small - small.mean(1, keepdim=True)
        flat = rest.norm(dim=1, keepdim=True) <= ONE_GREY * small.norm(dim=1, keepdim=True)
        parts.append(torch.where(flat, 0.0, _unit(rest)))
    found: Float32[np.ndarray, "case feature"] = torch.cat(parts, dim=1).numpy()
    return found


def look_alikes(
    signature: Float[np.ndarray, "case feature"], threshold: float
) -> tuple[Pairs, Float[np.ndarray, " pair"]]:
    """Pairs of rows whose signatures correlate at least so much, apart from what all share; the most alike first."""
    values = _distinctive(torch.from_numpy(np.asarray(signature, dtype=np.float32)))
    groups = [np.arange(len(values))] if len(values) <= ALL_PAIRS else _buckets(values)
    found: dict[tuple[int, int], float] = {}
    for rows in groups:
        for start in range(0, len(rows), BLOCK):
            block = torch.from_numpy(rows[start : start + BLOCK])
            rest = torch.from_numpy(rows[start:])
            likeness = values[block] @ values[rest].T
            hits = torch.nonzero(torch.triu(likeness, 1) >= threshold)
            for first, second in hits[: MOST_PAIRS - len(found)].tolist():
                pair = (int(block[first]), int(rest[second]))
                found[min(pair), max(pair)] = float(likeness[first, second])
    order = sorted(found, key=lambda pair: (-found[pair], pair))
    pairs = np.array(order, dtype=np.int64).reshape(-1, 2)
    return pairs, np.array([found[pair] for pair in order])


def _distinctive(values: Float32[Tensor, "case feature"]) -> Float32[Tensor, "case feature"]:
    """Signatures without what all share, of length 1, or 0 for images of one grey."""
    rest = torch.where(values.any(1, keepdim=True), values - values.mean(0), 0.0)
    components = min(SHARED_COMPONENTS, len(values) // CASES_PER_COMPONENT)
    if components:
        shared = torch.linalg.eigh(rest.T.double() @ rest.double()).eigenvectors[:, -components:].float()
        rest = rest - (rest @ shared) @ shared.T
    return _unit(rest)


def _unit(values: Float32[Tensor, "case feature"]) -> Float32[Tensor, "case feature"]:
    length: Tensor = values.norm(dim=1, keepdim=True)
    return values / length.clamp(min=1e-30)


def _buckets(values: Float32[Tensor, "case feature"]) -> list[Int[np.ndarray, " row"]]:
    """Groups of images that agree in all sign bits of a band of random projections, band by band."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(values.shape[1], BANDS * BAND_BITS, generator=generator)
    bits = ((values @ directions) > 0).numpy().reshape(len(values), BANDS, BAND_BITS)
    keys = bits @ (1 << np.arange(BAND_BITS))
    groups = []
    for band in range(BANDS):
        order = np.argsort(keys[:, band], kind="stable")
        ends = np.nonzero(np.diff(keys[order, band]))[0] + 1
        groups += [np.sort(rows) for rows in np.split(order, ends) if len(rows) > 1]
    return groups


def split_numbers(dataset: Dataset) -> Int[np.ndarray, "fold case"]:
    """The split of each case in each fold, by its place in SPLIT_NAMES; -1 where it is in none."""
    found = np.full((len(dataset.folds), len(dataset.cases)), -1)
    for fold, row in zip(dataset.folds, found, strict=True):
        for number, name in enumerate(SPLIT_NAMES):
            row[dataset.rows(fold.split(name))] = number
    return found


def crossing_fold(rows: Sequence[int], splits: Int[np.ndarray, "fold case"]) -> int | None:
    """The first fold in which these cases lie in more than one split; None if there is none."""
    for fold, numbers in enumerate(splits):
        if len({int(number) for number in numbers[list(rows)] if number >= 0}) > 1:
            return fold
    return None
