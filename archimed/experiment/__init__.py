"""A run: its resolved settings, and the stages that take it from data to report."""
