"""Whether a trained potential passed its tests."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from mgflows.nep.checks import Outcome
from mgflows.validation.acceptance import AcceptanceSettings

if TYPE_CHECKING:
    from mgflows.validation.acceptance import AcceptanceResult


class CheckRecord(BaseModel):
    """One test of a potential."""

    name: str = Field(description="such as 'melt density'")
    outcome: Outcome = Field(
        description="passed; failed: the potential is not accepted; warning: a hint; skipped: not "
        "measured"
    )
    sentence: str = Field(description="the result in words")
    value: float | None = Field(None, description="the measured value, in `unit`")
    smallest: float | None = Field(None, description="lower limit of the value, in `unit`")
    largest: float | None = Field(None, description="upper limit of the value, in `unit`")
    unit: str = Field("", description="unit of value and limits; empty for ratios")


class WorstFrameRecord(BaseModel):
    """A test frame with one of the largest errors."""

    frame_id: str = Field(description="hash of the frame; empty if unknown")
    subset: str = Field(description="its subset")
    family: str = Field(description="its family")
    energy_error: float = Field(description="prediction minus label, meV per atom")
    force_rmse: float = Field(description="over the components of the frame, meV/A")


class AcceptanceRecord(BaseModel):
    """Tests of a potential after its training (:mod:`mgflows.validation.acceptance`)."""

    passed: bool = Field(description="whether no test failed")
    reason: str = Field(description="why the potential is not accepted; empty if it is")
    checks: list[CheckRecord] = Field(description="the tests, the most important first")
    worst_frames: list[WorstFrameRecord] = Field(
        default_factory=list, description="test frames with the largest force and energy errors"
    )
    settings: AcceptanceSettings = Field(description="the measurements and the limits")
    reference: str = Field(
        "", description="the method of the melt used for comparison, in words; empty without one"
    )
    cpu_seconds: float = Field(description="processor time, s")

    @classmethod
    def from_result(
        cls, result: AcceptanceResult, settings: AcceptanceSettings, reference: str = ""
    ) -> AcceptanceRecord:
        """Make the record of a result."""
        return cls(
            passed=result.passed,
            reason=result.reason,
            checks=[CheckRecord(**asdict(check)) for check in result.checks],
            worst_frames=[WorstFrameRecord(**asdict(frame)) for frame in result.worst],
            settings=settings,
            reference=reference,
            cpu_seconds=result.cpu_seconds,
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings, in words."""
        return [check.sentence for check in self.checks if check.outcome == "warning"]
