"""Hand-crafted features of an image: intensities, the shape of what is bright, and texture; 2D and 3D from one source.

The classical radiomics baseline (Aerts et al., 2014; definitions as in the IBSI reference manual, Zwanenburg et al.,
2020, where it has them). Lengths are in pixels, intensities in the units of the images given.
"""

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from archimed.networks.regions import bright

LEVELS = 16  # grey levels of the texture matrix
BINS = 32  # of the histogram whose entropy is taken
PERCENTILES = (5, 10, 25, 50, 75, 90, 95)
INTENSITY = (
    *("mean", "deviation", "skewness", "kurtosis", "energy", "entropy", "minimum", "maximum"),
    *(f"percentile {percent}" for percent in PERCENTILES),
)
SHAPE = ("volume", "surface", "sphericity", "longest axis", "elongation")
TEXTURE = ("contrast", "correlation", "homogeneity", "energy", "entropy")
Vector = NDArray[np.float64]


def feature_names(channels: int, *, outlined: bool = False) -> tuple[str, ...]:
    """Names of the features of an image of so many channels, a region left out, in the order of `radiomic_features`."""
    names: list[str] = []
    if outlined:
        for channel in range(channels):
            names += [f"channel {channel} texture {name}" for name in TEXTURE]
            names += [f"channel {channel} in region {name}" for name in INTENSITY]
        return (*names, *(f"region {name}" for name in SHAPE))
    for channel in range(channels):
        names += [f"channel {channel} {name}" for name in INTENSITY]
        names += [f"channel {channel} texture {name}" for name in TEXTURE]
        names += [f"region {channel} {name}" for name in SHAPE]
        names += [f"channel {other} in region {channel} {name}" for other in range(channels) for name in INTENSITY]
    return tuple(names)


def radiomic_features(
    image: Float[np.ndarray, "channel *space"], *, outlined: bool = False
) -> Float[np.ndarray, " feature"]:
    """Features of one image (see `feature_names`); what is undefined is 0.

    If a tumour is `outlined`, the last channel is its region: of all others, intensities are measured in it and texture
    in its bounding box. Else the region of a channel is where it is bright (see `regions.bright`); each channel is
    measured in the region of each, so that of PET and CT the density of what takes up tracer is known.
    """
    values = np.asarray(image, dtype=np.float64)
    if outlined:
        return _inside(values[:-1], values[-1] > 1 / 2)
    regions = bright(torch.from_numpy(values)).numpy()
    found = []
    for channel, region in zip(values, regions, strict=True):
        found += [intensities(channel), texture(channel), shape(region)]
        found += [intensities(other[region]) for other in values]
    features: Vector = np.nan_to_num(np.concatenate(found), posinf=0.0, neginf=0.0)
    return features


def _inside(channels: Vector, region: Bool[np.ndarray, "*space"]) -> Vector:
    """Features of the channels in a region."""
    points = np.argwhere(region)
    ends = zip(points.min(0), points.max(0) + 1, strict=True) if len(points) else ()
    box = tuple(slice(low, high) for low, high in ends)
    found = [np.concatenate([texture(channel[box]), intensities(channel[region])]) for channel in channels]
    features: Vector = np.nan_to_num(np.concatenate([*found, shape(region)]), posinf=0.0, neginf=0.0)
    return features


def intensities(values: Float[np.ndarray, "*space"]) -> Float[np.ndarray, " 15"]:
    """First-order statistics (`INTENSITY`) of some pixels, all 0 where there is none.

    Skewness and kurtosis are the third and fourth standardised moments (a normal distribution has 0 and 3), energy the
    mean square, entropy that of a histogram of 32 bins between minimum and maximum, in bits.
    """
    if values.size == 0:
        return np.zeros(len(INTENSITY))
    mean, deviation = values.mean(), values.std()
    standardised = (values - mean) / (deviation or 1.0)
    low, high = values.min(), values.max()
    counts, _ = np.histogram(values, bins=BINS, range=(low, high if high > low else low + 1))
    moments = [(standardised**3).mean(), (standardised**4).mean()]
    rest = [(values**2).mean(), entropy(counts / values.size), low, high, *np.percentile(values, PERCENTILES)]
    return np.array([mean, deviation, *moments, *rest])


def entropy(shares: Float[np.ndarray, "..."]) -> float:
    """Entropy in bits of shares that add to 1."""
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())


def shape(region: Bool[np.ndarray, "*space"]) -> Float[np.ndarray, " 5"]:
    """Volume, surface, sphericity, longest axis and elongation of a region; all 0 where it is empty.

    In 2D volume is the area and surface the perimeter. Sphericity is the surface of a ball of that volume by that of
    the region. Axes are those of an ellipsoid with the region's second moments; elongation is the second longest by
    the longest.
    """
    points = np.argwhere(region)
    if len(points) == 0:
        return np.zeros(len(SHAPE))
    dims = region.ndim
    area = surface(region)
    ball = 2 * math.sqrt(math.pi * len(points)) if dims == 2 else (36 * math.pi * len(points) ** 2) ** (1 / 3)
    spread = np.linalg.eigvalsh(np.cov(points.T, bias=True)).clip(min=0)[::-1]
    longest = 2 * math.sqrt((dims + 2) * spread[0])
    elongation = math.sqrt(spread[1] / spread[0]) if spread[0] > 0 else 1.0
    return np.array([len(points), area, ball / area, longest, elongation])


def directions(dims: int) -> tuple[tuple[int, ...], ...]:
    """One of each pair of opposite neighbours of a pixel: 4 in 2D, 13 in 3D."""
    neighbours = product((-1, 0, 1), repeat=dims)
    return tuple(step for step in neighbours if step > (0,) * dims)


def surface(region: Bool[np.ndarray, "*space"]) -> float:
    """Surface of a region (perimeter in 2D) by Crofton's formula: how often lines in 13 (4) directions cross it.

    Each direction counts by its share of the sphere (Lehmann & Legland, 2012), which errs by few per cent however the
    surface lies, where the faces of voxels would give a ball half as much again.
    """
    padded = np.pad(region, 1)
    shares = DIRECTION_SHARES[region.ndim]
    crossings = 0.0
    for step in directions(region.ndim):
        first, second = shifted(padded, step)
        squared = sum(map(abs, step))
        crossings += shares[squared - 1] * np.count_nonzero(first != second) / math.sqrt(squared)
    return crossings * (math.pi / 2 if region.ndim == 2 else 2)


DIRECTION_SHARES = {  # of a pair of opposite neighbours, by how many axes the step goes along
    2: (0.25, 0.25),
    3: (2 * 0.0457779, 2 * 0.0369806, 2 * 0.0351956),
}


def texture(channel: Float[np.ndarray, "*space"]) -> Float[np.ndarray, " 5"]:
    """Haralick's features (`TEXTURE`) of one co-occurrence matrix of all directions.

    Energy is the root of the sum of squares, homogeneity the inverse difference moment; an image of one value has
    correlation 1.
    """
    low, high = channel.min(), channel.max()
    scaled = (channel - low) / (high - low if high > low else 1.0)
    levels = np.minimum((scaled * LEVELS).astype(np.intp), LEVELS - 1)
    shares = cooccurrence(levels, LEVELS)
    number = np.arange(LEVELS)
    difference = (number[:, None] - number) ** 2
    marginal = shares.sum(1)
    mean = (marginal * number).sum()
    variance = (marginal * (number - mean) ** 2).sum()
    covariance = (shares * np.outer(number - mean, number - mean)).sum()
    correlation = covariance / variance if variance > 0 else 1.0
    homogeneity = (shares / (1 + difference)).sum()
    contrast = (shares * difference).sum()
    return np.array([contrast, correlation, homogeneity, math.sqrt((shares**2).sum()), entropy(shares)])


def cooccurrence(levels: Int[np.ndarray, "*space"], count: int) -> Float[np.ndarray, "level level"]:
    """How often two levels are neighbours, in all directions and either order, as shares."""
    total = np.zeros(count * count)
    for step in directions(levels.ndim):
        first, second = shifted(levels, step)
        total += np.bincount((first * count + second).reshape(-1), minlength=count * count)
    matrix = total.reshape(count, count)
    matrix = matrix + matrix.T
    shares: Vector = matrix / max(matrix.sum(), 1.0)
    return shares


def shifted(values: NDArray[Any], step: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Each pixel that has a neighbour in a direction, and that neighbour."""
    here = tuple(slice(max(0, -by), size - max(0, by)) for by, size in zip(step, values.shape, strict=True))
    there = tuple(slice(max(0, by), size - max(0, -by)) for by, size in zip(step, values.shape, strict=True))
    return values[here], values[there]
