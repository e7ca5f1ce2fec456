"""What is exported: one trained network of a run, with all that is told about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from archimed.export.calls import Calls
from archimed.task import ImagingTask

FORMATS = ("pt2", "onnx", "source", "bundle")
TOLERANCE = 1e-4  # of logits and probabilities; scores of masks count single pixels and get 100 times as much
MARK = "export.json"  # tells that a folder is an export


@dataclass(frozen=True)
class Exported:
    """One trained network of a run.

    Attributes:
        network: in eval mode, on the CPU.
        calls: by which it was built.
        task: what it answers; of masks the image size is that of the patches it was trained on.
        title: its name and data in words.
        preprocessing: what preprocess.json says.
        card: the model card, Markdown.
    """

    network: nn.Module
    calls: Calls
    task: ImagingTask
    title: str
    preprocessing: Mapping[str, Any]
    card: str

    @property
    def needs_numpy(self) -> bool:
        """Whether the network computes outside of PyTorch, so that no graph holds it."""
        from archimed.networks.fitted import Fitted

        return any(isinstance(module, Fitted) for module in self.network.modules())


@dataclass(frozen=True)
class Written:
    """What a format wrote.

    Attributes:
        files: their paths in the folder.
        needs: libraries that using them takes.
        notes: what else there is to know, one sentence each.
    """

    files: tuple[Path, ...]
    needs: tuple[str, ...]
    notes: tuple[str, ...] = ()
