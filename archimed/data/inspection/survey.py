"""One walk over all images and masks: value ranges, class areas, content hashes and, if wanted, signatures.

Images are taken a few at a time, so memory is bounded by the largest image whatever the size of the data set.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from archimed.data.arrays import Arrays, Shape
from archimed.data.inspection.duplicates import signatures
from archimed.data.inspection.value_counts import QUANTILES, ValueCounts

AT_ONCE = 2**22  # pixels taken at a time, unless one image has more

Progress = Callable[[int, int], None]  # cases looked at so far, of how many


@dataclass(frozen=True)
class Survey:
    """What is true of the images and masks of a data set.

    Attributes:
        quantiles: smallest, 1st percentile, median, 99th percentile and largest finite value of each channel.
        digests: a hash of each image's pixels; equal images have equal ones.
        voxels: pixels of each class number in each mask [case, class]; None without masks.
        signatures: what each image looks like [case, feature] (see `duplicates`); None if not wanted.
        checksum: SHA-256 of all images, then all masks.
    """

    quantiles: Float[np.ndarray, "channel 5"]
    digests: tuple[bytes, ...]
    voxels: Int[np.ndarray, "case class"] | None
    signatures: Float[np.ndarray, "case feature"] | None
    checksum: str


def survey(
    images: Arrays,
    masks: Arrays | None = None,
    classes: int = 0,
    *,
    framed_by: tuple[bytes, bytes] = (b"", b""),
    with_signatures: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """Look at every image and mask once.

    Args:
        images: [channel, *space] of each case, all with as many channels.
        masks: class numbers [*space] of each case.
        classes: class numbers that a mask may hold.
        framed_by: what the checksum covers before and after the pixels.
        with_signatures: also find out what each image looks like.
        progress: told how many cases are done.
    """
    counts = [ValueCounts(images.dtype) for _ in range(images.shapes[0][0])]
    total, of_masks = hashlib.sha256(framed_by[0]), hashlib.sha256()
    contents: list[bytes] = []
    looks: list[Float[np.ndarray, "case feature"]] = []
    areas: list[Int[np.ndarray, " class"]] = []
    for rows in _parts(images.shapes):
        part = images.select(rows).all()
        for image in part:
            data = image.numpy().data
            total.update(data)
            contents.append(hashlib.blake2b(data, digest_size=16).digest())
        for channel, values in enumerate(counts):
            values.add(part[:, channel])
        if with_signatures:
            looks.append(signatures(part))
        if masks is not None:
            areas.extend(_area(masks[row], classes, of_masks) for row in rows)
        if progress is not None:
            progress(rows[-1] + 1, len(images))
    total.update((of_masks.digest() if masks is not None else b"") + framed_by[1])
    return Survey(
        quantiles=np.array([values.quantiles(QUANTILES) for values in counts]),
        digests=tuple(contents),
        voxels=np.stack(areas) if areas else None,
        signatures=np.concatenate(looks) if looks else None,
        checksum=total.hexdigest(),
    )


def _parts(shapes: Sequence[Shape]) -> Iterator[range]:
    """Consecutive rows of one shape, together of at most AT_ONCE pixels or one alone."""
    start = 0
    while start < len(shapes):
        most = max(1, AT_ONCE // max(1, prod(shapes[start])))
        end = start + 1
        while end < len(shapes) and end - start < most and shapes[end] == shapes[start]:
            end += 1
        yield range(start, end)
        start = end


def _area(mask: Tensor, classes: int, total: "hashlib._Hash") -> Int[np.ndarray, " class"]:
    values = mask.contiguous().numpy()
    total.update(values.data)
    return np.bincount(values.ravel(), minlength=classes)[:classes]
