"""Makers of stored fireworks that stay readable when a field or an argument is retired."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jobflow import Maker

if TYPE_CHECKING:
    from jobflow import Job

__all__ = ["StoredMaker", "update_arguments"]


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
    def convert_arguments(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Convert named arguments of `make` of an earlier version to those of this one."""
        return arguments

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Invert ``as_dict``, of this version or an earlier one."""
        return super().from_dict(
            {key: value for key, value in values.items() if key not in cls.retired}
        )


def update_arguments(job: Job) -> None:
    """Convert the arguments of a stored job to those that its Maker takes now.

    Retired ones are removed before their references are resolved.
    """
    maker = job.maker
    if not isinstance(maker, StoredMaker):
        return
    job.function_kwargs = maker.convert_arguments(
        {
            name: value
            for name, value in job.function_kwargs.items()
            if name not in maker.retired_arguments
        }
    )
    if not maker.retired_arguments:
        return
    n_arguments = len(inspect.signature(job.function).parameters)
    job.function_args = job.function_args[:n_arguments]
