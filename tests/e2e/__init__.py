"""Whole programs, started as users start them. A package, so that its modules may be named like those of other
folders.
"""
