"""No step of a training or of a supernet reads a number back from the device: as many reads in many steps as in few.

On a CPU nothing has to be waited for, but the reads are the same: each is one `_local_scalar_dense`.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.methods.bilevel_data import CaseHalves
from archimed.methods.bilevel_loop import search_bilevel
from archimed.methods.path_data import PathCases
from archimed.methods.path_evolution import fresh_evaluator
from archimed.methods.path_settings import PathSettings
from archimed.methods.protocol import SearchProblem
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.strategies import gradient
from archimed.strategies.gradient import GradientSettings
from archimed.task import ImagingTask
from archimed.training.loop import train
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe
from tests.methods.journals import Log

NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
BATCH = 4
RECIPE = Recipe(
    epochs=1,
    batch_size=BATCH,
    class_weights="balanced",
    augment_flips=True,
    augment_turns=True,
    augment_shift=0.2,
    augment_scale=0.1,
    augment_offset=0.1,
    augment_noise=0.1,
)


class HostReads(TorchDispatchMode):
    """Counts the numbers that are read from tensors within it."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def cases(count: int) -> Subset:
    target = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=torch.Generator().manual_seed(3))
    bright = (images + 120 * target.view(-1, 1, 1, 1)).byte()
    return Subset(tuple(f"c{k}" for k in range(count)), Arrays.of(bright), target)


def problem(count: int, device: str = "cpu") -> SearchProblem:
    task = ImagingTask("binary", ("no", "yes"), 1, (8, 8))
    return SearchProblem(task, cases(count), cases(8), NORMALISE, 0, Machine(threads=1, device=device))


def training(count: int, device: str = "cpu") -> None:
    given = problem(count, device)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with TemporaryDirectory() as folder:
        train(
            network,
            given.train,
            given.validation,
            NORMALISE,
            task=given.task,
            recipe=RECIPE,
            seed=0,
            machine=given.machine,
            state_folder=Path(folder),
            on_epoch=lambda _: None,
            validation_metrics=lambda *_: {"auc": 1.0},
            warn=lambda _: None,
        )


def supernet(count: int, order: Any) -> None:
    space = DartsCellSpace(num_cells=3, num_nodes=1, width=4, stem_stride=2)
    settings = GradientSettings(epochs=1, batch_size=BATCH, memory="none", order=order, warmup_epochs=0)
    search_bilevel(space, settings, CaseHalves(problem(count)), Log().journal)


def paths(count: int, device: str = "cpu") -> None:
    space = MbconvStagesSpace(blocks=(1, 1), widths=(4, 6), stem_width=4, first_width=4, head_width=8)
    settings = PathSettings(population_size=4, keep=2, first_candidates=4, batch_size=BATCH, held_out=0.25)
    data = PathCases(problem=problem(count, device), batch_size=settings.batch_size, fraction=settings.held_out)
    evaluator = fresh_evaluator(space, settings, data)
    assert evaluator.warm_up_epoch(lambda *_: True) is not None


WORK: dict[str, Callable[[int], None]] = {
    "training": training,
    "first order": partial(supernet, order="first"),
    "second order": partial(supernet, order="second"),
    "paths": paths,
}


@pytest.mark.parametrize("name", WORK)
def test_more_steps_read_no_more_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Adam reads how often it stepped, which lies on the host with alpha
    monkeypatch.setattr(gradient, "alpha_optimizer", lambda alpha, _: torch.optim.SGD(list(alpha.values()), lr=0.1))
    reads = []
    for count in (16, 48):
        with HostReads() as counted:
            WORK[name](count)
        reads.append(counted.count)
    assert reads[0] == reads[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("work", [training, paths])
def test_more_steps_wait_no_more_often_for_a_gpu(work: Callable[[int, str], None]) -> None:
    waits = []
    for count in (16, 16, 48):  # the first sets up the kernels
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work(count, "cuda:0")
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(one.message) for one in told))
    assert waits[1] == waits[2]


def test_a_read_is_counted() -> None:
    with HostReads() as counted:
        assert float(torch.ones(()).exp()) > 1
    assert counted.count == 1
