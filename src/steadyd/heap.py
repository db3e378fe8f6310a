"""The memory of the process: what is not needed any more goes back to the kernel."""

import asyncio
import contextlib
import ctypes
import gc

# malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 128 * 1024  # bytes; a text that is larger has pages of its own
TRIM_SECONDS = 30.0

_libc = ctypes.CDLL(None)


def confine() -> None:
    """Let all threads allocate from one arena, and large texts go back at once.

    Unless told, the C library keeps ever larger pieces, and each thread costs an arena.
    """
    with contextlib.suppress(AttributeError):  # a C library without mallopt(3)
        _libc.mallopt(M_ARENA_MAX, 1)
        _libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        _libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGE)


def settle() -> None:
    """Give back what only the start needed; what lives now is never garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)  # a tick makes thousands of values that die by themselves
    _trim()


async def keep_small() -> None:
    """Give back now and then what a scrape, a page or a reload needed for a moment."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        _trim()


def _trim() -> None:
    with contextlib.suppress(AttributeError):  # a C library without malloc_trim(3)
        _libc.malloc_trim(0)
