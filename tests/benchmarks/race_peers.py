"""An environment of its own for every peer, under ``build/peers``, so that its pins never meet ours.

BERGSON_VERSION   the version raced
ensure_bergson    its Python, installed on first use

Torch comes first and is pinned again beside Bergson, since a loose torch brings gigabytes of CUDA libraries with it;
torchvision and torchaudio come with Bergson, break the import of transformers beside a torch for the CPU, and go again.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from gsd_core.errors import UserError

BERGSON_VERSION = "2.5.1"
PEERS = Path(__file__).resolve().parents[2] / "build" / "peers"


def ensure_bergson() -> Path:
    """Python of an environment with Bergson and our versions of torch, transformers and numpy.

    Raises
    ------
    UserError
        The installation fails; it says what pip said last.
    """
    folder = PEERS / f"bergson-{BERGSON_VERSION}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    ours = [f"{name}=={version(name).split('+')[0]}" for name in ("torch", "transformers", "numpy")]
    wanted = " ".join([*ours, BERGSON_VERSION])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    sys.stderr.write(f"installing Bergson {BERGSON_VERSION} into {folder}, about 2 GB\n")
    venv.create(folder, with_pip=True, clear=True)
    for words in (
        ["install", ours[0]],
        ["install", *ours, f"bergson=={BERGSON_VERSION}"],
        ["uninstall", "--yes", "torchvision", "torchaudio"],
    ):
        done = subprocess.run([python, "-m", "pip", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise UserError(
                f"Bergson cannot be installed: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}",
                f"pip {' '.join(words)}",
                "connect to a package index, or leave Bergson out with --no-peers",
            )
    stamp.write_text(wanted)  # last, so that an installation that was cut off is done again
    return python
