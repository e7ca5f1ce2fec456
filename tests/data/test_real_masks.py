"""Scores of masks on real volumes: MONAI agrees, and moving a mask by a voxel costs what it must."""

from pathlib import Path

import pytest
import torch

from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.evaluation.masks import case_scores

pytestmark = pytest.mark.data

HIPPOCAMPI = DataSettings(
    image_pattern="images/*.nii.gz", mask_pattern="labels/{name}", kind="mr", cache=False, spacing_mm=None
)


def test_hippocampi_moved_by_a_voxel(real_data: Path) -> None:
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    found = load_dataset(str(real_data / "seg3d/hippocampus_msd"), HIPPOCAMPI, 0)
    assert found.masks is not None
    for row in range(0, 20, 5):
        truth, spacing = found.masks[row], found.spacing[row]
        assert spacing is not None
        answer = torch.roll(truth, 1, dims=2)
        scores = case_scores(found.task, answer, truth, spacing)
        one_hot = [torch.stack([mask == k for k in range(3)])[None].float() for mask in (answer, truth)]
        assert [one.dice for one in scores] == pytest.approx(
            compute_dice(*one_hot, include_background=False)[0].tolist()
        )
        distances = compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)[0]
        assert [one.hausdorff_95 for one in scores] == pytest.approx(distances.tolist(), rel=1e-5)
        shares = compute_surface_dice(*one_hot, class_thresholds=[1.0, 1.0], spacing=spacing)[0]
        assert [one.surface_dice for one in scores] == pytest.approx(shares.tolist(), rel=1e-5)
        for one in scores:
            assert one.dice is not None
            assert 0.6 < one.dice < 0.95
            assert one.hausdorff_95 == pytest.approx(1.0, rel=1e-5)
            assert one.surface_dice == 1
