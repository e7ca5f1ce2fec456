"""Formats: what the user named, to a `Listing` of cases (or, for arrays, straight to a `Dataset`)."""
