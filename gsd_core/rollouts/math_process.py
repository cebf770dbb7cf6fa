"""The process that `verify.AnswerChecker` asks: pairs of answers in, one JSON line each, true or false out.

main   answers lines of standard input until it ends

It says ``true`` once when it is ready.
"""

from __future__ import annotations

import json
import logging
import sys

from math_verify import parse, verify


def main() -> None:
    """A line ``["wanted", "answer"]`` → ``true`` where they are the same mathematics."""
    logging.disable(logging.CRITICAL)
    _say(True)
    for line in sys.stdin:
        wanted, answer = json.loads(line)
        # No time limit inside: whoever asks ends this process where it takes too long.
        told = [parse(f"${text.strip().strip('$')}$", parsing_timeout=None) for text in (wanted, answer)]
        _say(bool(all(told) and verify(told[0], told[1], timeout_seconds=None)))


def _say(value: bool) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
