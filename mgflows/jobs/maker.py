"""Makers that stay readable when a field of them is retired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from jobflow import Maker

__all__ = ["StoredMaker"]


@dataclass
class StoredMaker(Maker):
    """A Maker that can be read from fireworks and campaigns of earlier versions.

    Attributes
    ----------
    retired
        Fields of earlier versions that are ignored.
    """

    retired: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Invert ``as_dict``, of this version or an earlier one."""
        return super().from_dict(
            {key: value for key, value in values.items() if key not in cls.retired}
        )
