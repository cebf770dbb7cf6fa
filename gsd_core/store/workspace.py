"""A workspace: a folder, on a disk or on object storage, with data sets and runs.

Workspace   open or create one; its data sets and runs

Layout: ``workspace.json``, ``datasets/NAME/``, ``runs/RUN/``, ``trainings/``; the dashboard adds ``jobs/`` and
``uploads/``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pyarrow.lib import ArrowException

from gsd_core.errors import UserError, explain_storage
from gsd_core.methods.analyze_method import MAP
from gsd_core.store import datasets, migrations
from gsd_core.store.document import RunDocument
from gsd_core.store.files import STORAGE_HELP, Folder
from gsd_core.store.infos import DatasetInfo, RunInfo
from gsd_core.store.locks import acquire_writer, document_lock, release_writer
from gsd_core.store.run import Run
from gsd_core.store.schema import DATASET_FILE, RUN_FILE, WORKSPACE_FILE
from gsd_core.types import Sample, name_is_valid

_OWN_NAMES = {"datasets", "runs", "jobs", "uploads", "trainings", WORKSPACE_FILE}


class Workspace:
    """An open workspace, made by ``Workspace.open``.

    ``uri`` is its folder, ``version`` its layout version, ``is_local`` whether it is on a disk.
    """

    def __init__(self, folder: Folder, version: int) -> None:
        self.uri, self.version, self.is_local = folder.uri, version, folder.is_local
        self._folder = folder
        self._datasets, self._runs = folder.child("datasets"), folder.child("runs")

    @classmethod
    def open(cls, uri: str | Path, create: bool = True) -> Workspace:
        """Open the workspace at a path or URI; ``create`` makes a missing one. Older layouts are migrated.

        Raises
        ------
        UserError
            For a newer layout, a folder with other files, a file, or a missing workspace without ``create``.
        """
        folder = Folder.at(uri)
        try:
            return cls(folder, _open_document(folder, create))
        except (OSError, ArrowException) as error:
            raise UserError(
                f"the workspace cannot be used ({str(error)[:300]})",
                folder.uri,
                "check the folder and its permissions" if folder.is_local else STORAGE_HELP,
            ) from error

    def check_writable(self) -> None:
        """Raises ``UserError`` where nothing can be written into a workspace on a disk."""
        if not self.is_local:
            return
        try:
            with tempfile.TemporaryFile(dir=self._folder.path):
                pass
        except OSError as error:
            told = explain_storage(error)
            what = told.what if told else str(error)
            raise UserError(
                f"the workspace cannot be written: {what}",
                self.uri,
                "give another --workspace, or change its permissions",
            ) from error

    @property
    def jobs_dir(self) -> Path:
        """Folder for background jobs; local workspaces only."""
        return self._local("jobs")

    @property
    def uploads_dir(self) -> Path:
        """Folder for uploaded files; local workspaces only."""
        return self._local("uploads")

    @property
    def trainings_dir(self) -> Path:
        """Folder for trainings (``store.trainings``); local workspaces only."""
        return self._local("trainings")

    def _local(self, name: str) -> Path:
        if not self.is_local:
            raise UserError(f"{name} need a local workspace", self.uri, "serve a workspace on a disk")
        return Path(self._folder.path, name)

    # -- data sets ------------------------------------------------------------------------------------------------

    def list_datasets(self) -> list[DatasetInfo]:
        """Every data set, by name. One that cannot be read has a ``problem``."""
        return datasets.list_infos(self._datasets)

    def write_dataset(
        self,
        name: str,
        samples: Sequence[Sample],
        info: dict[str, Any],
        replace: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> DatasetInfo:
        """Store a data set whole or not at all.

        ``info`` has the fields of ``DatasetInfo`` except the counts (``format, fields, data_hash …``); others go to
        ``extra``. A data set with the same ``data_hash`` is replaced without ``replace``. ``on_progress`` is called
        with the number of samples written so far.

        Raises
        ------
        UserError
            For an invalid name, other data under that name without ``replace``, or a repeated id.
        """
        _check_name(name, "data set", "--name")
        return datasets.write_dataset(self._datasets.child(name), name, samples, info, replace, on_progress)

    def open_dataset(self, name: str) -> DatasetInfo:
        """The description of a data set. Raises ``UserError`` with similar names for an unknown one."""
        return datasets.load_info(self._find_dataset(name), name)

    def read_samples(self, name: str, head: int | None = None) -> list[Sample]:
        """The samples of a data set in file order, or the first ``head``."""
        return datasets.read_samples(self._find_dataset(name), name, head)

    def remove_dataset(self, name: str) -> None:
        """Remove a data set. Its runs keep their own copy of the samples."""
        self._find_dataset(name, "gsd datasets list")
        self._datasets.remove_folder(name, DATASET_FILE)

    # -- runs -----------------------------------------------------------------------------------------------------

    def list_runs(self) -> list[RunInfo]:
        """Every run, newest first. One that cannot be read is ``"broken"`` and has a ``problem``."""
        infos = [
            self._describe(name)
            for name in self._runs.list_names()
            if name_is_valid(name) and self._runs.child(name).has(RUN_FILE)
        ]
        return sorted(infos, key=lambda info: (info.created, info.name), reverse=True)

    def create_run(self, name: str, manifest: dict[str, Any], sketch_width: int = 0, embedding_width: int = 0) -> Run:
        """Create a run. A missing ``manifest["created"]`` is set to now.

        A run with a width of 0 stores no directions, or no sentence embeddings.

        Raises
        ------
        UserError
            For an invalid name, or if the run exists.
        """
        _check_name(name, "run", "--run")
        if sketch_width < 0 or embedding_width < 0:
            raise ValueError("sketch_width and embedding_width must not be negative")
        folder = self._runs.child(name)
        with document_lock(folder.path, folder.is_local):
            if folder.has(RUN_FILE):
                raise UserError(
                    "the run exists already",
                    f"run {name}",
                    "add --resume to continue it, or choose another --run name",
                )
            RunDocument(folder, name).create(
                {"created": datasets.utc_now(), **manifest}, int(sketch_width), int(embedding_width)
            )
        return Run(folder, name)

    def open_run(self, name: str) -> Run:
        """A run. Raises ``UserError`` for an unknown run (with similar names), a newer layout or an unreadable run."""
        folder = self._find_run(name)
        RunDocument(folder, name).migrate()
        return Run(folder, name)

    def remove_run(self, name: str) -> None:
        """Remove a run. Raises ``UserError`` while another process writes it."""
        path = self._find_run(name).path
        if self.is_local:
            acquire_writer(path, self, f"run {name}", takeover=True)
        try:
            self._runs.remove_folder(name, RUN_FILE)
        finally:
            if self.is_local:
                release_writer(path, self)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _find_dataset(self, name: str, remedy: str = "gsd datasets add FILE") -> Folder:
        return self._find(name, self._datasets, DATASET_FILE, "data set", remedy)

    def _find_run(self, name: str) -> Folder:
        return self._find(name, self._runs, RUN_FILE, "run", "gsd capture …")

    def _find(self, name: str, home: Folder, document: str, what: str, remedy: str) -> Folder:
        """The folder of a data set or run. Raises ``UserError`` with similar names for an unknown one."""
        if name_is_valid(name) and home.child(name).has(document):
            return home.child(name)
        known = [each for each in home.list_names() if name_is_valid(each) and home.child(each).has(document)]
        near = get_close_matches(name, known, 3, 0.4)
        if near:
            remedy = f"did you mean {', '.join(near)}?"
        elif known:
            more = " …" if len(known) > 5 else ""
            remedy = f"there are {', '.join(known[:5])}{more}"
        raise UserError(f"unknown {what} {name!r}", f"workspace {self.uri}", remedy)

    def _describe(self, name: str) -> RunInfo:
        manifest: dict[str, Any] = {}
        try:
            run = Run(self._runs.child(name), name)
            manifest = run.manifest
            table = run._samples_table().open()
            results = {each: run.results.infos(each) for each in run.results.names()}
            return RunInfo(
                name,
                _status(manifest, results),
                manifest,
                run.count_spans(run.checkpoints[-1]) if run.checkpoints else 0,
                table.count_rows() if table is not None else 0,
                run.checkpoints,
                str(manifest.get("created", "")),
                first_look=run.default_checkpoint,
                results=results,
            )
        except Exception as error:  # a broken run must not hide the others
            problem = error.one_line() if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            created = str(manifest.get("created", ""))
            return RunInfo(name, "broken", {**manifest, "reason": problem}, 0, 0, [], created, problem)


def _status(manifest: dict[str, Any], results: dict[str, Any]) -> str:
    """A finished capture sets ``status="captured"`` in the manifest; an analysis is a stored result."""
    if manifest.get("status") != "captured":
        return "capturing"
    return "analyzed" if results.get(MAP.name) else "captured"


def _check_name(name: str, what: str, flag: str) -> None:
    if not name_is_valid(name):
        raise UserError(
            f"{name!r} cannot name a {what}",
            flag,
            "use up to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )


def _open_document(folder: Folder, create: bool) -> int:
    """Read, create or migrate ``workspace.json``; the version."""
    steps = migrations.WORKSPACE_MIGRATIONS
    newest = steps[-1].number

    def version_of(document: dict[str, Any]) -> int:
        return migrations.check_version(document.get("version"), newest, "workspace", folder.uri)

    def save(document: dict[str, Any], version: int) -> dict[str, Any]:
        document = {**document, "version": version}
        folder.write_json(WORKSPACE_FILE, document)
        return document

    def load() -> dict[str, Any] | None:
        if not folder.has(WORKSPACE_FILE):
            return None
        try:
            return folder.read_json(WORKSPACE_FILE)
        except ValueError as error:
            raise UserError(
                f"the workspace's document cannot be read ({error})",
                f"{folder.uri}/{WORKSPACE_FILE}",
                'restore the file: {"version": 1}',
            ) from error

    if folder.kind() == "file":
        raise UserError("not a workspace but a file", folder.uri, "give a folder with --workspace")
    document = load()
    if document is not None and version_of(document) == newest:
        return newest
    if document is None:
        if not create:
            raise UserError("no workspace", folder.uri, "give another --workspace, or start with gsd datasets add FILE")
        others = [name for name in folder.list_names() if name not in _OWN_NAMES and not name.startswith(".")]
        if others:
            raise UserError(
                f"not a workspace but a folder with other files ({others[0]} …)",
                folder.uri,
                "give an empty or new folder with --workspace",
            )
    with document_lock(folder.path, folder.is_local):
        document = load()  # another process may have created it meanwhile
        document = {"version": 0} if document is None else document
        document = migrations.run_migrations(folder, document, steps, version_of(document), save)
    return version_of(document)
