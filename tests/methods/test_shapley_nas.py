"""Shapley-NAS: the game on a supernet, its step within the bilevel loop, resumption, and the score of a coalition."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from archimed.batch import Batch
from archimed.methods import bilevel_loop
from archimed.methods.bilevel_data import CaseHalves
from archimed.methods.protocol import Journal, Method
from archimed.methods.shapley_nas import ShapleyNas, ShapleyNasSearch, game_score
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import Learner
from archimed.strategies.mixtures import draw_alpha, mixture_of
from archimed.strategies.shapley_step import SupernetGame, evaluating
from archimed.task import ImagingTask
from tests.methods.journals import Log, killed_after, killed_at, timeless
from tests.methods.test_darts import problem, same
from tests.methods.toy_supernet import OPTIONS, ToySpace

SEARCH = ShapleyNasSearch(
    epochs=3, warmup_epochs=1, batch_size=4, memory="none", permutations=3, game_images=8, width=4, num_cells=3
)
SPACE = DartsCellSpace(num_cells=3, num_nodes=2, width=4, stem_stride=2)
FLAT = ImagingTask("binary", ("no", "yes"), 2, (8, 8))
SOLID = ImagingTask("binary", ("no", "yes"), 2, (6, 5, 4))
LABELS = ImagingTask("multi-label", ("a", "b", "c"), 2, (8, 8))
FUSION = FusionCellSpace(num_nodes=1, num_reduction=1, width=4, head=4, stem_stride=1)


def search_bilevel(space: Any, settings: ShapleyNasSearch, whole: Any, journal: Journal) -> Any:
    return bilevel_loop.search_bilevel(space, settings, CaseHalves(whole), journal)


def playing(space: RelaxableSpace, task: ImagingTask, **named: Any) -> tuple[Any, dict[str, torch.Tensor], Batch]:
    """A supernet with running statistics of its own, a mixture far from even, and a batch."""
    torch.manual_seed(0)
    supernet = space.supernet(task, **named)
    alpha = {name: 500 * a for name, a in draw_alpha(space.mixed_choices, torch.Generator().manual_seed(1)).items()}
    mixture = {name: numbers.detach() for name, numbers in mixture_of(alpha).items()}
    images = torch.randn(6, task.channels, *task.image_size)
    supernet.train()(images, mixture)
    return supernet, mixture, Batch(images, torch.tensor([0, 1, 0, 1, 1, 0]))


def logits_score(logits: torch.Tensor, _: torch.Tensor) -> float:
    return float(logits.double().sum())


@pytest.mark.parametrize(
    ("space", "task", "share"),
    [(SPACE, FLAT, 2), (SPACE, SOLID, 1), (ToySpace(), FLAT, 1), (FUSION, SOLID, 1)],
    ids=["shared channels", "3D", "toy", "fusion"],
)
def test_players_leave_in_any_order_and_the_rest_scores_as_with_their_weights_set_to_zero(
    space: Any, task: ImagingTask, share: int
) -> None:
    supernet, mixture, batch = playing(space, task, channel_share=share)
    kept = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    with evaluating(supernet):
        game = SupernetGame(supernet, mixture, batch, logits_score)
        order = torch.randperm(game.players).tolist()
        there = set(order)
        for place, player in enumerate([*order, None]):
            value = game.value(frozenset(there))
            if place % 7 == 0 or player is None:
                weights, start = {}, 0
                for name, numbers in mixture.items():
                    stay = [start + k in there for k in range(len(numbers))]
                    weights[name], start = numbers * torch.tensor(stay), start + len(numbers)
                plain = float(supernet(batch.images, weights).double().sum())
                assert value == pytest.approx(plain, rel=1e-4, abs=1e-4)
            there -= {player}
        assert not there
    assert supernet.training
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, kept[name]), name  # running statistics too


def test_what_gives_the_same_is_not_computed_again() -> None:
    supernet, mixture, batch = playing(SPACE, FLAT)
    calls: list[int] = []
    for position, cell in enumerate(supernet.cells):
        cell.register_forward_hook(lambda *_, position=position: calls.append(position))
    places = {}
    for name, numbers in mixture.items():
        places[name] = sum(map(len, places.values())), len(numbers)
    players = [(name, k) for name, numbers in mixture.items() for k in range(len(numbers))]
    every = frozenset(range(len(players)))
    normal, reduction = players.index(("normal.node1.input1", 3)), players.index(("reduction.node1.input1", 3))
    zero = players.index(("normal.node1.input1", 0))
    with evaluating(supernet):
        game = SupernetGame(supernet, mixture, batch, logits_score)
        game.value(every)
        assert calls == [0, 1, 2]  # normal, reduction, reduction
        game.value(every)
        game.value(every - {zero})
        assert calls == [0, 1, 2]
        game.value(every - {zero, reduction})
        assert calls == [0, 1, 2, 1, 2]
        game.value(every - {zero, reduction, normal})
        assert calls == [0, 1, 2, 1, 2, 0, 1, 2]
    assert game.evaluations == 4


def test_the_search_finds_an_option_that_tells_the_class_and_logs_its_values() -> None:
    log = Log()
    settings = replace(SEARCH, epochs=8, warmup_epochs=4, game_images=12, learning_rate=0.1)
    found = search_bilevel(ToySpace(), settings, problem(), log.journal)
    assert OPTIONS[ToySpace().derive(found.mixture)[0]] in {"signal", "identity"}  # both carry the brightness
    assert [bool(epoch["architecture"]) for epoch in log.epochs] == [False] * 4 + [True] * 4
    for epoch in log.epochs[4:]:
        told = epoch["architecture"]
        assert {name: len(values) for name, values in told["shapley"].items()} == dict.fromkeys(found.mixture, 4)
        assert told["permutations"] == settings.permutations
        assert told["evaluations"] > 0
        assert all(values[0] == 0 for values in told["shapley"].values())  # zero adds nothing
    assert log.epochs[3]["alpha"] == log.epochs[0]["alpha"] != log.epochs[4]["alpha"]
    json.dumps(log.epochs, allow_nan=False)


def untimed(epochs: Any) -> list[dict[str, Any]]:
    records = timeless(epochs)
    for record in records:
        record["architecture"].pop("seconds", None)
    return records


def test_a_search_killed_at_any_moment_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    whole = Log()
    expected = search_bilevel(ToySpace(), SEARCH, problem(), whole.journal)
    assert len(whole.told) > 15
    for kill in range(1, len(whole.told) + 1, 3):
        log = Log(tmp_path / f"{kill}")
        with killed_at(kill) as moments:
            search_bilevel(ToySpace(), SEARCH, problem(), replace(log.journal, progress=moments.step))
        assert moments.over
        found = search_bilevel(ToySpace(), SEARCH, problem(), log.journal)
        assert same(found, expected)
        assert untimed(log.epochs) == untimed(whole.epochs)


def test_a_real_supernet_resumes_to_the_bit(tmp_path: Path) -> None:
    settings, space = replace(SEARCH, memory="partial", channel_share=2, permutations=1), replace(SPACE, num_nodes=1)
    whole, broken = Log(tmp_path / "whole"), Log(tmp_path / "broken")
    expected = search_bilevel(space, settings, problem(), whole.journal)
    with killed_after(2):
        search_bilevel(space, settings, problem(), broken.journal)
    assert same(search_bilevel(space, settings, problem(), broken.journal), expected)
    assert untimed(broken.epochs) == untimed(whole.epochs)


@pytest.mark.parametrize(("asked", "permutations"), [(1, None), (14, 1), (1000, 3)])
def test_out_of_time_counts_what_was_played_to_its_end(asked: int, permutations: int | None) -> None:
    space, whole = ToySpace(), problem()
    settings = replace(SEARCH, stop_below=None)
    supernet = space.supernet(whole.task)
    alpha = draw_alpha(space.mixed_choices, torch.Generator())
    before = {name: numbers.detach().clone() for name, numbers in alpha.items()}
    step = settings.architecture_step(alpha, whole.task, 0)
    data = CaseHalves(whole)
    learner = Learner.of(supernet, step, settings, data.batch_loss)
    shares: list[float] = []

    def go_on(share: float) -> bool:
        shares.append(share)
        return len(shares) < asked

    step.begin_epoch(2)
    loads = [load for _, load in data.steps(2, 4)]
    step.learn(learner, loads, loads[0](), go_on)
    assert step.told().get("permutations") == permutations
    assert all(torch.equal(alpha[name], before[name]) for name in alpha) == (permutations is None)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] < 1


def test_a_permutation_has_as_many_images_as_asked_for_and_there_are() -> None:
    whole = problem(count=40)
    data = CaseHalves(whole)
    loads = [load for _, load in data.steps(2, 6)]
    for wanted, expected in ((5, 5), (6, 6), (13, 13), (500, sum(len(load()) for load in loads))):
        step = replace(SEARCH, game_images=wanted).architecture_step({"a": torch.zeros(1)}, whole.task, 0)
        first, second = step._batch(loads, 0), step._batch(loads, 1)
        assert len(first) == len(second) == expected
        assert first.images.shape[1:] == (1, *whole.task.image_size)
    assert [len(loads) for loads in step.dealt(loads)] == [len(loads), *[0] * (len(loads) - 1)]


def logits(scores: list[list[float]]) -> torch.Tensor:
    return torch.tensor(scores)


def test_the_score_of_a_coalition() -> None:
    generator = torch.Generator().manual_seed(0)
    answers, target = torch.randn(20, 3, generator=generator), (torch.rand(20, 3, generator=generator) < 0.4).float()
    right = ((answers > 0) == (target == 1)).numpy()
    score = partial(game_score, LABELS)
    assert score("accuracy", answers, target) == pytest.approx(right.all(axis=1).mean())
    assert score("label_accuracy", answers, target) == pytest.approx(right.mean())
    areas = [roc_auc_score(target[:, k], answers[:, k]) for k in range(3)]
    assert score("auc", answers, target) == pytest.approx(np.mean(areas))
    assert score("auc", answers, torch.zeros(20, 3)) == 0  # undefined
    assert score("auc", torch.full((20, 3), torch.nan), target) == 0.5  # one answer for all
    classes = torch.arange(20) % 2
    one = partial(game_score, FLAT)
    assert one("accuracy", answers[:, :2], classes) == pytest.approx(
        (answers[:, :2].argmax(1) == classes).float().mean()
    )
    assert one("label_accuracy", answers[:, :2], classes) == one("accuracy", answers[:, :2], classes)
    assert one("auc", answers[:, :2], classes) == pytest.approx(roc_auc_score(classes, answers[:, 1] - answers[:, 0]))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_method_chooses_and_draws_a_rival(dims: int) -> None:
    method = ShapleyNas(space=replace(SPACE, num_nodes=1, width=8), search=replace(SEARCH, epochs=2, permutations=1))
    assert isinstance(method, Method)
    outcome = method.run_search(problem(dims=dims), Journal())
    own, rival = outcome.selections
    assert (own.network, rival.network) == ("shapley-nas", "random-search")
    assert own.space is rival.space is method.space
    assert own.measurements["epoch"] == 2
    method.space.build(own.genotype, problem(dims=dims).task)
    assert method.search_seconds(problem(dims=dims)) > 0


def test_labels_that_are_unknown_leave_a_score() -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (24, 3)).astype(np.float32))
    labels[::3, 1] = torch.nan
    flat = problem()
    many = replace(
        flat,
        task=replace(flat.task, kind="multi-label", class_names=("a", "b", "c")),
        train=replace(flat.train, target=labels),
        validation=replace(flat.validation, target=labels[:8]),
    )
    for score in ("auc", "accuracy", "label_accuracy"):
        found: Mapping[str, Any] = search_bilevel(
            ToySpace(), replace(SEARCH, epochs=2, game_score=score), many, Journal()
        ).mixture
        assert all(bool(weights.isfinite().all()) for weights in found.values())
