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

    With the bundled run the dashboard opens at once, and the planted corpus is captured by a background job that
    outlives it. Without it (another place than a disk, or an installation without the file) the capture comes first.
    """
    if options.no_serve:
        result = run_demo(context.open_workspace(create=True), options, context.progress)
        context.emit(result, lambda: describe_demo(result))
        return None
    find_app()  # fail before minutes of capture
    choose_port(options.host, options.port)
    workspace = context.open_workspace(create=True)
    if install_bundled(workspace):
        result = _start_look(workspace, options)
        describe = describe_look
    else:
        result = run_demo(workspace, options, context.progress)
        describe = describe_demo
    context.progress.stage("starting the dashboard", 1, "server")
    with start_server(context.workspace_uri, port=options.port, host=options.host) as server:
        result["url"] = f"{server.url}/map?run={BUNDLED}" if describe is describe_look else server.url
        context.emit(result, lambda: describe(result))
        return server.wait()


def _start_look(workspace: Workspace, options: DemoOptions) -> dict[str, object]:
    """What there is to see at once; the planted corpus follows as a job unless it is there or on its way."""
    info = next(each for each in workspace.list_runs() if each.name == BUNDLED)
    is_there = is_demo_there(workspace, options)
    is_under_way = any(job.is_active and job.names == ["demo"] for job in list_jobs(workspace.uri))
    if not is_there and not is_under_way:
        step = Step("demo", DemoOptions(no_serve=True, samples=options.samples, checkpoints=options.checkpoints))
        start_job(workspace.uri, make_title([step]), [make_argv(workspace.uri, step)], DEMO_NAME, DEMO_NAME, ["demo"])
    return {
        "run": BUNDLED,
        "n_samples": info.n_samples,
        "n_spans": info.n_spans,
        "checkpoints": info.checkpoints,
        "is_capturing": not is_there,
        "url": None,
    }
