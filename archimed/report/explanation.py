"""Writes the page of an explanation: explain.html, from maps.json and the pictures beside it."""

from pathlib import Path

from archimed.report.explaining import IN_PAGE, explanation
from archimed.report.report import write_page


def write_explanation(folder: Path) -> Path:
    """Write explain.html into the folder of an explanation, and return its path; the page needs no other file."""
    shown = explanation(folder, IN_PAGE)
    page = {"title": f"What {shown.network} looked at on {shown.data}", "shown": shown}
    return write_page(folder / "explain.html", page, "explain.html")
