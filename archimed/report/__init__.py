"""The report of a run: one offline page with its figures and tables."""

from archimed.report.report import write_report

__all__ = ["write_report"]
