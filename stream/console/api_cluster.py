"""Routes: the cluster, where there is one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from stream.console.parts import parts_of

router = APIRouter(prefix="/api/v1")


@router.get("/cluster")
def cluster(request: Request) -> dict[str, Any]:
    """Nodes, workers, load, moves, outboxes, and cameras that are not watched; ``cluster`` is null on one machine."""
    return {"cluster": parts_of(request).board.cluster_page()}
