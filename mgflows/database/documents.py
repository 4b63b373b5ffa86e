"""Reading documents from the JobStore by their model, campaign and tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from mgflows.database.progress import require_campaign
from mgflows.errors import InputError
from mgflows.schemas.fields import without_class_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import JobStore
    from pymongo.database import Database

__all__ = ["DocumentReader", "UnknownDocumentError", "creation_order"]

DocumentType = TypeVar("DocumentType", bound=BaseModel)


class UnknownDocumentError(InputError):
    """No document has the given id."""


class DocumentReader:
    """The part of :class:`~mgflows.database.glass.GlassDatabase` that reads documents."""

    if TYPE_CHECKING:
        mongo: Database
        store: JobStore

    def _one(self, model: type[DocumentType], key: str, value: str) -> DocumentType:
        criteria = {f"output.{key}": {"$regex": f"^{re.escape(value)}"}}
        found = self._documents(model, None, criteria=criteria, load=True)
        names = sorted({getattr(document, key) for document in found})
        if len(names) == 1:
            return found[0]
        what = key.removesuffix("_id")
        if names:
            raise InputError(
                f"{value!r} matches {len(names)} {what}s ({', '.join(names)})",
                hint="give more digits",
            )
        raise UnknownDocumentError(
            f"there is no {what} {value!r}", hint=f"list them with: mgflows {what}s"
        )

    def _documents(
        self,
        model: type[DocumentType],
        campaign: str | None,
        *,
        criteria: dict[str, Any] | None = None,
        load: bool = False,
        empty: dict[str, Any] | None = None,
    ) -> list[DocumentType]:
        return [
            document
            for _, document in self._tagged(
                model, campaign, criteria=criteria, load=load, empty=empty
            )
        ]

    def _tagged(
        self,
        model: type[DocumentType],
        campaign: str | None,
        *,
        subset: str | None = None,
        criteria: dict[str, Any] | None = None,
        load: bool = False,
        empty: dict[str, Any] | None = None,
    ) -> Iterator[tuple[dict[str, Any], DocumentType]]:
        """Yield tags and documents of one model, oldest first.

        ``empty`` has the values of fields of the additional store, which are not loaded.
        """
        selection: dict[str, Any] = {"output.@class": model.__name__, **(criteria or {})}
        if campaign is not None:
            require_campaign(self.mongo, campaign)
            selection["metadata.mgflows.campaign"] = campaign
        if subset:
            selection["metadata.mgflows.subset"] = subset
        found = list(self.store.query(selection, load=load))
        for document in sorted(found, key=creation_order):
            output = without_class_keys(document["output"])
            for name, value in (empty or {}).items():
                if _is_reference(output.get(name)):
                    output[name] = value
            yield document["metadata"].get("mgflows", {}), model.model_validate(output)


def _is_reference(value: Any) -> bool:
    """Whether a field is in the additional store and was not loaded."""
    return isinstance(value, dict) and "blob_uuid" in value


def creation_order(document: dict[str, Any]) -> tuple[str, str]:
    """Sort by UTC creation; jobflow's ``completed_at`` is the local time of the worker."""
    provenance = document["output"].get("provenance") or {}
    return (str(provenance.get("created_at", "")), str(document.get("completed_at", "")))
