import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from archimed.seeding import torch_seed
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask
from archimed.training.memory import peak_bytes

TASK = ImagingTask("binary", ("a", "b"), 2, (16, 16, 12))


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_the_count_of_a_step_is_that_of_the_allocator(recompute: bool) -> None:
    """PyTorch's profiler sees each allocation on a CPU, those within operations too."""
    space = FusionCellSpace(num_nodes=2, num_reduction=1, width=4, head=8)
    with torch_seed(0):
        supernet = space.supernet(TASK, recompute=recompute)
    mixture = {choice.name: torch.full((len(choice.options),), 0.1) for choice in space.mixed_choices}
    images = torch.randn(2, 2, *TASK.image_size)

    def step() -> None:
        supernet.zero_grad(set_to_none=True)
        cross_entropy(supernet(images, mixture), torch.tensor([0, 1])).backward()

    step()
    counted = peak_bytes(step)
    supernet.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = profiled.profiler.kineto_results.events()
    now = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    assert counted == pytest.approx(peak, rel=0.05)
