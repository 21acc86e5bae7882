"""Beyond one machine: the same pipeline on several, placed and kept going by Ray. One machine needs none of it.

Frames and alerts go over ZeroMQ between the processes that make and take them, as on one machine; Ray never sees one.
"""
