"""Percentiles of more values than fit into memory: counts of values, exact for integers, to 0.05 % for floats."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)
KEPT_BITS = 20  # leading bits of a float32 that tell its bin: sign, 8 of the exponent, 11 of the fraction
STEP = 2**20  # values counted at a time
INTEGERS = (torch.uint8, torch.int8, torch.uint16, torch.int16)


class ValueCounts:
    """How often each value occurs; NaN and infinity are left out."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._integer = dtype in INTEGERS
        self._lowest = torch.iinfo(dtype).min if self._integer else 0
        bins = torch.iinfo(dtype).max - self._lowest + 1 if self._integer else 2**KEPT_BITS
        self._counts = np.zeros(bins, dtype=np.int64)
        self._ends = [np.inf, -np.inf]

    def add(self, values: Shaped[Tensor, "..."]) -> None:
        """Count some values."""
        flat = values.reshape(-1).numpy()
        for start in range(0, len(flat), STEP):
            self._add(flat[start : start + STEP])

    def _add(self, values: Shaped[np.ndarray, " value"]) -> None:
        if not self._integer:
            values = values.astype(np.float32)
            values = values[np.isfinite(values)]
        if not len(values):
            return
        self._ends = [min(self._ends[0], float(values.min())), max(self._ends[1], float(values.max()))]
        bins = values.astype(np.int64) - self._lowest if self._integer else float_bins(values)
        self._counts += np.bincount(bins, minlength=len(self._counts))

    def quantiles(self, shares: Sequence[float]) -> Float[np.ndarray, " share"]:
        """The values below or at which these shares of all values lie (nearest rank); NaN if there are none."""
        below = np.cumsum(self._counts)
        if below[-1] == 0:
            return np.full(len(shares), np.nan)
        ranks = np.maximum(np.ceil(np.array(shares) * below[-1]), 1)
        bins = np.searchsorted(below, ranks)
        values = (bins + self._lowest).astype(np.float64) if self._integer else bin_floats(bins)
        values = np.clip(values, self._ends[0], self._ends[1])
        return np.where(np.array(shares) == 0, self._ends[0], np.where(np.array(shares) == 1, self._ends[1], values))


def float_bins(values: Float[np.ndarray, " value"]) -> Int[np.ndarray, " value"]:
    """The bin of each float32, in the order of the values: its leading bits, those of negative numbers turned round."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding zero makes -0 into 0
    ordered = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> (32 - KEPT_BITS)).astype(np.int64)


def bin_floats(bins: Int[np.ndarray, " bin"]) -> Float[np.ndarray, " bin"]:
    """The value of each bin that is nearest to zero."""
    negative = bins < 2 ** (KEPT_BITS - 1)
    ordered = np.where(negative, ~bins, bins - 2 ** (KEPT_BITS - 1)) & (2 ** (KEPT_BITS - 1) - 1)
    magnitude = (ordered << (32 - KEPT_BITS)).astype(np.uint32).view(np.float32).astype(np.float64)
    values: Float[np.ndarray, " bin"] = np.where(negative, -magnitude, magnitude) + 0.0
    return values
