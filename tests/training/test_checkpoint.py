import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from archimed.training.machine import Machine
from archimed.training.progress import EpochRecord, Training
from archimed.training.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=8, weight_decay=1e-3)


class Killed(Exception):  # noqa: N818
    pass


def untimed(training: Training) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0) for record in training.epochs]


def kill(record: EpochRecord) -> None:
    raise Killed(record.epoch)


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(params=["contiguous", "channels_last"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(1, memory_format=request.param)


def test_interrupted_after_every_epoch_it_ends_bit_for_bit_the_same(problem: Any, machine: Machine) -> None:
    unbroken_network, broken_network = problem.network(), problem.network()
    unbroken = problem.train(unbroken_network, RECIPE, machine=machine)
    problem.folder = problem.folder.with_name("broken")
    for _ in range(RECIPE.epochs):
        with pytest.raises(Killed):
            problem.train(problem.network(), RECIPE, machine=machine, on_epoch=kill)
    broken = problem.train(broken_network, RECIPE, machine=machine, on_epoch=kill)
    assert untimed(broken) == untimed(unbroken)
    assert broken.best_epoch == unbroken.best_epoch
    assert_equal(weights(unbroken_network), weights(broken_network))
    assert unbroken.epochs == tuple(lines(problem.folder.with_name("network")))
    assert broken.epochs == tuple(lines(problem.folder))


def test_the_best_weights_of_an_earlier_epoch_outlive_interruptions(problem: Any) -> None:
    values = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6}
    networks = problem.network(), problem.network()
    epochs = iter(values)
    problem.train(networks[0], RECIPE, validation_metrics=lambda *_: {"auc": values[next(epochs)]})
    problem.folder = problem.folder.with_name("broken")
    for epoch in values:
        with pytest.raises(Killed):
            problem.train(
                problem.network(), RECIPE, on_epoch=kill, validation_metrics=lambda *_, e=epoch: {"auc": values[e]}
            )
    assert problem.train(networks[1], RECIPE).best_epoch == 2
    assert_equal(weights(networks[0]), weights(networks[1]))


def lines(folder: Path) -> Iterator[EpochRecord]:
    for line in (folder / "epochs.jsonl").read_text().splitlines():
        yield EpochRecord.from_dict(json.loads(line))


def test_resumed_within_an_epoch_it_repeats_that_epoch(problem: Any) -> None:
    unbroken_network, broken_network = problem.network(), problem.network()
    unbroken = problem.train(unbroken_network, RECIPE)
    problem.folder = problem.folder.with_name("broken")
    calls = 0

    def metrics(target: Any, scores: Any) -> Mapping[str, float | None]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return problem.metrics(target, scores)  # type: ignore[no-any-return]

    with pytest.raises(Killed):
        problem.train(problem.network(), RECIPE, validation_metrics=metrics)
    epochs: list[int] = []
    broken = problem.train(broken_network, RECIPE, on_epoch=lambda record: epochs.append(record.epoch))
    assert epochs == [3, 4]
    assert untimed(broken) == untimed(unbroken)
    assert_equal(weights(unbroken_network), weights(broken_network))


def interrupt_after(problem: Any, epochs: int) -> None:
    for _ in range(epochs):
        with pytest.raises(Killed):
            problem.train(problem.network(), RECIPE, on_epoch=kill)


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(problem: Any, damage: str) -> None:
    unbroken_network, broken_network = problem.network(), problem.network()
    unbroken = problem.train(unbroken_network, RECIPE)
    problem.folder = problem.folder.with_name("broken")
    interrupt_after(problem, 3)
    checkpoint = problem.folder / "checkpoint.safetensors"
    spoil(checkpoint, damage)
    said: list[str] = []
    epochs: list[int] = []
    broken = problem.train(
        broken_network, RECIPE, warn=said.append, on_epoch=lambda record: epochs.append(record.epoch)
    )
    assert epochs == [3, 4]
    assert bool(said) == (damage != "missing")
    assert untimed(broken) == untimed(unbroken)
    assert_equal(weights(unbroken_network), weights(broken_network))


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-7])
        case "garbage":
            path.write_bytes(bytes(len(content)))
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()


def test_with_no_usable_checkpoint_it_starts_anew(problem: Any) -> None:
    unbroken_network, broken_network = problem.network(), problem.network()
    unbroken = problem.train(unbroken_network, RECIPE)
    problem.folder = problem.folder.with_name("broken")
    interrupt_after(problem, 2)
    for name in ("checkpoint.safetensors", "previous-checkpoint.safetensors"):
        spoil(problem.folder / name, "garbage")
    said: list[str] = []
    broken = problem.train(broken_network, RECIPE, warn=said.append)
    assert len(said) == 2
    assert untimed(broken) == untimed(unbroken)
    assert_equal(weights(unbroken_network), weights(broken_network))


def test_what_a_killed_write_left_is_removed(problem: Any) -> None:
    interrupt_after(problem, 1)
    for name in (".checkpoint.safetensors.1234.part", ".tmphytMYJ"):
        (problem.folder / name).write_bytes(b"half")
    problem.train(problem.network(), RECIPE)
    assert {file.name for file in problem.folder.iterdir()} == {"epochs.jsonl", "training.json", "weights.safetensors"}


def test_epoch_lines_agree_with_the_checkpoint_after_resuming(problem: Any) -> None:
    interrupt_after(problem, 2)
    log = problem.folder / "epochs.jsonl"
    log.write_text(log.read_text() + log.read_text().splitlines()[-1] + '\n{"epoch": 3, "lear')
    result = problem.train(problem.network(), RECIPE)
    assert list(lines(problem.folder)) == list(result.epochs)


def test_a_finished_training_is_returned_at_once(problem: Any) -> None:
    first, second = problem.network(), problem.network()
    done = problem.train(first, RECIPE)
    assert not list(problem.folder.glob("*checkpoint*"))
    assert problem.train(second, RECIPE, on_epoch=kill) == done
    assert_equal(weights(first), weights(second))


def test_a_crash_while_finishing_is_mended(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = problem.network(), problem.network()

    def fail(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("archimed.training.checkpoint.write_json", fail)
    with pytest.raises(Killed):
        problem.train(first, RECIPE)
    monkeypatch.undo()
    assert (problem.folder / "weights.safetensors").exists()
    resumed = problem.train(second, RECIPE, on_epoch=kill)
    assert len(resumed.epochs) == RECIPE.epochs
    problem.folder = problem.folder.with_name("unbroken")
    unbroken_network = problem.network()
    problem.train(unbroken_network, RECIPE)
    assert_equal(weights(unbroken_network), weights(second))


LIMITED = """
import resource
from pathlib import Path
import torch
from archimed.training.weights import save_tensors
path = Path("weights.safetensors")
save_tensors(path, {"small": torch.zeros(8)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_tensors(path, {"large": torch.zeros(65536)}, {})
except OSError as error:
    print(error.errno, error.filename, [file.name for file in Path().iterdir()], path.stat().st_size < 4096)
"""


def test_a_file_system_that_refuses_is_an_os_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.strip() == f"{errno.EFBIG} weights.safetensors ['weights.safetensors'] True"


SEVERAL = Recipe(epochs=5, batch_size=8, checkpoint_metric=("auc", "accuracy", "macro_f1"))
VALUES = {
    "auc": (0.5, 0.9, 0.7, 0.6, 0.6),
    "accuracy": (0.1, 0.2, 0.1, 0.8, 0.3),
    "macro_f1": (0.1, 0.5, 0.2, 0.1, 0.5),
}


def told(epoch: int) -> dict[str, float | None]:
    return {name: values[epoch - 1] for name, values in VALUES.items()}


@pytest.mark.parametrize("broken", [False, True])
def test_weights_of_the_best_epoch_by_each_metric_are_kept(problem: Any, broken: bool) -> None:
    network, states = problem.network(), {}
    for epoch in range(1, 5) if broken else ():  # killed after every epoch, seeing only that epoch's metrics
        with pytest.raises(Killed):
            problem.train(problem.network(), SEVERAL, on_epoch=kill, validation_metrics=lambda *_, e=epoch: told(e))
    epochs = iter(range(5 if broken else 1, 6))

    def metrics(*_: Any) -> Mapping[str, float | None]:
        epoch = next(epochs)
        states[epoch] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        return told(epoch)

    result = problem.train(network, SEVERAL, validation_metrics=metrics)
    assert result.best_epoch == 2  # by the first metric
    assert dict(result.checkpoints) == {
        "auc": 2,
        "accuracy": 4,
        "macro_f1": 2 if result.epochs[1].validation_loss <= (result.epochs[4].validation_loss) else 5,
    }
    files = {path.name for path in problem.folder.glob("weights*.safetensors")}
    others = {f"weights.epoch{epoch}.safetensors" for epoch in result.checkpoints.values() if epoch != 2}
    assert files == {"weights.safetensors", *others}
    for epoch in [] if broken else {*result.checkpoints.values()}:
        name = "weights.safetensors" if epoch == 2 else f"weights.epoch{epoch}.safetensors"
        assert_equal(states[epoch], load_file(problem.folder / name))
    if broken:
        problem.folder = problem.folder.with_name("unbroken")
        epochs = iter(range(1, 6))
        problem.train(network := problem.network(), SEVERAL, validation_metrics=metrics)
        for name in files:
            assert_equal(load_file(problem.folder.with_name("network") / name), load_file(problem.folder / name))


def test_training_goes_on_while_any_metric_gets_better(problem: Any) -> None:
    recipe = dataclasses.replace(SEVERAL, epochs=10, early_stop_patience=2)
    rising = iter(range(10))

    def metrics(*_: Any) -> Mapping[str, float | None]:
        epoch = next(rising)
        return {"auc": -float(epoch), "accuracy": float(min(epoch, 4)) - (epoch > 4), "macro_f1": 0.0 - epoch}

    result = problem.train(problem.network(), recipe, validation_metrics=metrics)
    assert (len(result.epochs), result.best_epoch, result.checkpoints["accuracy"]) == (7, 1, 5)
