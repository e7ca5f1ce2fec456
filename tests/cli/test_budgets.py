"""The budgets on the command line: how they are written, and for which methods they are."""

import pytest

from archimed.cli.budgets import budget_flags, count
from archimed.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "number"), [("4000000", 4_000_000), ("4e6", 4_000_000), ("4.5M", 4_500_000), ("2k", 2000), ("1G", 10**9)]
)
def test_large_numbers_may_be_short(text: str, number: int) -> None:
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "many", "0", "-3", "1.5", "inf", "nan", "4T"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="whole number of at least 1"):
        count(text)


def test_budgets_are_settings_of_the_search() -> None:
    assert budget_flags("zen-nas", "600M", None, "50") == {"search.budget_macs": 600_000_000, "search.depth": 50}
    assert budget_flags("mstf-nas", None, None, None) == {}
    with pytest.raises(SettingsError, match=r"are for zen-nas, .*random-search; got mstf-nas"):
        budget_flags("mstf-nas", None, "2M", None)
