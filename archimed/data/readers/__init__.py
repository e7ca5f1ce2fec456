"""Readers: one image file of any kind to a `Volume` (see `any_image`)."""
