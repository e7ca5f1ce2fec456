"""Sorting as people sort: "grade 10" after "grade 9"."""

import re


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key by which numbers within text count as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts)
