"""archimed searches neural network architectures for medical images, trains them and evaluates them honestly.

import archimed

run = archimed.run("mstf-nas", data="breastmnist", out="runs/breast")
network = archimed.load(run)
archimed.indicators.score(network, archimed.Batch(images, target), ["naswot", "synflow"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archimed import indicators
    from archimed.batch import Batch
    from archimed.experiment.api import load, run, transfer
    from archimed.experiment.estimators import ArchimedClassifier, ArchimedSegmenter
    from archimed.experiment.predict_stage import predict

__all__ = ["ArchimedClassifier", "ArchimedSegmenter", "Batch", "indicators", "load", "predict", "run", "transfer"]

_LIVES_IN = {
    "Batch": "archimed.batch",
    "predict": "archimed.experiment.predict_stage",
    **dict.fromkeys(("load", "run", "transfer"), "archimed.experiment.api"),
    **dict.fromkeys(("ArchimedClassifier", "ArchimedSegmenter"), "archimed.experiment.estimators"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import archimed` and the command line stay instant."""
    if name in _LIVES_IN:
        return getattr(import_module(_LIVES_IN[name]), name)
    if name == "indicators":
        return import_module("archimed.indicators")
    raise AttributeError(f"module 'archimed' has no attribute {name!r}")
