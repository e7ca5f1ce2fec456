import pytest

from archimed.report.words import amount, count, decimal, duration, flat, listing, metric_order, network_name, printable


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.123, "0.12 s"), (42.4, "42 s"), (59.7, "1 min 00 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (None, "")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(4_470_000, "4.47 M"), (1_210_000_000, "1.21 G"), (950, "950"), (None, "")]
)
def test_amounts(value: float | None, words: str) -> None:
    assert amount(value) == words


def test_numbers_that_are_none_or_not_finite_are_undefined() -> None:
    assert decimal(None) == decimal(float("nan")) == decimal({"value": None}) == decimal(True) == "undefined"
    assert decimal({"value": 0.8934}, 2) == "0.89"
    assert count(1240) == "1\u202f240"


def test_lists_read_as_sentences() -> None:
    assert [listing(words) for words in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]


def test_settings_are_flattened_to_dotted_names() -> None:
    nested = {"data": {"folds": 1, "sources": ["a", "b"]}, "x": None, "y": {}, "z": True}
    assert flat(nested) == [("data.folds", "1"), ("data.sources", "a, b"), ("x", "none"), ("y", "none"), ("z", "yes")]


def test_known_metrics_come_first() -> None:
    assert metric_order(["zeta", "sensitivity", "accuracy", "auc"]) == ["auc", "accuracy", "sensitivity", "zeta"]


def test_networks_have_their_names() -> None:
    names = [network_name(name) for name in ("darts", "mm-nas", "pet-only", "channel-0-only", "mine", "-only")]
    assert names == ["DARTS", "MM-NAS", "PET only", "Channel 0 only", "mine", "-only"]


def test_what_xml_cannot_hold_is_replaced() -> None:
    assert printable("a\x00b\ud800\tc\n") == "a\ufffdb\ufffd\tc\n"
