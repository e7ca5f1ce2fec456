"""Resampling test patients and training seeds: the one source of intervals and of paired comparisons.

What is resampled, and why:

- *Patients*, with replacement, within each fold: all cases of a patient are drawn together, because images of one
  patient are alike and do not count as independent evidence. Classes are not stratified: how many positive patients
  a test set happened to hold is part of the uncertainty.
- *Divisions*, where patients are tested in several folds: in a repeated cross-validation, or where one test set serves
  all folds. A patient is then drawn once for all folds that test it, out of all patients, since measuring the same
  patients again tells nothing about others. Each division into folds, in which every patient is tested once at most,
  is drawn like a seed, the same ones for all networks, as they all met the same division.
- *Seeds*, within each fold that was trained with several: an interval then covers the randomness of training too.
  From S seeds S - 1 are drawn with replacement, which makes the variance of the mean unbiased (drawing S of 3 would
  understate it by a third). A single seed is kept, and the interval then holds for that one trained network only.

The draw of patients depends on the seed and the folds alone, so two networks tested on the same cases meet the same
resamples and their difference is paired. Their seeds are drawn apart: equal seed numbers make nothing alike in
different architectures. Resampling rows and columns of a crossed design is Owen's pigeonhole bootstrap (2007): never
too narrow on average, slightly too wide where patients and seeds interact.

Measured on simulated scores (tests/evaluation/test_intervals.py): 95 % intervals hold the truth in 93-95 % of test sets
of 200 to 400 patients, and over eight seeds in about 95 %. Over three seeds that differ more than the choice of
patients does, it is about 90 %: three seeds cannot tell how much seeds differ. Over three cross-validations of two
folds of 120 patients it is 96 % (tests/evaluation/test_divisions.py); with patients drawn anew in every fold, 77 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Num

from archimed.evaluation.counts import ratio
from archimed.evaluation.metrics import Resampled, Thresholds, metrics, weighted_metrics
from archimed.seeding import derive_seed, numpy_generator
from archimed.task import ImagingTask

CELLS_AT_ONCE = 2_000_000  # cases x resamples held in memory together, 16 MB an array


@runtime_checkable
class Tested(Protocol):
    """What one trained network answered to the test cases of its fold, whatever the kind of answer."""

    @property
    def fold(self) -> int:
        """Number of the fold; every repeat of a fold holds the same cases in the same order."""

    @property
    def seed(self) -> int:
        """The training seed."""

    @property
    def cases(self) -> tuple[str, ...]:
        """Case ids [case]."""

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each case [case]."""

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:
        """Every metric of the task; None where the data leave it undefined."""

    def resampled(self, task: ImagingTask, weights: Float[np.ndarray, "case resample"]) -> Resampled:
        """The same in every resample, in which each case counts as often as `weights` says; NaN where undefined."""


@dataclass(frozen=True)
class RepeatPredictions:
    """Classes or labels that one trained network gave the test cases of its fold (`Tested`).

    Attributes:
        fold: number of the fold.
        seed: the training seed.
        cases: case ids [case].
        patients: the patient of each case [case].
        target: class indices [case], or labels [case, label] with NaN where unknown.
        probabilities: [case, class].
        threshold: a case is called positive above it (binary tasks), or above that of the label (multi-label).
    """

    fold: int
    seed: int
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    target: Num[np.ndarray, "case *label"]
    probabilities: Float[np.ndarray, "case class"]
    threshold: Thresholds = 0.5

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:
        """See `archimed.evaluation.metrics.metrics`."""
        return metrics(task, self.target, self.probabilities, self.threshold)

    def resampled(self, task: ImagingTask, weights: Float[np.ndarray, "case resample"]) -> Resampled:
        """See `archimed.evaluation.metrics.weighted_metrics`."""
        return weighted_metrics(task, self.target, self.probabilities, weights, self.threshold)


@dataclass(frozen=True)
class RepeatMetrics:
    """What one trained network achieved: its fold, its seed, and metric name -> value or None if undefined."""

    fold: int
    seed: int
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Bootstrap:
    """The metrics of one network, the mean over its repeats, and the same in every resample.

    Attributes:
        values: metric name -> mean over the repeats in which it is defined; None if it is in none.
        draws: metric name -> the value in each resample, NaN where undefined.
        repeats: the metrics of every (fold, seed) by itself, in that order.
        tested_on: (fold, case ids) of each fold; two networks can be compared if it is the same.
        seed: seed of the resampling.
    """

    values: Mapping[str, float | None]
    draws: Mapping[str, Float[np.ndarray, " resample"]]
    repeats: tuple[RepeatMetrics, ...]
    tested_on: tuple[tuple[int, tuple[str, ...]], ...]
    seed: int


def bootstrap_metrics(
    task: ImagingTask, repeats: Sequence[Tested], seed: int, network: str, resamples: int = 1000, data_set: str = ""
) -> Bootstrap:
    """Measure a network and resample its patients and seeds (see the module's text).

    Args:
        task: what was asked.
        repeats: answers of every (fold, seed) of the network; at least one.
        seed: seed of the resampling; the same for networks that are to be compared.
        network: name of the network; it tells the draws of seeds of two networks apart.
        resamples: number of resamples.
        data_set: name of the data set, in a run of several: it tells the draws of patients apart, not those of seeds,
            as one search may have served all data sets.

    Raises:
        ValueError: if there is no repeat, or repeats of one fold differ in their cases.
    """
    folds = _by_fold(repeats)
    ordered = [repeat for members in folds.values() for repeat in members]
    points = [RepeatMetrics(r.fold, r.seed, r.metrics(task)) for r in ordered]
    names = tuple(points[0].values)
    sums: dict[str, Float[np.ndarray, " resample"]] = {}
    shares: dict[str, Float[np.ndarray, " resample"]] = {}
    divisions = division_of_folds({fold: members[0].patients for fold, members in folds.items()})
    division_share = _division_shares(divisions, seed, resamples)
    everyone = sorted({patient for repeat in ordered for patient in repeat.patients})
    for fold, members in folds.items():
        rng = numpy_generator(seed, "bootstrap seeds", network, fold)
        seed_share = draw_seeds(len(members), resamples, rng)
        drawn_from = fold if len(division_share) == 1 else everyone
        drawn = _resampled(task, members, drawn_from, derive_seed(seed, data_set) if data_set else seed, resamples)
        for repeat_draws, share in zip(drawn, seed_share, strict=True):
            for name, values in repeat_draws.items():
                weight = share * len(members) * division_share[divisions[fold]]
                used = np.where(np.isnan(values), 0.0, weight)
                sums[name] = sums.get(name, 0.0) + used * np.nan_to_num(values)
                shares[name] = shares.get(name, 0.0) + used
    return Bootstrap(
        values={name: mean_of_known([point.values[name] for point in points]) for name in names},
        draws={name: ratio(sums[name], shares[name]) for name in names},
        repeats=tuple(points),
        tested_on=tuple((fold, members[0].cases) for fold, members in folds.items()),
        seed=seed,
    )


def mean_over_data_sets(found: Sequence[Bootstrap]) -> Bootstrap:
    """One network's metrics on several data sets averaged, each data set counting alike; those that all have.

    A mean is undefined where the metric is undefined in one data set, for the means of two networks would else be over
    different data.
    """
    names = [name for name in found[0].values if all(name in one.values for one in found)]
    values = {name: [one.values[name] for one in found] for name in names}
    return Bootstrap(
        values={name: None if None in each else mean_of_known(each) for name, each in values.items()},
        draws={name: np.mean([one.draws[name] for one in found], axis=0) for name in names},
        repeats=tuple(repeat for one in found for repeat in one.repeats),
        tested_on=tuple(fold for one in found for fold in one.tested_on),
        seed=found[0].seed,
    )


def division_of_folds(patients: Mapping[int, Sequence[str]]) -> dict[int, int]:
    """The division that each fold belongs to, from the test patients of each fold in the folds' order.

    A fold that tests a patient of an earlier fold of its division begins the next division.
    """
    found: dict[int, int] = {}
    division, tested = 0, set[str]()
    for fold, members in patients.items():
        if not tested.isdisjoint(members):
            division, tested = division + 1, set()
        found[fold] = division
        tested.update(members)
    return found


def _division_shares(divisions: Mapping[int, int], seed: int, resamples: int) -> Float[np.ndarray, "division resample"]:
    """How much each division counts in each resample: one on average."""
    count = max(divisions.values()) + 1
    return count * draw_seeds(count, resamples, numpy_generator(seed, "bootstrap divisions"))


def draw_patients(
    patients: Sequence[str], resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "case resample"]:
    """How often each case counts in each resample of as many patients as there are, drawn with replacement."""
    _, patient_of_case = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient_of_case.max()) + 1
    drawn = rng.integers(count, size=(resamples, count))
    drawn += np.arange(resamples)[:, None] * count
    weights = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)
    return np.ascontiguousarray(weights.T, dtype=np.float64)[patient_of_case]


def draw_seeds(seeds: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "seed resample"]:
    """The share of each training seed in each resample; columns sum to one. One seed is kept as it is."""
    if seeds == 1:
        return np.ones((1, resamples))
    drawn = rng.integers(seeds, size=(seeds - 1, resamples))
    shares: Float[np.ndarray, "seed resample"] = np.mean(drawn[None] == np.arange(seeds)[:, None, None], axis=1)
    return shares


def _resampled(
    task: ImagingTask, members: Sequence[Tested], drawn_from: int | Sequence[str], seed: int, resamples: int
) -> list[dict[str, Float[np.ndarray, " resample"]]]:
    """The metrics of each repeat of one fold in every resample of its patients, by number of the fold, or of all."""
    patients = members[0].patients
    everyone: Sequence[str] = patients if isinstance(drawn_from, int) else drawn_from
    rows = np.arange(len(patients)) if isinstance(drawn_from, int) else np.searchsorted(drawn_from, patients)
    rng = numpy_generator(seed, "bootstrap patients", *([drawn_from] if isinstance(drawn_from, int) else []))
    at_once = max(1, CELLS_AT_ONCE // len(everyone))
    parts: list[list[dict[str, Float[np.ndarray, " resample"]]]] = [[] for _ in members]
    for start in range(0, resamples, at_once):
        weights = draw_patients(everyone, min(at_once, resamples - start), rng)[rows]
        for part, repeat in zip(parts, members, strict=True):
            part.append(repeat.resampled(task, weights))
    return [{name: np.concatenate([piece[name] for piece in part]) for name in part[0]} for part in parts]


def _by_fold(repeats: Sequence[Tested]) -> dict[int, list[Tested]]:
    if not repeats:
        raise ValueError("Metrics need the answers of at least one repeat; got none.")
    folds: dict[int, list[Tested]] = {}
    for repeat in sorted(repeats, key=lambda r: (r.fold, r.seed)):
        folds.setdefault(repeat.fold, []).append(repeat)
    for fold, members in folds.items():
        if any(r.cases != members[0].cases or r.patients != members[0].patients for r in members):
            raise ValueError(f"Repeats of one fold are tested on the same cases; those of fold {fold} differ.")
        if len(members[0].patients) != len(members[0].cases):
            raise ValueError(f"Every case has a patient; fold {fold} has cases without.")
    return folds


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None if there is none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
