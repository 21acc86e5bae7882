"""How large snapshots are for a broker that does not say what it takes."""

from __future__ import annotations

from stream.sinks.snapshot_limit import FLOOR_BYTES, PATIENCE_MOST, SNAPSHOT_BYTES, SnapshotLimit

KIB = 1 << 10


def suspected(*sizes: int) -> SnapshotLimit:
    limit = SnapshotLimit()
    for size in sizes:
        limit.suspect(size)
    return limit


def test_a_suspicion_halves_the_size_of_the_picture() -> None:
    assert suspected().most == SNAPSHOT_BYTES
    assert suspected(300 * KIB).most == 150 * KIB


def test_one_passing_fault_costs_one_delivery() -> None:
    limit = suspected(300 * KIB)
    sizes = []
    for _ in range(3):
        limit.taken()
        sizes.append(limit.most)
    assert sizes == [300 * KIB, SNAPSHOT_BYTES, SNAPSHOT_BYTES]


def test_the_limit_stops_at_a_floor_and_below_it_snapshots_are_left_out_until_alerts_were_taken() -> None:
    limit = suspected(40 * KIB)
    assert limit.most == FLOOR_BYTES
    limit.suspect(FLOOR_BYTES)
    assert limit.most == 0
    for _ in range(2):
        limit.taken()
    assert limit.most == FLOOR_BYTES


def test_each_further_suspicion_waits_for_twice_as_many_deliveries_up_to_a_bound() -> None:
    limit = suspected(*[100 * KIB] * 4)
    for _ in range(7):
        limit.taken()
    assert limit.most == 50 * KIB
    limit.taken()
    assert limit.most == 100 * KIB

    limit = suspected(*[100 * KIB] * 50)
    for _ in range(PATIENCE_MOST):
        limit.taken()
    assert limit.most == 100 * KIB


def test_a_suspicion_is_forgiven_in_time() -> None:
    limit = suspected(*[SNAPSHOT_BYTES] * 50)
    for _ in range(3 * PATIENCE_MOST):  # to full size again, then half the patience, then a quarter
        limit.taken()
    limit.suspect(SNAPSHOT_BYTES)
    for _ in range(PATIENCE_MOST // 2):
        limit.taken()
    assert limit.most == SNAPSHOT_BYTES
