"""preprocess.json: how an image becomes what the network sees, and what its answer means."""

from collections.abc import Mapping, Sequence
from typing import Any

from archimed.data.normalisation import Normalisation
from archimed.data.settings import DataSettings
from archimed.task import ImagingTask

ANSWERS = {"multi-label": "labels", "segmentation": "mask"}
SPATIAL = {2: "height, width", 3: "depth, height, width (towards superior, posterior, left)"}


def preprocessing(
    task: ImagingTask,
    normalise: Normalisation,
    settings: DataSettings,
    size: Sequence[int] | None,
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """What preprocess.json says.

    Args:
        task: of the network.
        normalise: fitted with it.
        settings: by which the run prepared its images, with the grid that it chose.
        size: pixels per axis that images are brought to; None keeps their own.
        thresholds: of each label, above which it is given.
    """
    kinds = list(normalise.kinds) or ["other"] * task.channels
    spacing = settings.spacing_mm
    axes = task.spatial_dims
    spacings = None if spacing is None else list(spacing) if isinstance(spacing, tuple) else [spacing] * axes
    fixed = {
        "channels": list(normalise.names or task.channel_names) or [f"channel {k}" for k in range(task.channels)],
        "kinds": kinds,
        "axes": SPATIAL[axes],
        "spacing_mm": spacings,
        "convert_channels": settings.channels,
        "mr_by_case": settings.normalisation == "auto",
        "size": None if size is None else list(size),
        "fit": settings.fit,
        "patch": list(task.image_size),
        "fixed_size": False,
        "region_channel": task.has_region,
        "normalisation": normalise.to_json(),
        "answer": {
            "kind": ANSWERS.get(task.kind, "classes"),
            "classes": list(task.class_names),
            "thresholds": dict(thresholds),
        },
    }
    return {"steps": steps(fixed), **fixed}


def steps(rule: Mapping[str, Any]) -> list[str]:
    """The same in words, in the order in which it is done."""
    told = [f"Channels, in this order: {', '.join(rule['channels'])}. Axes: {rule['axes']}."]
    if rule["region_channel"]:
        told.append("The last channel is a region of interest, 0 or 1.")
    if rule["spacing_mm"]:
        told.append(f"Resample to {' x '.join(f'{one:g}' for one in rule['spacing_mm'])} mm, trilinear.")
    if rule["convert_channels"]:
        told.append(f"Convert to {'grey (ITU-R BT.601)' if rule['convert_channels'] == 1 else 'RGB'}.")
    if rule["size"]:
        pixels = " x ".join(map(str, rule["size"]))
        how = {
            "resize": "resize, antialiased (bicubic in 2D; mean, then trilinear in 3D)",
            "crop-or-pad": "crop or pad about the centre",
        }
        told.append(f"Bring to {pixels} pixels: {how[rule['fit']]}.")
    if "ct" in rule["kinds"]:
        told.append("Round CT to whole Hounsfield units.")
    if "mr" in rule["kinds"] and rule["mr_by_case"]:
        told.append("Standardise MR by the mean and deviation of the case's own non-zero voxels.")
    told += [scaled(rule, channel) for channel in range(len(rule["channels"]))]
    told.append(
        {
            "classes": "The network gives logits; softmax gives probabilities of the classes.",
            "labels": "The network gives logits; a sigmoid gives the probability of each label.",
            "mask": "The network gives logits of each pixel; the likeliest class is the answer. Images larger than the "
            "patch by windows of its size that overlap by half, logits averaged with Gaussian weights.",
        }[rule["answer"]["kind"]]
    )
    return told


def scaled(rule: Mapping[str, Any], channel: int) -> str:
    """What is done to the values of one channel, in words."""
    by = rule["normalisation"]
    low, high = (by[end][channel] if by[end] else None for end in ("low", "high"))
    clip = f"clip to {low:g} to {high:g}, then " if low is not None and high is not None else ""
    mean, std = by["mean"][channel], by["std"][channel]
    return f"{rule['channels'][channel]}: {clip}(value / {by['full_scale']:g} - {mean:.6g}) / {std:.6g}."
