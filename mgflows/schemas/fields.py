"""Fields for objects of the numerical packages, stored as plain dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["AsDict", "without_class_keys"]


class AsDict:
    """Annotation of a field whose class has ``as_dict`` and ``from_dict``.

    The document contains the object; MongoDB stores its dictionary, without the keys by which
    monty would rebuild the object when reading the document.

    Examples
    --------
    >>> from typing import Annotated
    >>> from pydantic import BaseModel
    >>> from mgflows.surrogate import LennardJones
    >>> class Document(BaseModel):
    ...     surrogate: Annotated[LennardJones, AsDict]
    >>> Document(surrogate=LennardJones.cuzral()).model_dump()["surrogate"]["species"]
    ['Zr', 'Cu', 'Al']
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: Any,
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        """Accept an object of the class, or the dictionary of one."""

        def read(value: Any) -> Any:
            return value if isinstance(value, source) else source.from_dict(value)

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: without_class_keys(value.as_dict())
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls,
        schema: core_schema.CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> dict[str, Any]:
        """Describe the field as an object; its keys are those of ``as_dict``."""
        return {"type": "object"}


def without_class_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return the dictionary without the keys that start with ``@``."""
    return {key: value for key, value in values.items() if not key.startswith("@")}
