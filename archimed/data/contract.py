"""What every data set promises beyond its types: values that networks can learn from and targets that exist."""

import torch

from archimed.data.dataset import Dataset

IMAGE_TYPES = (torch.uint8, torch.uint16, torch.int16, torch.float32)


def flaw_of(dataset: Dataset) -> str | None:
    """The first promise that a data set breaks, in one line without its end; None if it keeps them all."""
    return _flaw_of_images(dataset) or (_flaw_of_target(dataset) if dataset.masks is None else _flaw_of_masks(dataset))


def _flaw_of_images(dataset: Dataset) -> str | None:
    task, images = dataset.task, dataset.images
    if not dataset.cases:
        return "A data set has cases; this one has none. Does the folder exist that it reads"
    if images.dtype not in IMAGE_TYPES:
        kinds = ", ".join(str(kind).removeprefix("torch.") for kind in IMAGE_TYPES)
        return f"Images are {kinds}; these are {str(images.dtype).removeprefix('torch.')}. Convert them"
    for row, shape in enumerate(images.shapes):
        if len(shape) != 1 + task.spatial_dims or shape[0] != task.channels:
            return (
                f"An image is [channel, *space], here {task.channels} channel(s) and {task.spatial_dims} axes; that of "
                f"case {dataset.cases[row].id} has shape {shape}. Add or move an axis, or correct the task"
            )
        if dataset.masks is None and images.shape is not None and shape[1:] != task.image_size:
            return (
                f"The task tells the size of images; it says {task.image_size}, case {dataset.cases[row].id} has "
                f"{shape[1:]}. Correct task.image_size"
            )
        if images.dtype == torch.float32 and not bool(torch.isfinite(images[row]).all()):
            return f"Images are finite; that of case {dataset.cases[row].id} has NaN or infinity. Replace them"
    return None


def _flaw_of_target(dataset: Dataset) -> str | None:
    target, outputs = dataset.target, dataset.task.num_outputs
    if dataset.task.kind == "multi-label":
        if not target.is_floating_point() or tuple(target.shape[1:]) != (outputs,):
            return (
                f"Several labels are float32 [case, {outputs}]; got {target.dtype} {tuple(target.shape)}. Convert them"
            )
        if not bool(((target == 0) | (target == 1) | target.isnan()).all()):
            return "Labels are 0, 1 or NaN where unknown; there are other values. Threshold them"
        return None
    if target.is_floating_point() or target.ndim != 1:
        return (
            f"Classes are whole numbers [case]; got {target.dtype} {tuple(target.shape)}. Use int64, one for each case"
        )
    wrong = [int(value) for value in target.unique() if not 0 <= value < outputs]
    if wrong:
        return f"The task names classes 0 to {outputs - 1}; there is class {wrong[0]}. Renumber them"
    return None


def _flaw_of_masks(dataset: Dataset) -> str | None:
    if dataset.masks is None:
        return None
    if dataset.masks.dtype != torch.uint8:
        return f"Masks are uint8 class numbers; got {dataset.masks.dtype}. Convert them"
    for row in range(len(dataset.cases)):
        largest = int(dataset.masks[row].max())
        if largest >= dataset.task.num_outputs:
            return (
                f"Masks hold classes 0 to {dataset.task.num_outputs - 1}, as the task names them; that of case "
                f"{dataset.cases[row].id} has {largest}. Renumber them"
            )
    return None
