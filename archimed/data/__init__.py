"""Images and labels in: one reader per format, all giving the same `Dataset` (see `archimed.data.source`)."""

from archimed.data.catalogue import list_datasets

__all__ = ["list_datasets"]
