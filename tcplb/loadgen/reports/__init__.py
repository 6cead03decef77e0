"""From what a run has measured to what a user reads: pure, without clock, socket or printing.

`report.py` is the one source of all forms: text, table (CSV), page (HTML) and JSON show the same.
"""
