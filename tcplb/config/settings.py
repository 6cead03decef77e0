"""The settings of one run: flag over environment over file over default, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from tcplb.config.combinations import settle_combinations
from tcplb.config.defaults import add_missing_names, add_missing_tables
from tcplb.config.document import Document, Finding, paths_of
from tcplb.config.fields import AS_WRITTEN
from tcplb.config.keypath import KeyPath
from tcplb.config.lines import nearest
from tcplb.config.models import Config
from tcplb.config.overrides import Override, apply, parse_backend
from tcplb.config.problems import explain
from tcplb.config.reading import read
from tcplb.config.references import check_references
from tcplb.errors import ConfigError

__all__ = ["Override", "Settings", "load", "parse_backend"]

_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration, and where each of its values came from.

    `origins` has ``default``, ``tcplb.toml:11``, ``--idle-timeout`` or ``TCPLB_IDLE_TIMEOUT`` for
    the path of every value, table and array in `config`.
    """

    config: Config
    origins: Mapping[KeyPath, str]
    empty_file: bool = False
    """Whether there was a file, and nothing in it but perhaps comments."""

    def origin_of(self, path: KeyPath) -> str:
        """Where the value at `path` came from, or else the nearest table around it."""
        known = nearest(path, self.origins)
        return _DEFAULT if known is None else self.origins[known]


def load(path: Path | None, overrides: Sequence[Override] = ()) -> Settings:
    """The settings from the file at `path`, if any, with the overrides in place.

    Of two overrides of one setting the later one counts, so environment variables come before
    flags. Raises ConfigError, with all problems, if anything is wrong.
    """
    document = read(path) if path is not None else Document()
    empty_file = path is not None and not document.data
    findings = add_missing_tables(document)
    findings += apply(document, overrides)
    findings += add_missing_names(document)
    findings += settle_combinations(document)
    config = _validate(document, findings)
    findings += check_references(document)
    if config is None or findings:
        raise ConfigError(document.problems(findings))
    return Settings(config, _origins(document, config), empty_file)


def _validate(document: Document, findings: list[Finding]) -> Config | None:
    """The finished models; or None, and then what is wrong is added to `findings`."""
    try:
        return Config.model_validate(document.data, context=AS_WRITTEN)
    except ValidationError as error:
        findings += explain(error)
        return None


def _origins(document: Document, config: Config) -> Mapping[KeyPath, str]:
    origins = {}
    for path in paths_of(config.model_dump(mode="json")):
        written = document.origins.get(path)
        origins[path] = _DEFAULT if written is None else written.text
    # The document as a whole is no value that somebody set.
    del origins[()]
    return MappingProxyType(origins)
