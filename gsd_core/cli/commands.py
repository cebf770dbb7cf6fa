"""From a command's flags to its stage, and its result to standard output.

run_*_command   one for each command: ``(context, flags) -> exit code or None`` (0)

The stages are imported inside their commands: ``gsd datasets list`` must not wait for torch.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from gsd_core.cli import reports

if TYPE_CHECKING:
    from gsd_core.cli.command_context import Context


def run_demo_command(context: Context, flags: argparse.Namespace) -> int | None:
    """``gsd demo``."""
    from gsd_core.stages.demo_stage import run_demo
    from gsd_core.stages.serve_stage import choose_port, find_app, start_server

    if not flags.no_serve:  # better known now than after minutes of capture
        find_app()
        choose_port(flags.host, flags.port)
    chosen = {
        "n_samples": getattr(flags, "samples", None),
        "checkpoints": getattr(flags, "checkpoints", None),
    }
    result = run_demo(
        context.open_workspace(create=True),
        progress=context.progress,
        **{key: value for key, value in chosen.items() if value is not None},
    )
    if flags.no_serve:
        context.emit(result, lambda: reports.describe_demo(result))
        return None
    context.progress.stage("starting the dashboard", 1, "server")
    with start_server(context.workspace_uri, port=flags.port, host=flags.host) as server:
        result["url"] = server.url
        context.emit(result, lambda: reports.describe_demo(result))
        return server.wait()


def run_datasets_add_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd datasets add``."""
    from gsd_core.stages.datasets_stage import run_datasets_add

    result = run_datasets_add(
        context.open_workspace(create=True),
        flags.file,
        name=flags.name,
        map_flag=flags.map,
        strict=flags.strict,
        replace=flags.replace,
        progress=context.progress,
    )
    context.emit(result, lambda: reports.describe_add(result))


def run_datasets_preview_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd datasets preview``; needs no workspace and makes none."""
    from gsd_core.stages.datasets_stage import run_datasets_preview

    result = run_datasets_preview(flags.file, head=flags.head, map_flag=flags.map)
    context.emit(result, lambda: reports.describe_preview(result))


def run_datasets_list_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd datasets list``; a workspace that does not exist yet has none."""
    from gsd_core.stages.datasets_stage import run_datasets_list

    uri = context.workspace_uri
    is_new = "://" not in uri and not Path(uri).exists()
    result = {"datasets": []} if is_new else run_datasets_list(context.open_workspace())
    context.emit(result, lambda: reports.describe_list(result))


def run_datasets_show_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd datasets show``."""
    from gsd_core.stages.datasets_stage import run_datasets_show

    result = run_datasets_show(context.open_workspace(), flags.name, head=flags.head)
    context.emit(result, lambda: reports.describe_show(result))


def run_datasets_remove_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd datasets remove``."""
    from gsd_core.stages.datasets_stage import run_datasets_remove

    result = run_datasets_remove(context.open_workspace(), flags.name)
    context.emit(result, f"data set {flags.name} removed (runs keep their own copy of its samples)")


def run_capture_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd capture``."""
    from gsd_core.driver.stored_data import resolve_dataset

    context.resume_flag = "--resume"
    workspace = context.open_workspace(create=True)
    name = resolve_dataset(workspace, flags.dataset, map_flag=flags.map, progress=context.progress)
    # Torch costs seconds: a data set that cannot be read is told before it is loaded.
    from gsd_core.driver.capture_plan import CaptureOptions
    from gsd_core.stages.capture_stage import run_capture

    known = {option.name for option in dataclasses.fields(CaptureOptions)} - {"dataset", "map"}
    given = {key: value for key, value in vars(flags).items() if key in known}
    result = run_capture(workspace, CaptureOptions(dataset=name, **given), context.progress)
    context.emit(result, lambda: reports.describe_capture(result))


def run_import_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd import``."""
    from gsd_core.importing.import_plan import ImportOptions
    from gsd_core.importing.import_store import run_import

    known = {option.name for option in dataclasses.fields(ImportOptions)}
    options = ImportOptions(**{key: value for key, value in vars(flags).items() if key in known})
    result = run_import(context.open_workspace(create=True), options, context.progress)
    context.emit(result, lambda: reports.describe_import(result))


def run_analyze_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd analyze``."""
    from gsd_core.stages.analyze_stage import run_analyze

    result = run_analyze(
        context.open_workspace(),
        flags.run,
        checkpoint=flags.checkpoint,
        seed=flags.seed,
        again=flags.again,
        progress=context.progress,
    )
    context.emit(result, lambda: reports.describe_analysis(result))


def run_neighbors_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd neighbors``."""
    asked = {name: getattr(flags, name) for name in ("span", "top", "checkpoint", "seed", "other_words")}
    if flags.exact:
        from gsd_core.stages.exact_stage import run_exact_neighbors

        result = run_exact_neighbors(context.open_workspace(), flags.run, **asked, progress=context.progress)
    else:
        from gsd_core.stages.neighbors_stage import run_neighbors

        result = run_neighbors(context.open_workspace(), flags.run, **asked)
    context.emit(result, lambda: reports.describe_neighbors(result))


def run_compare_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd compare``."""
    from gsd_core.stages.compare_stage import run_compare

    result = run_compare(
        context.open_workspace(),
        flags.run,
        flags.a,
        flags.b,
        checkpoint=flags.checkpoint,
        seed=flags.seed,
    )
    context.emit(result, lambda: reports.describe_comparison(result))


def run_twins_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd twins``."""
    from gsd_core.stages.structure_stage import run_twins

    result = run_twins(
        context.open_workspace(),
        flags.run,
        top=flags.top,
        checkpoint=flags.checkpoint,
        other_words=flags.other_words,
    )
    context.emit(result, lambda: reports.describe_twins(result))


def run_stresses_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd stresses``."""
    from gsd_core.stages.structure_stage import run_stresses

    result = run_stresses(context.open_workspace(), flags.run, top=flags.top, checkpoint=flags.checkpoint)
    context.emit(result, lambda: reports.describe_stresses(result))


def run_evaluate_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd evaluate``."""
    from gsd_core.stages.evaluate_stage import EvaluateOptions, run_evaluate

    known = {option.name for option in dataclasses.fields(EvaluateOptions)}
    options = EvaluateOptions(**{key: value for key, value in vars(flags).items() if key in known})
    result = run_evaluate(context.open_workspace(), flags.run, options, context.progress)
    context.emit(result, lambda: reports.describe_evaluation(result))


def run_timeline_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd timeline``."""
    from gsd_core.stages.timeline_stage import run_timeline

    given = {key: getattr(flags, key) for key in ("label", "reference", "seed") if hasattr(flags, key)}
    result = run_timeline(
        context.open_workspace(), flags.run, again=flags.again, progress=context.progress, **given
    )
    context.emit(result, lambda: reports.describe_timeline(result))


def run_select_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd select``."""
    from gsd_core.stages.select_stage import SelectOptions, run_select

    known = [option.name for option in dataclasses.fields(SelectOptions)]
    given = {key: getattr(flags, key) for key in known}
    options = SelectOptions(**{**given, "out": Path(flags.out)})
    result = run_select(context.open_workspace(), flags.run, options, context.progress)
    context.emit(result, lambda: reports.describe_selection(result))


def run_export_command(context: Context, flags: argparse.Namespace) -> None:
    """``gsd export``."""
    from gsd_core.stages.export_stage import run_export

    result = run_export(
        context.open_workspace(),
        flags.run,
        what=flags.what,
        out=flags.out,
        sample=flags.sample,
        checkpoint=flags.checkpoint,
        progress=context.progress,
    )
    context.emit(result, lambda: reports.describe_export(result))


def run_serve_command(context: Context, flags: argparse.Namespace) -> int:
    """``gsd serve``."""
    from gsd_core.stages.serve_stage import start_server

    context.open_workspace(create=True)
    with start_server(
        context.workspace_uri, port=flags.port, host=flags.host, read_only=flags.read_only
    ) as server:
        result = {"url": server.url, "workspace": context.workspace_uri}
        context.emit(result, f"open {server.url}  (Ctrl-C ends it)")
        return server.wait()


def run_doctor_command(context: Context, flags: argparse.Namespace) -> int:
    """``gsd doctor``: 1 where something is missing that the main job needs."""
    from gsd_core.stages.doctor_stage import run_doctor

    result = run_doctor(context.workspace_uri)
    context.emit(result, lambda: reports.describe_doctor(result))
    return 0 if result["ok"] else 1
