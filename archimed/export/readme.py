"""README.md of an export: what lies there, what it needs, how it is used."""

from collections.abc import Mapping

from archimed.export.card import CARD
from archimed.export.exported import Exported, Written

FILES: Mapping[str, str] = {
    "network.py": "the network: `build_network()`",
    "weights.safetensors": "its weights",
    "model.pt2": "the network as a torch.export program",
    "model.onnx": "the network as an ONNX graph; its properties tell the preprocessing",
    "model.pt": "its weights",
    "preprocess.json": "how an image becomes what the network sees",
    "predict.py": "reads images, applies that, and writes the answers",
    "workflow.py": "reads images, applies that, and writes the answers",
    "metadata.json": "what MONAI's tools ask for",
    "inference.json": "what `monai.bundle` runs",
    "__init__.py": "makes a package of the folder",
}
PREDICT = """```bash
python predict.py IMAGE... --out {answers}
```
"""
SOURCE = """
In Python:

```python
from pathlib import Path

from predict import network_from_source

network = network_from_source(Path("."))  # an nn.Module in eval mode
```
"""
PT2 = """
In Python:

```python
import torch

network = torch.export.load("model.pt2").module()
```
"""
ONNX = """
By any other ONNX runtime: input `images` [batch, channel, *space], float32, normalised; output `logits`.
"""
BUNDLE = """From the bundle's folder, with a folder of images:

```bash
python -c "import monai.bundle; monai.bundle.run(config_file='configs/inference.json', dataset_dir='IMAGES')"
```

With `pip install fire` also `python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES`.
Answers go to `answers/`, or to `output_dir`.
"""
USE: Mapping[str, str] = {"source": PREDICT + SOURCE, "pt2": PREDICT + PT2, "onnx": PREDICT + ONNX, "bundle": BUNDLE}
README = """# {title}

A network that archimed found and trained, as files that need no archimed. [{card}]({card}) tells what it is for, how
good it is, and what was not tested.

Needs: {needs}.

```bash
pip install {install}
```

## Use

{use}
Images are pictures (PNG, JPEG, TIFF; Pillow), NIfTI volumes (nibabel, scipy), arrays of stored values (.npy), or one
.npz file of arrays that are prepared already, by case. Several modalities of one case are files joined by a comma, in
the order of the channels. DICOM series are for `archimed predict`, or to be converted first. Written are {answers}.
{notes}
## Files

| file | what it is |
| --- | --- |
{files}
"""


def readme(exported: Exported, form: str, written: Written) -> str:
    """The text."""
    masks = exported.task.kind == "segmentation"
    lines = [f"| `{file.as_posix()}` | {FILES.get(file.name, '')} |" for file in written.files]
    return README.format(
        title=exported.title,
        card=CARD,
        needs=", ".join(written.needs),
        install=" ".join(written.needs),
        use=USE[form].format(answers="answers" if masks else "predictions.csv"),
        answers="class numbers [*space], one .npy file for each case" if masks else "probabilities by case",
        notes="".join(f"\n{note}\n" for note in written.notes),
        files="\n".join(lines),
    )
