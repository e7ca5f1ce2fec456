"""Which channels of an image are one modality, by their names."""

import re
from collections.abc import Mapping

from archimed.task import ImagingTask


def modalities(task: ImagingTask) -> Mapping[str, tuple[int, ...]]:
    """The channels of each modality by its name in small letters; of channels without names, each is one.

    One channel, or three without names (which are colours), is no modality beside others; nor is a region.
    """
    names = task.channel_names[: task.image_channels]
    if not names and task.channels not in (1, 3):
        names = tuple(f"channel {channel}" for channel in range(task.channels))
    found: dict[str, tuple[int, ...]] = {}
    for channel, name in enumerate(names):
        key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or f"channel-{channel}"
        found[key] = (*found.get(key, ()), channel)
    return found
