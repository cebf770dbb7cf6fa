"""The pages' JavaScript: files become one module in which each keeps its names, and what is pure does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gsd_core.dashboard import components
from gsd_core.dashboard.components.linking import link_modules
from gsd_core.dashboard.components.scatter import encoding

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(components.__file__).parent
ENTRIES = sorted(file for file in FOLDER.glob("*/*.js") if file.stem == file.parent.name)
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def _node(*arguments: str, **environment: str) -> str:
    """What node prints."""
    done = subprocess.run(
        [str(NODE), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder / "entry.js"


@needs_node
def test_each_file_keeps_its_names_and_runs_once(tmp_path):
    entry = _write(
        tmp_path,
        counter='export const log = [];\nlog.push("run");\nconst own = 1;\n'
        "export function next() { return own + log.length; }",
        left='import { log, next } from "./counter.js";\nconst own = "left";\n'
        "export const left = () => own + next() + log.length;",
        right='import {\n  next,\n} from "./counter.js";\nimport { left } from "./left.js";\nconst own = "right";\n'
        "export class Right { say() { return own + next() + left(); } }",
        entry='import { left } from "./left.js";\nimport { Right } from "./right.js";\nconst own = "entry";\n'
        "export default function mount() { return [own, left(), new Right().say()].join(); }",
    )
    linked = tmp_path / "linked.mjs"
    linked.write_text(link_modules(entry), encoding="utf-8")
    say = f"const module = await import({json.dumps(linked.as_uri())}); console.log(module.default());"
    assert _node("--input-type=module", "--eval", say).strip() == "entry,left21,right2left21"
    (tmp_path / "package.json").write_text('{ "type": "module" }', encoding="utf-8")
    say = say.replace(linked.as_uri(), entry.as_uri())
    assert _node("--input-type=module", "--eval", say).strip() == "entry,left21,right2left21", "node links otherwise"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ('import { b } from "./other.js";', "does not export b"),
        ('import { a } from "https://example.com/a.js";', "can be linked"),
        ('import * as other from "./other.js";', "can be linked"),
        ('import other from "./other.js";', "can be linked"),
        ('const other = import("./other.js");', "can be linked"),
        ("const a = 1;\nexport { a };", "can be linked"),
        ("export default () => 1;", "can be linked"),
        ('import { a } from "./entry.js";\nexport const c = a;', "is circular"),
        ('import { c } from "./middle.js";', "is circular"),
    ],
)
def test_what_cannot_be_linked_is_refused(tmp_path, file, problem):
    middle = 'import { a } from "./entry.js";\nexport const c = a;'
    entry = _write(tmp_path, other="export const a = 1;", middle=middle, entry=file)
    with pytest.raises(ValueError, match=problem):
        link_modules(entry)


def test_only_the_entry_has_a_default(tmp_path):
    entry = _write(tmp_path, other="export default function a() {}", entry='import { a } from "./other.js";')
    with pytest.raises(ValueError, match="can be linked"):
        link_modules(entry)


def test_every_file_belongs_to_a_component_and_every_export_is_used():
    files = [*FOLDER.rglob("*.js"), *(ROOT / "tests" / "js").glob("*.js")]
    imports = re.compile(r'^import {([^}]*)} from "(\..*)";$', re.MULTILINE)
    used = {
        ((file.parent / source).resolve(), name.strip())
        for file in files
        for names, source in imports.findall(file.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    for file in FOLDER.rglob("*.js"):
        text = file.read_text(encoding="utf-8")
        assert file in ENTRIES or any(source == file for source, _ in used), f"no component imports {file.name}"
        for name in re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", text, re.MULTILINE):
            assert (file, name) in used, f"nothing imports {name} of {file.name}"


def test_the_text_that_travels_needs_no_other_file():
    assert len(ENTRIES) >= 9, "components are missing"
    for entry in ENTRIES:
        linked = link_modules(entry)
        assert not re.search(r"^import\b", linked, re.MULTILINE), entry.name
        assert linked.count("export default function mount(") == 1, f"{entry.name} mounts nothing"


@needs_node
def test_what_is_pure_does_what_it_says(tmp_path):
    x, y = np.array([0.5, np.nan, -3, 7, 2], np.float32), np.array([1, 1, 2, 4, 8], np.float32)
    values, mask = [0, 300, 7, 7, 2], [True, False, False, True, True]
    blocks = {
        "places": encoding.encode_coordinates(x, y),
        "values": encoding.encode_values(np.array(values)),
        "mask": encoding.encode_mask(np.array(mask)),
    }
    for name, block in blocks.items():
        (tmp_path / f"{name}.gz").write_bytes(block.content)
    meant = {
        "x": [None if np.isnan(each) else float(each) for each in x],
        "y": y.tolist(),
        "values": values,
        "mask": mask,
    }
    (tmp_path / "meant.json").write_text(json.dumps(meant), encoding="utf-8")
    tests = sorted(map(str, (ROOT / "tests" / "js").glob("*.test.js")))
    out = _node("--test", "--test-reporter=tap", *tests, GSD_BLOCKS=str(tmp_path))
    assert "# skipped 0" in out, out[-2000:]
