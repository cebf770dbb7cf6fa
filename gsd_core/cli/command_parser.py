"""The flags of every command.

make_parser      the whole parser; importing this module parses nothing
parse_arguments  words → namespace; ``UserError`` instead of argparse's own exit
ArgumentParser   argparse with one-line errors and no abbreviations

Global flags are taken before and after the command. Flags that are not given and whose default belongs to a
stage are left out of the namespace, so that a default has one home.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from gsd_core import __version__
from gsd_core.errors import UserError
from gsd_core.tiers import ALIASES, TIERS

SELECTION_MEASURES = ("alignment", "semantic", "spectral", "grace", "random", "segments")
EXPORTS = ("spans", "clusters", "twins", "rewordings", "stresses", "vectors", "tokens", "report")
_ABSENT = argparse.SUPPRESS


class ArgumentParser(argparse.ArgumentParser):
    """argparse whose errors are the user's to mend: one line, exit 2; no abbreviated flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise ``UserError`` for what argparse found wrong."""
        unknown = re.match(r"argument (?:COMMAND|ACTION): invalid choice: '(.*?)'", message)
        if unknown:
            names = _command_names(self)
            near = difflib.get_close_matches(unknown[1], names, n=1)
            fix = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"unknown command {unknown[1]!r}",
                self.prog,
                f"{fix}this version has {', '.join(names)}",
            )
        raise UserError(message, self.prog, f"{self.prog} --help shows every flag")


def parse_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Namespace with ``function`` (a name in ``commands``) and the global flags. Raises ``UserError``."""
    flags = parser.parse_args(list(words))
    if getattr(flags, "function", None) is None:
        asked = getattr(flags, "parser", parser)
        raise UserError("no command given", asked.prog, f"one of {', '.join(_command_names(asked))}")
    return flags


def make_parser() -> ArgumentParser:
    """The parser of ``gsd``."""
    parser = ArgumentParser(
        prog="gsd",
        description="Span-level gradients of chain-of-thought fine-tuning: capture, map, compare.",
        epilog="exit: 0 done, 1 internal failure, 2 your input, 130 interrupted (finished work is kept)",
    )
    parser.add_argument("--version", action="version", version=f"gsd {__version__}")
    _add_global_flags(parser, is_root=True)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=ArgumentParser)

    demo = _add_command(
        commands,
        "demo",
        "run_demo_command",
        "the whole way on bundled model and corpus: capture, analyse, serve",
    )
    demo.add_argument("--no-serve", action="store_true", help="stop before the dashboard")
    demo.add_argument(
        "--samples", type=_positive, default=_ABSENT, help="samples of the corpus (default 640)"
    )
    demo.add_argument(
        "--checkpoints", nargs="+", default=_ABSENT, metavar="NAME", help="which of the model's; default: all"
    )
    _add_address(demo)

    _add_datasets(commands)
    _add_capture(commands)
    _add_import(commands)

    analyze = _add_command(
        commands, "analyze", "run_analyze_command", "layout, clusters with labels, null, stresses, twins"
    )
    analyze.description = (
        "Layout, clusters with labels, alignment null, stresses and twins of a run's directions."
    )
    analyze.epilog = "n_stresses, n_twins and n_rewordings (twins in other words) count those with q < 0.05."
    analyze.add_argument("run", metavar="RUN")
    analyze.add_argument("--checkpoint", help="only this checkpoint; default: all")
    analyze.add_argument("--seed", type=int, default=0)
    analyze.add_argument(
        "--again", action="store_true", help="analyse checkpoints anew that are already analysed"
    )

    neighbors = _add_command(
        commands, "neighbors", "run_neighbors_command", "spans of other samples best aligned with one span"
    )
    neighbors.add_argument("run", metavar="RUN")
    neighbors.add_argument("--span", required=True, metavar="SAMPLE#K")
    neighbors.add_argument("--top", type=_positive, default=10)
    neighbors.add_argument("--checkpoint", help="default: the one to look at first")
    neighbors.add_argument("--seed", type=int, default=0, help="of the null's random pairs")
    neighbors.add_argument(
        "--other-words",
        action="store_true",
        help="only spans that say it in other words",
    )
    neighbors.add_argument(
        "--exact",
        action="store_true",
        help="rank twice as many by gradients without a sketch; loads the model",
    )

    compare = _add_command(
        commands, "compare", "run_compare_command", "two samples span by span: matrix, run, null"
    )
    compare.add_argument("run", metavar="RUN")
    compare.add_argument("a", metavar="SAMPLE_A")
    compare.add_argument("b", metavar="SAMPLE_B")
    compare.add_argument("--checkpoint", help="default: the one to look at first")
    compare.add_argument("--seed", type=int, default=0, help="of the shuffled orders")

    for name, help_text in (
        ("twins", "structurally similar, semantically different samples"),
        ("stresses", "recurring aligned span sequences"),
    ):
        found = _add_command(commands, name, f"run_{name}_command", help_text)
        found.add_argument("run", metavar="RUN")
        found.add_argument("--top", type=_positive, default=10)
        found.add_argument("--checkpoint", help="default: the one to look at first")
        if name == "twins":
            found.add_argument(
                "--other-words", action="store_true", help="only pairs whose reasonings are in other words"
            )

    _add_evaluate(commands)
    _add_timeline(commands)
    _add_select(commands)

    export = _add_command(
        commands, "export", "run_export_command", "a run's tables as csv, parquet, jsonl or npz"
    )
    export.add_argument("run", metavar="RUN")
    export.add_argument("--what", required=True, choices=EXPORTS)
    export.add_argument("--out", required=True, metavar="FILE", help="its ending says the format")
    export.add_argument("--sample", metavar="ID", help="which sample's tokens (with --what tokens)")
    export.add_argument("--checkpoint", help="default: the one to look at first; 'all' puts tables together")

    serve = _add_command(commands, "serve", "run_serve_command", "the dashboard")
    _add_address(serve)
    serve.add_argument(
        "--read-only",
        action="store_true",
        help="pages show everything and can neither start nor store anything",
    )

    _add_command(
        commands, "doctor", "run_doctor_command", "versions, device, workspace health, what is missing"
    )
    return parser


def _add_datasets(commands: Any) -> None:
    datasets = _add_command(commands, "datasets", None, "read, list, show and remove data sets")
    actions = datasets.add_subparsers(metavar="ACTION", parser_class=ArgumentParser)

    add = _add_command(
        actions, "add", "run_datasets_add_command", "read a file (or hub id) into the workspace"
    )
    add.add_argument("file", metavar="FILE", help="file or hub id (owner/name)")
    add.add_argument("--name", help="default: the file's stem")
    _add_map(add)
    add.add_argument("--strict", action="store_true", help="one unusable row is an error")
    add.add_argument(
        "--replace", action="store_true", help="overwrite a data set of this name with other content"
    )

    preview = _add_command(
        actions, "preview", "run_datasets_preview_command", "what the reader understands of a file"
    )
    preview.add_argument("file", metavar="FILE")
    preview.add_argument("--head", type=_positive, default=20)
    _add_map(preview)

    _add_command(actions, "list", "run_datasets_list_command", "the workspace's data sets")
    show = _add_command(
        actions, "show", "run_datasets_show_command", "one data set, its first samples, its rejected rows"
    )
    show.add_argument("name", metavar="NAME")
    show.add_argument("--head", type=_positive, default=3)
    remove = _add_command(
        actions, "remove", "run_datasets_remove_command", "delete a data set (runs keep their own copy)"
    )
    remove.add_argument("name", metavar="NAME")


def _add_capture(commands: Any) -> None:
    capture = _add_command(commands, "capture", "run_capture_command", "span gradients into the store")
    add = capture.add_argument
    add("--dataset", required=True, metavar="NAME|FILE", help="a FILE is added first, under its stem")
    add("--model", required=True, metavar="demo|PATH|HUB_ID")
    add("--checkpoints", nargs="+", default=_ABSENT, metavar="PATH")
    told = [f"{tier.name}: {tier.help[0].lower()}{tier.help[1:-1]}" for tier in TIERS.values()]
    told += [f"{name}: {tier} with --window {window}" for name, (tier, window) in ALIASES.items()]
    add("--tier", choices=(*TIERS, *ALIASES), default=_ABSENT, help="; ".join(told))
    add(
        "--window",
        type=_window,
        default=_ABSENT,
        metavar="N|all",
        help="spans before a span that keep gradients",
    )
    add(
        "--segmenter",
        default=_ABSENT,
        metavar="RULE",
        help="steps|sentences|paragraphs|cues|cues-wide|windows:N|regex:RE",
    )
    add("--sketch-width", type=_positive, default=_ABSENT, metavar="P")
    add("--dtype", default=_ABSENT, choices=("auto", "float32", "bfloat16", "float16"))
    add("--device", default=_ABSENT, help="auto|cpu|cuda|cuda:N|mps")
    add(
        "--device-map",
        default=_ABSENT,
        metavar="auto|FILE.json",
        help="lay a model that is larger than a device over several",
    )
    add("--batch-tokens", type=_positive, default=_ABSENT, metavar="N")
    add(
        "--gradient-checkpointing",
        action="store_true",
        default=_ABSENT,
        help="less memory for long traces: compute layers again in each backward pass",
    )
    add("--executor", choices=("local", "ray"), default=_ABSENT, help="ray: several processes or machines")
    add("--workers", type=_positive, default=_ABSENT, metavar="N", help="of the executor ray")
    add("--run", default=_ABSENT, metavar="NAME")
    add("--resume", action="store_true", default=_ABSENT, help="go on with an interrupted run")
    add("--limit", type=_positive, default=_ABSENT, metavar="N", help="only the first N samples")
    add(
        "--truncate",
        action="store_true",
        default=_ABSENT,
        help="cut samples that are longer than the context",
    )
    add("--seed", type=int, default=_ABSENT, help="of the sketch")
    add("--encoder", default=_ABSENT, help="sentence-transformers model of the semantic side")
    add("--lora", choices=("adapters", "base"), default=_ABSENT, help="which weights of a LoRA model")
    add(
        "--no-measures",
        action="store_true",
        default=_ABSENT,
        help="without spectral strength and GRACE-like score",
    )
    add(
        "--no-controls", action="store_true", default=_ABSENT, help="without random windows and single tokens"
    )
    add("--no-head", action="store_true", default=_ABSENT, help="directions without the output head's weight")
    _add_map(capture)
    add(
        "--trust-remote-code",
        action="store_true",
        default=_ABSENT,
        help="run code that a model brings with it; only for sources that you trust",
    )


def _add_import(commands: Any) -> None:
    store = _add_command(
        commands, "import", "run_import_command", "stored gradients of Bergson or LESS as a run"
    )
    add = store.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="an index of Bergson or a dimN folder of LESS; each a checkpoint",
    )
    add("--format", choices=("auto", "bergson", "less"), default=_ABSENT)
    add(
        "--dataset", default=_ABSENT, metavar="NAME|FILE", help="default: the rows that a Bergson index keeps"
    )
    add("--run", default=_ABSENT, metavar="NAME")
    add("--checkpoint", nargs="+", default=_ABSENT, metavar="NAME", help="one for each PATH")
    add("--tokenizer", default=_ABSENT, metavar="demo|PATH|HUB_ID", help="cuts rows by token into spans")
    add("--segmenter", default=_ABSENT, metavar="RULE", help="as for capture; with --tokenizer")
    add("--sketch-width", type=_positive, default=_ABSENT, metavar="P", help="wider rows are folded to it")
    add("--seed", type=int, default=_ABSENT, help="of the fold")
    add("--encoder", default=_ABSENT, help="sentence-transformers model of the semantic side")
    _add_map(store)


def _add_evaluate(commands: Any) -> None:
    evaluate = _add_command(
        commands, "evaluate", "run_evaluate_command", "the structure benchmark of a run against a label"
    )
    add = evaluate.add_argument
    add("run", metavar="RUN")
    add("--label", required=True, metavar="meta.FIELD", help="what should bring spans or samples together")
    add("--level", choices=("span", "sample"), default=_ABSENT)
    add(
        "--checkpoint",
        default=_ABSENT,
        help="default: the one to look at first; 'all' for a curve over training",
    )
    add(
        "--differ",
        nargs="+",
        default=_ABSENT,
        metavar="meta.FIELD",
        help="a neighbour must differ in all of these",
    )
    add(
        "--where",
        nargs="+",
        default=_ABSENT,
        metavar="meta.FIELD=VALUE",
        help="only spans of which this holds",
    )
    add("--wording", default=_ABSENT, metavar="meta.FIELD", help="hidden states are also centred per value")
    add(
        "--against",
        nargs="+",
        default=_ABSENT,
        metavar="RUN",
        help="runs of the same data: tiers, controls, tier state",
    )
    add("--remove", nargs="+", type=int, default=_ABSENT, metavar="M", help="principal directions to remove")
    add("--layers", action="store_true", default=_ABSENT, help="also a row for every layer")
    add("--seed", type=int, default=_ABSENT)


def _add_select(commands: Any) -> None:
    select = _add_command(commands, "select", "run_select_command", "which samples or spans to train on")
    select.epilog = "A measure correlates with what training does; it does not promise a better model."
    add = select.add_argument
    add("--run", required=True, metavar="NAME")
    add("--by", required=True, choices=SELECTION_MEASURES)
    add("--budget", required=True, type=float, metavar="F", help="share of the spans' tokens, up to 1")
    add("--out", required=True, metavar="FILE", help="JSON Lines, a sample a line, with masks")
    add("--target", metavar="meta.FIELD=VALUE|RUN", help="what the selection should be like")
    add("--unit", choices=("sample", "span"), help="default: span for spectral and grace, else sample")
    add("--checkpoint", help="default: the one to look at first")
    add("--seed", type=int, default=0, help="of the random selection and of ties")


def _add_timeline(commands: Any) -> None:
    timeline = _add_command(
        commands,
        "timeline",
        "run_timeline_command",
        "the same spans at every checkpoint: curves, drift, maps",
    )
    add = timeline.add_argument
    add("run", metavar="RUN")
    add(
        "--label",
        nargs="+",
        default=_ABSENT,
        metavar="meta.FIELD",
        help="also follow the spans that share a value; default: the fields that label steps",
    )
    add("--reference", default=_ABSENT, metavar="CHECKPOINT", help="whose clusters; default: that with most")
    add("--seed", type=int, default=_ABSENT, help="of resampling and maps")
    add("--again", action="store_true", help="compute it anew")


def _add_command(commands: Any, name: str, function: str | None, help_text: str) -> ArgumentParser:
    command: ArgumentParser = commands.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
    )
    _add_global_flags(command, is_root=False)
    # A command of commands says by itself which of them it has.
    command.set_defaults(**({"function": function} if function else {"parser": command}))
    return command


def _add_global_flags(parser: argparse.ArgumentParser, is_root: bool) -> None:
    # Sub-parsers leave the flags out unless given, so that they do not undo what stood before the command.
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--workspace",
        metavar="DIR",
        default=None if is_root else _ABSENT,
        help="default: $GSD_WORKSPACE, else ./gsd-workspace",
    )
    for flag, text in (
        ("--json", "exactly one JSON object on standard output"),
        ("--quiet", "no progress"),
        ("--debug", "show tracebacks"),
    ):
        group.add_argument(flag, action="store_true", default=False if is_root else _ABSENT, help=text)


def _add_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--map",
        default=None,
        metavar="question=COL,reasoning=COL,answer=COL",
        help="correct what the reader guessed",
    )


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, help="default: 8501, or the next free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")


def _command_names(parser: argparse.ArgumentParser) -> list[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices)
    return []


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def _port(text: str) -> int:
    number = _positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{text} is above 65535")
    return number


def _window(text: str) -> str:
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'all' nor a whole number of spans from 0")
    return text
