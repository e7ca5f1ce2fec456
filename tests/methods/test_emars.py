"""EMARS on a space so small that a search takes a second: its log, resumption, choice, baseline and refusals."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from archimed.candidate import Candidate
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.errors import DataError, RunError, SearchError, SettingsError
from archimed.genotype import Genotype, describe
from archimed.methods.emars import Emars, RandomPaths
from archimed.methods.finalists import choose
from archimed.methods.path_data import PathCases
from archimed.methods.path_settings import PathSettings
from archimed.methods.path_state import PathFolder
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.strategies.nsga3 import Nsga3
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe

NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
SPACE = MbconvStagesSpace(blocks=(1, 1), widths=(4, 6), stem_width=4, first_width=4, head_width=8)
SEARCH = PathSettings(
    population_size=4,
    keep=2,
    first_candidates=6,
    warmup_epochs=2,
    epochs=3,
    batch_size=8,
    held_out=0.25,
    finalists=2,
    finalist_epochs=1,
)
METHOD = Emars(SPACE, SEARCH, Recipe(epochs=2, batch_size=8))


def problem(target: Sequence[int] = (0, 1) * 12, names: tuple[str, ...] = ("no", "yes"), **named: Any) -> SearchProblem:
    """Images whose brightness tells the class."""
    generator = torch.Generator().manual_seed(3)
    known = torch.tensor(target)
    images = torch.randint(0, 100, (len(known), 1, 8, 8), generator=generator) + 60 * known.view(-1, 1, 1, 1)
    subset = Subset(tuple(f"c{k}" for k in range(len(known))), Arrays.of(images.to(torch.uint8)), known)
    part = Subset(subset.ids[:8], subset.images.select(range(8)), known[:8])
    kind = "binary" if len(names) == 2 else "multi-class"
    task = ImagingTask(kind, names, 1, (8, 8))  # type: ignore[arg-type]
    return SearchProblem(task, subset, part, NORMALISE, 0, Machine(threads=1), **named)


class Killed(BaseException):
    """The process ends here."""


class Log:
    """The log of a run on disk, and a journal that writes it; `kill` may raise before any write."""

    def __init__(self, folder: Path | None, kill: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.kill = folder, kill
        self.candidates: list[Candidate] = []
        self.epochs: list[Mapping[str, Any]] = []
        self.said: list[str] = []
        self.told: list[tuple[float, float, str]] = []

    def journal(self, **named: Any) -> Journal:
        return Journal(
            known=tuple(self.candidates),
            record=self.record,
            progress=lambda *told: self.told.append(told),
            folder=self.folder,
            restore_epochs=lambda epochs: self.epochs.__setitem__(slice(None), list(epochs)),
            record_epoch=self.record_epoch,
            say=self.said.append,
            **named,
        )

    def record(self, candidate: Candidate) -> None:
        self.kill("candidate")
        self.candidates.append(candidate)

    def record_epoch(self, epoch: Mapping[str, Any]) -> None:
        self.kill("epoch")
        self.epochs.append(epoch)


def timeless(log: Log) -> Any:
    lines = [replace(candidate, seconds=0.0) for candidate in log.candidates]
    return lines, [{k: v for k, v in json.loads(json.dumps(one)).items() if k != "seconds"} for one in log.epochs]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchOutcome, Log]:
    log = Log(tmp_path_factory.mktemp("state"))
    return METHOD.run_search(problem(), log.journal()), log


def test_each_epoch_logs_its_whole_population_survivors_first(whole: tuple[SearchOutcome, Log]) -> None:
    outcome, log = whole
    assert isinstance(METHOD, Method)
    generations = [[c for c in log.candidates if c.generation == number] for number in range(4)]
    assert [len(one) for one in generations] == [6, 4, 4, 4]
    evolved = [epoch for epoch in log.epochs if "survivors" in epoch]
    assert [epoch["epoch"] for epoch in log.epochs if "epoch" in epoch] == [1, 2, 3, 4, 5]
    assert [epoch["warm_up"] for epoch in log.epochs if "epoch" in epoch] == [True, True, False, False, False]
    for before, told, after in zip(generations, evolved, generations[1:], strict=False):
        kept = [before[row].genotype for row in told["survivors"]]
        assert [candidate.genotype for candidate in after[: len(kept)]] == kept
        accuracies = [candidate.measurements["accuracy"] for candidate in before]
        assert told["accuracy_best"] == max(accuracies)
        assert told["accuracy_low"], told["accuracy_high"] == pytest.approx(np.percentile(accuracies, [30, 70]))
    assert outcome.unique_candidates == len({candidate.genotype for candidate in log.candidates})
    assert log.told[-1][:2] == (7, 7)


def test_the_choice_is_the_finalist_of_the_best_validation(whole: tuple[SearchOutcome, Log]) -> None:
    outcome, log = whole
    (selection,) = outcome.selections
    finalists = [epoch for epoch in log.epochs if "finalist" in epoch]
    assert [one["finalist"] for one in finalists] == [0, 1]
    last = [candidate for candidate in log.candidates if candidate.generation == 3]
    best = choose(finalists, "auc")
    assert best is not None
    assert best["validation"]["auc"] == max(one["validation"]["auc"] for one in finalists)
    assert describe(selection.genotype, SPACE.choices) == best["genotype"]
    (same,) = [candidate for candidate in last if candidate.genotype == selection.genotype]
    assert selection.measurements["accuracy"] == same.measurements["accuracy"]
    assert selection.measurements["validation_auc"] == best["validation"]["auc"]
    assert "validation auc" in selection.rule
    network = SPACE.build(selection.genotype, problem().task)
    size = sum(weight.numel() for weight in network.parameters()) * 4 / 2**20
    assert selection.measurements["size"] == pytest.approx(size)


def test_of_equal_finalists_the_lower_loss_then_the_earlier_wins_and_failures_never() -> None:
    def made(auc: float | None, loss: float) -> dict[str, Any]:
        return {"validation": {"auc": auc, "brier": loss}, "validation_loss": loss}

    rows = [made(None, 0.1), made(0.8, 0.6), made(0.9, 0.7), made(0.9, 0.5), made(0.9, 0.5), {"failure": "loss"}]
    assert choose(rows, "auc") is rows[3]
    assert choose(rows[:1], "auc") is rows[0]
    assert choose(rows[1:3], "brier") is rows[1]  # lower is better
    assert choose(rows[5:], "auc") is None


@pytest.mark.parametrize("strategy", ["pnsga3", "nsga3"])
def test_every_score_in_the_log_is_of_that_path_in_that_epoch(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitness given to the wrong individual, or kept from an earlier epoch, fails here."""
    judged: dict[tuple[Genotype, int], float] = {}
    epochs = {"now": 0}
    batches = PathCases.batches

    def counting(self: PathCases, epoch: int, least: int) -> Any:
        epochs["now"] = epoch
        return batches(self, epoch, least)

    def judge(_self: PathCases, _supernet: nn.Module, mixture: Any) -> tuple[float, float]:
        path, epoch = SPACE.derive(mixture), epochs["now"]
        assert (path, epoch) not in judged
        judged[path, epoch] = float(np.random.default_rng([epoch, *path]).random())
        return judged[path, epoch], 1.0

    monkeypatch.setattr(PathCases, "batches", counting)
    monkeypatch.setattr(PathCases, "judge", judge)
    log = Log(None)
    search = replace(SEARCH, epochs=6, strategy=strategy, objectives=("accuracy",))  # type: ignore[arg-type]
    outcome = replace(METHOD, search=search).run_search(problem(), log.journal())
    assert len(log.candidates) == 6 + 6 * 4 == len(judged)  # every survivor was measured again
    for candidate in log.candidates:
        assert candidate.measurements["accuracy"] == judged[candidate.genotype, 2 + candidate.generation]
    for number in range(7):
        scores = {c.genotype: c.measurements["accuracy"] for c in log.candidates if c.generation == number}
        (told,) = [one for one in log.epochs if one.get("generation") == number and "survivors" in one]
        kept = [list(scores)[row] for row in told["survivors"]]
        assert set(kept) == set(sorted(scores, key=lambda path: -scores[path])[: 4 if number == 0 else 2])
    finalists = {json.dumps(one["genotype"]): one["shared"]["accuracy"] for one in log.epochs if "finalist" in one}
    assert sorted(finalists.values()) == sorted(scores[path] for path in kept)
    assert outcome.selections[0].measurements["accuracy"] == scores[outcome.selections[0].genotype]


@pytest.mark.parametrize("moment", ["candidate", "epoch", "state"])
@pytest.mark.parametrize("count", [2, 7])
def test_a_killed_search_goes_on_with_the_same_log_and_choice(
    moment: str, count: int, whole: tuple[SearchOutcome, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"count": count if moment != "candidate" else 2 * count}

    def kill(what: str) -> None:
        left["count"] -= what == moment
        if what == moment and left["count"] == 0:
            raise Killed

    save = PathFolder.save

    def saving(self: PathFolder, state: Any) -> None:
        kill("state")
        save(self, state)

    monkeypatch.setattr(PathFolder, "save", saving)
    log = Log(tmp_path, kill)
    with pytest.raises(Killed):
        METHOD.run_search(problem(), log.journal())
    outcome = METHOD.run_search(problem(), log.journal())
    assert timeless(log) == timeless(whole[1])
    assert outcome == whole[0]
    assert METHOD.run_search(problem(), log.journal()) == whole[0]  # finished before: returned at once


def test_a_damaged_state_gives_way_to_the_one_before_it(whole: tuple[SearchOutcome, Log], tmp_path: Path) -> None:
    left = {"count": 13}

    def kill(_what: str) -> None:
        left["count"] -= 1
        if left["count"] == 0:
            raise Killed

    log = Log(tmp_path, kill)
    with pytest.raises(Killed):
        METHOD.run_search(problem(), log.journal())
    (checkpoint,) = tmp_path.rglob("checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:200])
    outcome = METHOD.run_search(problem(), log.journal())
    assert any("damaged" in text for text in log.said)
    assert timeless(log) == timeless(whole[1])
    assert outcome == whole[0]


def test_a_state_or_a_log_of_other_settings_is_refused(whole: tuple[SearchOutcome, Log], tmp_path: Path) -> None:
    _, log = whole
    other = replace(METHOD, search=replace(SEARCH, mutation_rate=0.5))
    with pytest.raises(RunError, match="resumes with the settings it began with"):
        other.run_search(problem(), log.journal())
    strange = Log(tmp_path)
    strange.candidates = [replace(log.candidates[0], genotype=(7, 7))]
    with pytest.raises(SearchError, match="continues its own log"):
        METHOD.run_search(problem(), strange.journal())


def test_random_search_measures_as_many_paths_after_as_much_learning(whole: tuple[SearchOutcome, Log]) -> None:
    pool = METHOD.pool(10)
    assert isinstance(pool, RandomPaths)
    assert pool.search.all_epochs == SEARCH.all_epochs
    assert pool.search.objectives == ("accuracy", "size:small")  # one measurement has no slope
    log = Log(None)
    outcome = pool.run_search(problem(), log.journal())
    assert outcome.unique_candidates == len(log.candidates) == 10
    assert {candidate.generation for candidate in log.candidates} == {0}
    assert outcome.selections[0].network == "random-search"
    assert log.candidates[0].genotype != whole[1].candidates[0].genotype  # draws of its own
    cut = replace(METHOD, search=replace(SEARCH, epochs=30)).pool(6 + 2 * 9)  # of a search that ended after 10 epochs
    assert cut.search.all_epochs == 2 + 10


@pytest.mark.parametrize("after", [0, 1, 9, 10_000])
def test_when_time_is_over_the_search_ends_with_what_it_has(after: int, tmp_path: Path) -> None:
    calls = {"count": 0}

    def stop() -> bool:
        calls["count"] += 1
        return calls["count"] > after

    log = Log(tmp_path)
    outcome = METHOD.run_search(problem(), log.journal(stop=stop))
    assert log.candidates  # at least the first paths were measured
    assert outcome.selections[0].genotype in [candidate.genotype for candidate in log.candidates]
    assert any("time budget" in text for text in log.said) == (after < 10_000)


def test_a_loss_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PathCases, "batch_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True) * 1)
    with pytest.raises(SearchError, match=r"Lower search\.learning_rate"):
        METHOD.run_search(problem(), Journal())


def test_held_out_cases_share_no_patient_and_are_not_too_many() -> None:
    patients = tuple(f"p{k // 2}" for k in range(24))
    data = PathCases(problem((0, 1) * 12, patients=patients), None, batch_size=8, fraction=0.25, most=None)
    learnt, judging = data.sizes
    assert learnt + judging == 24
    assert judging == 6
    assert PathCases(problem(), None, batch_size=8, fraction=0.25, most=3).sizes == (21, 3)
    each_once = PathCases(problem(), None, batch_size=8, fraction=0.25)
    assert len(each_once.batches(1, 4)) == 4  # of 18 cases three batches, and as many for each of four paths
    assert len(each_once.batches(1, 2)) == 4
    assert len(replace(each_once, rounds=3).batches(1, 2)) == 6


@pytest.mark.parametrize(
    ("target", "patients", "message"),
    [
        ((0, 1) * 10 + (2,), (), r"every class needs at least 2 patients among them; class 'rare' has 1"),
        ((0, 1) * 10 + (2, 2), (*"abcdefghijklmnopqrst", "u", "u"), r"class 'rare' has 1"),
    ],
)
def test_a_class_of_one_training_patient_is_refused_in_one_line(
    target: tuple[int, ...], patients: tuple[str, ...], message: str
) -> None:
    whole = problem(target, ("a", "b", "rare"), patients=patients)
    with pytest.raises(DataError, match=message) as refusal:
        METHOD.run_search(whole, Journal())
    assert "\n" not in str(refusal.value)


def test_a_class_of_two_training_patients_is_enough() -> None:
    whole = problem((0, 1) * 10 + (2, 2), ("a", "b", "rare"))
    data = PathCases(whole, None, batch_size=8, fraction=0.25)
    assert all((part.target == 2).sum() == 1 for part in data.parts)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="supernet; NsganetCellSpace has none"):
        Emars(space=NsganetCellSpace())
    with pytest.raises(ValidationError, match="must rise; got 9, 4 and 6"):
        replace(SEARCH, keep=9)
    with pytest.raises(SettingsError, match="size:small or size:large"):
        replace(SEARCH, strategy="nsga3", objectives=("accuracy", "size"))
    with pytest.raises(SettingsError, match="got 'naswot'"):
        replace(SEARCH, objectives=("naswot",))
    with pytest.raises(SettingsError, match="batches of two or more"):
        replace(METHOD, search=replace(SEARCH, batch_size=1)).run_search(problem(), Journal())


def test_the_estimate_is_of_steps_measurements_and_short_trainings() -> None:
    short = METHOD.search_seconds(problem())
    long = replace(METHOD, search=replace(SEARCH, epochs=300)).search_seconds(problem())
    assert 0 < short < long


def test_the_paper_is_one_preset_and_its_figures_one_setting() -> None:
    from archimed.experiment.layers import resolve

    flags = {"sources": ("phantom:chestct",)}
    paper = resolve("emars", "paper", None, [], flags).method
    search, recipe = paper.search, paper.training
    assert (search.population_size, search.keep, search.epochs, search.finalists) == (20, 10, 100, 10)
    assert (search.newcomer_rate, search.crossover_rate, search.mutation_rate) == (0.5, 0.3, 0.2)
    assert (search.learning_rate, search.weight_decay, search.image_size, search.warmup_epochs) == (1e-3, 3e-4, 64, 5)
    assert search.learning_rate_at(1) == search.learning_rate_at(105) == 1e-3
    assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay, recipe.schedule) == (200, 1e-3, 5e-4, "cosine")
    assert recipe.augment_flips
    for objectives in ("accuracy", "accuracy,size:large", "accuracy,size:small", "potential", "accuracy,potential"):
        found = resolve("emars", "paper", None, [f"search.objectives={objectives}"], flags).method
        assert ",".join(found.search.objectives) == objectives
    one = resolve("emars", "default", None, ["search.strategy=nsga3"], flags).method
    from archimed.methods.path_evolution import fresh_strategy

    assert isinstance(fresh_strategy(one.space, one.search, np.random.default_rng(0)), Nsga3)
