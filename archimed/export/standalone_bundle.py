"""What scripts/workflow.py of an exported MONAI bundle is made of; see `archimed.export.bundle`."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.utils.data import Dataset

from archimed.export.standalone import cases, normalised
from archimed.export.standalone_masks import mask_logits


class Images(Dataset[dict[str, Any]]):
    """The images of a folder: `case`, its name, and `image`, normalised [channel, *space].

    A file is one case, or an .npz file of prepared arrays by case.
    """

    def __init__(self, folder: str, settings: Mapping[str, Any]) -> None:
        paths = sorted(str(path) for path in Path(folder).iterdir() if path.is_file())
        self.found = list(cases(paths, settings))
        self.settings = settings

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, number: int) -> dict[str, Any]:
        name, image = self.found[number]
        return {"case": name, "image": normalised(image, self.settings)}


class Windows(Inferer):  # type: ignore[misc]
    """Logits of images of any size, by overlapping windows where they are larger than the patch."""

    def __init__(self, patch: Sequence[int]) -> None:
        super().__init__()
        self.patch = patch

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Logits [batch, class, *space]."""
        return mask_logits(lambda images: network(images, *args, **kwargs), inputs, self.patch, False)


class Evaluator:
    """Lets the network answer every image; writes predictions.csv, or of masks one array for each case."""

    def __init__(
        self,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        dataset: Images,
        inferer: Inferer,
        device: torch.device,
        settings: Mapping[str, Any],
        output_dir: str,
    ) -> None:
        network.load_state_dict(weights)
        self.network = network.to(device).eval()
        self.dataset, self.inferer, self.device = dataset, inferer, device
        self.answer, self.output = settings["answer"], Path(output_dir)

    @torch.inference_mode()
    def run(self) -> None:
        """Answer and write."""
        self.output.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(len(self.dataset)):
            item = self.dataset[number]
            logits = self.inferer(item["image"][None].to(self.device), self.network)[0].float().cpu()
            if self.answer["kind"] == "mask":
                np.save(self.output / f"{item['case']}.npy", logits.argmax(0).to(torch.uint8).numpy())
                continue
            found = logits.sigmoid() if self.answer["kind"] == "labels" else logits.softmax(0)
            rows.append([item["case"], *map(repr, found.tolist())])
        if rows:
            with (self.output / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["case", *(f"probability_{one}" for one in self.answer["classes"])])
                table.writerows(rows)
