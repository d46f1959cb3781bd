"""Two labs that start at once, before either listens, use different ports."""

import os
import subprocess
import sys

SOURCE = os.environ.get("FORTRESS_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHOOSE = """
import sys
import lab
print(lab.free_offset(["127.0.0.1"], [5300, 5301]), lab.free_offset(["127.0.0.1"], [5300, 5301]), flush=True)
sys.stdin.read()
"""


def start():
    """A process that has chosen, and goes on."""
    return subprocess.Popen([sys.executable, "-c", CHOOSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            cwd=os.path.join(SOURCE, "deploy", "quickstart"), text=True)


def main():
    with start() as first, start() as second:
        chosen = [each.stdout.readline().split() for each in (first, second)]
        for offset, again in chosen:
            assert offset == again, "a process may use what it chose before"
        assert chosen[0][0] != chosen[1][0], f"both labs chose {chosen[0][0]}"
        first.stdin.close()
        assert first.wait(timeout=30) == 0
        with start() as third:  # the first one's are free again
            assert third.stdout.readline().split()[0] != chosen[1][0]
    print(f"offsets {chosen[0][0]} and {chosen[1][0]}")


if __name__ == "__main__":
    main()
