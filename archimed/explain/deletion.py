"""The deletion test: does the answer fall faster where a map says it matters than where chance says so?

The image is cut into blocks, which are blurred away one after the other: the most important first, the least important
first, and in random orders. What counts is the mean of the class's probability along the way (the area under the
deletion curve, Petsiuk et al., 2018). Random orders blur the same blocks, so that the two differ by the map alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Probability = Callable[[Float[Tensor, "step channel *space"]], Float[Tensor, " step"]]
Verdict = Literal["faithful", "misleading", "undecided"]
STEPS = 10  # of a curve, from the whole image to a blurred one
ORDERS = 5  # at random
MOST_BLOCKS = 8  # along an axis
LEAST_GAP = 0.005  # of probability: a network that answers alike whatever it sees cannot be judged (ours)
SHARPNESS = 8  # the deviation of the blur is this part of each side (ours)


@dataclass(frozen=True)
class CaseDeletion:
    """Areas under the deletion curves of one case: mean probabilities of the class, 0 to 1.

    Attributes:
        case: its id.
        patient: whose case it is; kept in memory only.
        most: the most important blocks first.
        random: in random orders, their mean.
        least: the least important first.
    """

    case: str
    patient: str
    most: float
    random: float
    least: float


@dataclass(frozen=True)
class Faithfulness:
    """What the deletion test says of a network's maps.

    Attributes:
        cases: tested.
        patients: of whom.
        most: mean over the cases, as are `random` and `least`.
        random: see `CaseDeletion`.
        least: see `CaseDeletion`.
        gap: random minus most, the mean over the patients; above 0 where maps find what matters.
        low: lower end of its 95 % interval over patients; None of fewer than three.
        high: upper end.
    """

    cases: int
    patients: int
    most: float
    random: float
    least: float
    gap: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """Faithful if the interval of the gap lies above 0, misleading if below, by more than nothing to speak of."""
        if self.low is None or self.high is None or (self.low <= LEAST_GAP and self.high >= -LEAST_GAP):
            return "undecided"
        return "faithful" if self.low > LEAST_GAP else "misleading"


def deletion(
    probability: Probability,
    image: Float[Tensor, "channel *space"],
    blurred: Float[Tensor, "channel *space"],
    importance: Float[Tensor, "*space"],
    cells: Sequence[int],
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Areas under the curves of one case: the most important first, random (the mean), the least important first.

    Args:
        probability: of the class, of several images.
        image: normalised.
        blurred: what its blocks become.
        importance: the map.
        cells: of the map along each axis; there are as many blocks, but no more than 8.
        rng: draws the random orders.
    """
    blocks = block_numbers(importance.shape, cells)
    number = int(blocks.max()) + 1
    totals = torch.zeros(number).index_add_(0, blocks.flatten(), importance.flatten().float())
    mean = totals / torch.bincount(blocks.flatten(), minlength=number)
    ranked = np.argsort(-mean.numpy(), kind="stable")

    def area(order: np.ndarray) -> float:
        return curve_area(deletion_curve(probability, image, blurred, blocks, order))

    random = [area(rng.permutation(number)) for _ in range(ORDERS)]
    return area(ranked), sum(random) / ORDERS, area(ranked[::-1])


def deletion_curve(
    probability: Probability,
    image: Float[Tensor, "channel *space"],
    blurred: Float[Tensor, "channel *space"],
    blocks: Int[Tensor, "*space"],
    order: Int[np.ndarray, " block"],
) -> Float[np.ndarray, " step"]:
    """Probabilities of the class with nothing, a tenth, two tenths ... and all of the blocks blurred, in that order."""
    steps = min(STEPS, len(order))
    place = torch.empty(len(order), dtype=torch.int64)
    place[torch.from_numpy(order.copy())] = torch.arange(len(order))
    when = place[blocks].to(image.device)  # at which a pixel is blurred
    gone = [round(step * len(order) / steps) for step in range(steps + 1)]
    images = torch.stack([torch.where(when < count, blurred, image) for count in gone])
    found: Float[np.ndarray, " step"] = probability(images).double().cpu().numpy()
    return found


def curve_area(curve: Float[np.ndarray, " step"]) -> float:
    """Area under a curve over 0 to 1, by trapezia."""
    return float(((curve[1:] + curve[:-1]) / 2).mean())


def block_numbers(space: Sequence[int], cells: Sequence[int]) -> Int[Tensor, "*space"]:
    """The number of the block in which each pixel lies."""
    found = torch.zeros(tuple(space), dtype=torch.int64)
    for axis, (pixels, count) in enumerate(zip(space, cells, strict=True)):
        parts = min(count, pixels, MOST_BLOCKS)
        along = torch.arange(pixels) * parts // pixels
        found = found * parts + along.view(-1, *(1,) * (len(space) - axis - 1))
    return found


def blurred_image(image: Float[Tensor, "channel *space"], fixed: Sequence[int] = ()) -> Float[Tensor, "channel *space"]:
    """An image without its details: each channel smoothed by a Gaussian an eighth of every side wide.

    Args:
        image: normalised.
        fixed: channels that stay as they are: a region is no image.
    """
    from scipy.ndimage import gaussian_filter

    widths = [side / SHARPNESS for side in image.shape[1:]]
    values = image.cpu().numpy()
    smooth = [one if channel in fixed else gaussian_filter(one, widths) for channel, one in enumerate(values)]
    return torch.from_numpy(np.stack(smooth)).to(image.device)


def faithfulness(found: Sequence[CaseDeletion], rng: np.random.Generator, resamples: int = 1000) -> Faithfulness:
    """Sum up the test over cases; the interval resamples patients, of whom all cases count together.

    Args:
        found: of one case or more.
        rng: draws the resamples.
        resamples: how many.
    """
    patients = list(dict.fromkeys(one.patient for one in found))
    gaps = np.array([np.mean([one.random - one.most for one in found if one.patient == name]) for name in patients])
    low = high = None
    if len(patients) >= 3:
        draws = gaps[rng.integers(len(gaps), size=(resamples, len(gaps)))].mean(1)
        low, high = (float(value) for value in np.quantile(draws, [0.025, 0.975]))
    areas = [(one.most, one.random, one.least) for one in found]
    most, random, least = (float(area) for area in np.mean(areas, axis=0))
    return Faithfulness(len(found), len(patients), most, random, least, float(gaps.mean()), low, high)
