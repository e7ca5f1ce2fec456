"""What is asked of a network: the kind of answer, its classes and the form of the images."""

from dataclasses import dataclass
from typing import Literal

TaskKind = Literal["binary", "multi-class", "ordinal", "multi-label", "segmentation"]
REGION = "region"  # name of a channel that holds a region of interest
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "mean_absolute_error", "hausdorff_95"})  # of all others, higher is


@dataclass(frozen=True)
class ImagingTask:
    """One imaging task.

    Attributes:
        kind: `binary`, `multi-class` and `ordinal` classification (one class per image; ordinal: grades in order),
            `multi-label` (any number of labels per image) or `segmentation` (one class per pixel).
        class_names: the classes (of a segmentation the background first), or the labels of a multi-label task; a
            network has one output for each. The positive class of a binary task is the last.
        channels: image channels (grey 1, RGB 3, or one per modality).
        image_size: pixels per axis, without channels: (height, width) or (depth, height, width).
        channel_names: what each channel shows, for example "PET"; empty where the data do not say. A last one called
            "region" holds the region of interest, 0 or 1, and is no image.
        normal_label: the label of a multi-label task that says that nothing was found; None where there is none.
    """

    kind: TaskKind
    class_names: tuple[str, ...]
    channels: int
    image_size: tuple[int, ...]
    channel_names: tuple[str, ...] = ()
    normal_label: str | None = None

    @property
    def has_region(self) -> bool:
        """Whether the last channel is a region of interest."""
        return len(self.channel_names) > 1 and self.channel_names[-1] == REGION

    @property
    def image_channels(self) -> int:
        """Channels but for that of a region."""
        return self.channels - self.has_region

    @property
    def num_outputs(self) -> int:
        """Outputs of a network: logits per class, or per label."""
        return len(self.class_names)

    @property
    def spatial_dims(self) -> int:
        """2 for images, 3 for volumes."""
        return len(self.image_size)
