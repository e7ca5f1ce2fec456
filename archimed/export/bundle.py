"""A MONAI bundle: metadata, a configuration that `monai.bundle` runs, the network's source and its weights."""

from datetime import date
from pathlib import Path
from typing import Any

import torch

from archimed.export.exported import Exported, Written
from archimed.export.formats import checked_source
from archimed.export.network_source import libraries
from archimed.export.predict_source import functions_source
from archimed.files import write_json, write_text

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
WORKFLOW = "archimed.export.standalone_bundle"
ABOUT_WORKFLOW = "Reads images, lets the network of this bundle answer, and writes what it says."


def write_bundle(exported: Exported, folder: Path) -> Written:
    """The files of a bundle; run it with `monai.bundle.run` from its folder."""
    text = checked_source(exported)
    write_text(folder / "scripts" / "__init__.py", "")
    write_text(folder / "scripts" / "network.py", text.replace("weights.safetensors", "models/model.pt"))
    parts = [(WORKFLOW, name) for name in ("Images", "Windows", "Evaluator")]
    write_text(folder / "scripts" / "workflow.py", functions_source(ABOUT_WORKFLOW, parts, ["run"]))
    (folder / "models").mkdir(parents=True, exist_ok=True)
    torch.save(exported.network.state_dict(), folder / "models" / "model.pt")
    write_json(folder / "configs" / "metadata.json", metadata(exported))
    write_json(folder / "configs" / "inference.json", inference(exported))
    write_json(folder / "configs" / "preprocess.json", exported.preprocessing)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    needs = tuple(dict.fromkeys((*libraries(text), "monai", "numpy", "torch")))
    return Written(tuple(files), needs, ("Run from the bundle's folder, or with it on PYTHONPATH.",))


def inference(exported: Exported) -> dict[str, Any]:
    """configs/inference.json."""
    masks = exported.task.kind == "segmentation"
    windows = {"_target_": "scripts.workflow.Windows", "patch": list(exported.task.image_size)}
    return {
        "imports": ["$import json", "$from pathlib import Path"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/answers'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "settings": "$json.loads(Path(@bundle_root, 'configs', 'preprocess.json').read_text(encoding='utf-8'))",
        "network_def": {"_target_": "scripts.network.build_network"},
        "weights": "$torch.load(Path(@bundle_root, 'models', 'model.pt'), map_location=@device, weights_only=True)",
        "dataset": {"_target_": "scripts.workflow.Images", "folder": "@dataset_dir", "settings": "@settings"},
        "inferer": windows if masks else {"_target_": "SimpleInferer"},
        "evaluator": {
            "_target_": "scripts.workflow.Evaluator",
            "network": "@network_def",
            "weights": "@weights",
            "dataset": "@dataset",
            "inferer": "@inferer",
            "device": "@device",
            "settings": "@settings",
            "output_dir": "@output_dir",
        },
        "run": ["$@evaluator.run()"],
    }


def metadata(exported: Exported) -> dict[str, Any]:
    """configs/metadata.json, with what MONAI's schema asks for."""
    import monai
    import numpy as np

    task = exported.task
    masks = task.kind == "segmentation"
    kinds = {*exported.preprocessing["kinds"]}
    classes = {str(number): name for number, name in enumerate(task.class_names)}
    image = {
        "type": "image",
        "format": "hounsfield" if kinds == {"ct"} else "magnitude",
        "modality": "/".join(sorted(kinds - {"other", "mask"})).upper() or "n/a",
        "num_channels": task.channels,
        "spatial_shape": list(task.image_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": masks,
        "channel_def": {str(number): name for number, name in enumerate(exported.preprocessing["channels"])},
    }
    answer = {
        "type": "image" if masks else "probabilities",
        "format": "segmentation" if masks else "classes",
        "num_channels": task.num_outputs,
        "spatial_shape": list(task.image_size) if masks else [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": masks,
        "channel_def": classes,
    }
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported on {date.today().isoformat()}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "name": exported.title,
        "task": f"{task.kind} of {', '.join(task.class_names)}",
        "description": f"{exported.title}, found and trained by archimed; see docs/README.md.",
        "authors": "see docs/README.md",
        "copyright": "see docs/README.md",
        "intended_use": "Research. It is no medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
    }
