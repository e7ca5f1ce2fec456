"""MixSearch: two stages on mixed images, in the order of Algorithm 1; resumption in both; one head or several."""

import functools
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archimed
from archimed.batch import Batch
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.data.phantoms import PHANTOMS
from archimed.errors import DataError, SearchError, SettingsError
from archimed.experiment.layers import resolve
from archimed.experiment.progress import Silent
from archimed.methods.bilevel_data import outputs_loss
from archimed.methods.mixed_data import HeadedBatch, MixedHalves, mean_dice
from archimed.methods.mixsearch import MixSearch, MixSearchSearch
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem, data_sets_of
from archimed.methods.rivals import parameter_count
from archimed.spaces.fixed import ResNet
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.strategies.bilevel import Learner, Turns, learning_rate_at
from archimed.strategies.gradient import GradientSettings
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.mask_loss import mask_loss
from tests.cli.command import command
from tests.experiment.interruption import interrupted_at
from tests.experiment.tiny import COMMON, command_line_settings, lines, read, result_of
from tests.methods.journals import Log, killed_at, timeless

NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
SPACE = WeavedUnetSpace(depth=3, layers=4, width=2, num_nodes=1)
SEARCH = MixSearchSearch(
    epochs=2, warmup_epochs=1, first_depth=3, first_layers=4, width=None, batch_size=4, memory="none", image_size=None
)
TINY = MixSearch(space=SPACE, search=SEARCH)
RUN = {
    **COMMON,
    "space.depth": 3,
    "space.layers": 4,
    "space.width": 2,
    "space.num_nodes": 1,
    "search.epochs": 2,
    "search.warmup_epochs": 1,
    "search.first_depth": 3,
    "search.first_layers": 4,
    "search.batch_size": 4,
    "search.memory": "none",
    "search.image_size": 16,
    "training.epochs": 1,
    "training.batch_size": 4,
    "evaluation.baselines": "random-search",
}


def subset(count: int, size: tuple[int, ...], classes: int, seed: int, name: str) -> Subset:
    """Bright boxes in noise; each class is a box of its own brightness."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, 1, *size), dtype=np.uint8)
    masks = np.zeros((count, *size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for number in range(1, classes):
            start = rng.integers(0, size[-1] // 2, len(size))
            box = tuple(slice(one, one + size[-1] // 3) for one in start)
            mask[box] = number
            image[0][box] = 60 + 60 * number
    shows = torch.tensor([[float(number in mask) for number in range(classes)] for mask in masks])
    arrays = Arrays.of(torch.from_numpy(images)), Arrays.of(torch.from_numpy(masks))
    return Subset(tuple(f"{name}{k}" for k in range(count)), arrays[0], shows, arrays[1])


def problem(
    name: str = "a", count: int = 12, size: tuple[int, ...] = (16, 16), classes: int = 2, seed: int = 0, **named: Any
) -> SearchProblem:
    task = ImagingTask("segmentation", ("background", *(f"class {k}" for k in range(1, classes))), 1, size)
    train = subset(count, size, classes, 1, name)
    return SearchProblem(
        task, train, subset(4, size, classes, 2, f"{name}v"), NORMALISE, seed, Machine(threads=1), name=name, **named
    )


def several(**named: Any) -> SearchProblem:
    """Two data sets."""
    return replace(problem("a", **named), beside=(problem("b", count=9, **named),))


def outcome_facts(outcome: SearchOutcome) -> Any:
    return [(one.network, one.genotype, one.space, dict(one.measurements)) for one in outcome.selections]


DRAWN_ONCE = {name: functools.cache(PHANTOMS[name]) for name in ("cells", "polyps")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, no trial of the memory, and each phantom is drawn once."""
    monkeypatch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
    for name, draw in DRAWN_ONCE.items():
        monkeypatch.setitem(PHANTOMS, name, draw)
    monkeypatch.setattr("archimed.methods.supernet_memory.step_bytes", lambda *_: 0)


def test_the_preset_of_the_paper_has_its_numbers() -> None:
    assert isinstance(MixSearch(), Method)
    method = resolve("mixsearch", "paper", None, [], {"sources": ["phantom:cells"]}).method
    search, training, space = method.search, method.training, method.space
    assert isinstance(space, WeavedUnetSpace)
    assert isinstance(method, MixSearch)
    assert (search.first_depth, search.first_layers, space.depth, space.layers) == (5, 8, 6, 10)
    assert (space.num_nodes, space.width, method.first_space.width) == (4, 16, 16)
    assert (search.epochs, search.warmup_epochs, search.batch_size, search.k, search.mu) == (80, 10, 12, 3, 1.0)
    assert (search.learning_rate, search.momentum, search.weight_decay) == (0.025, 0.9, 3e-4)
    assert (search.alpha_learning_rate, search.alpha_betas, search.alpha_weight_decay) == (2e-4, (0.5, 0.999), 1e-3)
    assert (training.epochs, training.optimizer, training.learning_rate, training.schedule) == (
        1600,
        "sgd",
        5e-3,
        "cosine",
    )
    assert (training.momentum, training.weight_decay, training.early_stop_patience) == (0.9, 1e-5, None)
    assert learning_rate_at(search, 1) == 0.025
    assert search.turns == Turns(weights_first=True, before="type.")


@pytest.mark.parametrize(("mode", "together"), [("mix", "together"), ("union", "together"), ("dedicated", "apart")])
def test_the_mode_says_how_data_sets_meet(mode: Any, together: str) -> None:
    method = replace(TINY, search=replace(SEARCH, mode=mode, k=2))
    assert data_sets_of(method) == together
    assert method.search.mixed == (2 if mode == "mix" else 1)


def test_a_search_has_two_stages_and_halves_every_table_between_them() -> None:
    log = Log()
    outcome = TINY.run_search(several(), log.journal)
    own, rival = outcome.selections
    assert (own.network, rival.network) == ("mixsearch", "random-search")
    assert [(one["stage"], one["epoch"]) for one in log.epochs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [one["architecture_loss"] is None for one in log.epochs] == [True, False, True, False]
    assert own.space == rival.space
    assert isinstance(own.space, WeavedUnetSpace)
    for name in ("down_options", "normal_options", "up_options"):
        before, after = getattr(SPACE, name), getattr(own.space, name)
        assert set(after) < set(before)
        assert len(after) == -(-len(before) // 2)
    counts = [
        {len(numbers) for name, numbers in one["alpha"].items() if not name.startswith("type")} for one in log.epochs
    ]
    assert max(counts[0]) == 7
    assert max(counts[-1]) <= 4
    for one in log.epochs:
        assert set(one["validation"]) == {"dice", "dice of a", "dice of b"}
        assert 0 < one["kind_entropy"] <= 1
        assert 0 < one["entropy"] <= 1
    sizes = [parameter_count(one.space, one.genotype, problem().task) for one in outcome.selections]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.5)
    assert own.measurements["epoch"] == own.measurements["first_stage_epoch"] == 2
    assert log.told[-1][:2] == (4, 4)
    assert "stage 2 of 2" in log.told[-1][2]
    assert outcome_facts(TINY.run_search(several(), Journal())) == outcome_facts(outcome)
    assert TINY.search_seconds(several()) > 0


def test_the_network_has_the_width_and_exit_of_the_space() -> None:
    wide = replace(TINY, space=replace(SPACE, width=4), search=replace(SEARCH, width=2))
    assert wide.first_space.width == 2
    own = wide.run_search(problem(), Journal()).selections[0]
    assert isinstance(own.space, WeavedUnetSpace)
    assert own.space.width == 4
    early = replace(SPACE, depth=3, layers=10, exit=7)
    own = replace(TINY, space=early).run_search(problem(), Journal()).selections[0]
    assert isinstance(own.space, WeavedUnetSpace)
    assert own.space.exit == 7
    network = own.space.build(own.genotype, problem().task)
    assert network(torch.zeros(2, 1, 16, 16))[-1].shape == (2, 2, 16, 16)


def test_weights_step_first_then_beta_then_alpha_with_the_new_beta() -> None:
    """Algorithm 1, lines 11 to 13, against plain gradients on a function of three numbers."""
    weight = nn.Parameter(torch.tensor(1.0))
    alpha = {"type.d1.l3": torch.tensor([0.3, 0.0]), "down.node1.input1": torch.tensor([0.0, 0.2])}
    for numbers in alpha.values():
        numbers.requires_grad_()
    seen: list[tuple[float, list[float], list[float]]] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

    def loss(_: nn.Module, batch: Batch, mixture: Mapping[str, Tensor]) -> Tensor:
        beta, cells = mixture["type.d1.l3"], mixture["down.node1.input1"]
        seen.append((weight.item(), alpha["type.d1.l3"].tolist(), alpha["down.node1.input1"].tolist()))
        return (weight * beta[0] * cells[1] * batch.images.sum() - 1).square()

    settings = replace(SEARCH, learning_rate=0.1, alpha_learning_rate=0.05)
    task = ImagingTask("binary", ("no", "yes"), 1, (8, 8))
    learner = Learner.of(Net(), settings.architecture_step(alpha, task, 0), settings, loss)
    batch = Batch(torch.ones(1, 1), torch.zeros(1))
    learner.learn(batch, [lambda: batch])
    (w0, b0, a0), (w1, b1, a1), (w2, b2, a2) = seen
    assert (b0, a0) == (b1, a1)  # the weights have stepped alone
    assert w0 != w1 == w2
    assert b1 != b2  # beta has stepped before alpha's gradient is taken
    assert a1 == a2
    assert alpha["type.d1.l3"].tolist() == b2
    assert alpha["down.node1.input1"].tolist() != a2
    assert GradientSettings().turns.groups(alpha) == [list(alpha)]
    assert settings.turns.groups(alpha) == [["type.d1.l3"], ["down.node1.input1"]]


def test_every_image_of_a_half_comes_first_once_and_the_halves_never_meet() -> None:
    data = MixedHalves(several(), SEARCH, 1)
    seen: list[set[bytes]] = [set(), set()]
    for step in data.steps(1, 4):
        for half, load in enumerate(step):
            seen[half] |= {image.numpy().tobytes() for image in load().images}
    assert not seen[0] & seen[1]
    assert len(seen[0]) == data.sizes[0]
    assert sum(data.sizes) == 12 + 9
    assert {len(load().target.shape) for step in data.steps(1, 4) for load in step} == {4}
    again = MixedHalves(several(), SEARCH, 1).steps(1, 4)
    assert torch.equal(again[0][0]().images, data.steps(1, 4)[0][0]().images)
    assert not torch.equal(data.steps(2, 4)[0][0]().images, data.steps(1, 4)[0][0]().images)


def test_validation_is_the_mean_of_the_data_sets_on_images_as_they_are() -> None:
    whole = several()
    data = MixedHalves(whole, SEARCH, 3)
    net = SPACE.supernet(whole.task)
    mixture = {
        choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in SPACE.mixed_choices
    }
    loss, measured = data.validate(net, mixture)
    assert net.training
    net.eval()
    losses, scores = [], []
    for one in data.problems:
        assert one.validation.masks is not None
        images, masks = NORMALISE(one.validation.images.all()), one.validation.masks.all().long()
        with torch.no_grad():
            logits = net(images, mixture)
        losses.append(float(mask_loss(logits, masks)))
        answers = logits.argmax(1)
        both = ((answers == 1) & (masks == 1)).flatten(1).sum(1)
        scores.append(float((2 * both / ((answers == 1).flatten(1).sum(1) + (masks == 1).flatten(1).sum(1))).mean()))
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert measured["dice"] == pytest.approx(np.mean(scores))
    assert [measured["dice of a"], measured["dice of b"]] == pytest.approx(scores)
    assert mean_dice(torch.zeros(2, 3, 3, dtype=torch.int64)) is None


def test_data_sets_that_keep_their_classes_have_a_head_each() -> None:
    whole = replace(problem("a", classes=2), beside=(problem("b", count=9, classes=3),))
    data = MixedHalves(whole, SEARCH, 2)
    assert [task.num_outputs for task in data.further_tasks] == [3]
    net = SPACE.supernet(whole.task, tasks=data.further_tasks).train()
    mixture = {
        choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in SPACE.mixed_choices
    }
    batch = data.steps(1, 4)[0][0]()
    assert isinstance(batch, HeadedBatch)
    loss = data.batch_loss(net, batch, mixture)
    expected = torch.zeros(())
    for head in batch.heads:
        for row, target, weight in zip(head.rows, head.target, head.weights, strict=True):
            outputs = net(batch.images[row : row + 1], mixture, dataset=head.dataset)
            expected = expected + weight * outputs_loss(outputs, target[None])
    torch.testing.assert_close(loss, expected / len(batch), rtol=1e-4, atol=1e-5)
    assert float(sum(head.weights.sum() for head in batch.heads)) == pytest.approx(len(batch))
    assert set(data.validate(net, mixture)[1]) == {"dice", "dice of a", "dice of b"}
    outcome = TINY.run_search(whole, Journal())
    assert outcome_facts(TINY.run_search(whole, Journal())) == outcome_facts(outcome)
    assert not MixedHalves(several(), SEARCH, 2).further_tasks


def test_a_search_killed_at_any_step_of_either_stage_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    whole = Log(tmp_path / "whole")
    expected = outcome_facts(TINY.run_search(several(), whole.journal))
    assert not list((tmp_path / "whole").rglob("*.safetensors"))
    for kill in itertools.count(1, 4):
        log = Log(tmp_path / f"{kill}")
        with killed_at(kill) as moments:
            TINY.run_search(several(), replace(log.journal, progress=moments.step))
        if not moments.over:
            break
        assert outcome_facts(TINY.run_search(several(), log.journal)) == expected, kill
        assert timeless(log.epochs) == timeless(whole.epochs), kill
    assert kill > 15


def test_time_is_shared_between_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once an epoch, and ten ticks in all: four are the first stage's."""
    log = Log()
    monkeypatch.setattr("archimed.methods.stages.monotonic", lambda: float(len(log.epochs)))
    long = replace(TINY, search=replace(SEARCH, epochs=50, warmup_epochs=0))
    left = replace(log.journal, seconds_left=lambda: 10.0 - len(log.epochs), stop=lambda: len(log.epochs) > 10)
    long.run_search(problem(), left)
    assert [one["stage"] for one in log.epochs] == [1] * 5 + [2] * 6
    with pytest.raises(SearchError, match="--budget"):
        long.run_search(problem(), replace(log.journal, stop=lambda: True))


@pytest.mark.parametrize("size", [(15, 13), (8, 9, 10)])
def test_any_size_flat_or_solid(size: tuple[int, ...]) -> None:
    own = TINY.run_search(problem(size=size, count=8), Journal()).selections[0]
    network = own.space.build(own.genotype, problem(size=size).task).eval()
    assert network(torch.zeros(1, 1, *size)).shape == (1, 2, *size)


def test_the_plain_u_is_searched_as_the_weave_is() -> None:
    plain = replace(TINY, space=replace(SPACE, layout="plain"))
    own = plain.run_search(problem(), Journal()).selections[0]
    assert isinstance(own.space, WeavedUnetSpace)
    assert own.space.layout == "plain"


def test_what_cannot_be_searched_is_refused_in_one_line() -> None:
    with pytest.raises(SettingsError, match=r"space\.name=weaved_unet"):
        MixSearch(space=ResNet())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"search\.first_layers.*got 5 and 6"):
        replace(TINY, search=replace(SEARCH, first_depth=5, first_layers=6))
    with pytest.raises(DataError, match=r"search\.k=4 different images; there are 3"):
        replace(TINY, search=replace(SEARCH, k=4)).run_search(problem(count=6), Journal())
    mixed = problem()
    ragged = Arrays.of([image[:, : 16 - k % 2] for k, image in enumerate(mixed.train.images)])
    with pytest.raises(SettingsError, match=r"images of one size; those of a have several.*search\.image_size"):
        TINY.run_search(replace(mixed, train=replace(mixed.train, images=ragged)), Journal())


def sources(*names: str) -> list[str]:
    return [f"phantom:{name}?cases=20&size=16" for name in names]


def begin(data: Any, out: Path, settings: Mapping[str, Any]) -> Any:
    return lambda steps: archimed.run("mixsearch", data, out, settings=settings, observer=steps)


@pytest.mark.parametrize(
    ("changes", "searches"),
    [
        ({}, [None]),
        ({"search.mode": "dedicated"}, ["cells", "polyps"]),
        ({"data.heads": "per-dataset"}, [None]),
    ],
)
def test_a_run_on_two_data_sets(changes: dict[str, Any], searches: list[str | None], tmp_path: Path) -> None:
    run = begin(sources("cells", "polyps"), tmp_path / "run", {**RUN, **changes})(Silent())
    epochs = lines(run / "search" / "epochs.jsonl")
    assert [line.get("dataset") for line in epochs] == [one for one in searches for _ in range(4)]
    selected = read(run / "search" / "selected.json")["selected"]
    assert [(one["network"], one.get("dataset")) for one in selected] == [
        (name, one) for one in searches for name in ("mixsearch", "random-search")
    ]
    assert set(read(run / "summary.json")["networks"]) == {"mixsearch", "random-search"}
    json.dumps(epochs, allow_nan=False)


FIRST = ("told 0.", "half a line of epochs.jsonl", "told 1.", "renamed finished.json")  # moments of the first stage
SECOND = ("told 2.", "renamed checkpoint.safetensors", "told 3.", "renamed finished.json", "renamed selected.json")
TRAINED = (
    *("told 1 of 2 epochs", "told stage train: mixsearch, polyps", "renamed architecture.json"),
    *("told 1 of 2 epochs", "renamed weights.safetensors", "told stage evaluate", "told 1 of 2 networks"),
)


@pytest.mark.parametrize(
    ("changes", "moments"),
    [
        ({"data.heads": "per-dataset"}, (*FIRST, *SECOND)),
        (
            {"search.mode": "dedicated"},
            ("told 3.", "renamed selected.json", "told stage search: mixsearch, polyps", "told 1.", *SECOND, *TRAINED),
        ),
    ],
)
def test_a_run_on_two_data_sets_interrupted_in_each_stage_ends_like_an_unbroken_one(
    changes: dict[str, Any], moments: tuple[str, ...], tmp_path: Path
) -> None:
    data = sources("cells", "polyps")
    settings = {**RUN, **changes, "training.epochs": 2, "evaluation.baselines": "none", "evaluation.pictures": "never"}
    whole = begin(data, tmp_path / "whole", settings)(Silent())
    out = tmp_path / "broken"
    for moment in moments:
        broken = interrupted_at(moment, begin(data, out, settings))
        assert broken.names[-1].startswith(moment)
        assert not (out / "summary.json").exists()
    begin(data, out, settings)(Silent())
    assert result_of(out) == result_of(whole)
    assert not [*out.rglob("*.part"), *(out / "search").rglob("*.safetensors")]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_more_images_than_there_are_to_mix_are_refused_before_a_run_begins(
    dry: tuple[str, ...], tmp_path: Path
) -> None:
    few = {**RUN, "data.validation_fraction": 0.3, "data.test_fraction": 0.3, "search.k": 4}
    words = ["run", "mixsearch", "--data", *sources("cells"), "--out", str(tmp_path / "run"), *dry]
    said = command(*words, *command_line_settings(few))
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.splitlines()[-1] == (
        "archimed: Mixing takes search.k=4 different images; there are 3 in a half of the training images. "
        "Lower search.k, or add images."
    )
    assert not (tmp_path / "run").exists()
    if dry:
        assert command(*words, *command_line_settings({**few, "search.mode": "union"})).code == 0  # mixes none


def test_what_either_stage_warns_of_stands_in_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archimed.methods.bilevel_loop.count_skips", lambda *_: 2)
    run = begin(sources("cells"), tmp_path / "run", {**RUN, "search.stop_at_skips": 2, "search.epochs": 3})(Silent())
    told = [text for text in read(run / "summary.json")["cautions"] if text.startswith("Search: ")]
    assert len(told) == 1  # both stages say the same
    assert "2 skip connections in epoch 2" in told[0]
