"""``bench``: what the pipeline costs, measured on the machine at hand. Every figure of docs/performance.md and
docs/capacity.md comes from here.
"""
