"""How other data differ is told in numbers, and in words where it is much."""

from pathlib import Path

import numpy as np
import pytest

from archimed.data.inspection.describe import describe
from archimed.data.settings import DataSettings
from archimed.data.source import load_cases, load_dataset
from archimed.experiment.drift import drift_cautions, drift_of
from tests.experiment.tiny import write_npz


def test_darker_images_and_rarer_classes_are_told(tmp_path: Path) -> None:
    own = describe(load_dataset(str(write_npz(tmp_path / "own.npz")), DataSettings(), 0))
    same = drift_of(load_cases(str(tmp_path / "own.npz"), DataSettings(), 0, None), own)
    assert [one["run"] for one in same["classes"]] == [one["data"] for one in same["classes"]] == [0.5, 0.5]
    assert drift_cautions(same) == []
    with np.load(tmp_path / "own.npz") as arrays:
        images, labels = arrays["train_images"] // 4, arrays["train_labels"]
    rows = [*np.flatnonzero(labels[:, 0] == 0), int(np.flatnonzero(labels[:, 0] == 1)[0])]
    np.savez(tmp_path / "other.npz", train_images=images[rows], train_labels=labels[rows])
    found = drift_of(load_cases(str(tmp_path / "other.npz"), DataSettings(), 0, None), own)
    assert found["channels"][0]["data"]["median"] == pytest.approx(np.median(images[rows]), abs=1)
    assert found["classes"][1]["data"] == pytest.approx(1 / 9)
    told = drift_cautions(found)
    assert "have moved" in told[0]
    assert "50% in the run's data, 11% here" in told[2]
