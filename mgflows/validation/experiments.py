"""Measured values with their sources, for comparison with simulated ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from mgflows.errors import InputError
from mgflows.files import read_text
from mgflows.validation.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Experiment", "experiments_for", "load_experiments"]

_HINT = "see the format in docs/how_to/validation.md"
_LARGEST_DIFFERENCE = 0.005
"""Largest difference of any atomic fraction at which two compositions count as the same."""
_DOI = re.compile(r"10\.\d{4,9}/\S+")


@dataclass(frozen=True)
class Experiment:
    """One measured value.

    Parameters
    ----------
    quantity
        A name in :data:`mgflows.validation.quantities.QUANTITIES`.
    composition
        Formula of the alloy.
    value, error
        In the unit of the quantity; the error is None where the source has none.
    temperature
        K, where the quantity depends on it.
    sample
        How it was made and measured.
    doi
        DOI of the publication.
    read_in
        Publication from which the value was taken.
    verified
        Whether it was read in the publication itself.
    """

    quantity: str
    composition: str
    value: float
    error: float | None
    temperature: float | None
    sample: str
    doi: str
    read_in: str
    verified: bool

    @property
    def source(self) -> str:
        """The source in words."""
        checked = "" if self.verified else " (not verified)"
        return f"doi:{self.doi}, read in {self.read_in}{checked}"

    def is_of(self, composition: Mapping[str, float]) -> bool:
        """Whether it is of this composition, to half an atomic percent."""
        own = _fractions(self.composition)
        return all(
            abs(own.get(symbol, 0.0) - composition.get(symbol, 0.0)) <= _LARGEST_DIFFERENCE
            for symbol in {*own, *composition}
        )


def load_experiments(path: str | Path | None = None) -> list[Experiment]:
    """Read the built-in values, and those of a file in the same format.

    Parameters
    ----------
    path
        Own YAML file: a list of entries with ``quantity``, ``composition``, ``value``, ``error``,
        ``conditions``, ``doi``, ``read_in`` and ``verified``.

    Raises
    ------
    InputError
        If the file cannot be read, or an entry lacks a field or has an invalid one; the message
        names the entry.
    """
    shipped = resources.files("mgflows.validation") / "experiments.yaml"
    found = _parse(shipped.read_text(encoding="utf-8"), "experiments.yaml of mgflows")
    if path is not None:
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the measured values in {path} cannot be read: {error}") from error
        found += _parse(text, str(path))
    return found


def experiments_for(
    experiments: Sequence[Experiment], composition: Mapping[str, float]
) -> list[Experiment]:
    """Return the experiments on one composition (atomic fractions)."""
    return [experiment for experiment in experiments if experiment.is_of(composition)]


def _parse(text: str, where: str) -> list[Experiment]:
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}", hint=_HINT) from error
    if not isinstance(entries, list):
        raise InputError(f"{where} must be a list of measured values", hint=_HINT)
    return [_entry(entry, f"entry {number} of {where}") for number, entry in enumerate(entries, 1)]


def _entry(entry: Any, where: str) -> Experiment:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r}, not a mapping", hint=_HINT)
    conditions = entry.get("conditions") or {}
    values = {key: value for key, value in entry.items() if key != "conditions"}
    values["temperature"] = conditions.get("temperature")
    values["sample"] = str(conditions.get("sample", ""))
    values.setdefault("error", None)
    names = {field.name for field in fields(Experiment)}
    missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
    if missing or unknown:
        words = [f"lacks {', '.join(missing)}"] * bool(missing)
        words += [f"has the unknown fields {', '.join(unknown)}"] * bool(unknown)
        raise InputError(f"{where} {' and '.join(words)}", hint=_HINT)
    if values["quantity"] not in QUANTITIES:
        raise InputError(
            f"{where} has the unknown quantity {values['quantity']!r}",
            hint=f"known are {', '.join(QUANTITIES)}",
        )
    for name in ("value", "error", "temperature"):
        if values[name] is not None and not isinstance(values[name], int | float):
            raise InputError(f"{name} of {where} is {values[name]!r}, not a number", hint=_HINT)
    if values["value"] is None:
        raise InputError(f"{where} has no value", hint=_HINT)
    if not isinstance(values["verified"], bool):
        raise InputError(
            f"verified of {where} is {values['verified']!r}, not true or false", hint=_HINT
        )
    if not _DOI.fullmatch(str(values["doi"])):
        raise InputError(
            f"the DOI {values['doi']!r} of {where} does not begin with 10.", hint=_HINT
        )
    if not _fractions(str(values["composition"])):
        raise InputError(
            f"the composition {values['composition']!r} of {where} is not a formula", hint=_HINT
        )
    values["value"] = float(values["value"])
    return Experiment(**values)


def _fractions(formula: str) -> dict[str, float]:
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula)
    if "".join(symbol + amount for symbol, amount in parts) != formula or not parts:
        return {}
    amounts: dict[str, float] = {}
    for symbol, amount in parts:
        amounts[symbol] = amounts.get(symbol, 0.0) + float(amount or 1.0)
    total = sum(amounts.values())
    return {symbol: amount / total for symbol, amount in amounts.items()} if total else {}
