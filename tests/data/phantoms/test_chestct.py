from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions
from archimed.data.phantoms.cases import shots
from archimed.data.phantoms.chestct import CLASSES, _draw


@pytest.fixture(scope="module")
def scans() -> Dataset:
    return PHANTOMS["chestct"](PhantomOptions(300, 24), 0)


def test_a_third_of_the_patients_are_of_each_class(scans: Dataset) -> None:
    classes = {case.patient: int(label) for case, label in zip(scans.cases, scans.target, strict=True)}
    counts = np.bincount(list(classes.values()))
    assert len(counts) == 3
    assert np.ptp(counts) <= 1


def test_values_are_hounsfield_units(scans: Dataset) -> None:
    volumes = scans.images.all()
    assert -1024 <= int(volumes.min()) < -1000
    assert 200 < int(volumes.max()) < 1500
    assert scans.spacing[0] == pytest.approx((280 / 24, 320 / 24, 320 / 24))


def test_mean_density_says_little(scans: Dataset) -> None:
    volumes = scans.images.all()[:, 0].double().numpy()
    lungs = np.array([volume[(volume > -950) & (volume < -300)].mean() for volume in volumes])
    for label in range(3):
        for score in (volumes.mean((1, 2, 3)), volumes.std((1, 2, 3)), lungs):
            value = roc_auc_score(scans.target == label, score)
            assert max(value, 1 - value) < (0.7 if score is lungs else 0.65)


@pytest.mark.parametrize("size", [16, 32])
def test_who_knows_the_patient_sees_each_disease_through_the_grain(size: int) -> None:
    """The ideal observer of a known signal in white noise has AUC = Phi(d' / sqrt 2)."""
    grain = 30.0  # HU, the most there is
    for first, other in ((0, 1), (0, 2), (1, 2)):
        scores = []
        for row in range(8):
            drawn = [_draw(CLASSES[k], shots("chestct", 0, 8)[row], size).astype(float) for k in (first, other)]
            scores.append(NormalDist().cdf(float(np.linalg.norm(drawn[0] - drawn[1])) / grain / 2**0.5))
        assert np.mean(scores) > 0.97


def test_a_disease_changes_nothing_but_itself() -> None:
    healthy, ill = (_draw(name, shots("chestct", 0, 1)[0], 32) for name in ("normal", "consolidation"))
    assert 0 < (healthy != ill).mean() < 0.05
