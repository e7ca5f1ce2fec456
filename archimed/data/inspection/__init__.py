"""Inspection: what a person should see of data before a run."""
