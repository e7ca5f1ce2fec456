from collections.abc import Sequence

import numpy as np
import pytest

from archimed.candidate import Candidate
from archimed.errors import SettingsError
from archimed.objectives import SignedSums, capability, eq5, parse_signed_sum, rescale


def population(seed: int = 0, size: int = 12) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    return [
        Candidate(
            (row,),
            0,
            {
                "naswot": float(rng.normal(50, 9)),
                "log_synflow": float(rng.normal(80, 30)),
                "macs": float(rng.integers(1e6, 9e7)),
            },
        )
        for row in range(size)
    ]


def scaled(candidates: Sequence[Candidate], name: str) -> list[float]:
    """Min-max scaling, one value at a time."""
    values = [candidate.measurements[name] for candidate in candidates]
    return [(value - min(values)) / (max(values) - min(values)) for value in values]


def test_rescale_by_hand() -> None:
    assert rescale(np.array([2.0, 6.0, 3.0])).tolist() == [0.0, 1.0, 0.25]
    assert rescale(np.array([1e61, 1e32])).tolist() == [1.0, 0.0]


def test_constant_single_and_empty_columns_become_zeros() -> None:
    assert rescale(np.array([7.0, 7.0])).tolist() == [0.0, 0.0]
    assert rescale(np.array([7.0])).tolist() == [0.0]
    assert rescale(np.array([])).tolist() == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_not_spread(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        rescale(np.array([1.0, wrong, 2.0]))


def test_eq5_is_that_of_the_paper() -> None:
    candidates = population()
    p1, p2, f = (scaled(candidates, name) for name in ("naswot", "log_synflow", "macs"))
    expected = [[-a - c, -b + c] for a, b, c in zip(p1, p2, f, strict=True)]
    np.testing.assert_allclose(eq5("naswot", "log_synflow")(candidates), expected, atol=1e-12)


def test_macs_cancel_in_the_sum_of_eq5() -> None:
    candidates = population()
    total = eq5("naswot", "log_synflow")(candidates).sum(axis=1)
    np.testing.assert_allclose(total, -capability(candidates, ("naswot", "log_synflow")), atol=1e-12)


@pytest.mark.parametrize(
    ("expressions", "signs"),
    [  # Table IX of MSTF-NAS, row by row
        (("naswot", "log_synflow"), ((1, 0, 0), (0, 1, 0))),
        (("-macs", "log_synflow"), ((0, 0, -1), (0, 1, 0))),
        (("-macs", "naswot"), ((0, 0, -1), (1, 0, 0))),
        (("-macs", "naswot+log_synflow"), ((0, 0, -1), (1, 1, 0))),
        (("naswot+macs", "log_synflow-macs"), ((1, 0, 1), (0, 1, -1))),
    ],
)
def test_expressions_are_maximised_and_scores_minimised(
    expressions: tuple[str, ...], signs: tuple[tuple[int, ...], ...]
) -> None:
    candidates = population()
    columns = np.array([scaled(candidates, name) for name in ("naswot", "log_synflow", "macs")])
    np.testing.assert_allclose(SignedSums(expressions)(candidates), -(np.array(signs) @ columns).T, atol=1e-12)


def test_normalised_over_the_population_given() -> None:
    merged = population()
    alone, together = eq5("naswot", "log_synflow")(merged[:6]), eq5("naswot", "log_synflow")(merged)
    assert not np.allclose(alone, together[:6])


def test_capability_by_hand() -> None:
    candidates = [
        Candidate((n,), 0, {"a": a, "b": b}) for n, (a, b) in enumerate([(0.0, 30.0), (5.0, 10.0), (10.0, 15.0)])
    ]
    np.testing.assert_allclose(capability(candidates, ("a", "b")), [1.0, 0.5, 1.25])


def test_names_in_order_of_appearance() -> None:
    assert SignedSums(("b - a", "a+c")).names == ("b", "a", "c")
    assert parse_signed_sum(" - macs + naswot ") == {"macs": -1, "naswot": 1}


@pytest.mark.parametrize(
    "wrong", ["", "+", "naswot+", "naswot*2", "naswot macs+", "2*naswot", "naswot--macs", "a+(b)", "na.swot"]
)
def test_what_is_not_a_signed_sum_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="signed sum"):
        SignedSums((wrong,))


def test_a_name_stands_once_and_an_objective_is_needed() -> None:
    with pytest.raises(SettingsError, match=r"once.*'macs'"):
        SignedSums(("macs-naswot+macs",))
    with pytest.raises(SettingsError, match="at least one objective"):
        SignedSums(())


def test_unknown_measurement_suggests_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"got 'nasvot'\. Did you mean 'naswot'"):
        SignedSums(("nasvot",))(population())
    with pytest.raises(SettingsError, match="Did you mean 'macs'"):
        SignedSums(("naswot", "-mac")).check(("naswot", "macs"))
    SignedSums(("naswot", "-macs")).check(("naswot", "macs"))
