"""Waiting for the next change, for those who show the present state."""

import asyncio


class Pulse:
    """A number that grows with each change; of one event loop."""

    def __init__(self) -> None:
        self.revision = 0
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
