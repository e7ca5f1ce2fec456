"""What every format of image files hands over: a table of cases with their files, before any image is read."""

from dataclasses import dataclass, field
from pathlib import Path

from archimed.data.dataset import Case
from archimed.data.volume import ChannelKind


@dataclass(frozen=True)
class Modality:
    """One image channel, or group of channels, that every case has.

    Attributes:
        name: as the source calls it, for example "PET"; "image" where there is only one without a name.
        kind: what its values are, if the source says; None leaves it to the image files.
    """

    name: str
    kind: ChannelKind | None = None


@dataclass(frozen=True)
class Entry:
    """One case with its files and what is true of it.

    Attributes:
        case: who and where it is.
        images: one path for each modality of the listing, in order: an image file or the folder of a DICOM series;
            None where this case lacks the modality.
        label: a class name, or one value per label (0, 1, or NaN where unknown); None for segmentation.
        mask: what to segment: an image file with class numbers, or an RTSTRUCT or SEG file; None for classification.
        region: a mask to whose bounding box the images are cropped; None leaves them whole.
    """

    case: Case
    images: tuple[Path | None, ...]
    label: str | tuple[float, ...] | None = None
    mask: Path | None = None
    region: Path | None = None


@dataclass(frozen=True)
class Listing:
    """The cases of a source before their images are read.

    Attributes:
        name: of the data set.
        source_kind: `csv`, `folders`, `masks`, `nnunet` or `datalist`.
        entries: the cases.
        modalities: what each entry's `images` are.
        label_names: names of the labels of a multi-label task; empty otherwise.
        mask_names: class names by the number they have in a mask (0, the background, first); empty where the source
            does not tell, or for classification.
        patients_known: whether the source says who the patients are.
        ordinal: whether the classes are grades in order.
        notes: cautions about the data.
    """

    name: str
    source_kind: str
    entries: tuple[Entry, ...]
    modalities: tuple[Modality, ...] = field(default=(Modality("image"),))
    label_names: tuple[str, ...] = ()
    mask_names: tuple[str, ...] = ()
    patients_known: bool = False
    ordinal: bool = False
    notes: tuple[str, ...] = ()
