"""The options that every command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder with all local state; ./.headwater unless set", rich_help_panel="Common"),
]
ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", help="Project directory, with its headwater.toml", rich_help_panel="Common"),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON document for machines", rich_help_panel="Common")
]
