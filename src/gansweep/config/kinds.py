"""Value types of the settings: strict about kinds, with the two readings that YAML and the shell force on numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _float_from_text(value: Any) -> Any:
    """Read `1e-3` that YAML 1.1 keeps as text; everything else is left to the strict check."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _int_from_whole(value: Any) -> Any:
    """Read `1e4`, which Hydra parses as the float 10000.0, where a count is asked for."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _text_from_number(value: Any) -> Any:
    """Read `name=12` as text; a truth value or a list stays an error."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


Real = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_float_from_text)]
NonNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0), BeforeValidator(_float_from_text)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0), BeforeValidator(_float_from_text)]
Decay = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, lt=1), BeforeValidator(_float_from_text)]
OpenShare = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, lt=1), BeforeValidator(_float_from_text)]
Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1), BeforeValidator(_float_from_text)]
Count = Annotated[int, Field(strict=True, ge=1), BeforeValidator(_int_from_whole)]
Whole = Annotated[int, Field(strict=True, ge=0), BeforeValidator(_int_from_whole)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63), BeforeValidator(_int_from_whole)]
Byte = Annotated[int, Field(strict=True, ge=0, le=255), BeforeValidator(_int_from_whole)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, BeforeValidator(_text_from_number)]
Names = list[Text]


class Node(BaseModel):
    """A node of the settings: unknown keys are refused, and keys are written as the YAML writes them (`from`)."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, validate_default=True, protected_namespaces=())

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        """Return the node as plain containers, under the YAML's own key names (`_target_`, `from`)."""
        kwargs.setdefault("by_alias", True)
        return super().model_dump(**kwargs)


class OpenNode(Node):
    """A node whose further keys belong to whatever `_target_` names (a system, a data set, a judge)."""

    model_config = ConfigDict(extra="allow")
