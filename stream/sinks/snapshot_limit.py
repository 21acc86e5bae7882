"""How large a snapshot may be for a broker that does not say it: found out by what is taken and what is not."""

from __future__ import annotations

SNAPSHOT_BYTES = 512 << 10
"""Bytes of a snapshot at most; brokers and services take 128 KiB to 1 MiB, and with MQTT 3 they do not say how much."""

FLOOR_BYTES = 32 << 10
"""A smaller limit would leave a picture that shows nothing. Where even that is not taken, snapshots are left out."""

PATIENCE_MOST = 64
"""Deliveries until more is tried again, at most: each try may hold an alert up for some lost connections."""


class SnapshotLimit:
    """Halves with each suspicion, and doubles again with what is taken: a connection may have been lost for any reason.

    Each suspicion doubles the deliveries that it waits for before it doubles, from 1 up to ``PATIENCE_MOST``;
    as many deliveries at full size halve them again.
    """

    def __init__(self) -> None:
        self._most, self._patience, self._deliveries = SNAPSHOT_BYTES, 0, 0

    @property
    def most(self) -> int:
        """Bytes; 0: snapshots are left out."""
        return self._most

    def suspect(self, size: int) -> None:
        """A snapshot of this many bytes may be what was not taken."""
        self._patience = min(max(2 * self._patience, 1), PATIENCE_MOST)
        self._most = max(size // 2, FLOOR_BYTES) if size > FLOOR_BYTES else 0
        self._deliveries = 0

    def taken(self) -> None:
        """An alert that has a picture was confirmed, with it or, where it was left out, without."""
        self._deliveries += 1
        if self._deliveries < self._patience:
            return
        self._deliveries = 0
        if self._most == SNAPSHOT_BYTES:
            self._patience //= 2  # what was suspected once is forgiven in time
        self._most = min(max(2 * self._most, FLOOR_BYTES), SNAPSHOT_BYTES)
