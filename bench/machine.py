"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import msgspec

from bench.disk import appending

_PACKAGES = ("celery", "kombu", "redis", "SQLAlchemy", "psycopg", "PyMySQL", "pymongo", "msgspec")


class Machine(msgspec.Struct, frozen=True):
    """`fsync`: milliseconds to append 4 KiB to a file and have it on the disk."""

    processor: str
    cores: int
    memory: int
    system: str
    fsync: float
    packages: dict[str, str]
    measured: str

    def describe(self) -> str:
        """A paragraph."""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        return (
            f"Measured on {self.measured}: {self.processor}, {self.cores} cores, {self.memory} GiB of memory,\n"
            f"{self.system}, Python {platform.python_version()}; {packages}.\n"
            f"Appending 4 KiB and `fdatasync` takes {self.fsync:.2f} ms here (median of 100).\n"
            "Broker, servers, workers and clients share the machine."
        )


def this_machine(folder: Path) -> Machine:
    """This one; its disk is measured in `folder`."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        system=f"{platform.system()} {platform.release()}",
        fsync=_fsync(folder),
        packages={name: version(name) for name in _PACKAGES},
        measured=time.strftime("%Y-%m-%d"),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fsync(folder: Path) -> float:
    with appending(folder) as append:
        return median(append() for _ in range(100)) * 1000
