"""Waiting for the next change, for those who show the present state."""

import asyncio
import time


class Pulse:
    """A number that grows with each change, and that no other run of the daemon had."""

    def __init__(self) -> None:
        self.revision = int(time.time() * 1000)
        self._moved = asyncio.Event()

    def beat(self) -> None:
        """Take note of a change."""
        self.revision += 1
        self._moved.set()
        self._moved.clear()

    async def after(self, revision: int) -> None:
        """Return when the revision is another one."""
        while self.revision == revision:
            await self._moved.wait()
