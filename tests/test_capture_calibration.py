"""A calibrated sketch: nearer to the gradients than a random one, kept with its run, and shared where asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gsd_core.capture import calibration
from gsd_core.capture.calibration import calibrate, choose_samples, find_sides, sum_sides, take_numbers
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.sketch import Calibration, Sketch, compute_kept_fold
from gsd_core.dataset.demo import generate_corpus
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.methods.capture_method import CALIBRATION
from gsd_core.models.loading import load_model
from gsd_core.models.sources import resolve_checkpoints
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows
from tests.tiny_models import dense_gradients, token_losses, untie_head

CONFIG = CaptureConfig(window=1, all_token_losses=False)
N_LOOKED_AT = 10


@pytest.fixture(scope="module")
def demo():
    model, tokenizer = load_model("demo", device="cpu")
    segmenter = make_segmenter("steps")
    samples = [tokenize_sample(s, tokenizer, segmenter, max_tokens=1024) for s in generate_corpus(34, seed=5)]
    return model, samples


def look(models: list, samples: list, config: CaptureConfig = CONFIG) -> Calibration:
    """The calibration of one or several checkpoints, each of which sees its share of the samples."""
    parts = [samples[at :: 2 * len(models)] for at in range(2 * len(models))]
    turns = list(zip(models, parts[: len(models)], parts[len(models) :], strict=True))
    sides = find_sides([sum_sides(model, config, part) for model, part, _ in turns])
    return calibrate(sides, [take_numbers(model, config, sides, part) for model, _, part in turns], config)


@pytest.fixture(scope="module")
def known(demo) -> Calibration:
    model, samples = demo
    return look([model], samples[:N_LOOKED_AT])


def _rank_neighbors(vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """(n, 10) nearest spans of other samples by centred cosine."""
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows -= rows.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.argsort(-np.where(owners[:, None] != owners, rows @ rows.T, -9.0), axis=1)[:, :10]


def test_sides_are_the_leading_directions_of_inputs_and_output_gradients(demo) -> None:
    """As far as a Nyström approximation finds them: nearly as much of the second moment as the best directions hold."""
    model, samples = demo
    torch.manual_seed(0)
    rows = torch.randn(400, 300) * torch.logspace(0, -2, 300)
    weights = torch.rand(400)
    total = calibration._SideSum(300, calibration.OUT_RANK, 0, "m:out", torch.device("cpu"))
    total.add(rows[:250], weights[:250])
    total.add(rows[250:], weights[250:])
    sums = calibration.SideSums(((total.read(), None),), ("m",), 0)
    moment = (rows * weights[:, None]).T @ rows
    found = Calibration(calibration.RANKS, find_sides([sums]), np.zeros(0, np.int32), np.ones(1, np.int32), 0, 1, 1)
    (left, right) = found.split([(300, 8)])[0]
    assert right is None
    best = torch.linalg.eigvalsh(moment).flip(0)[: calibration.OUT_RANK].sum()
    assert (left @ moment @ left.T).trace() > 0.98 * best
    watched = sum_sides(model, CONFIG, samples[:2])
    assert watched is not None
    assert all(np.isfinite(part).all() for pair in watched.products for part in pair if part is not None)


def test_it_keeps_more_neighbours_of_spans_it_has_not_seen(demo, known: Calibration) -> None:
    model, samples = demo
    others = samples[N_LOOKED_AT:]
    owners = np.repeat(np.arange(len(others)), [len(each.spans) for each in others])

    def rank(config: CaptureConfig) -> np.ndarray:
        capturer = Capturer(model, config)
        return _rank_neighbors(np.concatenate(capturer.compute_gradients(others, 1).gradients), owners)

    finely = rank(replace(CONFIG, sketch_rank=128, sketch_width=2**40))
    overlap = {}
    for name, config in (("random", CONFIG), ("calibrated", replace(CONFIG, calibration=known))):
        found = rank(config)
        overlap[name] = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, finely, strict=True)])
    assert Capturer(model, replace(CONFIG, calibration=known)).width <= CONFIG.sketch_width
    assert overlap["calibrated"] > overlap["random"] + 0.1, overlap


def test_vectors_are_the_projection_of_dense_gradients(demo, known: Calibration) -> None:
    model, samples = demo
    untie_head(model)
    capturer = Capturer(model, replace(CONFIG, window=None, calibration=known))
    sample = samples[-1]
    found = capturer.compute_gradients([sample]).gradients[0][1]
    span = sample.spans[1]
    loss = token_losses(model, sample)[span.start - 1 : span.end - 1].mean()
    expected = capturer.sketch.project_dense(dense_gradients(capturer, loss)).detach().numpy()
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)
    assert capturer.blocks[-1].stop == capturer.width == len(found)


def test_a_kept_number_is_stored_as_it_is_and_every_other_one_is_folded_once() -> None:
    kept = np.array([3, 40, 41], np.int32)
    fold = compute_kept_fold(100, kept, 12, 0, "layer", "cpu")
    values = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fold.apply(values)[:, :3], values[:, kept])
    for row in range(100):
        one = torch.zeros(1, 100)
        one[0, row] = 1.0
        assert fold.apply(one).abs().sum().item() == pytest.approx(1.0)
    assert compute_kept_fold(15, kept, 12, 0, "layer", "cpu") is None, "nothing is folded that fits as it is"


def test_folding_the_rest_keeps_inner_products_on_average() -> None:
    a, b = torch.randn(2, 300, generator=torch.Generator().manual_seed(2))
    kept = np.arange(0, 40, 4, dtype=np.int32)
    found = []
    for seed in range(300):
        folded = compute_kept_fold(300, kept, 64, seed, "layer", "cpu").apply(torch.stack([a, b]))
        found.append(float(folded[0] @ folded[1]))
    assert abs(np.mean(found) - float(a @ b)) < 4 * np.std(found) / np.sqrt(len(found))


def test_other_modules_are_refused(known: Calibration) -> None:
    with pytest.raises(ValueError, match="other modules"):
        Sketch([("only", "layer", 64, 64)], 32, 8, 0, calibration=known)


def test_equal_calibrations_are_equal_and_others_are_not(demo, known: Calibration) -> None:
    model, samples = demo
    other = replace(CONFIG, seed=1)
    assert look([model], samples[:N_LOOKED_AT]) == known
    assert look([model], samples[:N_LOOKED_AT], other) != known
    assert sum_sides(model, replace(CONFIG, tier="state", window=None), samples[:2]) is None
    assert calibrate(known.sides, [], CONFIG) is None


def test_a_sketch_that_knows_two_checkpoints_serves_both(demo, known: Calibration) -> None:
    """One that knows the base alone loses neighbours after a fine-tune."""
    model, samples = demo
    late, _ = load_model("demo", device="cpu", checkpoint=resolve_checkpoints("demo", ["step-03600"])[0])
    others = samples[N_LOOKED_AT:]
    owners = np.repeat(np.arange(len(others)), [len(each.spans) for each in others])
    both = look([model, late], samples[:N_LOOKED_AT])

    def rank(config: CaptureConfig) -> np.ndarray:
        vectors = Capturer(late, config).compute_gradients(others, 1).gradients
        return _rank_neighbors(np.concatenate(vectors), owners)

    finely = rank(replace(CONFIG, sketch_rank=128, sketch_width=2**40))
    overlap = []
    for calibration_ in (both, known):
        found = rank(replace(CONFIG, calibration=calibration_))
        overlap.append(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, finely, strict=True)]))
    assert overlap[0] > overlap[1] + 0.03, overlap


def test_few_spans_are_not_looked_at_and_long_samples_come_last(demo, monkeypatch: pytest.MonkeyPatch) -> None:
    _, samples = demo
    assert choose_samples(samples[:5], 0) == []
    monkeypatch.setattr(calibration, "LEAST_SPANS", 20)
    monkeypatch.setattr(calibration, "SPANS", 12)
    shortest = min(len(each.token_ids) for each in samples)
    monkeypatch.setattr(calibration, "MOST_TOKENS", shortest)
    monkeypatch.setattr(calibration, "MOST_SHARE", 1.0)
    ((first, second),) = choose_samples(samples, 0)
    assert first[0].id in {each.id for each in samples if len(each.token_ids) == shortest}
    again = choose_samples(samples[::-1], 0)[0]
    assert [[each.id for each in part] for part in again] == [[each.id for each in part] for part in (first, second)]
    assert sum(len(each.spans) for each in first) >= 8
    assert sum(len(each.spans) for each in second) >= 4
    parts = [part for pair in choose_samples(samples, 0, 2) for part in pair]
    names = [each.id for part in parts for each in part]
    assert len(parts) == 4
    assert len(set(names)) == len(names)
    n_spans = sum(len(each.spans) for each in samples)
    monkeypatch.setattr(calibration, "MOST_SHARE", 4 / n_spans)
    ((first, second),) = choose_samples(samples, 0)
    assert (len(first), len(second)) == (1, 1), "a small data set is looked at less"


# -- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    write_rows(folder / "apples.jsonl", make_rows(120))
    save_tiny_model(folder / "model")
    capture(folder, "known")
    return folder


def capture(inputs: Path, run: str, *more: object, code: int = 0) -> dict:
    words = ["capture", "--dataset", inputs / "apples.jsonl", "--model", inputs / "model", "--window", "1"]
    words += ["--sketch-width", 512, "--no-controls", "--run", run]
    return run_gsd_json(*words, *more, workspace=inputs / "workspace", code=code)


def test_a_capture_looks_at_a_few_spans_first_and_says_so(inputs: Path) -> None:
    run = Workspace.open(inputs / "workspace").open_run("known")
    told = run.manifest["sketch"]["calibration"]
    assert 0 < told["n_spans"] <= calibration.SPANS
    assert told["digest"] == run.results.info(CALIBRATION)["digest"]
    assert run.sketch_width <= 512


def test_another_run_can_take_its_sketch(inputs: Path) -> None:
    capture(inputs, "like", "--sketch-of", "known", "--limit", 30)
    capture(inputs, "random", "--random-sketch")
    workspace = Workspace.open(inputs / "workspace")
    known, like, random = (workspace.open_run(name) for name in ("known", "like", "random"))
    assert random.manifest["sketch"]["calibration"] is None
    assert like.manifest["sketch"] == known.manifest["sketch"]
    spans = known.read_spans(columns=["span"])["span"].tolist()
    rows = [spans.index(span) for span in like.read_spans(columns=["span"])["span"]]
    cosines = (known.take_vectors(np.array(rows)).astype(float) * like.read_vectors().astype(float)).sum(1)
    assert cosines.min() > 0.999, "the same span under the same sketch has another direction"
    select = ["select", "--run", "known", "--by", "alignment", "--budget", "0.5", "--out", inputs / "kept.jsonl"]
    run_gsd_json(*select, "--target", "like", workspace=inputs / "workspace")
    refused = run_gsd(*select, "--target", "random", workspace=inputs / "workspace")
    assert refused.code == 2
    assert "--sketch-of known" in refused.err
    both = capture(inputs, "both", "--sketch-of", "known", "--random-sketch", code=2)
    assert "either" in json.dumps(both)


def test_a_run_that_goes_on_keeps_its_sketch(inputs: Path) -> None:
    workspace = Workspace.open(inputs / "workspace")
    before = workspace.open_run("known").read_vectors()
    workspace.open_run("known").forget_batches(workspace.open_run("known").default_checkpoint)
    capture(inputs, "known", "--resume")
    np.testing.assert_array_equal(workspace.open_run("known").read_vectors(), before)
    workspace.open_run("known").results.drop(CALIBRATION)
    refused = run_gsd(
        *("capture", "--dataset", inputs / "apples.jsonl", "--model", inputs / "model", "--window", "1"),
        *("--sketch-width", 512, "--no-controls", "--run", "known", "--resume"),
        workspace=inputs / "workspace",
    )
    assert refused.code == 2
    assert "another --run name" in refused.err


def test_a_run_stopped_before_its_tables_starts_over(inputs: Path) -> None:
    capture(inputs, "early")
    run = Workspace.open(inputs / "workspace").open_run("early")
    before = run.read_vectors()
    run.results.drop(CALIBRATION)
    run.update_manifest(has_tables=False)
    capture(inputs, "early", "--resume")
    again = Workspace.open(inputs / "workspace").open_run("early")
    assert again.results.has(CALIBRATION)
    cosines = (again.read_vectors().astype(float) * before.astype(float)).sum(1)
    assert cosines.min() > 0.999
