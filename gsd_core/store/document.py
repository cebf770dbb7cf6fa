"""The document of a run, ``run.json``: manifest and the store's own section.

RunDocument   read it (cached until it changes) and change it under a lock

Manifest and section ``store`` share one file, so that one atomic replacement changes both. The section is
``{"version", "sketch_width", "embedding_width", "checkpoints": [{"name", "step", "folder"}], "results": {name:
{checkpoint: {"folder", "tables", "info", "needs"}}}, "growing": {name: {checkpoint: {"folder", "settings",
"needs"}}}}``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from gsd_core.errors import UserError
from gsd_core.store import migrations
from gsd_core.store.files import Folder
from gsd_core.store.locks import document_lock
from gsd_core.store.schema import RUN_FILE, STORE_KEY


class RunDocument:
    """``run.json`` of the run in ``folder``."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self._cached: dict[str, Any] | None = None
        self._stamp: tuple[int, ...] | None = None

    def read(self) -> dict[str, Any]:
        """The newest document; the caller must not change it.

        Raises
        ------
        UserError
            When the run is removed, unreadable, or written by a newer program.
        """
        try:
            stamp = self.folder.stamp(RUN_FILE)
            if self._cached is None or stamp is None or stamp != self._stamp:
                self._cached, self._stamp = self.folder.read_json(RUN_FILE), stamp
        except FileNotFoundError:
            raise UserError(
                f"unknown run {self.name!r}", self.folder.uri, "choose one of the workspace's runs"
            ) from None
        except (ValueError, OSError) as error:
            raise UserError(
                f"the run's document cannot be read ({error})",
                f"{self.folder.uri}/{RUN_FILE}",
                "restore it from a copy, or remove the run",
            ) from error
        section = self._cached.get(STORE_KEY)
        version = section.get("version") if isinstance(section, dict) else None
        migrations.check_version(version, migrations.RUN_MIGRATIONS[-1].number, "run", f"run {self.name}")
        return self._cached

    def store(self) -> dict[str, Any]:
        """The store's own section."""
        return self.read()[STORE_KEY]

    def manifest(self) -> dict[str, Any]:
        """A copy of the manifest, without the store's section."""
        return copy.deepcopy({key: value for key, value in self.read().items() if key != STORE_KEY})

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Apply ``edit`` to a copy of the newest document and replace it whole. Changes never overlap."""
        with document_lock(self.folder.path, self.folder.is_local):
            self._cached = None
            document = copy.deepcopy(self.read())
            edit(document)
            self.folder.write_json(RUN_FILE, document)
            self._cached = None

    def migrate(self) -> None:
        """Bring an older run to the current layout, step by step."""
        if int(self.store()["version"]) == migrations.RUN_MIGRATIONS[-1].number:
            return
        with document_lock(self.folder.path, self.folder.is_local):
            self._cached = None
            self._migrate(copy.deepcopy(self.read()))
            self._cached = None

    def _migrate(self, document: dict[str, Any], is_new: bool = False) -> None:
        def save(changed: dict[str, Any], version: int) -> dict[str, Any]:
            changed = {**changed, STORE_KEY: {**changed[STORE_KEY], "version": version}}
            if not is_new or version == steps[-1].number:  # a new run appears in its final layout
                self.folder.write_json(RUN_FILE, changed)
            return changed

        steps = migrations.RUN_MIGRATIONS
        migrations.run_migrations(self.folder, document, steps, int(document[STORE_KEY]["version"]), save)

    def create(self, manifest: dict[str, Any], sketch_width: int, embedding_width: int) -> None:
        """Write the first document; the run exists from then on."""
        widths = {"sketch_width": sketch_width, "embedding_width": embedding_width}
        section = {"version": 0, **widths, "checkpoints": []}
        self._migrate({**manifest, STORE_KEY: section}, is_new=True)
