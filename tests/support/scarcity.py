"""A process to which its machine gives no more memory, on Linux with glibc."""

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NOTHING: Final = 1 << 12  # bytes of address space: less than any process has
BLOCKS_MAX: Final = 1 << 16
SIZES: Final = (1 << 20, 1 << 16, 1 << 13)  # bytes of blocks; smaller ones are to be had


@contextmanager
def no_more_memory() -> Iterator[None]:
    """Whoever asks for 8 KiB or more is refused: torch, Python and the libraries of both."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    before = resource.getrlimit(resource.RLIMIT_AS)
    held, count = (ctypes.c_void_p * BLOCKS_MAX)(), 0
    resource.setrlimit(resource.RLIMIT_AS, (NOTHING, before[1]))
    try:
        for size in SIZES:  # What was freed by others would be given out again.
            while count < BLOCKS_MAX and (block := libc.malloc(size)):
                held[count] = block
                count += 1
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        for block in held[:count]:
            libc.free(block)
