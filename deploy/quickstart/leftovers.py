"""What PostgreSQL servers leave in the kernel when they are killed and never started again."""

import os
import subprocess


def shared_memory_of(pid_file):
    """The id of the System V segment that a postmaster.pid names; None: it names none."""
    try:
        with open(pid_file, encoding="utf-8") as source:
            words = source.read().splitlines()[6].split()
    except (OSError, IndexError):
        return None
    return words[1] if len(words) == 2 else None


def free_shared_memory(folder):
    """Of all data directories below a folder, once no server works there any more."""
    for path, _, names in os.walk(folder):
        segment = shared_memory_of(os.path.join(path, "postmaster.pid")) if "postmaster.pid" in names else None
        if segment is not None:
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)
