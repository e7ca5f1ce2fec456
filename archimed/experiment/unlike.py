"""Whether an image has intensities that the images of a run did not have."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from archimed.data.inspection.value_counts import QUANTILES

MOST_OUTSIDE = 0.5  # share of pixels outside of what 98 % of the run's pixels span
LEAST_SPREAD = 0.02  # of the image's own span, as a share of that


def unlike_training(image: Shaped[Tensor, "channel *space"], told: Mapping[str, Any]) -> str | None:
    """How an image as stored is unlike the run's images, in words; None if it is not.

    Args:
        image: of one case.
        told: the fingerprint of the run's data (data.json).
    """
    for values, (name, known) in zip(image.numpy(), told["channels"].items(), strict=False):
        low, high = known["p1"], known["p99"]
        if known["kind"] == "mask" or low is None or high is None or low >= high:
            continue
        own_low, own_high = (float(values) for values in np.quantile(values, (QUANTILES[1], QUANTILES[3])))
        outside = float(np.mean((values < low) | (values > high)))
        span = f"the run's {name} values lie mostly between {low:g} and {high:g}"
        if outside > MOST_OUTSIDE:
            return f"{100 * outside:.0f} % of its pixels lie outside: {span}"
        if own_high - own_low < LEAST_SPREAD * (high - low):
            return f"its pixels span only {own_low:g} to {own_high:g}: {span}"
    return None
