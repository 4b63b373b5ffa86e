"""Options that select frames, shared by the commands that work on frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mgflows.database import FrameRecord, GlassDatabase
    from mgflows.database.queries import FrameFilter, Window

__all__ = ["filter_options", "select_frames"]

F = TypeVar("F", bound="Callable[..., Any]")

_WINDOWS = {
    "energy": "Energy, eV per atom",
    "largest-force": "Largest force on an atom, eV/Å",
    "pressure": "Pressure, GPa, positive under compression",
    "density": "Mass density, g/cm³",
    "atoms": "Atoms in the cell",
    "sweeps": "Cooling length of the sample in sweeps",
    "rate": "Cooling rate of a quench with a potential, K/ps",
}


def filter_options(function: F) -> F:
    """Add the options of :func:`select_frames` to a command."""
    options = [
        click.option("--subset", "subsets", multiple=True, help="Subset; repeatable."),
        click.option("--family", help="Family: a sample and its descendants."),
        click.option("--method", "fingerprint", help="Digest of the method's fingerprint."),
        click.option(
            "--time",
            metavar="MIN:MAX",
            help="Effective time in t*, or with an s in seconds (1e5s: selects 1e5 s and more).",
        ),
        *(
            click.option(f"--{name}", metavar="MIN:MAX", help=f"{unit}.")
            for name, unit in _WINDOWS.items()
        ),
        click.option(
            "--composition",
            multiple=True,
            metavar="ELEMENT=MIN:MAX",
            help="Atomic fraction of an element; repeatable.",
        ),
        click.option("--elements", help="Only frames of these elements, such as Cu,Zr."),
        click.option("--formula", help="Chemical formula of the cell in Hill's order."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def select_frames(
    database: GlassDatabase, campaign: str | None, options: dict[str, Any]
) -> list[FrameRecord]:
    """Return the frames that the options select.

    Parameters
    ----------
    database
        The database.
    campaign
        Campaign of the frames; all by default.
    options
        Values of the options, by name.

    Raises
    ------
    InputError
        For a window that cannot be read.
    """
    reduced, seconds = _time(options["time"])
    return database.frames(
        campaign,
        subset=options["subsets"] or None,
        family=options["family"],
        fingerprint=options["fingerprint"],
        effective_time_min=reduced[0],
        effective_time_max=reduced[1],
        where=_filter(options, seconds),
    )


def _filter(options: dict[str, Any], seconds: Window) -> FrameFilter:
    from mgflows.database.queries import FrameFilter

    composition = {}
    for each in options["composition"]:
        element, separator, window = each.partition("=")
        if not separator:
            raise InputError(
                f"--composition {each} is not ELEMENT=MIN:MAX", hint="such as Al=0:0.1"
            )
        composition[element] = _window("--composition", window)
    return FrameFilter(
        energy=_window("--energy", options["energy"]),
        force=_window("--largest-force", options["largest_force"]),
        pressure=_window("--pressure", options["pressure"]),
        density=_window("--density", options["density"]),
        n_atoms=_window("--atoms", options["atoms"]),
        n_sweeps=_window("--sweeps", options["sweeps"]),
        cooling_rate=_window("--rate", options["rate"]),
        seconds=seconds,
        composition=composition,
        elements=tuple(filter(None, (options["elements"] or "").split(","))),
        formula=options["formula"],
    )


def _time(text: str | None) -> tuple[Window, Window]:
    """Windows in t* and in s; one of them is unbounded."""
    if text is None or "s" not in text:
        return _window("--time", text), (None, None)
    return (None, None), _window("--time", text.replace("s", ""))


def _window(option: str, text: str | None) -> Window:
    """Read ``MIN:MAX``; either end may be missing."""
    if not text:
        return (None, None)
    low, separator, high = text.partition(":")
    try:
        if not separator:
            raise ValueError
        smallest, largest = (float(each) if each.strip() else None for each in (low, high))
        if any(limit is not None and math.isnan(limit) for limit in (smallest, largest)):
            raise ValueError
        return smallest, largest
    except ValueError:
        raise InputError(
            f"{option} {text} is not a window MIN:MAX", hint="such as 1:2, 1: or :2"
        ) from None
