"""Serving: the dashboard starts on the workspace and ends on Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import uvicorn

from gsd_core.cli import serve_command as serve_stage
from gsd_core.errors import UserError
from tests.cli_support import run_gsd, run_gsd_json, start_gsd


def test_serve_starts_and_ctrl_c_ends_it_with_exit_0(tmp_path: Path) -> None:
    process = start_gsd("--workspace", tmp_path / "workspace", "--json", "serve")
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert line, (process.communicate(timeout=60)[1]).decode()
        url = json.loads(line)["url"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/_stcore/health", timeout=30) as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert rest == b"", "standard output holds more than the one object"
    with pytest.raises(OSError, match="refused"):
        opener.open(f"{url}/_stcore/health", timeout=5)


def test_ctrl_c_right_behind_the_address_ends_it_with_0_too() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with serve_stage.Server(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE), "") as server:
        assert server.wait(interrupt) == 0
    assert server.process.poll() is not None


def test_a_taken_port_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words in (("serve",), ("demo",)):
            value = run_gsd_json(*words, "--port", port, workspace=tmp_path / "workspace", code=2)
            assert str(port) in value["error"]
    assert not (tmp_path / "workspace" / "runs" / "demo").exists(), "the demo was captured before the port was checked"


def test_without_a_port_the_next_free_one_is_taken() -> None:
    first = serve_stage.choose_port("127.0.0.1", None)
    with socket.create_server(("127.0.0.1", first)):
        assert serve_stage.choose_port("127.0.0.1", None) > first


def test_an_installation_without_the_app_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_stage.gsd_core, "__file__", str(tmp_path / "gsd_core" / "__init__.py"))
    with pytest.raises(UserError, match="clone of the repository"):
        serve_stage.find_app()


def test_doctor_lists_its_checks(tmp_path: Path) -> None:
    done = run_gsd("--json", "doctor", workspace=tmp_path / "none")
    outcome = json.loads(done.out)
    assert done.code == (0 if outcome["ok"] else 1)
    names = {check["name"]: check for check in outcome["checks"]}
    assert {"python", "torch", "device", "demo model", "sentence encoder", "dashboard", "workspace"} <= set(names)
    assert outcome["ok"] == all(check["ok"] or not check["is_needed"] for check in outcome["checks"])
    assert all(check["fix"] for check in outcome["checks"] if not check["ok"]), "a failed check has no fix"


def test_doctor_reports_a_broken_workspace(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "workspace.json").write_text("{}")
    outcome = run_gsd_json("doctor", workspace=folder, code=1)
    assert not outcome["ok"]
    broken = [check["name"] for check in outcome["checks"] if not check["ok"] and check["is_needed"]]
    assert "workspace" in broken


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not made for Windows")
def test_the_server_sends_small_answers_at_once() -> None:
    """Streamlit binds its socket itself. asyncio's loop leaves Nagle's algorithm on for it: 40 ms a file."""

    async def accept() -> bool:
        connected = asyncio.get_running_loop().create_future()

        class Seen(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as accepted:
                    connected.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        async with await asyncio.get_running_loop().create_server(Seen, sock=bound):
            _, writer = await asyncio.open_connection(*bound.getsockname())
            answer = await connected
            writer.close()
        return bool(answer)

    with asyncio.Runner(loop_factory=uvicorn.Config("app").get_loop_factory()) as runner:
        assert runner.run(accept()), "is uvloop installed (requirements.txt)?"
