"""How much memory is left, so that what does not fit is refused before it is asked for."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """Return the bytes that this process can still take: of the machine, its group, its limit."""
    found = [1 << 62]
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith(("MemAvailable:", "SwapFree:")):
                found.append(int(line.split()[1]) << 10)
    machine = sum(found[1:]) if len(found) > 1 else found[0]
    group = limit = found[0]
    with contextlib.suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        group = most - int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit = soft - pages * resource.getpagesize()
    return max(min(machine, group, limit), 0)
