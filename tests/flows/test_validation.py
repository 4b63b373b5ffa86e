from __future__ import annotations

from types import SimpleNamespace

from jobflow import OutputReference

from mgflows.flows.validation import ValidationFlowMaker


def test_the_longest_coolings_are_validated_first_held_out_ones_included():
    """Held-out families come last among the relaxed ones; their cooling length decides."""
    lengths = {"mc-1e3-026": 10**3, "mc-1e4-022": 10**4, "mc-1e6-002": 10**6, "mc-1e5-009": 10**5}
    # Inserted from the shortest, so that the order of the result is the Maker's.
    order = ("mc-1e6-002", "mc-1e5-009", "mc-1e4-022", "mc-1e3-026")
    relaxed = {family: OutputReference(f"relaxed {family}") for family in reversed(order)}
    flow = ValidationFlowMaker().make(OutputReference("potential"), relaxed, lengths)
    (job,) = flow.jobs
    glasses = next(value for value in job.function_args if isinstance(value, list))
    assert [glass.uuid for glass in glasses] == [f"relaxed {family}" for family in order]


def test_glasses_without_a_length_of_their_own_keep_their_order():
    namespace = SimpleNamespace(structure="structure", energy_lj=0.0, energy_per_atom=0.0)
    families = ("a", "b", "c")
    flow = ValidationFlowMaker().make(
        OutputReference("potential"),
        dict.fromkeys(("b", "c"), namespace),
        dict.fromkeys(families, 10),
    )
    assert len(flow.jobs) == 1
