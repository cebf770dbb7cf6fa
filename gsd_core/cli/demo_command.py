"""``gsd demo``: the bundled run at once, and the planted corpus captured on this machine.

run_demo_command   the command
"""

from __future__ import annotations

from gsd_core.cli.command_context import Context
from gsd_core.cli.serve_command import choose_port, find_app, start_server
from gsd_core.dashboard.jobs.job_steps import Step, make_argv, make_title
from gsd_core.dashboard.jobs.job_store import list_jobs, start_job
from gsd_core.methods.demo_method import DemoOptions
from gsd_core.stages.bundled_run import BUNDLED, install_bundled
from gsd_core.stages.demo_stage import DEMO_NAME, describe_demo, describe_look, is_demo_there, run_demo
from gsd_core.store import Workspace


def run_demo_command(context: Context, options: DemoOptions) -> int | None:
    """Run ``gsd demo``. Returns the dashboard's exit code, or None with ``--no-serve``.

    The dashboard opens at once, on the bundled run where this installation has one, and the planted corpus is captured
    by a background job that outlives it. A workspace on object storage has no jobs: there the capture comes first.
    """
    if options.no_serve:
        result = run_demo(context.open_workspace(create=True), options, context.progress)
        context.emit(result, lambda: describe_demo(result))
        return None
    find_app()  # fail before minutes of capture
    choose_port(options.host, options.port)
    workspace = context.open_workspace(create=True)
    is_look = workspace.is_local
    result = _start_look(workspace, options) if is_look else run_demo(workspace, options, context.progress)
    context.progress.stage("starting the dashboard", 1, "server")
    with start_server(context.workspace_uri, port=options.port, host=options.host) as server:
        result["url"] = f"{server.url}/map?run={BUNDLED}" if result["run"] == BUNDLED else server.url
        return server.wait(lambda: context.emit(result, lambda: (describe_look if is_look else describe_demo)(result)))


def _start_look(workspace: Workspace, options: DemoOptions) -> dict[str, object]:
    """What there is to see at once; the planted corpus follows as a job unless it is there or on its way."""
    has_bundled = install_bundled(workspace)
    is_there = is_demo_there(workspace, options)
    is_under_way = any(job.is_active and job.names == ["demo"] for job in list_jobs(workspace.uri))
    if not is_there and not is_under_way:
        step = Step("demo", DemoOptions(no_serve=True, samples=options.samples, checkpoints=options.checkpoints))
        start_job(workspace.uri, make_title([step]), [make_argv(workspace.uri, step)], DEMO_NAME, DEMO_NAME, ["demo"])
    name = BUNDLED if has_bundled else DEMO_NAME
    info = next((each for each in workspace.list_runs() if each.name == name), None)
    return {
        "run": name,
        "n_samples": info.n_samples if info else 0,
        "n_spans": info.n_spans if info else 0,
        "checkpoints": info.checkpoints if info else [],
        "is_capturing": not is_there,
        "url": None,
    }
