"""What the client that blocks knows of models."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from headwater.client import calls, models
from headwater.client.jobs import FINAL
from headwater.client.results import OutcomeReply, PredictReply

T = TypeVar("T")


class ModelMethods(ABC):
    """Predictions and what becomes of them."""

    @abstractmethod
    def send(self, call: calls.Call[T]) -> T:
        """Send a call and read the answer."""

    def predict(
        self,
        model: str,
        rows: calls.Rows | None = None,
        *,
        version: int | None = None,
        entities: calls.Rows | None = None,
        explain: models.Explain | None = None,
        sticky_key: str | None = None,
        timeout_ms: int | None = None,
        repeatable: bool = False,
    ) -> PredictReply:
        """Ask a model for one prediction a row.

        Args:
            model: its name; its routes choose the version unless one is given.
            rows: inputs by name; None where the features of ``entities`` are all that there is.
            version: the version that answers.
            entities: keys of what the model fetches features for, one for each row.
            explain: ``"routing"`` has the reply say how the version was chosen.
            sticky_key: requests with the same key go to the same version.
            timeout_ms: a request that cannot be answered within this is refused rather than run in vain.
            repeatable: send it again, too, where it may have been run already and only the answer was lost; such a
                prediction may be logged twice.
        """
        return self.send(
            models.predict(
                model,
                rows,
                version=version,
                entities=entities,
                explain=explain,
                sticky_key=sticky_key,
                timeout_ms=timeout_ms,
                repeatable=repeatable,
            )
        )

    def outcome(
        self, prediction_id: str, outcome: models.Outcome, *, observed_at: datetime | str | None = None
    ) -> OutcomeReply:
        """Report what became of a prediction; the same once more changes nothing, another one corrects it.

        Args:
            prediction_id: of the prediction.
            outcome: a number, a boolean, a text, or these by output.
            observed_at: when it happened.
        """
        return self.send(models.outcome(prediction_id, outcome, observed_at))

    def outcomes(self, reports: Iterable[Mapping[str, Any]]) -> OutcomeReply:
        """Report many: dictionaries with ``prediction_id``, ``outcome`` and perhaps ``observed_at``; 10,000 at most."""
        return self.send(models.outcomes(reports))

    def skew(self, model: str, *, version: int | None = None) -> dict[str, Any]:
        """Return the newest check of whether features were served as history has them: ``state`` and ``report``."""
        return self.send(models.skew(model, version=version))

    def check_skew(
        self,
        model: str,
        *,
        version: int | None = None,
        hours: int = 24,
        sample: int = 1_000,
        poll_seconds: float = 0.5,
    ) -> dict[str, Any]:
        """Have that checked for predictions of the last ``hours``, and return it once it is done."""
        found = self.send(models.check_skew(model, version=version, hours=hours, sample=sample))
        while found["state"] not in FINAL:
            time.sleep(poll_seconds)
            found = self.skew(model, version=found["version"])
        return found
