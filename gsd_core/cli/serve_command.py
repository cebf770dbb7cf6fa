"""``gsd serve``: the dashboard as a child process.

run_serve     the command
Server        a started dashboard: its address, wait for it, stop it
start_server  start it and wait until it answers
find_app      where ``app.py`` lies
choose_port   the port asked for, or the first free one from 8501

The command line never imports the web framework; it starts ``streamlit run app.py`` with the workspace in
``$GSD_WORKSPACE``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import gsd_core
from gsd_core.cli.command_context import Context
from gsd_core.errors import UserError
from gsd_core.methods.serve_method import ServeOptions

FIRST_PORT, N_PORTS = 8501, 100
START_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 60.0, 5.0, 0.1


class Server:
    """A started dashboard, a context manager that ends it. ``url`` is where a browser finds it."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url

    def wait(self, announce: Callable[[], None]) -> int:
        """Say where the dashboard is and block until it ends. Ctrl-C is the ordinary way to end it, hence 0, also right
        behind the announcement; a failure is 1."""
        try:
            announce()
            return 1 if self.process.wait() else 0
        except KeyboardInterrupt:
            return 0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the dashboard; ended already, it does nothing."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_serve(context: Context, options: ServeOptions) -> int:
    """``gsd serve``: start the dashboard, say where it is, and wait for its end."""
    context.open_workspace(create=True)
    with start_server(
        context.workspace_uri, port=options.port, host=options.host, read_only=options.read_only
    ) as server:
        result = {"url": server.url, "workspace": context.workspace_uri}
        return server.wait(lambda: context.emit(result, f"open {server.url}  (Ctrl-C ends it)"))


def start_server(
    workspace_uri: str, *, port: int | None = None, host: str = "127.0.0.1", read_only: bool = False
) -> Server:
    """Start the dashboard on the workspace and return when it answers; ``read_only``: pages start and store nothing.

    The environment's ``STREAMLIT_SERVER_BASE_URL_PATH`` puts it below a path of the host.
    Raises ``UserError`` where ``app.py`` or streamlit is missing, the port is taken, or it does not come up.
    """
    app = find_app()
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("streamlit is not installed", "this Python", "pip install -r requirements.txt")
    chosen = choose_port(host, port)
    uri = workspace_uri if "://" in workspace_uri else str(Path(workspace_uri).absolute())
    command = [sys.executable, "-m", "streamlit", "run", str(app)]
    command += ["--server.port", str(chosen), "--server.address", host, "--server.headless", "true"]
    base = os.environ.get("STREAMLIT_SERVER_BASE_URL_PATH", "").strip("/")
    command += ["--server.baseUrlPath", base, "--browser.gatherUsageStats", "false"]
    # The app's folder: streamlit reads .streamlit/config.toml from where it is started.
    environment = {**os.environ, "GSD_WORKSPACE": uri}
    environment.pop("GSD_PROGRESS_FILE", None)
    if read_only:
        environment["GSD_READ_ONLY"] = "1"
    process = subprocess.Popen(command, cwd=app.parent, env=environment, stdin=subprocess.DEVNULL, stdout=2)
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    server = Server(process, f"http://{shown}:{chosen}/{base}".rstrip("/"))
    try:
        _wait_until_up(server)
    except BaseException:
        server.stop()
        raise
    return server


def find_app() -> Path:
    """``app.py`` beside the package. Raises ``UserError`` where the package was installed without it."""
    app = Path(gsd_core.__file__).resolve().parents[1] / "app.py"
    if not app.is_file():
        raise UserError("the dashboard's app.py is not there", str(app), "run gsd serve from a clone of the repository")
    return app


def choose_port(host: str, port: int | None) -> int:
    """``port`` if it is free, the first free one from 8501 for None. Raises ``UserError`` otherwise."""
    wanted = range(FIRST_PORT, FIRST_PORT + N_PORTS) if port is None else (port,)
    for candidate in wanted:
        if _is_free(host, candidate):
            return candidate
    if port is None:
        raise UserError(f"no free port from {FIRST_PORT}", f"--host {host}", "give one with --port")
    raise UserError(f"port {port} is taken or not allowed", f"--port {port} --host {host}", "give another --port")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _wait_until_up(server: Server) -> None:
    # A proxy of the environment must not be asked for this machine's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise UserError(
                "the dashboard ended at once", f"exit code {server.process.returncode}", "see its lines above"
            )
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            opener.open(f"{server.url}/_stcore/health", timeout=2),
        ):
            return
        time.sleep(POLL_S)
    raise UserError("the dashboard does not answer", server.url, f"waited {START_TIMEOUT_S:.0f} s; see its lines above")
