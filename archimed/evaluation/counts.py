"""Hits and misses of every class, for many weightings of the cases at once, and the rates that follow from them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Num

Rates = Float[np.ndarray, "class resample"]


@dataclass(frozen=True)
class Counts:
    """Weighted counts per class (or label) and resample; every rate is NaN where its denominator is zero.

    Attributes:
        hits: cases of the class that were given it (true positives).
        given: known cases that were given the class, rightly or not.
        actual: cases that are of the class.
        known: cases whose class (or this label) is known.
    """

    hits: Rates
    given: Rates
    actual: Rates
    known: Rates

    @cached_property
    def sensitivity(self) -> Rates:
        """Share of the cases of the class that were found (recall)."""
        return ratio(self.hits, self.actual)

    @cached_property
    def specificity(self) -> Rates:
        """Share of the cases not of the class that were not given it."""
        rest = self.known - self.actual
        return ratio(rest - (self.given - self.hits), rest)

    @cached_property
    def precision(self) -> Rates:
        """Share of the cases given the class that are of it; NaN too where no case is of the class."""
        return np.where(self.actual > 0, ratio(self.hits, self.given), np.nan)

    @cached_property
    def precision_or_zero(self) -> Rates:
        """Precision, but zero for a class that exists and was never given.

        A mean over classes uses it: leaving the class out would reward never answering it.
        """
        return np.where((self.actual > 0) & (self.given == 0), 0.0, self.precision)

    @cached_property
    def f1(self) -> Rates:
        """Harmonic mean of sensitivity and precision; NaN where no case is of the class."""
        return np.where(self.actual > 0, ratio(2 * self.hits, self.given + self.actual), np.nan)

    @cached_property
    def balance(self) -> Rates:
        """(TPR + 1 - FPR) / 2, the mean of sensitivity and specificity; NaN unless both answers occur."""
        mean: Rates = (self.sensitivity + self.specificity) / 2
        return mean

    @cached_property
    def accuracy(self) -> Rates:
        """Share of the known cases in which the question "is it of this class" was answered rightly."""
        return ratio(self.known - self.actual - self.given + 2 * self.hits, self.known)


def count(
    truth: Num[np.ndarray, "case class"],
    given: Bool[np.ndarray, "case class"],
    weights: Float[np.ndarray, "case resample"],
) -> Counts:
    """Count hits and misses of each class.

    Args:
        truth: 1 where the case is of the class, 0 where it is not, NaN where nobody knows.
        given: True where the network gave the class.
        weights: how often each case counts, per resample.
    """
    known = ~np.isnan(truth)
    actual = truth == 1
    return Counts(
        hits=_total(actual & given, weights),
        given=_total(known & given, weights),
        actual=_total(actual, weights),
        known=_total(known, weights),
    )


def ratio(part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Divide, with NaN where the whole is zero."""
    quotient = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def mean_if_all_present(values: Rates, counts: Counts) -> Float[np.ndarray, " resample"]:
    """Mean over classes that exclude each other; NaN in a resample that has lost one of them.

    A class without any case in the test set takes no part. With fewer than two classes left nothing is
    discriminated, so the mean is undefined. A resample that lost a class would measure something else, so it is
    undefined too.
    """
    present = (counts.actual > 0).any(axis=1)
    if present.sum() < 2:
        return np.full(values.shape[1], np.nan)
    return np.where((counts.actual[present] > 0).all(axis=0), values[present].mean(axis=0), np.nan)


def mean_of_defined(values: Rates) -> Float[np.ndarray, " resample"]:
    """Mean over labels, each a question by itself: those undefined in a resample are left out of it."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def _total(indicator: Bool[np.ndarray, "case class"], weights: Float[np.ndarray, "case resample"]) -> Rates:
    total: Rates = indicator.T.astype(np.float64) @ weights
    return total
