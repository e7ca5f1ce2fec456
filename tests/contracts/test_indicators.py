import pytest

from archimed.indicators import INDICATORS
from archimed.indicators.contract import check_indicator


@pytest.mark.parametrize("name", INDICATORS)
def test_indicators_keep_their_contract(name):
    check_indicator(INDICATORS[name])


@pytest.mark.parametrize(
    ("defect", "rule"),
    [
        (lambda probe: int(probe.macs), "float"),
        (lambda probe: float("-inf"), "finite"),  # noqa: ARG005
        (lambda probe: float(probe.network.train(not probe.network.training) is None), "as found"),
        (lambda probe: float(next(probe.network.parameters()).detach().add_(1).sum()), "as found"),
        (lambda probe, calls=[]: calls.append(1) or float(len(calls)), "repeats"),  # noqa: ARG005
    ],
)
def test_a_broken_indicator_is_caught(defect, rule):
    with pytest.raises(AssertionError, match=rule):
        check_indicator(defect)
