"""``gsd demo``: capture and analyse the demo, then serve it.

run_demo_command   the command
"""

from __future__ import annotations

from gsd_core.cli.command_context import Context
from gsd_core.cli.serve_command import choose_port, find_app, start_server
from gsd_core.methods.demo_method import DemoOptions
from gsd_core.stages.demo_stage import describe_demo, run_demo


def run_demo_command(context: Context, options: DemoOptions) -> int | None:
    """Run ``gsd demo``. Returns the dashboard's exit code, or None with ``--no-serve``."""
    if not options.no_serve:  # fail before minutes of capture
        find_app()
        choose_port(options.host, options.port)
    result = run_demo(context.open_workspace(create=True), options, context.progress)
    if options.no_serve:
        context.emit(result, lambda: describe_demo(result))
        return None
    context.progress.stage("starting the dashboard", 1, "server")
    with start_server(context.workspace_uri, port=options.port, host=options.host) as server:
        result["url"] = server.url
        context.emit(result, lambda: describe_demo(result))
        return server.wait()
