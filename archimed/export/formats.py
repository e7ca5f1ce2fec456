"""The files of each format: source, torch.export and ONNX; a MONAI bundle is in `archimed.export.bundle`."""

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from archimed.errors import SettingsError
from archimed.export.exported import TOLERANCE, Exported, Written
from archimed.export.expressions import UnwritableError
from archimed.export.network_source import libraries, network_source
from archimed.export.predict_source import predict_source
from archimed.files import write_json, write_text
from archimed.training.weights import save_tensors

OPSET = 20  # of ONNX: what PyTorch writes unless told otherwise
EXAMPLES = 2  # images in the batch that a graph is taken of


def write_source(exported: Exported, folder: Path) -> Written:
    """network.py, its weights, and what else a person needs to use them."""
    text = checked_source(exported)
    write_text(folder / "network.py", text)
    save_tensors(folder / "weights.safetensors", exported.network.state_dict(), {})
    needs = tuple(dict.fromkeys((*libraries(text), "numpy", "torch")))
    return with_prediction(
        exported, "source", folder, Written((Path("network.py"), Path("weights.safetensors")), needs)
    )


def checked_source(exported: Exported) -> str:
    """The source of the network, specialised where that gives the same network.

    Raises:
        SettingsError: it cannot be written down.
    """
    task = exported.task
    size = "x".join(map(str, task.image_size))
    about = f"{exported.title}, as archimed found and trained it.\n\nIts weights are in weights.safetensors.\n"
    answers = (
        f"The network: images [batch, {task.channels}, {size.replace('x', ', ')}] to logits {outputs_of(exported)}."
    )
    failed = ""
    for dims in (task.spatial_dims, None):
        try:
            text = network_source(exported.network, exported.calls, dims, about, answers)
            check_same(rebuilt(text), exported)
        except UnwritableError as error:
            raise SettingsError(
                f"A network is written out as the calls that built it; of this one {error}. Export it as pt2 or onnx."
            ) from None
        except Exception as error:  # noqa: BLE001 - a text that is not specialised may still be right
            failed = f"{type(error).__name__}: {error}"
        else:
            return text
    raise RuntimeError(f"The source of the network does not build it ({failed}).")


def check_same(network: nn.Module, exported: Exported) -> None:
    """Raise RuntimeError unless the network takes the exported one's weights, and then gives the same."""
    network.load_state_dict(exported.network.state_dict())
    images = example(exported)
    with torch.inference_mode():
        if not torch.allclose(network.eval()(images), exported.network(images), atol=TOLERANCE):
            raise RuntimeError("it gives other logits")


def rebuilt(text: str) -> nn.Module:
    """The network that a source builds; the text was written here, of our own functions."""
    import sys
    import types

    module = types.ModuleType("exported_network")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(text, "network.py", "exec"), module.__dict__)  # noqa: S102
        network: nn.Module = module.build_network()
    finally:
        del sys.modules[module.__name__]
    return network


def outputs_of(exported: Exported) -> str:
    """The shape of the logits in words, with the classes."""
    task = exported.task
    space = ", *space" if task.kind == "segmentation" else ""
    return f"[batch, {task.num_outputs}{space}], of {', '.join(task.class_names)}"


def write_pt2(exported: Exported, folder: Path) -> Written:
    """model.pt2, for batches of any number of images."""
    program = torch.export.export(
        exported.network, (example(exported),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
    )
    torch.export.save(program, folder / "model.pt2", extra_files={"preprocess.json": told(exported)})
    return with_prediction(exported, "pt2", folder, Written((Path("model.pt2"),), ("torch", "numpy")))


def write_onnx(exported: Exported, folder: Path) -> Written:
    """model.onnx, for batches of any number of images, with the preprocessing among its properties.

    Raises:
        SettingsError: a library is missing.
    """
    require("onnx", "onnxscript", "onnxruntime")
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch to itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which no network here needs
        program = torch.onnx.export(
            exported.network,
            (example(exported),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("PyTorch gave no ONNX program.")
    model = program.model_proto
    properties = {"title": exported.title, "preprocessing": told(exported)}
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    onnx.save_model(model, folder / "model.onnx")
    written = Written((Path("model.onnx"),), ("onnxruntime", "torch", "numpy"), (f"Opset {OPSET}.",))
    return with_prediction(exported, "onnx", folder, written)


def told(exported: Exported) -> str:
    """The preprocessing as it stands in a graph's properties."""
    return json.dumps({**exported.preprocessing, "fixed_size": True})


def with_prediction(exported: Exported, form: str, folder: Path, written: Written) -> Written:
    """The same with preprocess.json and predict.py beside it; a graph takes images of one size."""
    if form != "source" and exported.task.kind == "segmentation":
        size = " x ".join(map(str, exported.task.image_size))
        note = (
            f"The graph takes images of {size} pixels: larger ones go by windows, and smaller ones are surrounded by "
            "their border, which moves their answers. export.json tells by how much; the format source takes any size."
        )
        written = replace(written, notes=(*written.notes, note))
    write_json(folder / "preprocess.json", {**exported.preprocessing, "fixed_size": form != "source"})
    write_text(folder / "predict.py", predict_source(form))
    return replace(written, files=(*written.files, Path("preprocess.json"), Path("predict.py")))


def example(exported: Exported) -> Tensor:
    """Images of noise in the form that the network takes."""
    return noise(exported, EXAMPLES)


def noise(exported: Exported, count: int) -> Tensor:
    """Normalised images of noise; a region is a box in the middle."""
    task = exported.task
    images = torch.randn(count, task.channels, *task.image_size, generator=torch.Generator().manual_seed(0))
    if task.has_region:
        images[:, -1] = 0
        images[:, -1][(slice(None), *(slice(side // 4, -(-3 * side // 4)) for side in task.image_size))] = 1
    return images


def require(*names: str) -> None:
    """Raise SettingsError unless the libraries of the extra are there."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"This export needs {', '.join(names)}; {missing[0]} is missing. Install: pip install 'archimed[export]'"
        )
