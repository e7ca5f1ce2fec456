"""`archimed data describe`: contact sheets and the fingerprint of data, in a folder."""

from pathlib import Path

from archimed.data.inspection.check import DataCheck, check_image, unlabelled
from archimed.data.inspection.contact_sheets import contact_sheets, sheet_of_image, sheet_of_pairs
from archimed.data.inspection.describe import describe, look
from archimed.data.inspection.duplicates import find_duplicates
from archimed.data.inspection.survey import Progress
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError
from archimed.files import write_json


def write_description(
    source: str, settings: DataSettings, seed: int, out: Path, progress: Progress | None = None
) -> tuple[list[Path], DataCheck | None]:
    """Write contact sheets and data.json to a folder.

    Returns:
        The paths written; and, if the data are a single image without labels, what a check says of it.

    Raises:
        DataError: if a run would refuse the data.
    """
    try:
        dataset = load_dataset(source, settings, seed, progress=progress)
    except DataError:
        volume = unlabelled(source)
        if volume is None:
            raise
        out.mkdir(parents=True, exist_ok=True)
        return [sheet_of_image(volume, out)], check_image(source, volume)
    seen = look(dataset, with_signatures=True, progress=progress)
    found = find_duplicates(dataset, seen.digests, seen.signatures)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "data.json", describe(dataset, seen))
    sheets = [*contact_sheets(dataset, seen, out), *sheet_of_pairs(dataset, seen, found, out)]
    return [*sheets, out / "data.json"], None
