"""A workspace in a bucket: the whole way through an S3 server on this machine, and what it refuses.

The server is moto's; everything between it and the command line is real.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, write_rows
from tests.store_rows import make_batches, make_run, read_everything, write_missing

BUCKET = "gsd"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto asks for its whole server extra; S3 does without
        from moto.server import ThreadedMotoServer
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for every request
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    _, port = running.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def bucket(server: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": server,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"


def keys(prefix: str) -> list[str]:
    client = boto3.client("s3", region_name="us-east-1")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def test_the_whole_way_gives_what_a_disk_gives(bucket: str, tmp_path: Path) -> None:
    file, model = write_rows(tmp_path / "apples.jsonl", make_rows(10)), save_tiny_model(tmp_path / "model")
    places: dict[str, object] = {"disk": tmp_path / "disk", "bucket": f"{bucket}/some/prefix"}
    words = ["capture", "--dataset", "apples", "--model", model, "--run", "one", "--batch-tokens", "192"]
    found, n_spans = {}, {}
    for name, place in places.items():

        def gsd(*words: object, at: object = place) -> dict[str, object]:
            return run_gsd_json("--workspace", at, *words)

        gsd("datasets", "add", file)
        n_spans[name] = gsd(*words)["n_spans"]
        assert gsd(*words, "--resume")["n_spans"] == n_spans[name]
        analyzed = gsd("analyze", "one")
        neighbors = gsd("neighbors", "one", "--span", "apples/3#1", "--top", 3)
        tables = {}
        for what, ending in (("spans", "parquet"), ("clusters", "jsonl"), ("vectors", "npz")):
            out = tmp_path / f"{name}-{what}.{ending}"
            gsd("export", "one", "--what", what, "--out", out)
            tables[what] = out
        found[name] = (
            n_spans[name],
            analyzed["n_clusters"],
            neighbors["neighbors"],
            pd.read_parquet(tables["spans"]).to_csv(),
            tables["clusters"].read_text(),
            np.load(tables["vectors"])["vectors"].tobytes(),
        )
        listed = gsd("datasets", "list")["datasets"]
        assert [each["name"] for each in listed] == ["apples"]  # type: ignore[index, attr-defined]
        gsd("datasets", "remove", "apples")
        assert gsd("datasets", "list")["datasets"] == []
    assert found["bucket"] == found["disk"]
    assert not keys("some/prefix/datasets/apples/"), "a removed data set left files in the bucket"
    assert not [key for key in keys("some/prefix") if key.endswith("writer.json")], "the run is still leased"


def test_workers_write_into_the_bucket(bucket: str, tmp_path: Path) -> None:
    expected = make_run(Workspace.open(tmp_path), "r", 4)
    write_missing(expected, 4, 2)
    run = make_run(Workspace.open(f"{bucket}/workers"), "r", 4)
    for number, checkpoint in enumerate(expected.checkpoints):
        step = [10, None][number]
        writer = pickle.loads(pickle.dumps(run.make_fragment_writer(checkpoint, step)))
        for batch, results in enumerate(make_batches(4, number)):
            run.append_written(checkpoint, step, writer.write(batch, results))
    run.close()
    assert read_everything(Workspace.open(f"{bucket}/workers").open_run("r")) == read_everything(expected)


def test_a_second_capture_is_refused_and_a_resumed_one_takes_over(bucket: str) -> None:
    # There is no lock that falls with its process: the lease of one that was killed must not bar the way.
    place = f"{bucket}/lease"
    first = make_run(Workspace.open(place), "r", 3)
    batches = make_batches(3, 0)
    first.append_batch("final", None, 0, batches[0])
    first.flush()
    first.append_batch("final", None, 1, batches[1])
    second = Workspace.open(place).open_run("r")
    with pytest.raises(UserError, match=r"being written by process \d+ on .*--resume"):
        second.append_batch("final", None, 1, batches[1])
    second.repair()
    second.append_batch("final", None, 1, batches[1])
    second.close()
    with pytest.raises(UserError, match="taken over"):
        first.flush()
    expected = sum(len(getattr(each, "records", ())) for batch in batches[:2] for each in batch)
    assert len(Workspace.open(place).open_run("r").read_spans("final")) == expected, "two writers, one batch"


@pytest.mark.parametrize(
    ("place", "environment", "says"),
    [
        ("s3://missing-bucket/x", {}, ("the workspace cannot be used", "docs/scale.md")),
        (f"s3://{BUCKET}/x", {"AWS_ALLOW_HTTP": ""}, ("AWS_ALLOW_HTTP=true",)),
        (f"s3://{BUCKET}/x?region=eu-west-1", {}, ("AWS_REGION", "do not reach the tables")),
        ("s3:///x", {}, ("names no bucket",)),
        ("ftp://host/x", {}, ("the storage cannot be used", "s3://bucket/prefix")),
    ],
)
def test_what_cannot_be_reached_is_told_with_the_way_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    environment: dict[str, str],
    says: tuple[str, ...],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = write_rows(tmp_path / "apples.jsonl", make_rows(3))
    outcome = run_gsd("--json", "--workspace", place, "datasets", "add", file)
    assert outcome.code == 2, outcome.err
    for part in says:
        assert part in json.loads(outcome.out)["error"]


def test_jobs_and_uploads_need_a_disk(bucket: str) -> None:
    workspace = Workspace.open(f"{bucket}/jobs")
    for name in ("jobs_dir", "uploads_dir"):
        with pytest.raises(UserError, match="local workspace"):
            getattr(workspace, name)
