"""Measured values and curves with their sources, for comparison with simulated ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from mgflows.errors import InputError
from mgflows.files import read_text
from mgflows.validation.quantities import CURVES, QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mgflows.validation.quantities import Quantity

__all__ = [
    "Experiment",
    "MeasuredCurve",
    "experiments_for",
    "load_curves",
    "load_experiments",
]

_HINT = "see the format in docs/how_to/validation.md"
_LARGEST_DIFFERENCE = 0.005
"""Largest difference of any atomic fraction at which two compositions count as the same."""
_TAIL = 0.3
"""Largest difference from one of the mean of the last quarter of a g(r) or S(q)."""
_DOI = re.compile(r"10\.\d{4,9}/\S+")


class _Measurement:
    """Source and alloy of a measured value or curve."""

    composition: str
    doi: str
    read_in: str
    verified: bool

    @property
    def source(self) -> str:
        """The source in words."""
        published = f"doi:{self.doi}" if self.doi else "unpublished"
        checked = "" if self.verified or not self.doi else " (not verified)"
        return f"{published}, read in {self.read_in}{checked}"

    def is_of(self, composition: Mapping[str, float]) -> bool:
        """Whether it is of this composition, to half an atomic percent."""
        own = _fractions(self.composition)
        return all(
            abs(own.get(symbol, 0.0) - composition.get(symbol, 0.0)) <= _LARGEST_DIFFERENCE
            for symbol in {*own, *composition}
        )


@dataclass(frozen=True)
class Experiment(_Measurement):
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
        DOI of the publication; empty for an unpublished measurement.
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
    def marked_value(self) -> str:
        """The value for a table, with an asterisk if it was not read in its publication."""
        return f"{self.value:g}" if self.verified else f"{self.value:g} *"


@dataclass(frozen=True)
class MeasuredCurve(_Measurement):
    """One measured curve.

    Parameters
    ----------
    quantity
        A name in :data:`mgflows.validation.quantities.CURVES`; X-ray weighted, and one at large
        distances or wave numbers.
    composition
        Formula of the alloy.
    x, y
        The points, `x` in A or 1/A and rising.
    temperature
        K, if it is known.
    sample
        How it was made and measured.
    doi
        Of the publication; empty for an unpublished measurement.
    read_in
        Where the curve was read.
    verified
        Whether it was read in the publication itself.
    """

    quantity: str
    composition: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    temperature: float | None
    sample: str
    doi: str
    read_in: str
    verified: bool


def load_experiments(path: str | Path | None = None) -> list[Experiment]:
    """Read the built-in values, and those of a file in the same format.

    Parameters
    ----------
    path
        Your own YAML file: a list of entries with ``quantity``, ``composition``, ``value``,
        ``error``, ``conditions``, ``doi``, ``read_in`` and ``verified``. Entries with a ``curve``
        are those of :func:`load_curves`.

    Raises
    ------
    InputError
        If the file cannot be read, or an entry lacks a field or has an invalid one; the message
        names the entry.
    """
    shipped = resources.files("mgflows.validation") / "experiments.yaml"
    entries = _parse(shipped.read_text(encoding="utf-8"), "experiments.yaml of mgflows")
    entries += _own(path)
    return [entry for entry in entries if isinstance(entry, Experiment)]


def load_curves(path: str | Path | None = None) -> list[MeasuredCurve]:
    """Read the measured curves of a file; no curve is shipped.

    Parameters
    ----------
    path
        Your own YAML file: entries with ``curve`` in the place of ``value`` and ``error``. It is a
        file with two columns, relative to the YAML file, or a mapping of ``x`` and ``y``.

    Raises
    ------
    InputError
        If a file cannot be read, or an entry or a curve is wrong; names the entry.
    """
    return [entry for entry in _own(path) if isinstance(entry, MeasuredCurve)]


def _own(path: str | Path | None) -> list[Experiment | MeasuredCurve]:
    if path is None:
        return []
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the measured values in {path} cannot be read: {error}") from error
    return _parse(text, str(path), Path(path).absolute().parent)


def experiments_for(
    experiments: Sequence[Experiment], composition: Mapping[str, float]
) -> list[Experiment]:
    """Return the experiments on one composition (atomic fractions)."""
    return [experiment for experiment in experiments if experiment.is_of(composition)]


def _parse(text: str, where: str, folder: Path | None = None) -> list[Experiment | MeasuredCurve]:
    """The entries of a file; own files, which have a folder, may have curves and no DOI."""
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}", hint=_HINT) from error
    if not isinstance(entries, list):
        raise InputError(f"{where} must be a list of measured values", hint=_HINT)
    return [
        _entry(entry, f"entry {number} of {where}", folder)
        for number, entry in enumerate(entries, 1)
    ]


def _entry(entry: Any, where: str, folder: Path | None) -> Experiment | MeasuredCurve:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r}, not a mapping", hint=_HINT)
    conditions = entry.get("conditions") or {}
    if not isinstance(conditions, dict):
        raise InputError(
            f"conditions of {where} are {conditions!r}, not a mapping",
            hint='write them as {temperature: 300, sample: "cast rod"}',
        )
    values = {key: value for key, value in entry.items() if key != "conditions"}
    values["temperature"] = conditions.get("temperature")
    values["sample"] = str(conditions.get("sample", ""))
    is_curve = folder is not None and "curve" in values
    if is_curve:
        names = {field.name for field in fields(MeasuredCurve)} - {"x", "y"} | {"curve"}
    else:
        values.setdefault("error", None)
        names = {field.name for field in fields(Experiment)}
    missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
    if missing or unknown:
        words = [f"lacks {', '.join(missing)}"] * bool(missing)
        words += [f"has the unknown fields {', '.join(unknown)}"] * bool(unknown)
        raise InputError(f"{where} {' and '.join(words)}", hint=_HINT)
    known: Mapping[str, Quantity] = CURVES if is_curve else QUANTITIES
    if not isinstance(values["quantity"], str) or values["quantity"] not in known:
        raise InputError(
            f"{where} has the unknown quantity {values['quantity']!r}",
            hint=f"known are {', '.join(known)}",
        )
    for name in ("value", "error", "temperature"):
        found = values.get(name)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        if found is not None and not (is_number and np.isfinite(found)):
            raise InputError(f"{name} of {where} is {found!r}, not a number", hint=_HINT)
    if (values.get("error") or 0.0) < 0.0:
        raise InputError(f"error of {where} is negative: {values['error']}", hint=_HINT)
    if not is_curve and values["value"] is None:
        raise InputError(f"{where} has no value", hint=_HINT)
    if not isinstance(values["verified"], bool):
        raise InputError(
            f"verified of {where} is {values['verified']!r}, not true or false", hint=_HINT
        )
    if values["doi"] is None and folder is not None:
        values["doi"] = ""
    elif not _DOI.fullmatch(str(values["doi"])):
        raise InputError(
            f"the DOI {values['doi']!r} of {where} does not begin with 10.",
            hint="write doi: null for an unpublished measurement" if folder is not None else _HINT,
        )
    if not _fractions(str(values["composition"])):
        raise InputError(
            f"the composition {values['composition']!r} of {where} is not a formula", hint=_HINT
        )
    if folder is not None and is_curve:
        x, y = _points(values.pop("curve"), values["quantity"], where, folder)
        return MeasuredCurve(**values, x=x, y=y)
    values["value"] = float(values["value"])
    return Experiment(**values)


def _points(
    curve: Any, quantity: str, where: str, folder: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The points of a curve, as they stand in the entry or in a file of two columns."""
    try:
        if isinstance(curve, dict):
            columns = [curve["x"], curve["y"]]
        else:
            text = read_text(folder / str(curve))
            rows = [line.replace(",", " ").split() for line in text.splitlines()]
            numeric = [row[:2] for row in rows if row and row[0][0] not in "#;!%"]
            columns = [list(column) for column in zip(*numeric, strict=True)]
        x, y = (np.asarray(column, dtype=float) for column in columns)
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise InputError(
            f"the curve of {where} cannot be read ({reason})",
            hint="give a file with two columns and # before comments, or {x: [...], y: [...]}",
        ) from error
    if x.ndim != 1 or x.shape != y.shape or len(x) < 10:
        raise InputError(f"the curve of {where} has {x.size} and {y.size} values, not ten pairs")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (np.diff(x) > 0.0).all()):
        raise InputError(f"the first column of the curve of {where} does not rise everywhere")
    tail = float(y[-len(y) // 4 :].mean())
    if abs(tail - 1.0) > _TAIL:
        unit = CURVES[quantity].unit
        name, others = (
            ("g(r)", "G(r) = 4 pi rho r [g(r) - 1]") if unit == "A" else ("S(q)", "q [S(q) - 1]")
        )
        raise InputError(
            f"the curve of {where} tends to {tail:.2f}, not to one, so it is not {name}",
            hint=f"convert it if it is {others}, and normalise it",
        )
    return tuple(x.tolist()), tuple(y.tolist())


def _fractions(formula: str) -> dict[str, float]:
    parts = re.findall(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+|)", formula)
    if "".join(symbol + amount for symbol, amount in parts) != formula or not parts:
        return {}
    amounts: dict[str, float] = {}
    for symbol, amount in parts:
        amounts[symbol] = amounts.get(symbol, 0.0) + float(amount or 1.0)
    total = sum(amounts.values())
    return {symbol: amount / total for symbol, amount in amounts.items()} if total else {}
