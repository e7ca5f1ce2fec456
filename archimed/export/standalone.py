"""What predict.py of an export is made of: images from files to the network's answers, without archimed.

`archimed.export.predict_source` writes these functions out with those they call. They import only what is named in the
README of an export.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archimed.data.preparation.fitting import fit
from archimed.export.standalone_files import read_image
from archimed.export.standalone_masks import mask_logits

Network = Callable[[Tensor], Tensor]  # normalised images [batch, channel, *space] to logits


def main(load_network: Callable[[Path], Network]) -> None:
    """Read images, let the network answer, and write what it says."""
    parser = argparse.ArgumentParser(description="Answers of this network to images; see README.md.")
    parser.add_argument("images", nargs="+", help="image files, or an .npz file of prepared arrays by case")
    parser.add_argument("--out", type=Path, required=True, help="a .csv file; for masks a folder")
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parent
    settings = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
    network = load_network(folder)
    masks = settings["answer"]["kind"] == "mask"
    rows = []
    with torch.inference_mode():
        for name, image in cases(arguments.images, settings):
            found = answer(network, image, settings)
            if masks:
                arguments.out.mkdir(parents=True, exist_ok=True)
                np.save(arguments.out / f"{name}.npy", found.argmax(0).to(torch.uint8).numpy())
            else:
                rows.append([name, *map(repr, found.tolist())])
    if not masks:
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["case", *(f"probability_{one}" for one in settings["answer"]["classes"])])
            table.writerows(rows)


def cases(paths: Sequence[str], settings: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Name and stored values [channel, *space] of each case.

    An .npz file holds arrays that are prepared already, by case. Several modalities of one case are files joined by a
    comma, in the order of the channels.
    """
    for path in paths:
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays.files:
                    yield name, torch.from_numpy(arrays[name])
        else:
            name = Path(path.split(",")[0]).name.split(".")[0]
            yield name, sized(read_image(path.split(","), settings), settings)


def sized(image: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """An image at the size that the network expects, if it expects one."""
    size = settings["size"]
    if size is None or list(image.shape[1:]) == size:
        return image
    return fit(image, size, settings["fit"], nearest=False)


def normalised(image: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Stored values [channel, *space] to what the network sees: each channel clipped, moved and scaled."""
    rule = settings["normalisation"]
    if len(image) != len(rule["mean"]):
        sys.exit(f"The network takes images of {len(rule['mean'])} channels; this one has {len(image)}.")
    values = image.to(torch.float32, copy=True)
    for channel, (mean, std) in enumerate(zip(rule["mean"], rule["std"], strict=True)):
        if rule["low"]:
            low, high = rule["low"][channel], rule["high"][channel]
            if low is not None or high is not None:
                values[channel].clamp_(low, high)
        values[channel].mul_(1.0 / (rule["full_scale"] * std)).add_(-mean / std)
    return values


def answer(network: Network, image: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Probabilities of the classes [class], or of each pixel's classes [class, *space]."""
    batch = normalised(image, settings)[None]
    kind = settings["answer"]["kind"]
    if kind == "mask":
        return mask_logits(network, batch, settings["patch"], settings["fixed_size"])[0].softmax(0)
    if settings["size"] is not None and list(image.shape[1:]) != settings["size"]:
        sys.exit(f"The network takes images of {settings['size']} pixels; this one has {list(image.shape[1:])}.")
    logits = network(batch)[0].float()
    return logits.sigmoid() if kind == "labels" else logits.softmax(0)
