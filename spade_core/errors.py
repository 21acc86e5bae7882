"""Every error that ``spade_core`` raises on purpose, as one tree.

::

    SpadeError
    +-- InputError             an array of the wrong shape, dtype or range; a parameter out of its bounds
    +-- BackboneError
    |   +-- UnknownBackbone    no backbone has this name
    |   +-- WeightsError       weights are missing, cannot be had, or do not fit the network
    +-- GalleryError
    |   +-- GalleryNotFound    there is no gallery at this place
    |   +-- GalleryCorrupt     a file is missing, cut short or altered
    |   +-- GalleryMismatch    it was made with something else than what runs now
    |   +-- GalleryBusy        another program is changing it
    +-- CalibrationError       there is not enough normal footage to set a threshold
"""

from __future__ import annotations


class SpadeError(Exception):
    """Base of all errors of this package."""


class InputError(SpadeError, ValueError):
    """An array or a parameter that the method cannot work with."""


class BackboneError(SpadeError):
    """A backbone cannot be built."""


class UnknownBackbone(BackboneError):
    """No backbone has this name."""


class WeightsError(BackboneError):
    """The weights are missing, cannot be had, or do not fit the network."""


class GalleryError(SpadeError):
    """A gallery cannot be used."""


class GalleryNotFound(GalleryError):
    """There is no gallery at this place."""


class GalleryCorrupt(GalleryError):
    """A file of the gallery is missing, cut short or altered."""


class GalleryMismatch(GalleryError):
    """The gallery was made with another backbone, other weights or another preprocessing than what runs now."""


class GalleryBusy(GalleryError):
    """Another program is changing the gallery: it will be done some time."""


class CalibrationError(SpadeError):
    """There is not enough normal footage to set a threshold."""
