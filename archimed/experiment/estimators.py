"""Estimators over arrays as scikit-learn has them: the same engine, fitted, asked and scored in Python."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from archimed.data.arrays import Arrays
from archimed.data.unlabelled import array_case
from archimed.errors import DataError
from archimed.evaluation.masks import case_scores, mask_metrics
from archimed.evaluation.temperature import tempered
from archimed.experiment.api import run as run_method
from archimed.experiment.asked_form import fingerprint, form_of
from archimed.experiment.asked_images import check_type
from archimed.experiment.ensemble import Ensemble, called, load_ensemble
from archimed.experiment.mask_files import answered_mask

OWN = {"data.normalisation": "training"}  # nothing is known of the scale of arrays
KEPT_TYPES = (np.uint8, np.uint16, np.float32)


class _ArrayEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What a classifier and a segmenter share: settings, the run, and arrays as images."""

    def __init__(
        self,
        method: str,
        preset: str = "default",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        spatial_dims: int = 2,
    ) -> None:
        self.method = method
        self.preset = preset
        self.seed = seed
        self.settings = settings
        self.folder = folder
        self.spatial_dims = spatial_dims

    def _fit(self, arrays: Mapping[str, np.ndarray], patients: ArrayLike | None) -> Self:
        """Write the arrays beside the run, and run the method on them."""
        folder = Path(self.folder) if self.folder is not None else Path(tempfile.mkdtemp(prefix="archimed-"))
        if self.folder is None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = dict(arrays)
        images = arrays["train_images"]
        arrays["train_images"] = np.moveaxis(images, 1, -1) if images.shape[1] > 1 else images[:, 0]
        if patients is not None:
            arrays["train_patients"] = np.asarray(patients).astype(str)
        if len({len(array) for array in arrays.values()}) > 1:
            raise DataError(
                "X, y and patients must be equally long; got "
                f"{', '.join(str(len(array)) for array in arrays.values())}. Give one of each per case."
            )
        np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
        settings = {**OWN, **(self.settings or {})}
        self.run_ = run_method(
            self.method,
            str(folder / "arrays.npz"),
            folder / "run",
            preset=self.preset,
            seed=self.seed,
            settings=settings,
        )
        self.ensemble_ = load_ensemble(self.run_)
        return self

    def _images(self, images: ArrayLike) -> Shaped[np.ndarray, "case channel *space"]:
        """Images with a channel axis, in a number type that networks are fed from.

        Raises:
            DataError: they are no images of that many axes, or not finite.
        """
        values = np.asarray(images)
        if values.ndim == self.spatial_dims + 1:
            values = values[:, None]
        if values.ndim != self.spatial_dims + 2 or not len(values):
            raise DataError(
                f"X is [case, *space] or [case, channel, *space] with spatial_dims={self.spatial_dims} axes of space; "
                f"got {list(np.shape(images))}. Reshape it, or set spatial_dims."
            )
        values = values.astype(np.uint8) if values.dtype == bool else values
        values = values if values.dtype in KEPT_TYPES else values.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError("Pixels must be finite numbers; X holds NaN or infinity. Repair or leave out these cases.")
        return np.ascontiguousarray(values)

    def _asked(self, images: ArrayLike) -> tuple[Ensemble, list[Any]]:
        """The fitted networks, and the prepared images with where they come from."""
        check_is_fitted(self, "ensemble_")
        ensemble: Ensemble = self.ensemble_
        values = self._images(images)
        if values.shape[1] != ensemble.task.channels:
            raise DataError(
                f"X has the channels it was fitted with, {ensemble.task.channels}; got {values.shape[1]}. Give those."
            )
        check_type(str(values.dtype), fingerprint(ensemble)["images"]["type"], "X")
        settings = form_of(ensemble).settings
        return ensemble, [array_case(torch.from_numpy(image[None]), settings) for image in values]


class ArchimedClassifier(ClassifierMixin, _ArrayEstimator):  # type: ignore[misc]  # likewise
    """Searches, trains and evaluates a classifier of images, and answers by all its trainings.

    A part of the cases is held out for validation and for the report's test, by patient. `run_` is the folder of the
    run with its report; `classes_` the classes in the order of probabilities.

    Args:
        method: name of a method, or `file.py:Class`.
        preset: quick, default or paper.
        seed: one seed fixes the whole run.
        settings: dotted settings, e.g. {"training.epochs": 20}.
        folder: where arrays and run are kept; None keeps them as long as the estimator lives. A folder whose run has
            the same data and settings is gone on with.
        spatial_dims: 2 for images, 3 for volumes.
    """

    def __init__(
        self,
        method: str = "mstf-nas",
        preset: str = "default",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(method, preset, seed, settings, folder, spatial_dims)

    def fit(self, X: ArrayLike, y: ArrayLike, patients: ArrayLike | None = None) -> Self:  # noqa: N803
        """Search and train on images.

        Args:
            X: [case, *space] or [case, channel, *space].
            y: classes [case], or labels [case, label] of 0, 1 and NaN where unknown.
            patients: whose each case is; None takes each for its own.

        Raises:
            ArchimedError: the data or settings cannot be used; the message says what to do.
        """
        target = np.asarray(y)
        numbers: np.ndarray
        if target.ndim == 2 and target.shape[1] > 1:
            self.classes_ = np.arange(target.shape[1])
            numbers = target.astype(np.float32)
        else:
            self.classes_, numbers = np.unique(target.reshape(-1), return_inverse=True)
            if len(self.classes_) < 2:
                raise DataError(f"A classification needs at least two classes; y has {len(self.classes_)}. Add cases.")
        return self._fit({"train_images": self._images(X), "train_labels": numbers}, patients)

    def predict_proba(self, X: ArrayLike) -> Float[np.ndarray, "case class"]:  # noqa: N803
        """Probabilities of classes or labels, calibrated on validation where its cases allow."""
        ensemble, raw = self._raw(X)
        temperature = ensemble.temperature
        return raw if temperature is None else tempered(ensemble.task.kind, raw, temperature)

    def predict(self, X: ArrayLike) -> Shaped[np.ndarray, "case *label"]:  # noqa: N803
        """The likeliest class of each case, or 0 and 1 for each label by the thresholds of validation."""
        ensemble, raw = self._raw(X)
        answers = called(ensemble, raw)
        names = ensemble.task.class_names
        if ensemble.task.kind == "multi-label":
            return np.array([[int(name in answer) for name in names] for answer in answers])
        return np.asarray(self.classes_[[names.index(answer[0]) for answer in answers]])

    def _raw(self, images: ArrayLike) -> tuple[Ensemble, Float[np.ndarray, "case class"]]:
        ensemble, cases = self._asked(images)
        return ensemble, ensemble.probabilities(Arrays.of(torch.stack([image for image, _ in cases])))


class ArchimedSegmenter(_ArrayEstimator):
    """Searches, trains and evaluates a network of masks, and answers by all its trainings.

    See `ArchimedClassifier` for the arguments; `classes_` are the values of masks, the smallest the background.
    """

    def __init__(
        self,
        method: str = "mixsearch",
        preset: str = "default",
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__(method, preset, seed, settings, folder, spatial_dims)

    def fit(self, X: ArrayLike, y: ArrayLike, patients: ArrayLike | None = None) -> Self:  # noqa: N803
        """Search and train on images [case, *space] or [case, channel, *space] with masks [case, *space].

        Raises:
            ArchimedError: the data or settings cannot be used; the message says what to do.
        """
        masks = np.asarray(y)
        self.classes_, numbers = np.unique(masks, return_inverse=True)
        if not 2 <= len(self.classes_) <= 256:
            raise DataError(
                f"Masks hold a background and 1 to 255 classes; y has {len(self.classes_)} values. Correct it."
            )
        numbers = numbers.reshape(masks.shape).astype(np.uint8)
        return self._fit({"train_images": self._images(X), "train_masks": numbers}, patients)

    def predict_proba(self, X: ArrayLike) -> list[Float[np.ndarray, "class *space"]]:  # noqa: N803
        """Probabilities of the classes of each pixel, case by case, at the size that the network sees."""
        ensemble, cases = self._asked(X)
        return [ensemble.mask(image).numpy() for image, _ in cases]

    def predict(self, X: ArrayLike) -> Shaped[np.ndarray, "case *space"]:  # noqa: N803
        """The likeliest class of each pixel of each case."""
        ensemble, cases = self._asked(X)
        masks = [answered_mask(ensemble.mask(image).numpy(), source) for image, source in cases]
        return np.asarray(self.classes_[np.stack(masks)])

    def score(self, X: ArrayLike, y: ArrayLike) -> float:  # noqa: N803
        """Mean Dice over the classes but the background, of the cases in which a class occurs or is answered.

        Raises:
            DataError: no case has a class but the background.
        """
        answers, truth = (np.searchsorted(self.classes_, values) for values in (self.predict(X), np.asarray(y)))
        task = self.ensemble_.task
        scores = [
            tuple(case_scores(task, torch.from_numpy(answer), torch.from_numpy(mask), None))
            for answer, mask in zip(answers, truth, strict=True)
        ]
        found = mask_metrics(task, scores)["dice"]
        if found is None:
            raise DataError("Masks are scored where a class occurs; y and the answers are all background.")
        return found
