"""Studies over several networks or runs: comparisons of finished runs, and how well indicators rank networks."""
