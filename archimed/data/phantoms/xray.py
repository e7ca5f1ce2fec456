"""`xray`: chest radiographs with eight findings, several at once, of which not all labels are known.

Hard because findings are rare (2 to 30 % of the patients) and go together, many are small or faint, ribs cross them,
and each film is exposed to a brightness of its own. 15 % of the labels are unknown (NaN), some findings' far more often
than others', and those of absent findings more often than those of present ones.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, cases_of, shots
from archimed.data.phantoms.options import FLAT, PhantomOptions
from archimed.data.phantoms.shapes import Field, Grid, as_bytes, grid, smooth_noise
from archimed.data.phantoms.thorax import FINDINGS, Thorax, radiograph
from archimed.seeding import numpy_generator
from archimed.task import ImagingTask

# Share of patients who have it; share of its labels that are unknown; loadings on failing heart, tumour and accident.
TRAITS: Mapping[str, tuple[float, float, tuple[float, float, float]]] = {
    "Cardiomegaly": (0.12, 0.10, (0.7, 0.0, 0.0)),
    "Effusion": (0.30, 0.06, (0.5, 0.4, 0.2)),
    "Pneumothorax": (0.05, 0.08, (0.0, 0.0, 0.7)),
    "Nodule": (0.10, 0.25, (0.0, 0.5, 0.0)),
    "Mass": (0.06, 0.14, (0.0, 0.6, 0.0)),
    "Atelectasis": (0.20, 0.28, (0.3, 0.5, 0.0)),
    "Edema": (0.08, 0.22, (0.8, 0.0, 0.0)),
    "Fracture": (0.02, 0.07, (0.0, 0.0, 0.7)),
}
FEWEST = 3  # patients who have a finding, however few there are
GRAIN = 0.02


def xray(options: PhantomOptions, seed: int) -> Dataset:
    """Radiographs with a label for each finding: 0, 1, or NaN where unknown; one or two films per patient."""
    count, size = options.fill(FLAT)
    films = shots("xray", seed, count)
    truth = findings_of_patients(films[-1].patient + 1, seed)[[film.patient for film in films]]
    images = torch.empty(count, 1, size, size, dtype=torch.uint8)
    for row, film in enumerate(films):
        present = frozenset(name for name, has in zip(FINDINGS, truth[row], strict=True) if has)
        picture = expose(radiograph(Thorax.draw(film.scene), present, posed(film, size)), film)
        images[row, 0] = torch.from_numpy(as_bytes(picture))
    target = np.where(_unknown(truth, seed), np.nan, truth).astype(np.float32)
    task = ImagingTask("multi-label", FINDINGS, 1, (size, size))
    return Dataset(
        "xray",
        "phantom",
        task,
        cases_of("xray", films),
        Arrays.of(images),
        torch.from_numpy(target),
        patients_known=True,
    )


def findings_of_patients(patients: int, seed: int) -> Bool[np.ndarray, "patient finding"]:
    """Who has what: three hidden causes raise several findings at once; shares are exact but for rounding."""
    rng = numpy_generator(seed, "phantom", "xray", "findings")
    loadings = np.array([TRAITS[name][2] for name in FINDINGS])
    own = np.sqrt(1 - (loadings**2).sum(1))
    proneness = rng.standard_normal((patients, 3)) @ loadings.T + own * rng.standard_normal((patients, len(FINDINGS)))
    ranks = (-proneness).argsort(0).argsort(0)
    wanted = [max(FEWEST, round(TRAITS[name][0] * patients)) for name in FINDINGS]
    return np.asarray(ranks < np.array(wanted))


def posed(film: Shot, size: int) -> Grid:
    """The places of the pixels, shifted and scaled as the patient stands before the detector."""
    zoom, shifts = film.view.uniform(0.92, 1.1), film.view.uniform(-0.03, 0.03, 2)
    return tuple(
        ((x - 0.5) * zoom + 0.5 + s).astype(np.float32) for x, s in zip(grid((size, size)), shifts, strict=True)
    )


def expose(picture: Field, film: Shot) -> Field:
    """The film: its mean brightness and contrast are chosen when it is taken, whatever it shows; with grain."""
    rng = film.view
    uneven = 0.03 * smooth_noise(rng, picture.shape, 1)
    picture = picture + uneven - picture.mean()
    grain = GRAIN * film.grain.standard_normal(picture.shape, dtype=np.float32)
    return rng.uniform(0.4, 0.58) + rng.uniform(0.9, 1.25) * (picture + grain)


def _unknown(truth: Bool[np.ndarray, "case finding"], seed: int) -> Bool[np.ndarray, "case finding"]:
    """Which labels are unknown; who writes a report leaves out absent findings more readily."""
    rng = numpy_generator(seed, "phantom", "xray", "unknown")
    rates: Float[np.ndarray, " finding"] = np.array([TRAITS[name][1] for name in FINDINGS])
    return np.asarray(rng.random(truth.shape) < np.where(truth, 0.6 * rates, 1.06 * rates))
