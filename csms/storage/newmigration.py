"""`make migration NAME="what changes"`: the next migration, drafted from `tables.py`. Read it before you commit it.

A fresh SQLite file is brought to the newest migration and compared with the tables; the difference becomes the file
`migrations/versions/NNNN_what_changes.py`. What a comparison cannot know (a renamed column, data to be moved) is
yours to write.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.script import ScriptDirectory

from csms.storage.migrate import alembic_config


def draft(name: str) -> Path | None:
    """Write the next migration; None when the tables and the migrations agree."""
    with tempfile.TemporaryDirectory() as folder:
        config = alembic_config(f"sqlite:///{folder}/empty.db")
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
        command.upgrade(config, "head")
        made = command.revision(
            config, name, autogenerate=True, rev_id=f"{number:04d}", process_revision_directives=_nothing_is_no_file
        )
    scripts = made if isinstance(made, list) else [made]
    return next((Path(script.path) for script in scripts if script is not None), None)


def _nothing_is_no_file(_context: Any, _revision: Any, directives: list[Any]) -> None:
    if not directives[0].upgrade_ops.ops:
        directives.clear()


def main(arguments: Iterable[str]) -> int:
    """The command line: one name."""
    name = " ".join(arguments).strip()
    if not name:
        sys.stderr.write('say what changes: make migration NAME="what changes"\n')
        return 2
    path = draft(name)
    sys.stdout.write(f"{path}\n" if path is not None else "the tables and the migrations agree; nothing to write\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
