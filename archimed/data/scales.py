"""Whether the grey values of many images share a scale: where they do not, one mean and deviation suit none of them."""

import numpy as np

from archimed.data.dataset import Dataset
from archimed.data.normalisation import FULL_SCALE
from archimed.data.problems import Problems

MOST_LOOKED_AT = 64  # images, evenly spread (ours)
LEAST_LOOKED_AT = 8  # images; of fewer nothing is said (ours)
MOST_RATIO = 10.0  # of the deviations within images, between the 90th and the 10th percentile of images (ours)


def check_scales(dataset: Dataset, problems: Problems) -> None:
    """Caution where the values of images of unknown kind spread ten times as far in some as in others.

    So it is with MR from several scanners, of which each image is then standardised by itself.
    """
    images = dataset.images
    kinds = [dataset.kind_of(channel) for channel in range(dataset.task.channels)]
    if images.dtype in FULL_SCALE or "other" not in kinds or len(images) < LEAST_LOOKED_AT:
        return
    count = min(MOST_LOOKED_AT, len(images))
    rows = [place * len(images) // count for place in range(count)]
    channel = kinds.index("other")
    spreads = np.array([float(images[row][channel].double().std()) for row in rows])
    low, high = np.percentile(spreads, [10, 90])
    if high > MOST_RATIO * low:
        problems.caution(
            f"The grey values of the images share no scale: they spread by {low:.3g} in some and {high:.3g} in others "
            "(standard deviations). If they are MR, --set data.kind=mr has each standardised by itself."
        )
