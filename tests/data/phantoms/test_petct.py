from collections import defaultdict
from collections.abc import Callable, Hashable

import numpy as np
import pytest
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions
from archimed.data.phantoms.cases import balanced_classes, shots
from archimed.data.phantoms.petct import BEST_SINGLE_AUC, CENTRE, RADII, Scene, _chance, _scenes, draw_scene
from archimed.data.phantoms.shapes import ellipsoid, grid

SIZE, CASES = 32, 240
HEIGHT = grid((SIZE, SIZE, SIZE))[0]
LUNG = (ellipsoid(grid((SIZE, SIZE, SIZE)), CENTRE, RADII) < 0.78) & (HEIGHT > 0.33)


@pytest.fixture(scope="module")
def scans() -> Dataset:
    return PHANTOMS["petct"](PhantomOptions(CASES, SIZE), 0)


def best_auc(seen: Callable[[Scene], Hashable]) -> float:
    """AUC of the likelihood ratio of what is seen of a scene, by enumeration of all scenes."""
    likelihood: dict[Hashable, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for scene in _scenes(np.zeros((4, 3))):
        likelihood[seen(scene)][int(scene.malignant)] += _chance(scene)
    table = np.array(list(likelihood.values()))
    table /= table.sum(0)
    ratio = table[:, 1] / np.maximum(table.sum(1), 1e-12)
    higher = (ratio[:, None] > ratio) + 0.5 * np.isclose(ratio[:, None], ratio)
    return float(table[:, 1] @ higher @ table[:, 0])


def test_the_ideal_observer_of_one_modality_is_poor_and_that_of_both_perfect() -> None:
    assert best_auc(lambda scene: scene.hot) == pytest.approx(BEST_SINGLE_AUC, abs=1e-3)
    assert best_auc(lambda scene: len(scene.hot)) == pytest.approx(BEST_SINGLE_AUC, abs=1e-3)
    assert best_auc(lambda scene: scene.nodules) == pytest.approx(BEST_SINGLE_AUC, abs=1e-3)
    assert best_auc(lambda scene: (len(scene.hot), len(scene.nodules))) < 0.75  # modalities fused too late
    assert best_auc(lambda scene: (scene.hot, scene.nodules)) == pytest.approx(1)


def test_scenes_are_drawn_as_enumerated() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_scene(rng, malignant) for malignant in (False, True) for _ in range(500)]
    assert [scene.malignant for scene in drawn] == [False] * 500 + [True] * 500
    counts = [len(scene.hot) for scene in drawn]
    assert roc_auc_score([0] * 500 + [1] * 500, counts) == pytest.approx(BEST_SINGLE_AUC, abs=0.04)
    assert np.bincount([place for scene in drawn for place in scene.hot]).std() < 40  # no place is preferred


def test_values_are_suv_and_hounsfield_units(scans: Dataset) -> None:
    pet, ct = scans.images.all().unbind(1)
    assert pet.min() >= 0
    assert 2 < pet.flatten(1).amax(1).median() < 15
    lung = ct[:, LUNG].median(1).values
    assert ((lung > -950) & (lung < -750)).all()
    assert ct.min() >= -1024
    assert scans.spacing[0] == (4.0, 4.0, 4.0)
    assert scans.channel_names == ("PET", "CT")
    assert abs(float(scans.target.float().mean()) - 0.5) < 0.06


def test_who_knows_the_places_reads_the_class_from_the_images(scans: Dataset) -> None:
    images = shots("petct", 0, CASES)
    where = np.stack(np.broadcast_arrays(*grid((SIZE, SIZE, SIZE))), -1)
    scores = []
    for row, malignant in enumerate(balanced_classes("petct", 0, images, 2)):
        scene = draw_scene(images[row].scene, bool(malignant))
        near = [np.linalg.norm(where - place, axis=-1) < 0.055 for place in scene.places]
        pet, ct = scans.images[row].numpy()
        scores.append(max(min(pet[ball].mean() - 0.9, (ct[ball].mean() + 700) / 300) for ball in near))
    assert roc_auc_score(scans.target, scores) > 0.98


def describe(volume: np.ndarray, thresholds: tuple[float, ...]) -> list[float]:
    """What one modality shows: distribution in the lung; number, sizes and peaks of the spots above thresholds."""
    smooth = ndimage.gaussian_filter(volume, 1.2)
    lung = volume[LUNG]
    features = [volume.mean(), lung.mean(), lung.std(), smooth[LUNG].max(), *np.percentile(lung, [50, 90, 97, 99])]
    for threshold in thresholds:
        spots, count = ndimage.label((smooth > threshold) & LUNG)
        sizes = sorted(np.bincount(spots.ravel(), minlength=3)[1:], reverse=True)[:2]
        features += [count, *sizes]
    return [float(value) for value in features]


def density_of_hot_spots(pet: np.ndarray, ct: np.ndarray) -> list[float]:
    pet, ct = ndimage.gaussian_filter(pet, 0.8), ndimage.gaussian_filter(ct, 1.0)
    peaks = (pet == ndimage.maximum_filter(pet, 3)) & (pet > 1.3) & LUNG
    return [float(value) for value in (*sorted(ct[peaks], reverse=True), -900.0, -900.0)[:2]]


def cross_validated_auc(features: np.ndarray, scans: Dataset) -> float:
    target, patients = scans.target.numpy(), [case.patient for case in scans.cases]
    scores = np.zeros(CASES)
    for train, test in GroupKFold(5).split(features, target, patients):
        forest = RandomForestClassifier(50, min_samples_leaf=4, random_state=0).fit(features[train], target[train])
        scores[test] = forest.predict_proba(features[test])[:, 1]
    return float(roc_auc_score(target, scores))


def test_a_forest_needs_both_modalities_and_where_they_meet(scans: Dataset) -> None:
    volumes = scans.images.all().numpy()
    pet = np.array([describe(volume, (1.2, 2.0)) for volume in volumes[:, 0]])
    ct = np.array([describe(volume, (-600.0, -400.0)) for volume in volumes[:, 1]])
    meeting = np.array([density_of_hot_spots(*volume) for volume in volumes])
    assert cross_validated_auc(pet, scans) < 0.75
    assert cross_validated_auc(ct, scans) < 0.75
    assert cross_validated_auc(np.hstack([pet, ct]), scans) < 0.8
    assert cross_validated_auc(np.hstack([pet, ct, meeting]), scans) > 0.9
