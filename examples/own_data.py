"""Data of your own: a reader for a format that archimed does not know, and the data set made with it.

archimed run mstf-nas --data examples/own_data.py:squares --out runs/squares
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archimed.data.dataset import Case, Dataset
from archimed.task import ImagingTask


def read_raw(header: Path) -> Tensor:
    """An image [channel, height, width] from raw bytes beside a header such as {"height": 16, "width": 16}."""
    size = json.loads(header.read_text())
    pixels = np.fromfile(header.with_suffix(".raw"), dtype=np.uint8)
    return torch.from_numpy(pixels.reshape(1, size["height"], size["width"]))


def read_folder(folder: Path) -> Dataset:
    """All images of a folder whose headers also tell `label` and `patient`."""
    headers = sorted(folder.glob("*.json"))
    known = [json.loads(header.read_text()) for header in headers]
    return Dataset(
        name="squares",
        source_kind="object",
        task=ImagingTask("binary", ("empty", "square"), channels=1, image_size=(16, 16)),
        cases=tuple(Case(id=f"square-{n:03}", patient=one["patient"]) for n, one in enumerate(known)),
        images=torch.stack([read_raw(header) for header in headers]),
        target=torch.tensor([one["label"] for one in known]),
        patients_known=True,
    )


def squares() -> Dataset:
    """Sixty noisy images of thirty patients, half of them with a bright square; your own would lie on disk already."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        for number in range(60):
            pixels = rng.integers(0, 120, (16, 16), dtype=np.uint8)
            pixels[4:9, 4:9] += 80 * (number % 2)
            pixels.tofile(folder / f"{number:03}.raw")
            header = {"height": 16, "width": 16, "label": number % 2, "patient": f"patient-{number // 2}"}
            (folder / f"{number:03}.json").write_text(json.dumps(header))
        return read_folder(folder)


if __name__ == "__main__":
    from archimed.testing import check_dataset

    check_dataset(squares)
    print("the data set keeps its contract")
