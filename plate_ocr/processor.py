"""What the processor is, and what it can do."""

import os
import platform
from pathlib import Path


def of_processor(field: str) -> str:
    """A line of Linux' description of the first core; the empty string elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith(field)), "")


def processor_name() -> str:
    """The processor in words."""
    return of_processor("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use: fewer than the machine has, where it is limited."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on; obeys PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def multiplies(*instructions: str) -> bool:
    """Whether the processor has one of these instructions, by Linux' names for them."""
    return not set(instructions).isdisjoint(of_processor("flags").split())
