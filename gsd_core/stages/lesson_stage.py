"""``gsd lesson``: what a training step on one span teaches the others, beside what every representation foretells.

run_lesson        teach spans of a run, watch the others, score what foretold it
describe_lesson   the result as text

Spans are taught one after the other, each from the run's own weights (``gsd_core.capture.lesson``). Every lesson is
stored when it is over, so a stopped command goes on where it stopped. The mathematics of the scores is in
``gsd_core.analysis.lesson_scores``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gsd_core.analysis.baselines import Representation
from gsd_core.analysis.benchmark import bootstrap_mean
from gsd_core.analysis.lesson_scores import compute_gains, compute_rank_correlations, shuffle_rows
from gsd_core.capture.lesson import Classroom, LessonStep, check_room, count_moved
from gsd_core.capture.tier_capture import get_pad_id
from gsd_core.comparison.nearest import find_neighbors
from gsd_core.comparison.verdict import compute_verdict
from gsd_core.comparison.wording import make_wording
from gsd_core.console.output import format_table
from gsd_core.console.progress import Progress
from gsd_core.errors import UserError
from gsd_core.methods.lesson_method import LESSON, LessonOptions
from gsd_core.stages.neighbor_pools import ANY, make_pools
from gsd_core.stages.representations import make_representations, open_others
from gsd_core.stages.run_model import load_run_model, read_tokenized
from gsd_core.stages.run_reading import list_checkpoints
from gsd_core.stages.run_tables import compute_span_table
from gsd_core.store import load_directions
from gsd_core.types import TokenizedSample, split_span

if TYPE_CHECKING:
    from gsd_core.store import Run, Workspace

N_QUERIES, N_SAMPLES, N_BESIDE = 24, 100, 20
N_NEAREST = 10  # spans whose gain is the second metric
N_LISTED = 30  # best aligned spans that are watched when one span is taught
MOST_FITTED = 20_000  # spans up to which representations are made of the whole run, else of the pool alone
RANK, GAIN = "rank correlation", f"learned by the {N_NEAREST} nearest"
EXACT = "first order, all weights"
KEY = ["taught", "optimizer", "share", "n_steps"]


def run_lesson(workspace: Workspace, options: LessonOptions, progress: Progress) -> dict[str, Any]:
    """Teach and score; lessons and scores are stored in the run.

    Returns ``run, checkpoints: [{checkpoint, n_taught, n_watched, n_moved, scores, verdict, taught}], seconds``.
    Raises ``UserError`` for an unknown run, checkpoint or span, and where the run's model is not at hand.
    """
    started = time.monotonic()
    run = workspace.open_run(options.run)
    others = open_others(workspace, run, options.against)
    wanted = list_checkpoints(run, options.checkpoint)
    found = [_teach_checkpoint(run, others, checkpoint, options, progress) for checkpoint in wanted]
    return {"run": options.run, "checkpoints": found, "seconds": time.monotonic() - started}


# -- teaching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """``spans`` of the run; ``watched`` samples in order; ``drawn`` and ``asked`` spans to teach."""

    spans: pd.DataFrame
    watched: list[str]
    drawn: list[str]
    asked: list[str]
    steps: list[LessonStep]


def _teach_checkpoint(
    run: Run, others: list[Run], checkpoint: str, options: LessonOptions, progress: Progress
) -> dict[str, Any]:
    plan = _make_plan(run, checkpoint, options)
    kept = _read_kept(run, checkpoint, plan, options)
    lessons = [(span, step) for span in [*plan.asked, *plan.drawn] for step in plan.steps]
    missing = [(span, step) for span, step in lessons if (span, *_key_of(step)) not in kept.done]
    n_moved = kept.info.get("n_moved", 0)
    if missing:
        loaded = load_run_model(run, checkpoint, progress, options.model)
        check_room(loaded.model, [step for _, step in missing])
        n_moved = count_moved(loaded.model)
        pool = read_tokenized(run, checkpoint, plan.watched)
        title = f"teaching at {checkpoint}"
        with progress.stage(title, len(lessons), "lessons") as stage:
            stage.skip(len(lessons) - len(missing))
            model = loaded.model.float()  # type: ignore[no-untyped-call]  # half precision would round a small step away
            room = Classroom(model, pool, get_pad_id(model))
            for span, taught, learned in _iter_lessons(run, checkpoint, room, missing, plan):
                kept.add(span, taught, learned)
                kept.store(run, checkpoint, _read_scores(run, checkpoint), n_moved)
                stage.advance()
    scores = _score(run, others, checkpoint, options, plan, kept)
    kept.store(run, checkpoint, scores, n_moved)
    shown = scores if plan.drawn else scores.iloc[:0]  # stored ones are of other lessons
    return {
        "checkpoint": checkpoint,
        "n_taught": len({span for span, _ in lessons}),
        "n_watched": int(plan.spans["sample"].isin(plan.watched).sum()),
        "n_moved": n_moved,
        "scores": shown.to_dict("records"),
        "verdict": _find_verdict(shown),
        "taught": _describe_asked(plan, kept),
    }


def _make_plan(run: Run, checkpoint: str, options: LessonOptions) -> _Plan:
    spans, _ = compute_span_table(run, checkpoint)
    if not len(spans):
        raise UserError("no span was captured", f"run {run.name}, checkpoint {checkpoint}", "see its skipped samples")
    known = set(spans["span"])
    for each in options.spans:
        if each not in known:
            raise UserError(
                f"no span {each!r}",
                f"run {run.name}, checkpoint {checkpoint}",
                "gsd export RUN --what spans lists them",
            )
    for field in options.differ:
        if field not in spans.columns:
            names = [each for each in spans.columns if each.startswith("meta.")]
            raise UserError(f"no field {field!r}", f"run {run.name}", f"it has {', '.join(names) or 'no meta fields'}")
    alone = bool(options.spans) and options.queries is None
    n_queries = 0 if alone else options.queries or N_QUERIES
    n_samples = options.samples or (N_BESIDE if alone else N_SAMPLES)
    order = sorted(spans["sample"].unique(), key=lambda each: _hash(options.seed, each))
    watched = order[:n_samples]
    drawn = []
    for sample in watched[:n_queries]:
        own = spans.loc[spans["sample"] == sample, "span"].tolist()
        drawn.append(own[int(_hash(options.seed, f"{sample}\x00span")[:8], 16) % len(own)])
    if options.spans:
        names = spans["sample"].to_numpy(dtype=object)
        directions = load_directions(run.snapshot(), checkpoint, names, seed=options.seed)
        rows = pd.Index(spans["span"]).get_indexer(options.spans)
        for row in rows:
            near = find_neighbors(directions, int(row), names, N_LISTED)
            watched += [str(names[each]) for each in near.rows]
    steps = [
        LessonStep(optimizer, float(share), int(n))
        for optimizer, share, n in product(options.optimizer, options.step_size, options.steps)
    ]
    return _Plan(spans, list(dict.fromkeys(watched)), drawn, list(dict.fromkeys(options.spans)), steps)


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\x00{name}".encode()).hexdigest()


def _key_of(step: LessonStep) -> tuple[str, float, int]:
    return step.optimizer, step.share, step.n_steps


def _iter_lessons(
    run: Run, checkpoint: str, room: Classroom, missing: Sequence[tuple[str, LessonStep]], plan: _Plan
) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """(span, its row of ``taught``, its rows of ``learned``), one lesson after the other."""
    ids = [f"{sample}#{span.index}" for sample, span in room.spans]
    asked = read_tokenized(run, checkpoint, list(dict.fromkeys(split_span(span)[0] for span, _ in missing)))
    sample_of = {each.id: each for each in asked}
    known: dict[str, Any] = {}
    for name, step in missing:
        sample, span = _find(sample_of, name)
        if known.get("span") != name:  # the steps of one span follow each other
            known = {"span": name, "gradient": room.find_gradient(sample, span), "slopes": {}}
        if step.optimizer not in known["slopes"]:
            known["slopes"][step.optimizer] = room.predict(known["gradient"], step.optimizer)
        lesson = room.teach(sample, span, step, known["gradient"])
        foretold = known["slopes"][step.optimizer] * lesson.rate * step.n_steps
        how = {"optimizer": step.optimizer, "share": step.share, "n_steps": step.n_steps}
        taught = {"span": name, "is_drawn": name in plan.drawn, **how, "rate": lesson.rate}
        learned = pd.DataFrame(
            {
                "taught": name,
                "span": ids,
                **how,
                "before": room.before,
                "learned": lesson.learned,
                "predicted": foretold,
            }
        )
        yield name, {**taught, "own_before": lesson.own_before, "own_after": lesson.own_after}, learned


def _find(sample_of: dict[str, TokenizedSample], name: str) -> tuple[TokenizedSample, Any]:
    sample, index = split_span(name)
    return sample_of[sample], next(each for each in sample_of[sample].spans if each.index == index)


@dataclass(slots=True)
class _Kept:
    """Lessons that are stored, and those that are added."""

    info: dict[str, Any]
    taught: list[pd.DataFrame]
    learned: list[pd.DataFrame]
    done: set[tuple[str, str, float, int]]

    def add(self, span: str, taught: dict[str, Any], learned: pd.DataFrame) -> None:
        """Take a lesson in."""
        self.taught.append(pd.DataFrame([taught]))
        self.learned.append(learned)
        self.done.add((span, taught["optimizer"], taught["share"], taught["n_steps"]))

    def store(self, run: Run, checkpoint: str, scores: pd.DataFrame, n_moved: int) -> None:
        """Write everything into the run."""
        tables = {"taught": self.read_taught(), "learned": pd.concat(self.learned, ignore_index=True)}
        if len(scores):
            tables["scores"] = scores
        run.results.write(LESSON, tables, {"n_moved": n_moved}, checkpoint)

    def read_taught(self) -> pd.DataFrame:
        """All lessons, one row each."""
        return pd.concat(self.taught, ignore_index=True)


def _read_kept(run: Run, checkpoint: str, plan: _Plan, options: LessonOptions) -> _Kept:
    """Stored lessons that stay: those of other spans and, unless they are to be repeated, of these.

    Lessons that were drawn with other watched samples do not count as drawn any longer: one table of scores has one
    pool.
    """
    if not run.results.has(LESSON, checkpoint):
        return _Kept({}, [], [], set())
    info = run.results.info(LESSON, checkpoint)
    taught = run.results.read(LESSON, "taught", checkpoint)
    learned = run.results.read(LESSON, "learned", checkpoint)
    watched = set(plan.spans.loc[plan.spans["sample"].isin(plan.watched), "span"])
    seen = learned[learned["span"].isin(watched)].groupby(KEY)["span"].nunique()
    lessons = {(span, *_key_of(step)) for span in [*plan.asked, *plan.drawn] for step in plan.steps}
    keys = [tuple(row) for row in taught[["span", *KEY[1:]]].itertuples(index=False)]
    whole = [int(seen.get(key, 0)) == len(watched) for key in keys]
    again = [key in lessons and (options.again or not is_whole) for key, is_whole in zip(keys, whole, strict=True)]
    stay = taught[~np.array(again, dtype=bool)].copy()
    if plan.drawn:
        stay["is_drawn"] = stay["span"].isin(plan.drawn)
    gone = {key for key, is_again in zip(keys, again, strict=True) if is_again}
    keep = [tuple(row) not in gone for row in learned[KEY].itertuples(index=False)]
    done = {key for key, is_again in zip(keys, again, strict=True) if not is_again and key in lessons}
    return _Kept(info, [stay], [learned[np.array(keep, dtype=bool)]], done)


# -- scoring --------------------------------------------------------------------------------------------------------


def _score(
    run: Run, others: list[Run], checkpoint: str, options: LessonOptions, plan: _Plan, kept: _Kept
) -> pd.DataFrame:
    """Rows of the table ``scores`` for lessons that were drawn; the stored ones where none was drawn now."""
    if not plan.drawn:
        return _read_scores(run, checkpoint)
    spans = plan.spans
    if len(spans) > MOST_FITTED:
        spans = spans[spans["sample"].isin(plan.watched)].reset_index(drop=True)
    row_of = {span: row for row, span in enumerate(spans["span"])}
    taught = [row_of[span] for span in plan.drawn]
    watched = np.flatnonzero(spans["sample"].isin(plan.watched).to_numpy())
    owners, samples = pd.factorize(spans["sample"])
    wording = make_wording(spans["text"].tolist(), owners)
    pools = make_pools(run, spans, owners, list(samples), wording, options.differ, options.seed)
    allowed = {name: pool.allowed(np.array(taught))[:, watched] for name, pool in pools.items()}
    representations = make_representations(run, others, checkpoint, spans, removed=options.remove)
    alike = [(each.name, each.kind, _multiply(each, taught, watched)) for each in representations]
    alike.append(
        (f"{representations[0].name}, with norms", "gradient", _find_products(run, checkpoint, spans, taught, watched))
    )
    alike.append(("random", "control", np.random.default_rng(options.seed).random((len(taught), len(watched)))))
    learned = pd.concat(kept.learned, ignore_index=True)
    own = kept.read_taught().set_index(["span", *KEY[1:]])["own_before"]
    rows: list[dict[str, Any]] = []
    for step in plan.steps:
        how = dict(zip(KEY[1:], _key_of(step), strict=True))
        part = learned[(learned[KEY[1:]] == pd.Series(how)).all(axis=1)]
        drops, foretold = (
            part.pivot(index="taught", columns="span", values=value)
            .loc[plan.drawn, spans["span"].iloc[watched]]
            .to_numpy()
            for value in ("learned", "predicted")
        )
        losses = np.array([own[(span, *_key_of(step))] for span in plan.drawn], dtype=float)
        shown = [
            *alike,
            (EXACT, "limit", foretold),
            (f"shuffled ({EXACT})", "control", shuffle_rows(foretold, options.seed)),
        ]
        for name, may in allowed.items():
            rows += [{**row, **how} for row in _score_pool(shown, drops, losses, may, name, options.seed)]
    return pd.DataFrame(rows)


def _read_scores(run: Run, checkpoint: str) -> pd.DataFrame:
    """The stored scores; empty where there are none."""
    stored = "scores" in run.results.tables(LESSON, checkpoint)
    return run.results.read(LESSON, "scores", checkpoint) if stored else pd.DataFrame()


def _score_pool(
    shown: Sequence[tuple[str, str, np.ndarray]],
    drops: np.ndarray,
    losses: np.ndarray,
    allowed: np.ndarray,
    pool: str,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Both metrics of every representation among the spans of one pool."""
    ending = "" if pool == ANY else f", {pool}"
    ranks = {name: compute_rank_correlations(values, drops, allowed) for name, _, values in shown}
    gains = {name: compute_gains(values, drops, losses, allowed, N_NEAREST) for name, _, values in shown}
    for metric in (RANK, GAIN):
        limit = ranks[EXACT] if metric == RANK else gains[EXACT][0]
        chance = 0.0 if metric == RANK else _mean(gains[EXACT][1])
        for name, kind, _ in shown:
            values = ranks[name] if metric == RANK else gains[name][0]
            value, low, high = bootstrap_mean(values, np.arange(len(values)), seed=seed)
            yield {
                **{"representation": name, "kind": kind, "metric": metric + ending},
                **{"value": value, "ci_low": low, "ci_high": high, "n": int((~np.isnan(values)).sum())},
                **{"chance": chance, "ceiling": _mean(limit)},
            }


def _multiply(each: Representation, taught: Sequence[int], watched: np.ndarray) -> np.ndarray:
    product_ = each.rows[np.array(taught)] @ each.rows[watched].T
    return np.asarray(product_.toarray() if hasattr(product_, "toarray") else product_, dtype=np.float32)


def _find_products(
    run: Run, checkpoint: str, spans: pd.DataFrame, taught: Sequence[int], watched: np.ndarray
) -> np.ndarray:
    """Inner products of gradients as stored: what the sketch says of the first order."""
    place = pd.Index(run.read_spans(checkpoint, columns=["span"])["span"])
    rows = place.get_indexer(spans["span"].iloc[[*taught, *watched]])
    vectors = run.take_vectors(rows, checkpoint).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    vectors *= spans["norm"].iloc[[*taught, *watched]].to_numpy(np.float32)[:, None]
    return np.asarray(vectors[: len(taught)] @ vectors[len(taught) :].T)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _find_verdict(scores: pd.DataFrame) -> dict[str, Any] | None:
    """Gradients beside baselines in the strictest rank correlation of the first kind of step."""
    if not len(scores):
        return None
    first = scores[(scores[KEY[1:]] == scores[KEY[1:]].iloc[0]).all(axis=1)]
    verdict = compute_verdict(first, RANK)
    return verdict._asdict() if verdict else None


def _describe_asked(plan: _Plan, kept: _Kept) -> list[dict[str, Any]]:
    """What was asked for by name: each lesson with the five spans that learned most."""
    if not plan.asked:
        return []
    learned = pd.concat(kept.learned, ignore_index=True)
    texts = plan.spans.set_index("span")["text"]
    found = []
    for row in kept.read_taught().to_dict("records"):
        if row["span"] not in plan.asked:
            continue
        own = learned[(learned[KEY] == pd.Series({**row, "taught": row["span"]})[KEY]).all(axis=1)]
        own = own[own["span"].map(lambda each: split_span(each)[0]) != split_span(row["span"])[0]]
        best = own.nlargest(5, "learned")[["span", "learned", "predicted"]].to_dict("records")
        found.append({**row, "best": [{**each, "text": str(texts[each["span"]])} for each in best]})
    return found


def describe_lesson(result: dict[str, Any]) -> str:
    """``gsd lesson``: what every representation foretold, best first, and what the spans asked for taught."""
    lines: list[str] = []
    for found in result["checkpoints"]:
        lines.append(
            f"{found['checkpoint']}: {found['n_taught']:,} spans taught, {found['n_watched']:,} watched, "
            f"{found['n_moved']:,} weights moved and put back"
        )
        for each in found["taught"]:
            how = f"{each['optimizer']}, share {each['share']:g}, {each['n_steps']} steps"
            lines.append(f"\n{each['span']} ({how}): its loss {each['own_before']:.3f} → {each['own_after']:.3f} nats")
            table = [[b["span"], b["learned"], b["predicted"], b["text"]] for b in each["best"]]
            lines.append(format_table(("span", "learned", "predicted", "text"), table))
        scores = pd.DataFrame(found["scores"])
        if len(scores):
            for key, part in scores.groupby(["metric", *KEY[1:]], sort=False):
                metric, optimizer, share, n_steps = key
                rows = part.sort_values("value", ascending=False)
                table = [[r.representation, r.kind, r.value, r.ci_low, r.ci_high] for r in rows.itertuples()]
                lines.append(f"\n{metric} ({optimizer}, share {share:g}, {n_steps} steps, n {int(part['n'].max())})")
                lines.append(format_table(("representation", "kind", "value", "low", "high"), table))
        if found["verdict"]:
            lines.append(f"{found['verdict']['metric']}: {found['verdict']['headline']} {found['verdict']['detail']}")
    return "\n".join(lines)
