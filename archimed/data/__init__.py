"""Images and labels in: one reader per format, all giving the same `Dataset` (see `archimed.data.source`)."""
