"""Hub data sets are read like files, and every failure of the hub is one line that a person can act on.

The library is replaced by a small stand-in, except in the last test, which asks the real one while offline.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gsd_core.dataset import hub
from gsd_core.dataset.load import load_dataset
from gsd_core.errors import UserError


def test_hub_ids_are_told_from_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert hub.looks_like_hub_id("openai/gsm8k")
    assert hub.looks_like_hub_id("hub:gsm8k:main@test")
    assert not hub.looks_like_hub_id("data/missing"), "a folder of that name makes it a path"
    assert not hub.looks_like_hub_id("elsewhere/train.jsonl")
    assert not hub.looks_like_hub_id("/abs/path")
    assert hub.parse_hub_id("hub:o/n:main@test") == hub.HubId("o/n", "main", "test")
    for wrong in ("hub:../x", "hub:", "hub:a/b/c"):
        with pytest.raises(UserError, match="not a hub data set id"):
            load_dataset(wrong)


class _Stream(list):
    column_names = ("question", "answer")


def _fake_libraries(monkeypatch: pytest.MonkeyPatch, load, probe=lambda *a, **k: None, offline=False) -> None:
    fake = SimpleNamespace(
        config=SimpleNamespace(HF_HUB_OFFLINE=offline, HF_ENDPOINT="http://hub.invalid"),
        load_dataset=load,
        get_dataset_split_names=lambda name, config: ["test", "train"],
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    api = SimpleNamespace(HfApi=lambda endpoint: SimpleNamespace(dataset_info=probe))
    monkeypatch.setitem(sys.modules, "huggingface_hub", api)


def test_a_hub_data_set_is_streamed_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name, config, split, streaming):
        asked.append((name, config, split, streaming))
        return _Stream({"question": f"How many are {n} + 1?", "answer": f"Add.\n#### {n + 1}"} for n in range(9))

    _fake_libraries(monkeypatch, load)
    loaded = load_dataset("hub:openai/gsm8k:main", limit=4)
    assert asked == [("openai/gsm8k", "main", "train", True)]
    assert (loaded.format, len(loaded.samples), loaded.samples[1].answer) == ("hub", 4, "2")
    assert any("also test" in note for note in loaded.notes)
    assert loaded.data_hash == load_dataset("hub:openai/gsm8k:main", limit=4).data_hash


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("Max retries exceeded"), "cannot be reached"),
        (RuntimeError("Dataset 'o/n' is a gated dataset"), "refuses access"),
        (type("DatasetNotFoundError", (Exception,), {})("Dataset 'o/n' doesn't exist"), "no such data set"),
        (ValueError("BuilderConfig 'x' not found. Available: ['main']"), "no such data set|cannot be opened"),
        (
            RuntimeError("Dataset scripts are no longer supported, but found n.py"),
            "own code, which is never run",
        ),
        (OSError("disk full"), "cannot be read .disk full"),
    ],
)
def test_hub_failures_are_user_errors(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def fail(*args, **kwargs):
        raise error

    _fake_libraries(monkeypatch, fail, probe=fail)
    with pytest.raises(UserError, match=told):
        load_dataset("hub:o/n")


def test_the_real_library_says_that_it_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The switch is read when the libraries are imported, hence the attributes; the answer comes from the real code.
    datasets = pytest.importorskip("datasets")
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be reached"):
        load_dataset("hub:nobody-here/never-downloaded")
