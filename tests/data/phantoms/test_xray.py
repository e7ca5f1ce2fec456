from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions
from archimed.data.phantoms.shapes import grid
from archimed.data.phantoms.thorax import FINDINGS, Thorax, radiograph
from archimed.data.phantoms.xray import GRAIN, TRAITS, findings_of_patients


@pytest.fixture(scope="module")
def films() -> Dataset:
    return PHANTOMS["xray"](PhantomOptions(1000, 32), 0)


def test_findings_are_as_frequent_as_stated_from_2_to_30_percent() -> None:
    shares = findings_of_patients(2000, 0).mean(0)
    np.testing.assert_allclose(shares, [TRAITS[name][0] for name in FINDINGS], atol=1e-3)
    assert (min(shares), max(shares)) == pytest.approx((0.02, 0.30))


def test_every_finding_occurs_however_few_patients_there_are() -> None:
    assert (findings_of_patients(15, 0).sum(0) >= 3).all()


def test_findings_go_together_and_many_patients_have_none() -> None:
    truth = findings_of_patients(4000, 0)
    named = {name: truth[:, column].astype(float) for column, name in enumerate(FINDINGS)}
    for one, other in (("Cardiomegaly", "Edema"), ("Effusion", "Mass"), ("Pneumothorax", "Fracture")):
        assert np.corrcoef(named[one], named[other])[0, 1] > 0.1
    assert abs(np.corrcoef(named["Nodule"], named["Fracture"])[0, 1]) < 0.05
    assert 0.3 < (~truth.any(1)).mean() < 0.7


def test_about_15_percent_of_the_labels_are_unknown_and_not_equally(films: Dataset) -> None:
    unknown = films.target.isnan().float()
    assert unknown.mean().item() == pytest.approx(0.15, abs=0.02)
    np.testing.assert_allclose(unknown.mean(0), [TRAITS[name][1] for name in FINDINGS], atol=0.04)
    assert unknown.mean(0).max() > 3 * unknown.mean(0).min()
    numbers = np.unique([case.patient for case in films.cases], return_inverse=True)[1]
    present = torch.from_numpy(findings_of_patients(int(numbers.max()) + 1, 0)[numbers])
    assert unknown[present].mean() < 0.8 * unknown[~present].mean()
    known = ~films.target.isnan()
    assert torch.equal(films.target[known] == 1, present[known])


def test_brightness_says_little(films: Dataset) -> None:
    pixels = films.images.all()[:, 0].double().numpy()
    for label, name in enumerate(FINDINGS):
        target = films.target[:, label].numpy()
        known = ~np.isnan(target)
        for score in (pixels.mean((1, 2)), pixels.std((1, 2))):
            value = roc_auc_score(target[known], score[known])
            assert max(value, 1 - value) < 0.65, name


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("name", FINDINGS)
def test_who_knows_the_patient_sees_each_finding_through_the_grain(name: str, size: int) -> None:
    """The ideal observer of a known signal in white noise has AUC = Phi(d' / sqrt 2)."""
    scores = []
    for patient in range(12):
        body, at = Thorax.draw(np.random.default_rng(patient)), grid((size, size))
        without, present = (radiograph(body, frozenset(found), at) for found in ((), (name,)))
        difference = (present - present.mean()) - (without - without.mean())  # exposure hides the mean
        scores.append(NormalDist().cdf(float(np.linalg.norm(difference)) / GRAIN / 2**0.5))
    assert np.mean(scores) > 0.97


def test_one_finding_changes_nothing_but_itself() -> None:
    body, at = Thorax.draw(np.random.default_rng(0)), grid((64, 64))
    healthy, nodule = radiograph(body, frozenset(), at), radiograph(body, frozenset({"Nodule"}), at)
    assert (np.abs(nodule - healthy) > 1e-6).mean() < 0.03
