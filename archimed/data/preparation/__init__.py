"""Preparation: a `Listing` to a `Dataset`, every case on one grid, once, kept in a cache."""
