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
from archimed.training.recipe import Recipe
from archimed.training.steps import adam, training_step

Arm = tuple[Precision, MemoryFormat]
ARMS: tuple[Arm, ...] = (("float32", "contiguous"), ("float32", "channels_last"), ("bfloat16", "channels_last"))
BFLOAT16_GAIN = 1.2  # least speed-up over float32 that is worth the coarser numbers
ROUNDS = 3  # timed steps per arm, in turn
TRIAL_SECONDS = 4.0  # no further round begins after this


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
    precision, memory_format = fastest(try_arms(network, batch, machine, ARMS))
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


def try_arms(network: nn.Module, batch: Batch, machine: Machine, arms: Sequence[Arm]) -> dict[Arm, Trial]:
    """Train copies of a network for a few steps, one arm after the other in every round."""
    machines = {arm: replace(machine, precision=arm[0], memory_format=arm[1]) for arm in arms}
    seconds: dict[Arm, list[float]] = {arm: [] for arm in arms}
    finite = dict.fromkeys(arms, True)
    networks = {arm: machines[arm].place_network(copy.deepcopy(network).train()) for arm in arms}
    optimizers = {arm: adam(networks[arm], Recipe()) for arm in arms}
    began = time.perf_counter()
    with machine.session(), torch.random.fork_rng():
        for turn in range(ROUNDS + 1):  # the first, in which kernels are set up, is not timed
            if turn >= 2 and time.perf_counter() - began > TRIAL_SECONDS:
                break
            for arm in arms:
                started = time.perf_counter()
                loss = training_step(
                    networks[arm],
                    optimizers[arm],
                    images=machines[arm].place_images(batch.images),
                    target=batch.target.to(machine.device),
                    weights=None,
                    machine=machines[arm],
                )
                finite[arm] &= math.isfinite(float(loss))  # reading the loss waits for a GPU
                if turn:
                    seconds[arm].append(time.perf_counter() - started)
    return {arm: Trial(min(seconds[arm]), finite[arm]) for arm in arms}


def fastest(trials: Mapping[Arm, Trial]) -> Arm:
    """The fastest float32 arm, or the fastest bfloat16 arm if it gains enough and its losses were numbers."""

    def seconds(arm: Arm) -> float:
        return trials[arm].seconds

    best = min((arm for arm in trials if arm[0] == "float32"), key=seconds)
    halves = [arm for arm in trials if arm[0] == "bfloat16" and trials[arm].finite]
    if halves and seconds(best) >= BFLOAT16_GAIN * seconds(min(halves, key=seconds)):
        return min(halves, key=seconds)
    return best
