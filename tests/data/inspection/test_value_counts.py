import numpy as np
import pytest
import torch

from archimed.data.inspection.value_counts import ValueCounts, bin_floats, float_bins

SHARES = (0.0, 0.01, 0.25, 0.5, 0.99, 1.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16])
def test_whole_numbers_are_exact(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    ends = torch.iinfo(dtype)
    values = rng.integers(ends.min, ends.max, 5001, endpoint=True)
    counts = ValueCounts(dtype)
    for part in np.array_split(values, 3):
        counts.add(torch.from_numpy(part).to(dtype))
    assert np.array_equal(counts.quantiles(SHARES), np.quantile(values, SHARES, method="inverted_cdf"))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_floats_are_near(scale: float) -> None:
    values = (np.random.default_rng(1).normal(0.5, 1, 4000) * scale).astype(np.float32)
    counts = ValueCounts(torch.float32)
    counts.add(torch.from_numpy(values).view(40, 100))
    found, expected = counts.quantiles(SHARES), np.quantile(values, SHARES, method="inverted_cdf")
    assert np.allclose(found, expected, rtol=1 / 2**11, atol=0)
    assert (found[0], found[-1]) == (values.min(), values.max())


def test_nan_and_infinity_do_not_count() -> None:
    counts = ValueCounts(torch.float32)
    assert np.isnan(counts.quantiles(SHARES)).all()
    counts.add(torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 3.0]))
    assert counts.quantiles((0.0, 0.5, 1.0)).tolist() == [0.0, 0.0, 3.0]


def test_bins_are_in_the_order_of_the_values() -> None:
    values = np.array([-np.float32(3e38), -2.5, -1e-30, -0.0, 0.0, 1e-30, 0.75, 1.0, 3e38], dtype=np.float32)
    bins = float_bins(values)
    assert (np.diff(bins) >= 0).all()
    assert bins[3] == bins[4]
    assert np.allclose(bin_floats(bins), values, rtol=1 / 2**11, atol=0)
