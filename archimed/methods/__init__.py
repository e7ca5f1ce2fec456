"""One file per method; METHODS is the one place that names them all."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from archimed.errors import SettingsError
from archimed.userfile import is_user_object, load_object

if TYPE_CHECKING:
    from archimed.methods.protocol import Method


PARTS = (
    *("name", "presets", "searched_baselines", "space", "search", "training"),
    *("pool", "search_seconds", "run_search"),
)


@dataclass(frozen=True)
class MethodEntry:
    """Where a method lives and what it is, so that it can be listed without importing it."""

    module: str
    class_name: str
    summary: str


METHODS: Mapping[str, MethodEntry] = {
    "mstf-nas": MethodEntry(
        "archimed.methods.mstf_nas", "MstfNas", "training-free evolution over multi-scale cells (2D classification)"
    ),
    "mm-nas": MethodEntry(
        "archimed.methods.mm_nas", "MmNas", "gradient search of how modalities such as PET and CT fuse (2D, 3D)"
    ),
    "mixsearch": MethodEntry(
        "archimed.methods.mixsearch",
        "MixSearch",
        "gradient search of U-shaped networks on mixed data sets (2D, 3D masks)",
    ),
    "emars": MethodEntry(
        "archimed.methods.emars", "Emars", "evolution of small networks that share weights (2D, 3D classification)"
    ),
    "darts": MethodEntry("archimed.methods.darts", "Darts", "gradient search of DARTS cells (2D, 3D classification)"),
    "zen-nas": MethodEntry(
        "archimed.methods.zen_nas",
        "ZenNas",
        "zero-shot evolution of residual stages in budgets (2D, 3D classification)",
    ),
    "deepmad": MethodEntry(
        "archimed.methods.deepmad",
        "DeepMad",
        "residual stages of proven highest entropy in budgets (2D, 3D classification)",
    ),
    "shapley-nas": MethodEntry(
        "archimed.methods.shapley_nas",
        "ShapleyNas",
        "search of DARTS cells by Shapley values of their operations (2D, 3D classification)",
    ),
    "random-search": MethodEntry(
        "archimed.methods.random_search", "RandomSearch", "random architectures ranked by training-free indicators"
    ),
}


def find_method(name: str) -> "type[Method]":
    """The class of a method, by its name or as `path/file.py:Class` for a user's own, which executes that file.

    Raises:
        SettingsError: there is none of that name; the nearest is suggested.
    """
    if is_user_object(name):
        return own_method(name)
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"the methods are {', '.join(METHODS)}."
        raise SettingsError(f"There is no method {name!r}; {hint}")
    entry = METHODS[name]
    return getattr(import_module(entry.module), entry.class_name)  # type: ignore[no-any-return]


def own_method(name: str) -> "type[Method]":
    """The class that a user's `path/file.py:Class` names.

    Raises:
        SettingsError: there is none, or it lacks a part of a method.
    """
    found = load_object(name)
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise SettingsError(f"A method is a frozen dataclass (see archimed.methods.protocol.Method); {name} is none.")
    has = {*dir(found), *(field.name for field in dataclasses.fields(found))}
    if missing := [part for part in PARTS if part not in has]:
        raise SettingsError(f"A method has {', '.join(PARTS)}; {name} lacks {', '.join(missing)}. Add it.")
    return cast("type[Method]", found)
