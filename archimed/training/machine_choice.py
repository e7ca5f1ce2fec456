"""Choosing a machine: its idle cores are counted, and number formats and memory layouts compete in a short trial."""

import copy
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.training.machine import Machine, MemoryFormat, Precision
from archimed.training.steps import fitting_step

Arm = tuple[Precision, MemoryFormat]
ARMS: tuple[Arm, ...] = (("float32", "contiguous"), ("float32", "channels_last"), ("bfloat16", "channels_last"))
BFLOAT16_GAIN = 1.2  # least speed-up over float32 that is worth the coarser numbers
HEAT_IMAGES = 8  # images of the first, untimed steps
FAR_BEHIND = 2.0  # an arm this many times slower than the quickest float32 arm of the heat is not timed
ROUNDS = 3  # timed steps per arm, in turn
TRIAL_SECONDS = 2.0  # about how long all timed steps may take


@dataclass(frozen=True)
class Trial:
    """How one arm did: seconds of its fastest step, and whether every loss was a number."""

    seconds: float
    finite: bool


def choose_machine(network: nn.Module, batch: Batch, *, device: str = "auto", threads: int | None = None) -> Machine:
    """The fastest way to train this network on this machine, by a trial of a few steps.

    Args:
        network: left as found; copies are trained.
        batch: normalised images and targets as training will see them, e.g. one batch of the recipe's size.
        device: `auto` (a GPU if there is one), `cpu` or `cuda[:i]`.
        threads: CPU threads; None counts the idle cores (see `choose_threads`).

    Raises:
        SettingsError: the device does not exist here.
    """
    machine = Machine(threads or choose_threads(), choose_device(device))
    dims = batch.images.ndim - 2
    precision, memory_format = fastest(try_arms(network, batch, machine, arms_for(machine.device, dims)))
    return replace(machine, precision=precision, memory_format=memory_format)


def choose_device(device: str) -> str:
    """`cpu` or `cuda:<i>` for a device as the user names it.

    Raises:
        SettingsError: no such device, here or at all.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if gpus else "cpu"
    if device == "cpu":
        return device
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index or "0").isdecimal():
        raise SettingsError(f"A device is auto, cpu, cuda or cuda:<i>; got {device!r}. Use --device auto.")
    if int(index or 0) >= gpus:
        raise SettingsError(f"Device {device!r} needs a GPU that PyTorch sees; it sees {gpus}. Use --device cpu.")
    return f"cuda:{index or 0}"


def choose_threads(sample_seconds: float = 0.3) -> int:
    """The cores this process may use, less those that other processes keep busy; at least one.

    Threads wait for each other by spinning, so one thread too many on a shared core can slow a step fifty-fold,
    while one too few costs at most its share.
    """
    cores = usable_cores()
    others = sum(_load_of_usable_cores(sample_seconds)) / 100
    return max(1, cores - round(others))


def usable_cores() -> int:
    """Physical cores that affinity and the container's quota leave to this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or allowed
    return max(1, math.floor(min(allowed, physical, _container_quota())))


def _container_quota() -> float:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max": no quota
        return math.inf


def _load_of_usable_cores(seconds: float) -> list[float]:
    """Per cent of time each usable core was busy while this process slept."""
    load = psutil.cpu_percent(seconds, percpu=True)
    if not hasattr(os, "sched_getaffinity"):
        return load
    return [load[core] for core in sorted(os.sched_getaffinity(0)) if core < len(load)]


def arms_for(device: str, spatial_dims: int = 2) -> tuple[Arm, ...]:
    """The arms worth trying.

    On a CPU, bfloat16 is left out of volumes: in PyTorch 2.13 (oneDNN) the weight gradient of a 3D convolution is
    arbitrary, and memory may be damaged, where the depth is less than the kernel. Below AVX-512 a CPU only imitates
    bfloat16, ten times slower than float32.
    """
    if device == "cpu" and (spatial_dims == 3 or "AVX512" not in torch.backends.cpu.get_cpu_capability()):
        return tuple(arm for arm in ARMS if arm[0] != "bfloat16")
    return ARMS


def check_precision(machine: Machine, spatial_dims: int) -> None:
    """Raise SettingsError for bfloat16 where its gradients are wrong (see `arms_for`)."""
    if machine.precision == "bfloat16" and machine.device == "cpu" and spatial_dims == 3:
        raise SettingsError(
            "Volumes are trained in float32 on a CPU, where their gradients in bfloat16 are wrong; got "
            "machine.precision=bfloat16. Use --set machine.precision=float32, or a GPU."
        )


def try_arms(network: nn.Module, batch: Batch, machine: Machine, arms: Sequence[Arm]) -> dict[Arm, Trial]:
    """Train copies of a network for a few steps, one arm after the other in every round.

    A heat on a few images sets up the kernels, drops the arms that are far behind, and tells how many of the
    images the timed rounds can take.
    """
    runners = {arm: _Runner(network, replace(machine, precision=arm[0], memory_format=arm[1])) for arm in arms}
    few = Batch(batch.images[:HEAT_IMAGES], batch.target[:HEAT_IMAGES])
    with machine.session(), torch.random.fork_rng():
        for runner in runners.values():
            runner.step(few)
        heat = {arm: min(runner.step(few), runner.step(few)) for arm, runner in runners.items()}
        quickest = min(heat[arm] for arm in arms if arm[0] == "float32")
        rivals = {arm: runner for arm, runner in runners.items() if heat[arm] <= FAR_BEHIND * quickest}
        affordable = int(len(few) * TRIAL_SECONDS / (ROUNDS * sum(heat[arm] for arm in rivals)))
        part = max(len(few), affordable)
        timed = Batch(batch.images[:part], batch.target[:part])
        seconds = [{arm: runner.step(timed) for arm, runner in rivals.items()} for _ in range(ROUNDS)]
    return {arm: Trial(min(turn[arm] for turn in seconds), runner.finite) for arm, runner in rivals.items()}


class _Descent:
    """Plain gradient descent; before its first step an optimizer of PyTorch's loads its compiler, over a second."""

    RATE = 1e-3

    def __init__(self, network: nn.Module) -> None:
        self._weights = [*network.parameters()]

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - it always does
        """Forget all gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights."""
        for weight in self._weights:
            if weight.grad is not None:
                weight.add_(weight.grad, alpha=-self.RATE)


class _Runner:
    """A copy of a network that trains in one arm."""

    def __init__(self, network: nn.Module, machine: Machine) -> None:
        self._machine = machine
        self._network = machine.place_network(copy.deepcopy(network).train())
        self._optimizer = _Descent(self._network)
        self.finite = True

    def step(self, batch: Batch) -> float:
        """Seconds of one step."""
        started = time.perf_counter()
        loss, _ = fitting_step(
            self._network,
            self._optimizer,
            images=self._machine.place_images(batch.images),
            target=batch.target.to(self._machine.device),
            weights=None,
            machine=self._machine,
        )
        self.finite &= math.isfinite(float(loss))  # reading the loss waits for a GPU
        return time.perf_counter() - started


def fastest(trials: Mapping[Arm, Trial]) -> Arm:
    """The fastest float32 arm, or the fastest bfloat16 arm if it gains enough and its losses were numbers."""

    def seconds(arm: Arm) -> float:
        return trials[arm].seconds

    best = min((arm for arm in trials if arm[0] == "float32"), key=seconds)
    halves = [arm for arm in trials if arm[0] == "bfloat16" and trials[arm].finite]
    if halves and seconds(best) >= BFLOAT16_GAIN * seconds(min(halves, key=seconds)):
        return min(halves, key=seconds)
    return best
