"""Stands for a comparison that never ends: says that it is ready, and reads without an answer."""

import sys

if __name__ == "__main__":
    sys.stdout.write("true\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        pass
