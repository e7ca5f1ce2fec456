"""Processes that train one network together, started by torchrun: each learns from its part of every batch.

After the backward pass of a step one sum over all processes gives the gradient of the whole batch, so that all take the
step that one process would take. The first process leads: it alone decides, reads and writes a run's files, and speaks.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from archimed.errors import ArchimedError, RunError, SettingsError
from archimed.training.machine import Machine
from archimed.training.progress import TrainingError

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # the others wait while the first searches and evaluates; torchrun ends all if one dies
TINY = 1e-30  # in place of a count of nothing


@dataclass(frozen=True)
class Team:
    """Processes that train one network together, as one of them sees them.

    Attributes:
        rank: number of this process; 0 leads.
        size: how many there are.
        local_rank: number of this process among those of its machine.
        local_size: how many are on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def several(self) -> bool:
        """Whether there is anybody else."""
        return self.size > 1

    @property
    def leads(self) -> bool:
        """Whether this process decides, writes and speaks."""
        return self.rank == 0

    def machine(self, machine: Machine) -> Machine:
        """What this process computes with: a GPU of its own, or its share of the threads."""
        if not self.several:
            return machine
        if machine.device == "cpu":
            return replace(machine, threads=max(1, machine.threads // self.local_size))
        check_gpus(self.local_size, torch.cuda.device_count())
        return replace(machine, device=f"cuda:{self.local_rank}")

    def part(self, cases: int, least: int) -> slice:
        """Which cases of a batch this process learns from; all, if not every process would have `least`.

        All of them learning from the same is the step of the whole batch, too.
        """
        if cases < least * self.size:
            return slice(0, cases)
        return slice(cases * self.rank // self.size, cases * (self.rank + 1) // self.size)

    def send(self, message: object) -> None:
        """Tell the others; the first process alone may."""
        self._broadcast([message])

    def receive(self) -> Any:
        """What the first process tells the others next."""
        return self._broadcast([None])[0]

    def of_leader(self, work: Callable[[], T]) -> T:
        """What some work gives in the first process, in all of them; the others do not do it.

        Raises:
            TrainingError: in the others, if the work failed.
        """
        if not self.several:
            return work()
        if not self.leads:
            result, failure = self.receive()
            if failure is not None:
                raise TrainingError(failure)
            return result  # type: ignore[no-any-return]
        try:
            result = work()
        except ArchimedError as error:
            self.send((None, str(error)))
            raise
        self.send((result, None))
        return result

    def average(self, network: nn.Module, loss: Float[Tensor, ""], count: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Make every process's gradients those of the whole batch; returns its loss.

        Args:
            network: with the gradients of the mean loss of this process's part.
            loss: that mean.
            count: what it averages, as `loss_counts` has it.
        """
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        numbers = torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)])
        together = torch.cat([numbers * count, count.reshape(1)])
        with _all_alive(self.leads):
            distributed.all_reduce(together)
        together /= together[-1].clamp(min=TINY)
        parts = together.split([*(gradient.numel() for gradient in gradients), 1, 1])
        for gradient, part in zip(gradients, parts[:-2], strict=True):
            gradient.copy_(part.view(gradient.shape))
        averaged: Tensor = parts[-2][0]
        return averaged

    @torch.no_grad()
    def average_statistics(self, network: nn.Module) -> None:
        """Make the running statistics of batch normalisation the mean of those of all processes."""
        if not self.several:
            return
        layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        for averages in (numbers for layer in layers for numbers in (layer.running_mean, layer.running_var)):
            if averages is not None:
                with _all_alive(self.leads):
                    distributed.all_reduce(averages)
                averages.div_(self.size)

    def _broadcast(self, box: list[Any]) -> list[Any]:
        with _all_alive(self.leads):
            distributed.broadcast_object_list(box, src=0)
        return box


ALONE = Team()
_joined = [ALONE]  # of this process, as torch.distributed itself has one group of a process


def team() -> Team:
    """The team that this process joined; `ALONE` if none."""
    return _joined[-1]


def join_team() -> Team:
    """Meet the other processes that torchrun started, as it tells by environment variables."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    joined = Team(*(int(os.environ[name]) for name in names))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if joined.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(joined.local_rank)
    distributed.init_process_group(backend, timeout=PATIENCE)
    _joined.append(joined)
    return joined


def leave_team() -> None:
    """The end of working together."""
    _joined[1:] = []
    distributed.destroy_process_group()


def check_gpus(processes: int, gpus: int) -> None:
    """SettingsError unless each process of a machine has a GPU."""
    if processes > gpus:
        raise SettingsError(
            f"Processes that train on GPUs together have one each; {processes} were started on a machine with {gpus}. "
            f"Use torchrun --nproc-per-node {max(gpus, 1)}, or a run with --device cpu."
        )


@contextmanager
def _all_alive(leads: bool) -> Iterator[None]:
    """Turn the end of another process into that of this one; the first one says so."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        if not leads:
            raise SystemExit(1) from None
        raise RunError(
            "Processes that train together need each other; one of them ended, or its network connection. Its own "
            "message tells why; then start all of them again with the same command."
        ) from None
