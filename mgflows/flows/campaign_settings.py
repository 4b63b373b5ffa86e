"""Stored settings of a campaign, and comparison of the settings of two campaigns."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from monty.json import MontyDecoder, MontyEncoder

from mgflows.errors import MgflowsError
from mgflows.files import digest_of_text

if TYPE_CHECKING:
    from jobflow import Maker

__all__ = ["differing_settings", "encode_settings", "settings_digest"]

logger = logging.getLogger(__name__)

_WORDS = ("@version", "scaled_down")
"""Version stamps of monty and descriptions, which do not define a campaign."""
_LATER_FIELDS = {"protocol": "paper"}
"""Fields of Makers that earlier campaigns lacked, with the values that correspond to this."""
_LONGEST_VALUE = 60


def encode_settings(maker: Maker) -> dict[str, Any]:
    """Return the Maker as monty encodes it."""
    return json.loads(json.dumps(maker, cls=MontyEncoder))


def settings_digest(settings: dict[str, Any]) -> str:
    """Return the hash of encoded settings without version stamps and unset values.

    Fields that were added to Makers later do not change the hash of earlier campaigns.
    """
    return digest_of_text(json.dumps(_without(settings, ("@version",)), sort_keys=True))


def differing_settings(stored: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """List the settings in which two encoded campaigns differ.

    Settings of an earlier version are read first: fields that it did not have get their defaults,
    and renamed classes their new names.

    Parameters
    ----------
    stored, given
        Results of :func:`encode_settings`, the first possibly of an earlier version.

    Returns
    -------
    list of str
        ``name: stored value, now given value`` of each; empty for the same campaign.
    """
    try:
        stored = encode_settings(MontyDecoder().process_decoded(stored))
    except (ImportError, AttributeError, KeyError, TypeError, ValueError, MgflowsError) as error:
        logger.info("the stored settings cannot be read by this version: %s", error)
    return list(_differences(_without(stored, _WORDS), _without(given, _WORDS), ""))


def _without(value: Any, names: tuple[str, ...]) -> Any:
    """Drop entries of these names, and unset values, from nested settings."""
    if isinstance(value, dict):
        return {
            key: _without(member, names)
            for key, member in value.items()
            if key not in names and member is not None and _LATER_FIELDS.get(key) != member
        }
    if isinstance(value, list):
        return [_without(member, names) for member in value]
    return value


def _differences(stored: Any, given: Any, name: str) -> list[str]:
    if stored == given:
        return []
    are_nested = isinstance(stored, dict) and isinstance(given, dict)
    if not are_nested or stored.get("@class") != given.get("@class"):
        return [f"{name}: {_words(stored)}, now {_words(given)}"]
    return [
        difference
        for key in sorted((stored.keys() | given.keys()) - {"@module"})
        for difference in _differences(
            stored.get(key), given.get(key), f"{name}.{key}" if name else key
        )
    ]


def _words(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, dict) and "@class" in value:
        return str(value["@class"])
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
