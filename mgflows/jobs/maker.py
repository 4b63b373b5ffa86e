"""Makers of stored fireworks that stay readable when a field or an argument is retired."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jobflow import Maker

if TYPE_CHECKING:
    from jobflow import Job

__all__ = ["StoredMaker", "drop_retired_arguments"]


@dataclass
class StoredMaker(Maker):
    """A Maker that can be read from fireworks and campaigns of earlier versions.

    Attributes
    ----------
    retired
        Fields of earlier versions that are ignored.
    retired_arguments
        Arguments of `make` in earlier versions that are ignored; they came after all others.
    """

    retired: ClassVar[tuple[str, ...]] = ()
    retired_arguments: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Invert ``as_dict``, of this version or an earlier one."""
        return super().from_dict(
            {key: value for key, value in values.items() if key not in cls.retired}
        )


def drop_retired_arguments(job: Job) -> None:
    """Remove arguments that the Maker of a stored job no longer takes.

    They are removed before their references are resolved.
    """
    maker = job.maker
    if not isinstance(maker, StoredMaker) or not maker.retired_arguments:
        return
    job.function_kwargs = {
        name: value
        for name, value in job.function_kwargs.items()
        if name not in maker.retired_arguments
    }
    n_arguments = len(inspect.signature(job.function).parameters)
    job.function_args = job.function_args[:n_arguments]
