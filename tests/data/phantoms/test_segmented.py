import numpy as np
import pytest
from scipy import ndimage

from archimed.data.dataset import Dataset
from archimed.data.phantoms import PHANTOMS, PhantomOptions

NAMES = ("vessels", "cells", "polyps", "organs3d")


@pytest.fixture(scope="module", params=NAMES)
def drawn(request: pytest.FixtureRequest) -> Dataset:
    size = 32 if request.param == "organs3d" else 64
    return PHANTOMS[request.param](PhantomOptions(40, size), 0)


def arrays(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    assert dataset.masks is not None
    return dataset.images.all().double().numpy(), dataset.masks.all().numpy()


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())


def test_every_class_occurs_in_every_image_as_the_target_says(drawn: Dataset) -> None:
    _, masks = arrays(drawn)
    assert set(np.unique(masks)) == set(range(drawn.task.num_outputs))
    for mask, target in zip(masks, drawn.target.numpy(), strict=True):
        assert target.tolist() == [float((mask == label).any()) for label in range(drawn.task.num_outputs)]
    assert (drawn.target == 1).all()


def test_no_window_of_brightness_finds_a_class(drawn: Dataset) -> None:
    images, masks = arrays(drawn)
    for channel in range(images.shape[1]):
        values = images[:, channel]
        limits = [-np.inf, *np.quantile(values, np.linspace(0.02, 0.98, 25)), np.inf]
        for label in range(1, drawn.task.num_outputs):
            inside = np.histogram(values[masks == label], limits)[0]
            every = np.histogram(values, limits)[0]
            best = max(
                2 * inside[low:high].sum() / (every[low:high].sum() + inside.sum())
                for low in range(26)
                for high in range(low + 1, 27)
            )
            assert best < 0.6


def test_outlines_lie_on_edges_of_the_image(drawn: Dataset) -> None:
    """Steeper than the background is, and than the image is along the same outline put elsewhere in 2D."""
    images, masks = arrays(drawn)
    ratios = []
    for image, mask in zip(images, masks, strict=True):
        slope = sum(ndimage.gaussian_gradient_magnitude(channel.clip(-200, 255), 0.8) for channel in image)
        for label in range(1, drawn.task.num_outputs):
            own = mask == label
            outline = ndimage.binary_dilation(own) ^ ndimage.binary_erosion(own)
            moved = [np.roll(outline, step, axis) for axis in (0, 1) for step in (-9, -6, 6, 9)]
            elsewhere = [mask == 0] if mask.ndim == 3 else moved
            ratios.append(slope[outline].mean() / np.mean([slope[other].mean() for other in elsewhere]))
    assert np.median(ratios) > 1.15
    assert np.mean(np.array(ratios) > 1) > 0.8


def test_contrast_of_vessels_and_cells_has_either_sign() -> None:
    for name in ("vessels", "cells"):
        images, masks = arrays(PHANTOMS[name](PhantomOptions(60, 48), 0))
        contrasts = []
        for image, mask in zip(images[:, 0], masks > 0, strict=True):
            ring = ndimage.binary_dilation(mask, iterations=2) & ~mask
            contrasts.append(image[mask].mean() - image[ring].mean())
        lighter = np.mean(np.array(contrasts) > 0)
        assert 0.25 < lighter < 0.75


def test_the_images_of_a_patient_share_their_contrast() -> None:
    dataset = PHANTOMS["vessels"](PhantomOptions(60, 48), 0)
    images, masks = arrays(dataset)
    signs: dict[str, set[bool]] = {}
    for case, image, mask in zip(dataset.cases, images[:, 0], masks > 0, strict=True):
        ring = ndimage.binary_dilation(mask, iterations=2) & ~mask
        signs.setdefault(case.patient, set()).add(bool(image[mask].mean() > image[ring].mean()))
    assert np.mean([len(found) == 1 for found in signs.values()]) > 0.95


def test_vessels_are_thin_and_hang_together() -> None:
    _, masks = arrays(PHANTOMS["vessels"](PhantomOptions(30, 96), 0))
    for mask in masks > 0:
        assert 0.02 < mask.mean() < 0.3
        pieces, count = ndimage.label(mask, np.ones((3, 3)))
        assert count <= 8  # trunks, and branches that leave the image and come back
        assert ndimage.distance_transform_edt(mask).max() < 0.08 * 96
        assert np.bincount(pieces.ravel())[1:].max() > 0.3 * mask.sum()


def test_nuclei_lie_within_cells_that_touch() -> None:
    _, masks = arrays(PHANTOMS["cells"](PhantomOptions(30, 96), 0))
    touching = []
    for mask in masks:
        nuclei = np.pad(mask, 1, constant_values=1) == 2
        around = ndimage.binary_dilation(nuclei) & ~nuclei
        assert (np.pad(mask, 1, constant_values=1)[around] == 1).mean() > 0.97
        touching.append(ndimage.label(mask == 2)[1] > ndimage.label(mask > 0)[1])
    assert np.mean(touching) > 0.7


def test_one_polyp_per_frame_of_1_to_25_percent_with_its_area() -> None:
    dataset = PHANTOMS["polyps"](PhantomOptions(120, 64), 0)
    _, masks = arrays(dataset)
    areas = np.array([case.lesion_area for case in dataset.cases])
    np.testing.assert_allclose(areas, masks.mean((1, 2)), rtol=1e-6)
    assert areas.min() > 0.005
    assert areas.max() < 0.35
    assert np.quantile(areas, 0.9) > 8 * np.quantile(areas, 0.1)
    largest = [np.bincount(ndimage.label(mask)[0].ravel())[1:].max() / mask.sum() for mask in masks]
    assert min(largest) > 0.95


def test_organs_overlap_in_density_and_lie_where_they_belong() -> None:
    dataset = PHANTOMS["organs3d"](PhantomOptions(40, 32), 0)
    images, masks = arrays(dataset)
    assert dataset.spacing[0] == (10.0, 8.0, 8.0)
    means = np.array(
        [[image[0][mask == label].mean() for label in (1, 2, 3)] for image, mask in zip(images, masks, strict=True)]
    )
    spread = means.std(0)
    for first, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(means[:, first].mean() - means[:, other].mean()) < 1.5 * spread[[first, other]].mean()
    centres = np.array([[ndimage.center_of_mass(mask == label) for label in (1, 2, 3)] for mask in masks]) / 32
    assert (centres[:, 0, 2] < 0.5).all()  # the liver on the patient's right
    assert (centres[:, 1, 2] > 0.6).all()  # the spleen on the left
    assert (np.abs(centres[:, 2, 2] - 0.5) < 0.12).all()  # the kidneys on both sides
    assert (centres[:, 2, 0] < centres[:, 0, 0]).all()  # and lower than the liver
