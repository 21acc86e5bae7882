"""The method: arrays in, scores out. SPADE (Cohen & Hoshen 2020, "Sub-Image Anomaly Detection with Deep Pyramid
Correspondences") for fixed cameras.

No files but galleries, no sockets, no threads, no clock; never imports ``stream``. Importing it does nothing, and
importing the package alone does not load torch.
"""
