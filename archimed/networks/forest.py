"""A random forest kept as plain arrays, and the network that reads radiomic features with it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from archimed.networks.fitted import Fitted
from archimed.networks.radiomics import radiomic_features

LEAST = 1e-7  # probability: logits are its logarithm
ARRAYS = ("root", "feature", "threshold", "following", "value")


class Forest(nn.Module):
    """Decision trees: the nodes of all of them one after the other.

    Attributes:
        root: the first node of each tree [tree].
        feature: which feature a node asks for [node]; -1 at a leaf.
        threshold: a feature not above it goes to the first child [node], float64.
        following: nodes after it [node, 2]; a leaf follows itself.
        value: share of each class at a node [node, class], float64.
    """

    root: Tensor
    feature: Tensor
    threshold: Tensor
    following: Tensor
    value: Tensor

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.plant(
            {
                "root": torch.zeros(1, dtype=torch.int64),
                "feature": torch.full((1,), -1, dtype=torch.int64),
                "threshold": torch.zeros(1, dtype=torch.float64),
                "following": torch.zeros(1, 2, dtype=torch.int64),
                "value": torch.full((1, num_outputs), 1 / num_outputs, dtype=torch.float64),
            }
        )
        self.register_load_state_dict_pre_hook(_take_shapes)

    def plant(self, arrays: dict[str, Tensor]) -> None:
        """Replace all trees."""
        for name in ARRAYS:
            self.register_buffer(name, arrays[name])

    def forward(self, features: Float[Tensor, "case feature"]) -> Float[Tensor, "case class"]:
        """Probabilities of the classes, the mean over all trees, float64."""
        node = self.root.expand(len(features), -1)
        while bool(((asked := self.feature[node]) >= 0).any()):
            seen = features.gather(1, asked.clamp(min=0)).double()
            beyond = (seen > self.threshold[node]).long()
            node = torch.where(asked >= 0, self.following[node, beyond], node)
        return self.value[node].mean(1)


def _take_shapes(module: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    """Before loading: let the arrays have the sizes of what is loaded."""
    for name in ARRAYS:
        given, own = state.get(prefix + name), getattr(module, name)
        if given is not None and given.shape != own.shape and given.shape[1:] == own.shape[1:]:
            module.register_buffer(name, torch.zeros_like(given, dtype=own.dtype, device=own.device))


class RadiomicsForest(Fitted):
    """Logits from radiomic features by a random forest (Breiman, 2001) of scikit-learn's, fitted with balanced classes.

    Nothing is chosen on validation cases: the trees grow as the settings say, until their leaves are pure.
    """

    def __init__(self, num_outputs: int, trees: int, *, outlined: bool = False) -> None:
        super().__init__()
        self.trees = trees
        self.outlined = outlined
        self.forest = Forest(num_outputs)

    def fit(self, images: Iterable[Tensor], target: Num[Tensor, "case *label"], seed: int) -> Tensor:
        """Grow the forest; see `Fitted.fit`."""
        from sklearn.ensemble import RandomForestClassifier

        features = torch.cat([features_of(part, outlined=self.outlined) for part in images])
        classifier = RandomForestClassifier(self.trees, class_weight="balanced", random_state=seed % 2**32)
        classifier.fit(features.numpy(), target.cpu().numpy())
        arrays = forest_arrays(classifier, self.forest.num_outputs)
        self.forest.plant({name: array.to(self.forest.root.device) for name, array in arrays.items()})
        return self._logits(features)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image: logarithms of probabilities."""
        return self._logits(features_of(images, outlined=self.outlined))

    def _logits(self, features: Float[Tensor, "case feature"]) -> Float[Tensor, "case output"]:
        shares: Tensor = self.forest(features.to(self.forest.root.device))
        return shares.clamp(min=LEAST).log().float()


def features_of(
    images: Float[Tensor, "batch channel *space"], *, outlined: bool = False
) -> Float[Tensor, "batch feature"]:
    """Radiomic features of each image, as the forest compares them: float32, on the CPU."""
    rows = [radiomic_features(image, outlined=outlined) for image in images.detach().cpu().float().numpy()]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def forest_arrays(classifier: Any, num_outputs: int) -> dict[str, Tensor]:
    """The trees of a fitted scikit-learn forest as the buffers of `Forest`; classes it never met have share 0."""
    grown = [estimator.tree_ for estimator in classifier.estimators_]
    counts = [tree.node_count for tree in grown]
    roots = np.concatenate([[0], np.cumsum(counts)[:-1]])
    left = np.concatenate([tree.children_left for tree in grown])
    right = np.concatenate([tree.children_right for tree in grown])
    leaf, own = left < 0, np.arange(len(left))
    offset = np.repeat(roots, counts)
    following: Int[np.ndarray, "node 2"] = np.stack([left + offset, right + offset], axis=1)
    known = np.concatenate([tree.value[:, 0] for tree in grown])
    value = np.zeros((len(left), num_outputs))
    value[:, classifier.classes_.astype(np.int64)] = known / known.sum(1, keepdims=True)
    return {
        "root": torch.from_numpy(roots.astype(np.int64)),
        "feature": torch.from_numpy(
            np.where(leaf, -1, np.concatenate([tree.feature for tree in grown])).astype(np.int64)
        ),
        "threshold": torch.from_numpy(np.concatenate([tree.threshold for tree in grown]).astype(np.float64)),
        "following": torch.from_numpy(np.where(leaf[:, None], own[:, None], following).astype(np.int64)),
        "value": torch.from_numpy(value),
    }
