"""The bilevel search of `darts` and what it shares with `mm-nas`: halves, resumption, guards, memory, selection."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.halves import halves
from archimed.data.normalisation import Normalisation
from archimed.errors import RunError, SearchError, SettingsError
from archimed.methods import bilevel_loop, differentiable, supernet_memory
from archimed.methods.bilevel_data import CaseHalves
from archimed.methods.bilevel_found import Found, picked
from archimed.methods.bilevel_state import SearchEpoch
from archimed.methods.darts import Darts, DartsSearch
from archimed.methods.protocol import Journal, Method, SearchProblem
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.strategies.bilevel import Learner
from archimed.strategies.gradient import GradientSettings
from archimed.strategies.mixtures import draw_alpha
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.memory import peak_bytes
from archimed.workers.limits import free_bytes
from tests.methods.journals import Killed, Log, killed_after, killed_at, timeless
from tests.methods.toy_supernet import OPTIONS, ToySpace, ToySupernet

NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
SETTINGS = GradientSettings(epochs=3, batch_size=4, memory="none", alpha_learning_rate=0.05)
DARTS = Darts(
    space=DartsCellSpace(num_cells=3, num_nodes=1, width=8, stem_stride=2),
    search=DartsSearch(epochs=2, batch_size=6, width=4, num_cells=3, memory="none"),
)


def problem(seed: int = 0, count: int = 24, size: int = 8, dims: int = 2, **named: Any) -> SearchProblem:
    """Images whose brightness tells the class."""
    generator = torch.Generator().manual_seed(3)
    target = torch.arange(count) % 2
    shape = (count, 1, *(size,) * dims)
    images = torch.randint(0, 120, shape, generator=generator) + 120 * target.view(-1, *(1,) * (dims + 1))
    subset = Subset(tuple(f"c{k}" for k in range(count)), Arrays.of(images.to(torch.uint8)), target)
    part = Subset(subset.ids[:8], subset.images.select(range(8)), target[:8])
    task = ImagingTask("binary", ("no", "yes"), 1, shape[2:])
    return SearchProblem(task, subset, part, NORMALISE, seed, Machine(threads=1), **named)


def search_bilevel(space: Any, settings: GradientSettings, whole: SearchProblem, journal: Journal) -> Found:
    return bilevel_loop.search_bilevel(space, settings, CaseHalves(whole), journal)


def same(one: Found, other: Found) -> bool:
    equal = all(torch.equal(one.mixture[name], other.mixture[name]) for name in one.mixture)
    return equal and replace(one, mixture={}) == replace(other, mixture={})


def test_the_search_finds_the_option_that_tells_the_class_and_logs_every_epoch() -> None:
    log = Log()
    settings = replace(SETTINGS, epochs=12, warmup_epochs=2)
    found = search_bilevel(ToySpace(), settings, problem(), log.journal)
    assert OPTIONS[ToySpace().derive(found.mixture)[0]] == "signal"
    assert [epoch["epoch"] for epoch in log.epochs] == list(range(1, 13))
    assert [epoch["architecture_loss"] is None for epoch in log.epochs] == [True] * 2 + [False] * 10
    assert log.epochs[0]["alpha"] == log.epochs[1]["alpha"] != log.epochs[2]["alpha"]  # alpha waits for the warm-up
    assert found.epoch > 2
    for epoch in log.epochs:
        assert 0 < epoch["entropy"] <= 1
        assert 0 < epoch["skip_share"] + epoch["zero_share"] < 1
        assert set(epoch["alpha"]) == set(found.mixture)
        assert epoch["complete"]
    assert log.epochs[-1]["weight_loss"] < log.epochs[0]["weight_loss"]
    assert log.told[-1][:2] == (12, 12)
    assert log.told[0][0] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize("method", [DARTS], ids=["darts"])
def test_a_method_chooses_for_its_own_width_and_draws_a_rival(method: Darts) -> None:
    assert isinstance(method, Method)
    outcome = method.run_search(problem(), Journal())
    own, rival = outcome.selections
    assert (own.network, rival.network) == ("darts", "random-search")
    assert own.space is rival.space is method.space
    assert outcome.unique_candidates == method.search.planned_candidates == 0
    assert own.measurements["epoch"] in (1, 2)
    again = method.run_search(problem(), Journal())
    assert again == outcome
    assert method.run_search(problem(seed=1), Journal()).selections[1].genotype != rival.genotype
    method.space.build(own.genotype, problem().task)
    assert method.search_seconds(problem()) > 0


def estimates(monkeypatch: pytest.MonkeyPatch, free: float, **needed: float) -> None:
    monkeypatch.setattr(supernet_memory, "free_bytes", lambda _: int(free * 2**30))
    monkeypatch.setattr(supernet_memory, "step_bytes", lambda *given: int(needed[given[3]] * 2**30))


@pytest.mark.parametrize("order", ["first", "second"])
def test_a_search_killed_at_any_step_ends_like_an_unbroken_one(tmp_path: Path, order: Any) -> None:
    settings = replace(SETTINGS, order=order)
    whole = Log(tmp_path / "whole")
    expected = search_bilevel(ToySpace(), settings, problem(), whole.journal)
    assert not list((tmp_path / "whole").glob("*.safetensors"))
    for kill in range(1, 16, 1 if order == "first" else 6):
        log, folder = Log(tmp_path / f"{kill}"), tmp_path / f"{kill}"
        with killed_at(kill) as moments:
            search_bilevel(ToySpace(), settings, problem(), replace(log.journal, progress=moments.step))
        assert moments.over
        found = search_bilevel(ToySpace(), settings, problem(), log.journal)
        assert same(found, expected), kill
        if not (folder / "finished.json").exists() or len(log.epochs) != 3:
            pytest.fail(f"epochs are missing after a kill at step {kill}")
        assert timeless(log.epochs) == timeless(whole.epochs)
        assert same(search_bilevel(ToySpace(), settings, problem(), log.journal), expected)  # finished: told again


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_real_supernet_resumes_to_the_bit(tmp_path: Path, memory_format: Any) -> None:
    settings = replace(DARTS.search, epochs=3)
    task = replace(problem(), machine=Machine(threads=1, memory_format=memory_format))
    space = DartsCellSpace(num_cells=3, num_nodes=1, width=4, stem_stride=2)
    log = Log(tmp_path / "whole")
    expected = search_bilevel(space, settings, task, log.journal)
    broken = Log(tmp_path / "broken")
    with killed_after(2):
        search_bilevel(space, settings, task, broken.journal)
    assert same(search_bilevel(space, settings, task, broken.journal), expected)
    assert timeless(broken.epochs) == timeless(log.epochs)


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole = search_bilevel(ToySpace(), SETTINGS, problem(), Log().journal)
    log = Log(tmp_path)

    def third(record: Mapping[str, Any]) -> None:
        if record["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        search_bilevel(ToySpace(), SETTINGS, problem(), replace(log.journal, record_epoch=third))
    current = tmp_path / "checkpoint.safetensors"
    current.write_bytes(current.read_bytes()[:50])
    assert same(search_bilevel(ToySpace(), SETTINGS, problem(), log.journal), whole)
    assert "damaged" in log.said[0]
    with pytest.raises(RunError, match="settings it began with"):
        search_bilevel(ToySpace(), replace(SETTINGS, momentum=0.5), problem(), log.journal)


def test_halves_keep_patients_together_and_classes_in_balance() -> None:
    whole = problem(count=40)
    patients = tuple(f"p{k // 4}" for k in range(40))
    one, other = halves(whole.train, patients, whole.task, 0, "architecture")
    of_case = dict(zip(whole.train.ids, patients, strict=True))
    assert {*one.ids}.isdisjoint(other.ids)
    assert sorted([*one.ids, *other.ids]) == sorted(whole.train.ids)
    assert {of_case[case] for case in one.ids}.isdisjoint({of_case[case] for case in other.ids})
    assert len(one) == len(other) == 20
    assert float(one.target.float().mean()) == pytest.approx(0.5, abs=0.1)
    again = halves(whole.train, patients, whole.task, 0, "architecture")
    assert again[0].ids == one.ids
    assert halves(whole.train, patients, whole.task, 1, "architecture")[0].ids != one.ids
    for case, label in zip(one.ids, one.target, strict=True):
        assert int(label) == int(case[1:]) % 2


def test_each_half_is_seen_in_step_and_the_weights_never_see_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = problem(count=22)
    seen: dict[str, list[bytes]] = {"weights": [], "alpha": []}
    learn = Learner.learn

    def watched(self: Any, weight_batch: Any, loads: Any, go_on: Any) -> Any:
        for name, batch in (("weights", weight_batch), *(("alpha", load()) for load in loads)):
            seen[name] += [image.numpy().tobytes() for image in batch.images]
        return learn(self, weight_batch, loads, go_on)

    estimates(monkeypatch, 8, none=1)
    monkeypatch.setattr(Learner, "learn", watched)
    search_bilevel(ToySpace(), replace(SETTINGS, epochs=1), whole, Journal())
    assert {*seen["weights"]}.isdisjoint(seen["alpha"])
    assert len(seen["weights"]) == len({*seen["weights"]}) == 11


def epoch(number: int, auc: float | None, loss: float, skips: int = 0, complete: bool = True) -> SearchEpoch:
    alpha = {"normal.node1.input1": [0.0] * 4, "normal.node2.input1": [0.0] * 4}
    return SearchEpoch(number, 0.1, 4, 1.0, 1.0, loss, {"auc": auc}, 0.1, 0.1, 1.0, skips, alpha, complete, 0.0)


@pytest.mark.parametrize(
    ("pick_by", "epochs", "expected"),
    [
        ("auc", [(0.6, 0.5), (0.8, 0.9), (0.8, 0.7), (0.8, 0.7)], 3),
        ("auc", [(None, 0.5), (None, 0.4), (None, 0.4)], 2),
        ("loss", [(0.6, 0.5), (0.9, 0.6), (0.2, 0.5)], 1),
        ("last", [(0.9, 0.1), (0.2, 0.8)], 2),
    ],
)
def test_the_epoch_is_picked_by_rule_and_the_earlier_of_equals(pick_by: str, epochs: Any, expected: int) -> None:
    records = [epoch(number, *figures) for number, figures in enumerate(epochs, start=1)]
    assert picked(records, pick_by).epoch == expected


def test_a_search_stops_at_skips_and_takes_an_epoch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    skips = iter([1, 0, 2, 2])
    monkeypatch.setattr(bilevel_loop, "count_skips", lambda *_: next(skips))
    numbers = itertools.count(1)
    monkeypatch.setattr(CaseHalves, "validate", lambda *_: (torch.tensor(1.0), {"auc": next(numbers) / 9}))
    log = Log()
    found = search_bilevel(ToySpace(), replace(SETTINGS, epochs=9, stop_at_skips=2), problem(), log.journal)
    assert (found.epoch, len(log.epochs)) == (2, 3)
    assert "2 skip connections in epoch 3" in found.cautions[0]


def poison(monkeypatch: pytest.MonkeyPatch, what: str, bad_epoch: int) -> None:
    """In the second of three steps of an epoch the loss or alpha is not a number."""
    step, count = Learner.learn_architecture, 0

    def poisoned(self: Any, *batches: Any) -> Any:
        nonlocal count
        count += 1
        value = step(self, *batches)
        if count > 3 * (bad_epoch - 1) + 1:
            if what == "loss":
                return value * math.nan
            next(iter(self.alpha.values())).data[0] = math.inf
        return value

    estimates(monkeypatch, 8, none=1)
    monkeypatch.setattr(Learner, "learn_architecture", poisoned)


@pytest.mark.parametrize("what", ["loss", "alpha"])
def test_numbers_that_are_none_end_the_search_with_the_last_good_epoch(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, what, bad_epoch=3)
    log = Log()
    found = search_bilevel(ToySpace(), replace(SETTINGS, epochs=5), problem(), log.journal)
    assert found.epoch <= 2
    assert len(log.epochs) == 2
    assert "not a number in epoch 3; the search ends with epoch 2" in log.said[0] == found.cautions[0]
    assert all(bool(weights.isfinite().all()) for weights in found.mixture.values())


@pytest.mark.parametrize("what", ["loss", "alpha"])
def test_without_a_good_epoch_there_is_nothing_to_pick(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, what, bad_epoch=1)
    with pytest.raises(SearchError, match=r"not a number in epoch 1.*learning_rate"):
        search_bilevel(ToySpace(), SETTINGS, problem(), Journal())


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_a_budget_ends_the_search_between_steps(steps: int, epochs: int) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > steps

    log = Log(stop=stop)
    found = search_bilevel(ToySpace(), replace(SETTINGS, epochs=9), problem(), log.journal)
    assert len(log.epochs) == epochs
    assert log.epochs[-1]["complete"] == (steps % 3 == 0)
    assert "time budget" in found.cautions[0]


@pytest.mark.parametrize("warmup", [0, 2])
def test_a_search_without_time_for_alpha_says_so(warmup: int) -> None:
    log = Log()
    journal = replace(log.journal, stop=lambda: len(log.epochs) >= warmup)
    with pytest.raises(SearchError, match="--budget"):
        search_bilevel(ToySpace(), replace(SETTINGS, warmup_epochs=warmup), problem(), journal)


def test_batches_of_one_need_another_normalisation() -> None:
    with pytest.raises(SettingsError, match=r"search\.batch_size is 1.*space\.normalisation=instance"):
        search_bilevel(ToySpace(batch_norm=True), replace(SETTINGS, batch_size=1), problem(), Journal())
    search_bilevel(ToySpace(), replace(SETTINGS, batch_size=1, epochs=1), problem(count=8), Journal())


def limited(monkeypatch: pytest.MonkeyPatch, largest: int) -> list[int]:
    """The supernet runs out of memory on larger batches, in training."""
    estimates(monkeypatch, 8, none=1)
    tried: list[int] = []
    forward = ToySupernet.forward

    def narrow(self: ToySupernet, images: torch.Tensor, mixture: Any) -> torch.Tensor:
        if self.training:
            tried.append(len(images))
            if len(images) > largest:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(self, images, mixture)

    monkeypatch.setattr(ToySupernet, "forward", narrow)
    return tried


def test_without_memory_the_batch_is_halved_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limited(monkeypatch, 2)
    log = Log(tmp_path)
    found = search_bilevel(ToySpace(), SETTINGS, problem(), log.journal)
    assert [epoch["batch_size"] for epoch in log.epochs] == [2, 2, 2]
    assert "Batch size 4 did not fit" in found.cautions[0] == log.said[0]
    smaller = search_bilevel(ToySpace(), replace(SETTINGS, batch_size=2), problem(), Journal())
    assert all(torch.equal(found.mixture[name], smaller.mixture[name]) for name in found.mixture)


@pytest.mark.parametrize(("size", "fits"), [(4, 1), (1, 0)])
def test_without_memory_for_half_the_batch_the_search_ends(
    size: int, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, fits)
    with pytest.raises(SearchError, match=r"batch size \d does not.*search\.memory is none"):
        search_bilevel(ToySpace(), replace(SETTINGS, batch_size=size), problem(), Journal())


def test_memory_is_chosen_by_the_estimate_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    space, settings = ToySpace(), replace(SETTINGS, memory="auto", epochs=1)
    estimates(monkeypatch, 8, none=6, checkpoint=2, partial=3)
    search_bilevel(space, settings, problem(), Log().journal)
    assert space.built[-1] == "none"
    log = Log()
    estimates(monkeypatch, 5, none=6, checkpoint=2, partial=3)
    search_bilevel(space, settings, problem(), log.journal)
    assert space.built[-1] == "checkpoint"
    assert "6.0 GiB, 5.0 are free" in log.said[0]


@pytest.mark.parametrize(
    ("free", "advice"),
    [(4.0, r"search.memory=checkpoint \(2.0 GiB\) or search.memory=partial \(3.0 GiB\)"), (1.0, "Lower search.batch")],
)
def test_a_step_that_cannot_fit_is_not_begun_on_a_cpu(
    free: float, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates(monkeypatch, free, none=6, checkpoint=2, partial=3)
    with pytest.raises(SettingsError, match=advice):
        search_bilevel(ToySpace(), SETTINGS, problem(), Journal())


def test_the_estimate_is_near_the_peak_of_a_real_step() -> None:
    space = DartsCellSpace(num_cells=3, num_nodes=2, width=8, stem_stride=2)
    settings = replace(SETTINGS, batch_size=6)
    whole = problem(count=24, size=64)
    for memory in ("none", "checkpoint"):
        told = supernet_memory.step_bytes(space, settings, CaseHalves(whole), memory, 6)
        supernet = supernet_memory.build_supernet(space, whole.task, settings, memory, 0)
        alpha = draw_alpha(space.mixed_choices, torch.Generator())
        architecture = settings.architecture_step(alpha, whole.task, 0)
        learner = Learner.of(supernet, architecture, settings, CaseHalves(whole).batch_loss)
        batch = supernet_memory._blank(whole.task, 6, whole.machine)
        assert told == pytest.approx(peak_bytes(lambda: supernet_memory._pair(learner, batch)), rel=0.3)  # noqa: B023
    assert 0 < free_bytes("cpu") < 2**50


def test_the_space_needs_a_supernet_and_what_the_search_sets() -> None:
    with pytest.raises(SettingsError, match=r"NsganetCellSpace has none.*darts_cell"):
        Darts(space=NsganetCellSpace())
    with pytest.raises(SettingsError, match=r"search\.num_cells=null"):
        Darts(space=ToySpace())
    assert Darts(space=ToySpace(), search=DartsSearch(num_cells=None)).space.width == 4
    searched = differentiable.searched_space(DARTS.space, DARTS.search)
    assert (searched.width, searched.num_cells, DARTS.space.width) == (4, 3, 8)
    assert searched.choices == DARTS.space.choices


def test_a_search_in_3d_and_of_many_labels() -> None:
    solid = problem(count=8, dims=3)
    assert set(search_bilevel(ToySpace(), replace(SETTINGS, epochs=1), solid, Journal()).mixture)
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 2, (24, 3)).astype(np.float32))
    flat = problem()
    many = replace(
        flat,
        task=replace(flat.task, kind="multi-label", class_names=("a", "b", "c")),
        train=replace(flat.train, target=labels),
        validation=replace(flat.validation, target=labels[:8]),
    )
    assert search_bilevel(ToySpace(), replace(SETTINGS, epochs=1), many, Journal()).epoch == 1
