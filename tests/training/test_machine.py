import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.seeding import torch_seed
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask
from archimed.training import machine_choice
from archimed.training.machine import Machine
from archimed.training.machine_choice import (
    ARMS,
    Trial,
    arms_for,
    check_precision,
    choose_device,
    choose_machine,
    choose_threads,
    fastest,
    try_arms,
)
from archimed.training.prediction import predict

PLAIN, LAST, HALF = ARMS


def test_a_forced_bfloat16_is_refused_for_volumes_on_a_cpu() -> None:
    coarse = Machine(1, "cpu", "bfloat16")
    with pytest.raises(SettingsError, match=r"machine\.precision=bfloat16\. Use --set machine\.precision=float32"):
        check_precision(coarse, 3)
    check_precision(coarse, 2)
    check_precision(replace(coarse, device="cuda:0"), 3)
    check_precision(Machine(1), 3)


@pytest.mark.parametrize(
    ("seconds", "finite", "expected"),
    [
        ((1.0, 2.0, 3.0), True, PLAIN),
        ((2.0, 1.0, 3.0), True, LAST),
        ((2.0, 1.0, 0.84), True, LAST),  # 1.19 times faster is not enough
        ((2.0, 1.0, 0.83), True, HALF),  # 1.2 times is
        ((2.0, 1.0, 0.1), False, LAST),  # a loss was not a number
        ((2.0, 4.0, 1.8), True, PLAIN),  # faster than channels-last alone does not count
    ],
)
def test_the_fastest_arm_wins_and_bfloat16_must_gain_a_fifth(
    seconds: tuple[float, ...], finite: bool, expected: tuple[str, str]
) -> None:
    trials = {arm: Trial(time, finite or arm != HALF) for arm, time in zip(ARMS, seconds, strict=True)}
    assert fastest(trials) == expected


def test_without_bfloat16_arm_the_fastest_float32_wins() -> None:
    assert fastest({PLAIN: Trial(2.0, True), LAST: Trial(1.0, True)}) == LAST


def test_volumes_are_not_trained_in_bfloat16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert arms_for("cpu", 2) == arms_for("cuda:0", 3) == ARMS
    assert arms_for("cpu", 3) == (PLAIN, LAST)


@pytest.mark.parametrize(
    ("cores", "load", "threads"),
    [(2, [0, 3], 2), (2, [90, 20], 1), (2, [100, 100], 1), (8, [50, 60, 0, 0, 0, 0, 0, 0], 7)],
)
def test_busy_cores_are_left_to_others(
    monkeypatch: pytest.MonkeyPatch, cores: int, load: list[float], threads: int
) -> None:
    monkeypatch.setattr(machine_choice, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine_choice, "_load_of_usable_cores", lambda _: load)
    assert choose_threads() == threads


def test_devices_are_named_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(SettingsError, match="sees 0"):
        choose_device("cuda:1")
    for name in ("gpu", "cuda:x"):
        with pytest.raises(SettingsError, match="auto, cpu, cuda"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]


def test_a_trial_leaves_the_network_as_found_and_ends_in_a_machine(problem: Any) -> None:
    network = problem.network()
    before = copy.deepcopy(network.state_dict())
    examples = problem.examples(16, 0)
    batch = Batch(problem.normalise(examples.images), examples.target)
    machine = choose_machine(network, batch, device="cpu", threads=1)
    assert (machine.threads, machine.device) == (1, "cpu")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert Machine.from_dict({**machine.to_dict(), "workers": 3}) == machine


def test_every_arm_trains(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_choice, "FAR_BEHIND", float("inf"))
    examples = problem.examples(16, 0)
    batch = Batch(problem.normalise(examples.images), examples.target)
    trials = try_arms(problem.network(), batch, Machine(1), ARMS)
    assert set(trials) == set(ARMS)
    assert all(trial.finite and trial.seconds > 0 for trial in trials.values())


@pytest.mark.parametrize(
    ("paces", "timed"),
    [
        ((1.0, 0.9, 8.0), {PLAIN, LAST}),  # imitated bfloat16 is dropped after the heat
        ((3.0, 2.9, 1.0), {PLAIN, LAST, HALF}),  # float32 stays, should bfloat16 lose its numbers
        ((5.0, 1.0, 0.5), {LAST, HALF}),
    ],
)
def test_the_heat_drops_arms_that_are_far_behind_float32(
    problem: Any, monkeypatch: pytest.MonkeyPatch, paces: tuple[float, ...], timed: set[tuple[str, str]]
) -> None:
    pace = dict(zip(ARMS, paces, strict=True))

    class Paced:
        finite = True

        def __init__(self, _: nn.Module, machine: Machine) -> None:
            self.arm = (machine.precision, machine.memory_format)

        def step(self, _: Batch) -> float:
            return pace[self.arm]

    monkeypatch.setattr(machine_choice, "_Runner", Paced)
    examples = problem.examples(16, 0)
    trials = try_arms(problem.network(), Batch(problem.normalise(examples.images), examples.target), Machine(1), ARMS)
    assert {arm: trial.seconds for arm, trial in trials.items()} == {arm: pace[arm] for arm in timed}
    fastest(trials)


@pytest.mark.parametrize("axes", [2, 3])
def test_memory_formats_predict_alike(axes: int) -> None:
    torch.manual_seed(0)
    convolution, pool = ((nn.Conv2d, nn.AdaptiveAvgPool2d), (nn.Conv3d, nn.AdaptiveAvgPool3d))[axes - 2]
    network = nn.Sequential(convolution(2, 5, 3), nn.ReLU(), convolution(5, 4, 3), pool(1), nn.Flatten())
    images = torch.randn(9, 2, *[8] * axes)
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    plain = predict(network, images, torch.Tensor.float, "multi-class", Machine(1), batch_size=4)
    last = Machine(1, memory_format="channels_last")
    assert last.place_images(images).is_contiguous(memory_format=layout)
    placed = predict(network, images, torch.Tensor.float, "multi-class", last, batch_size=4)
    assert network[2].weight.is_contiguous(memory_format=layout)
    torch.testing.assert_close(plain, placed)
    torch.testing.assert_close(plain, network.eval()(images).softmax(1).detach())
    assert torch.allclose(plain.sum(1), torch.ones(9))


def test_volumes_are_trained_in_the_quicker_forms_with_the_same_numbers() -> None:
    task = ImagingTask("binary", ("a", "b"), 2, (12, 10, 11))
    space = FusionCellSpace(num_nodes=2, num_reduction=2, width=4, head=8)
    with torch_seed(0):
        plain = space.build(tuple(len(choice.options) - 1 for choice in space.choices), task).eval()
    names = list(plain.state_dict())
    images = torch.randn(3, 2, *task.image_size, generator=torch.Generator().manual_seed(0))
    machine = Machine(1, "cpu", memory_format="channels_last")
    quick = machine.place_network(copy.deepcopy(plain))
    assert all(layer.quick for layer in quick.modules() if hasattr(layer, "quick"))
    assert not any(layer.quick for layer in plain.modules() if hasattr(layer, "quick"))
    assert list(quick.state_dict()) == names
    torch.testing.assert_close(quick(machine.place_images(images)), plain(images), rtol=1e-5, atol=1e-5)
