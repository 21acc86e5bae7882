"""Evaluation: the field's datasets through the ordinary pipeline (the same readers, scorer and policy as for cameras),
judged against their labels, and written down as figures and a report.
"""
