"""The document of a run: manifest, layout version, and which folder holds what.

RunDocument   read (cached until it changes), change under a lock

The user's manifest and the store's own section ``store`` share one JSON file, so that a change of both is one atomic
replacement: ``{"version", "sketch_width", "embedding_width", "checkpoints": [{"name", "step", "folder"}], "results":
{name: {checkpoint: {"folder", "tables", "info", "needs"}}}, "growing": {name: {checkpoint: {"folder", "settings",
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
        """The whole document, fresh; not to be changed by the caller.

        Raises
        ------
        UserError
            When the run is gone, unreadable, or written by a newer program.
        """
        try:
            stamp = self.folder.stamp(RUN_FILE)
            if self._cached is None or stamp is None or stamp != self._stamp:
                self._cached, self._stamp = self.folder.read_json(RUN_FILE), stamp
        except FileNotFoundError:
            raise UserError(
                f"unknown run {self.name!r}", self.folder.uri, "see the runs of the workspace"
            ) from None
        except (ValueError, OSError) as error:
            raise UserError(
                f"the run's document cannot be read ({error})",
                f"{self.folder.uri}/{RUN_FILE}",
                "restore it from a copy, or remove the run",
            ) from error
        section = self._cached.get(STORE_KEY)
        version = section.get("version") if isinstance(section, dict) else None
        newest = max(step.number for step in migrations.RUN_MIGRATIONS)
        migrations.check_version(version, newest, "run", f"run {self.name}")
        return self._cached

    def store(self) -> dict[str, Any]:
        """The store's own section."""
        return self.read()[STORE_KEY]

    def manifest(self) -> dict[str, Any]:
        """A copy of the manifest, without the store's section."""
        return copy.deepcopy({key: value for key, value in self.read().items() if key != STORE_KEY})

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Apply ``edit`` to a copy of the newest document and replace it whole; no two changes overlap."""
        with document_lock(self.folder.path, self.folder.is_local):
            self._cached = None
            document = copy.deepcopy(self.read())
            edit(document)
            self.folder.write_json(RUN_FILE, document)
            self._cached = None

    def migrate(self) -> None:
        """Bring an older run to today's layout, step by step."""
        newest = max(step.number for step in migrations.RUN_MIGRATIONS)
        if int(self.store()["version"]) == newest:
            return
        with document_lock(self.folder.path, self.folder.is_local):
            self._cached = None
            migrations.run_migrations(
                self.folder, copy.deepcopy(self.read()), migrations.RUN_MIGRATIONS, _version, self._save
            )
            self._cached = None

    def _save(self, document: dict[str, Any], version: int) -> dict[str, Any]:
        document = {**document, STORE_KEY: {**document[STORE_KEY], "version": version}}
        self.folder.write_json(RUN_FILE, document)
        return document

    def create(self, manifest: dict[str, Any], sketch_width: int, embedding_width: int) -> None:
        """Write the first document; the run exists from then on."""
        section = {
            "version": 0,
            "sketch_width": sketch_width,
            "embedding_width": embedding_width,
            "checkpoints": [],
        }
        document = {**manifest, STORE_KEY: section}
        last = max(migrations.RUN_MIGRATIONS, key=lambda step: step.number).number

        def keep(changed: dict[str, Any], version: int) -> dict[str, Any]:
            changed = {**changed, STORE_KEY: {**changed[STORE_KEY], "version": version}}
            if version == last:  # the run appears at once in its final form
                self.folder.write_json(RUN_FILE, changed)
            return changed

        migrations.run_migrations(self.folder, document, migrations.RUN_MIGRATIONS, _version, keep)


def _version(document: dict[str, Any]) -> int:
    return int(document[STORE_KEY]["version"])
