"""How long a trained network takes for one case on this machine."""

import statistics
import time

from jaxtyping import Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.experiment.networks import StoredNetwork
from archimed.training.machine import Machine
from archimed.training.mask_prediction import predict_masks
from archimed.training.prediction import predict

ROUNDS, MOST_SECONDS = 5, 2.0


def seconds_per_case(stored: StoredNetwork, image: Shaped[Tensor, "channel *space"], machine: Machine) -> float:
    """Median seconds from a prepared image in memory to its answer, one case at a time, after one that is not counted.

    Rounds end early where they take long, and after the first where that alone does.
    """
    images, taken, begun = Arrays.of([image]), list[float](), time.perf_counter()
    while len(taken) < ROUNDS + 1 and (len(taken) < 2 or time.perf_counter() - begun < MOST_SECONDS):
        started = time.perf_counter()
        if stored.task.kind == "segmentation":
            patch = stored.task.image_size
            list(predict_masks(stored.network, images, stored.normalise, machine, patch_size=patch))
        else:
            predict(stored.network, images, stored.normalise, stored.task.kind, machine)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])
