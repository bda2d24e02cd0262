"""What a version is: everything that is sealed when it is pushed, and the digest that tells two apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from headwater.contracts.spec import contract_to_spec
from headwater.control.catalog.digest import sha256_of

if TYPE_CHECKING:
    from headwater.engines.models.manifest import ModelManifest

DEFAULT_MEMORY_BYTES: Final = 2 << 30
DEFAULT_TIMEOUT_SECONDS: Final = 30.0
_FIRST_RELEASE: Final = ("framework", "inputs", "outputs", "artifact_sha256")


@dataclass(frozen=True, slots=True)
class VersionContent:
    """A version as it is sealed, in plain JSON throughout.

    Attributes:
        framework: what runs the artifact.
        inputs: the plain contract spec of one row.
        outputs: plain ``OutputSpec`` documents.
        artifact_sha256: lower-case hexadecimal.
        options: the framework's own.
        features: plain ``FeatureRefSpec`` documents: inputs that are filled from feature views, by name.
        examples: golden rows: ``inputs``, and perhaps ``outputs`` and ``tolerance``.
        metrics: numbers of the evaluation.
        training: ``dataset``, ``version``, ``code`` and ``rows``, as far as they are known.
        license: an SPDX expression, or any words.
        card: Markdown for people.
        profile_sha256: the blob of the reference profile, or empty.
        memory_bytes: what its process may take.
        timeout_seconds: how long one run may take.
        limits: what the author asks of it: ``max_latency_ms``, ``max_size_mb``, ``min_metrics``.
    """

    framework: str
    inputs: Mapping[str, Any]
    outputs: Sequence[Mapping[str, Any]]
    artifact_sha256: str
    options: Mapping[str, Any] = field(default_factory=dict)
    features: Sequence[Mapping[str, str]] = ()
    examples: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    card: str = ""
    profile_sha256: str = ""
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    limits: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_manifest(cls, manifest: ModelManifest, artifact_sha256: str, profile_sha256: str) -> VersionContent:
        """Return what a manifest and the digests of its files say."""
        return cls(
            framework=manifest.framework,
            inputs=contract_to_spec(manifest.inputs),
            outputs=[output.model_dump(mode="json") for output in manifest.outputs],
            artifact_sha256=artifact_sha256,
            options=manifest.options,
            features=[reference.model_dump(mode="json") for reference in manifest.features],
            examples=[_said(asdict(example)) for example in manifest.examples],
            metrics=manifest.metrics,
            training=_said(asdict(manifest.training)) if manifest.training else {},
            license=manifest.license or "",
            card=manifest.card,
            profile_sha256=profile_sha256,
            memory_bytes=manifest.memory_bytes,
            timeout_seconds=manifest.timeout_seconds,
            limits={name: value for name, value in _said(asdict(manifest.checks)).items() if value != {}},
        )

    def plain(self) -> dict[str, Any]:
        """Return every member as JSON can hold it."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def digest(self) -> str:
        """Return what identifies the content: members that say nothing do not count, so that more can be added."""
        plain = self.plain()
        silent = _plain_defaults()
        return sha256_of({name: value for name, value in plain.items() if silent.get(name, ...) != value})

    def digest_of_first_release(self) -> str:
        """Return the digest that releases before this one stored: over artifact and signature alone."""
        plain = self.plain()
        return sha256_of({name: plain[name] for name in _FIRST_RELEASE})


def _said(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say something."""
    return {name: value for name, value in members.items() if value is not None}


def _plain_defaults() -> dict[str, Any]:
    return VersionContent("", {}, (), "").plain()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
