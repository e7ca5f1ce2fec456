"""Synthetic images made on the fly, for demonstrations and tests: nothing to download, the truth is known."""

from collections.abc import Callable, Mapping

from archimed.data.dataset import Dataset
from archimed.data.phantoms.lesions2d import lesions2d
from archimed.data.phantoms.options import PhantomOptions, parse_options

PHANTOMS: Mapping[str, Callable[[PhantomOptions, int], Dataset]] = {"lesions2d": lesions2d}

__all__ = ["PHANTOMS", "PhantomOptions", "parse_options"]
