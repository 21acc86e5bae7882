"""spade-stream: a camera network in, alerts with the anomalous region masked out.

Importing this package does nothing; the programs are built in :mod:`stream.cli`.
"""

__version__ = "0.1.0"
