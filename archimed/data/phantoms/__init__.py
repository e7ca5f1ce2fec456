"""Synthetic images made on the fly, for demonstrations and tests: nothing to download, the truth is known."""

from collections.abc import Callable, Mapping

from archimed.data.dataset import Dataset
from archimed.data.phantoms.cells import cells
from archimed.data.phantoms.chestct import chestct
from archimed.data.phantoms.lesions2d import lesions2d
from archimed.data.phantoms.options import PhantomOptions, parse_options
from archimed.data.phantoms.organs3d import organs3d
from archimed.data.phantoms.petct import petct
from archimed.data.phantoms.polyps import polyps
from archimed.data.phantoms.vessels import vessels
from archimed.data.phantoms.xray import xray

PHANTOMS: Mapping[str, Callable[[PhantomOptions, int], Dataset]] = {
    "lesions2d": lesions2d,
    "xray": xray,
    "petct": petct,
    "chestct": chestct,
    "vessels": vessels,
    "cells": cells,
    "polyps": polyps,
    "organs3d": organs3d,
}

__all__ = ["PHANTOMS", "PhantomOptions", "parse_options"]
