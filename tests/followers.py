"""The journal's followers of a system that no server runs."""

from __future__ import annotations

from typing import Any

from csms.compose import System
from csms.ports import Follower


def followers_of(system: System) -> list[Follower]:
    """Those that the program would run, in its order; its other work is put away."""
    found: list[Follower] = []

    async def nothing() -> None:
        return None

    def collect(follower: Follower) -> Any:
        found.append(follower)
        return nothing()

    system.followers.run = collect  # type: ignore[method-assign]
    for work in system.work():
        work.close()
    return found
