from pathlib import Path

import pytest

from archimed.errors import SettingsError
from archimed.experiment import budget as module
from archimed.experiment.budget import (
    LEAST_EPOCHS,
    RESERVE_SECONDS,
    SURE,
    Budget,
    TimeShare,
    TrainingPlan,
    parse_budget,
    plan_training,
)
from archimed.methods.baselines import DROP_ORDER
from tests.cli.command import command
from tests.experiment.tiny import COMMON, SPACE, command_line_settings, lines, read, write_npz


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), ("3", 180)]
)
def test_a_time_span(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "soon", "-3m", "0s", "10 w", "1e", "nan", "inf", "nans", "infh"])
def test_no_time_span(text: str) -> None:
    with pytest.raises(SettingsError, match="90s, 10m or 2h"):
        parse_budget(text)


def test_enough_time_changes_nothing() -> None:
    plan = plan_training(1000.0, {"mstf-nas": 2.0, "resnet18": 8.0}, wanted_epochs=100)
    assert plan == TrainingPlan(100, (), (), {"mstf-nas": 2.0, "resnet18": 8.0})


def test_epochs_are_shortened_equally() -> None:
    plan = plan_training(500.0, {"mstf-nas": 2.0, "resnet18": 8.0}, wanted_epochs=100)
    assert (plan.epochs, plan.dropped) == (50, ())
    assert "from 100 to 50 epochs" in plan.cautions[0]


def test_baselines_are_dropped_in_the_stated_order_once_epochs_are_too_few() -> None:
    every = dict.fromkeys(("mstf-nas", *DROP_ORDER), 1.0)
    for dropped in range(len(DROP_ORDER) + 1):
        kept = len(every) - dropped
        plan = plan_training(kept * LEAST_EPOCHS + 0.5, every, wanted_epochs=100)
        assert plan.dropped == DROP_ORDER[:dropped]
        assert plan.epochs == LEAST_EPOCHS
        if dropped:
            assert ", ".join(DROP_ORDER[:dropped]) in plan.cautions[-1]


def test_the_methods_own_network_is_never_dropped_and_trains_one_epoch_at_least() -> None:
    for seconds in (3.0, 0.0, -20.0):
        plan = plan_training(seconds, {"mstf-nas": 10.0, "resnet50": 1.0}, wanted_epochs=100)
        assert (plan.epochs, plan.dropped) == (1, ("resnet50",))


def test_few_epochs_that_were_asked_for_drop_nothing() -> None:
    seconds = {"mstf-nas": 1.0, "resnet18": 5.0}
    assert plan_training(30.0, seconds, wanted_epochs=5) == TrainingPlan(5, (), (), seconds)


def test_a_plan_comes_back_from_disk(tmp_path: Path) -> None:
    plan = TrainingPlan(7, ("resnet50",), ("a caution",), {"mstf-nas": 2.5}).without("macs")
    assert plan.dropped == ("resnet50", "macs")
    assert plan.cautions[1] == "The time budget ended before the baseline macs could be trained."
    plan.write(tmp_path / "plan.json")
    assert TrainingPlan.read(tmp_path / "plan.json") == plan


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still; set its only entry."""
    now = [50.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_third_is_for_the_searches_together(clock: list[float]) -> None:
    budget = Budget(600.0)
    budget.searches = 2
    clock[0] += 30.0
    budget.begin_search()
    clock[0] += 99.0
    assert not budget.stop_search()
    clock[0] += 2.0
    assert budget.stop_search()
    budget.begin_search()
    assert not budget.stop_search()


def test_the_rest_is_for_training_less_a_reserve(clock: list[float]) -> None:
    long, short = Budget(6000.0), Budget(60.0)
    clock[0] += 20.0
    assert long.left_for_training() == pytest.approx(6000 - 20 - 300)
    assert short.left_for_training() == pytest.approx(60 - 20 - RESERVE_SECONDS)


def test_without_a_budget_nothing_stops(clock: list[float]) -> None:
    budget = Budget(None)
    clock[0] += 1e9
    assert not budget.stop_search()


@pytest.mark.parametrize("slower", [0.4, 1.0, 1.1, 1.6, 3.0])
def test_trainings_end_within_the_budget_however_wrong_their_estimate(clock: list[float], slower: float) -> None:
    """Five networks of different cost, whose epochs take `slower` times what a few steps foretold."""
    foretold = {"own": 4.0, "resnet18": 9.0, "random-search": 5.0, "unet": 20.0, "macs": 2.0}
    budget = Budget(3600.0)
    clock[0] += 1200.0  # of search
    plan = plan_training(SURE * budget.left_for_training(), foretold, wanted_epochs=1000, own="own")
    names = [name for name in foretold if name not in plan.dropped]
    epochs = {}
    for place, name in enumerate(names):
        share = TimeShare.of(budget.left_for_training(), [plan.epoch_seconds[one] for one in names[place:]])
        assert not share.too_short
        for epoch in range(1, plan.epochs + 1):
            clock[0] += slower * foretold[name]
            epochs[name] = epoch
            if share.is_over(slower * foretold[name]):
                break
    spent = clock[0] - budget.started
    assert spent <= 1.02 * 0.95 * 3600  # the rest is for evaluation and the report
    if slower > 1:
        assert spent >= 0.9 * 0.95 * 3600
    assert max(epochs.values()) <= 1.5 * min(epochs.values())  # much the same for all


def test_no_time_is_too_short_for_a_baseline(clock: list[float]) -> None:
    assert TimeShare.of(-5.0, [2.0, 3.0]).too_short
    assert TimeShare.of(10.0, [2.0, 3.0]) == TimeShare(clock[0] + 4.0, 2.0)


@pytest.mark.slow
def test_a_run_with_a_budget_ends_in_time_and_says_what_it_left_out(tmp_path: Path) -> None:
    import time

    data = write_npz(tmp_path / "data.npz")
    settings = SPACE | COMMON | {"training.epochs": 2000, "evaluation.baselines": "random-search,resnet18,resnet50"}
    out, began = tmp_path / "run", time.monotonic()
    words = ["run", "mstf-nas", "--data", str(data), "--out", str(out), "--budget", "30s"]
    said = command(*words, *command_line_settings(settings))
    assert said.code == 0, said.stderr
    assert time.monotonic() - began < 45  # 30 s on an idle machine; this one may be busy
    candidates = lines(out / "search" / "candidates.jsonl")
    assert 1 < len(candidates) < 2 * 1240
    searched = {name: [line for line in candidates if line["search"] == name] for name in ("mstf-nas", "random-search")}
    assert len(searched["mstf-nas"]) == len(searched["random-search"])
    plan, summary = read(out / "training_plan.json"), read(out / "summary.json")
    assert plan["epochs"] < 2000
    assert set(plan["cautions"]) <= set(summary["cautions"])
    assert set(summary["networks"]) == {"mstf-nas", "random-search", "resnet18", "resnet50"} - set(plan["dropped"])
    epochs = lines(out / "networks" / "mstf-nas" / "fold0.seed0" / "epochs.jsonl")
    assert len(epochs) <= plan["epochs"]
    again = command("resume", str(out))
    assert again.code == 0
    assert read(out / "training_plan.json") == plan  # a resumed run keeps the plan


def test_the_methods_own_network_is_never_dropped_though_it_may_be_a_baseline_of_others() -> None:
    plan = plan_training(1.0, {"random-search": 1.0, "parameters": 1.0}, 20, "random-search")
    assert plan.dropped == ("parameters",)
    assert plan.epochs == 1
