"""How predict.py of each format gets the network from its folder; see `archimed.export.standalone`."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8}


def network_from_source(folder: Path) -> Callable[[Tensor], Tensor]:
    """The network of network.py with the weights beside it."""
    from network import build_network  # type: ignore[import-not-found]

    network = build_network()
    network.load_state_dict(read_weights(folder / "weights.safetensors"))
    return network.eval()  # type: ignore[no-any-return]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: a length, names with types, shapes and places as JSON, then the numbers."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(data, dtype=dtype, count=(last - first) // dtype.itemsize, offset=start + first)
        tensors[name] = flat.view(entry["shape"])
    return tensors


def network_from_pt2(folder: Path) -> Callable[[Tensor], Tensor]:
    """The network of model.pt2."""
    return torch.export.load(folder / "model.pt2").module()


def network_from_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    """The network of model.onnx."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def network(images: Tensor) -> Tensor:
        """Logits of normalised images."""
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return network
