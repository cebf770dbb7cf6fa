"""Stands for a comparison that ends the process."""

import sys

if __name__ == "__main__":
    sys.stdout.write("true\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.exit(1)
