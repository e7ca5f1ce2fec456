import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.dataset import Case, Dataset
from archimed.task import ImagingTask

torch.set_num_threads(1)

Row = Mapping[str, object]


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., str]:
    """Writes a random grey or RGB PNG, of a seed, in the test's folder; gives its name."""

    def make(name: str, seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "L") -> str:
        channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return name

    return make


@pytest.fixture
def write_table(tmp_path: Path) -> Callable[..., str]:
    """Writes a CSV table in the test's folder; gives its path."""

    def write(rows: Sequence[Row], name: str = "cases.csv") -> str:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return str(path)

    return write


@pytest.fixture
def table_rows(make_image: Callable[..., str]) -> list[dict[str, object]]:
    """Twelve images of six patients, three of each of two classes."""
    return [
        {
            "image": make_image(f"images/{number:02d}.png", seed=number),
            "label": "benign" if number % 4 < 2 else "malignant",
            "patient": f"Doe^Jane{number // 2}",
        }
        for number in range(12)
    ]


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """A data set with given classes, patients and official splits; its images are the row numbers."""

    def make(
        target: Sequence[int] | np.ndarray,
        patients: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        folds: Sequence[str | None] | None = None,
    ) -> Dataset:
        values = torch.from_numpy(np.asarray(target))
        count = len(values)
        cases = tuple(
            Case(
                f"c{row:04d}",
                patients[row] if patients else f"c{row:04d}",
                split=splits[row] if splits else None,  # type: ignore[arg-type]
                fold=folds[row] if folds else None,
                origin=f"row {row}",
            )
            for row in range(count)
        )
        many = values.ndim == 2
        names = tuple(f"k{k}" for k in range(values.shape[1] if many else int(values.max()) + 1))
        kind = "multi-label" if many else "binary" if len(names) == 2 else "multi-class"
        images = (torch.arange(count) % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
        return Dataset(
            "made",
            "object",
            ImagingTask(kind, names, 1, (8, 8)),  # type: ignore[arg-type]
            cases,
            images,
            values.to(torch.float32 if many else torch.int64),
            patients_known=patients is not None,
        )

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; skips where it is absent."""
    root = Path(os.environ.get("ARCHIMED_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not (root / "README.md").is_file():
        pytest.skip(f"no real images at {root}; set ARCHIMED_TEST_DATA to their folder")
    return root
