"""Jobs whose first argument is a structure."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, OutputReference, job
from pymatgen.core import IStructure

from mgflows.methods.base import check_geometry
from mgflows.schemas.labels import atoms_from_structure, structure_from_atoms

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["storable_structure", "structure_job"]


def structure_job(**settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Job]]:
    """Jobflow's ``job`` decorator for methods of Makers whose first argument is a structure.

    ASE atoms become pymatgen structures, which a database can store. Other objects are refused when
    the job is made. The argument may also be a list.

    Parameters
    ----------
    **settings
        Arguments of :func:`jobflow.job`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Job]:
        make = job(function, **settings)
        first = list(inspect.signature(function).parameters)[1]

        @functools.wraps(function)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Job:
            if args:
                args = (_storable(args[0]), *args[1:])
            elif first in kwargs:
                kwargs[first] = _storable(kwargs[first])
            return make(self, *args, **kwargs)

        # jobflow runs the original function, and recognises the method by it.
        wrapper.original = function  # type: ignore[attr-defined]
        return wrapper

    return decorate


def storable_structure(structure: Any) -> Any:
    """Return ASE atoms as a pymatgen structure; structures, references and None are unchanged.

    Raises
    ------
    InputError
        For anything else, and for atoms that cannot be labelled.
    """
    if structure is None or isinstance(structure, OutputReference | Job | Flow | IStructure):
        return structure
    atoms = atoms_from_structure(structure)
    check_geometry(atoms)
    return structure_from_atoms(atoms)


def _storable(argument: Any) -> Any:
    if isinstance(argument, list | tuple):
        return [storable_structure(member) for member in argument]
    return storable_structure(argument)
