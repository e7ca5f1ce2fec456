"""What a step of the supernet will take, told before the first one, and the `search.memory` that fits."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import nn

from archimed.batch import Batch
from archimed.errors import SettingsError
from archimed.methods.bilevel_data import SearchData
from archimed.networks.quick_convolution import SIDE_BY_SIDE_BYTES, forms_of_large_images
from archimed.seeding import torch_generator, torch_seed
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.bilevel import BilevelSettings, Learner, Memory
from archimed.strategies.mixtures import draw_alpha
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.memory import peak_bytes
from archimed.workers.limits import free_bytes

GIB = 2**30
SIDE = {2: 32, 3: 16}  # pixels per axis of the images that the estimate is made on
COUNTS = (2, 3)  # and how many
MARGIN = 1.1  # for what libraries take within an operation


def build_supernet(
    space: RelaxableSpace,
    task: ImagingTask,
    settings: BilevelSettings,
    memory: Memory,
    seed: int,
    further_tasks: tuple[ImagingTask, ...] = (),
) -> nn.Module:
    """The supernet with the first weights that belong to the seed, in training mode; with a head for each task."""
    share = settings.channel_share if memory == "partial" else 1
    heads = {"tasks": further_tasks} if further_tasks else {}
    with torch_seed(seed, "supernet"):
        return space.supernet(task, recompute=memory == "checkpoint", channel_share=share, **heads).train()


def settle_memory(
    space: RelaxableSpace, settings: BilevelSettings, data: SearchData, say: Callable[[str], None]
) -> Memory:
    """The memory setting to search with: as set, or chosen by the estimate where it is `auto`.

    Raises:
        SettingsError: on a CPU, if it does not fit by the estimate; the message names what would.
    """
    problem, batch_size = data.problem, settings.batch_size
    device = problem.machine.device
    free = free_bytes(device)

    def needed(memory: Memory) -> int:
        return step_bytes(space, settings, data, memory, batch_size)

    wanted: Memory = "none" if settings.memory == "auto" else settings.memory
    bytes_wanted = needed(wanted)
    if bytes_wanted <= free:
        return wanted
    others: list[Memory] = [one for one in ("checkpoint", "partial") if one != wanted]
    measured = {one: needed(one) for one in others if can_build(space, settings, problem.task, one)}
    if settings.memory == "auto" and measured.get("checkpoint", free + 1) <= free:
        say(
            f"A step of the supernet would take about {bytes_wanted / GIB:.1f} GiB, {free / GIB:.1f} are free: every "
            f"cell is computed again in the backward pass instead, about {measured['checkpoint'] / GIB:.1f} GiB "
            "(search.memory=checkpoint)."
        )
        return "checkpoint"
    fitting = [f"search.memory={one} ({size / GIB:.1f} GiB)" for one, size in measured.items() if size <= free]
    told = (
        f"A step of the supernet must fit into memory; by an estimate it takes {bytes_wanted / GIB:.1f} GiB at batch "
        f"size {batch_size}, and {free / GIB:.1f} are free. "
        + (f"Set {' or '.join(fitting)}." if fitting else "Lower search.batch_size, search.width or search.image_size.")
    )
    if not device.startswith("cuda"):  # where it would be the system that ends the process
        raise SettingsError(told)
    say(told)
    return "checkpoint" if settings.memory == "auto" else wanted


def can_build(space: RelaxableSpace, settings: BilevelSettings, task: ImagingTask, memory: Memory) -> bool:
    """Whether the supernet exists in this form; channels may not divide by the share."""
    try:
        build_supernet(space, task, settings, memory, seed=0)
    except SettingsError:
        return False
    return True


def step_bytes(
    space: RelaxableSpace, settings: BilevelSettings, data: SearchData, memory: Memory, batch_size: int
) -> int:
    """The estimated peak of one pair of steps, weights and optimizers included.

    Steps on a few small images are counted tensor by tensor on the CPU; what grows with the batch is scaled to the
    pixels of the whole batch.
    """
    problem = data.problem
    task, machine = problem.task, replace(problem.machine, device="cpu")
    size = tuple(min(pixels, SIDE[task.spatial_dims]) for pixels in task.image_size)
    small = replace(task, image_size=size)
    supernet = machine.place_network(build_supernet(space, small, settings, memory, problem.seed, data.further_tasks))
    alpha = draw_alpha(space.mixed_choices, torch_generator(problem.seed, "alpha"))
    architecture = settings.architecture_step(alpha, small, problem.seed)
    learner = Learner.of(supernet, architecture, settings, data.on(machine).batch_loss)
    learner.learn_weights(_blank(small, COUNTS[0], machine))  # the optimizer's own memory is counted below
    peaks = []
    for count in COUNTS:
        batch = _blank(small, count, machine)
        supernet.zero_grad(set_to_none=True)
        with forms_of_large_images():
            peaks.append(peak_bytes(partial(_pair, learner, batch)))
    each = max(0, peaks[1] - peaks[0]) / (COUNTS[1] - COUNTS[0])
    fixed = max(0.0, peaks[0] - each * COUNTS[0])
    weights: int = sum(tensor.nbytes for tensor in supernet.state_dict().values())
    scaled = each * batch_size * prod(task.image_size) / prod(size)
    return round(MARGIN * (scaled + fixed + 2 * weights + SIDE_BY_SIDE_BYTES))


def _pair(learner: Learner, batch: Batch) -> None:
    learner.architecture.rehearse(learner, batch)
    learner.learn_weights(batch)


def _blank(task: ImagingTask, count: int, machine: Machine) -> Batch:
    images = torch.zeros(count, task.channels, *task.image_size)
    of_task = {
        "multi-label": torch.zeros(count, task.num_outputs),
        "segmentation": torch.zeros(count, task.num_outputs, *task.image_size),
    }
    target = of_task.get(task.kind, torch.zeros(count, dtype=torch.int64))
    return Batch(machine.place_images(images), target)
