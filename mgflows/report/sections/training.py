"""Sections on the database and on the potential."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.report import style
from mgflows.report.content import Panel, Section, Table, compact, scaled_down
from mgflows.report.figures import training as figures
from mgflows.report.sections.acceptance import add_acceptance, own_error
from mgflows.text import listed, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mgflows.report.data import ReportData
    from mgflows.schemas.training import (
        DatasetDocument,
        ErrorStatistics,
        ParityTable,
        PotentialDocument,
    )

_WORSE = 1.1
"""Errors that differ by less are the same: training is random."""


def database(data: ReportData) -> Section:
    """Fig. 3a: the frames of the dataset."""
    section = Section("database", "Database", "The database")
    counts = data.frame_counts
    if not counts:
        section.missing.append("No frame has been labelled yet, so the database is empty.")
        return section
    dataset = data.dataset
    largest = max(counts, key=lambda subset: counts[subset])
    total = sum(counts.values())
    families = (
        f" from {plural(len({frame.family for frame in dataset.frames}), 'family')}"
        if dataset is not None and dataset.frames
        else ""
    )
    section.paragraphs.append(
        f"The dataset contains {total} labelled frames{families}; "
        f"{style.subset_style(largest).label} frames are the largest subset "
        f"({100 * counts[largest] / total:.0f}%)."
    )
    absent = [look.label for subset, look in style.SUBSET_STYLES.items() if subset not in counts]
    if absent:
        section.missing.append(f"The dataset has no frames of the subsets {listed(absent)}.")
    if dataset is not None:
        section.paragraphs.extend(_left_out(dataset))
    note = (
        scaled_down(plural(len(data.samples), "sample") + " of the surrogate")
        if data.campaign.scaled_down
        else ""
    )
    section.panels.append(
        Panel(
            "composition",
            "Fig. 3a",
            "Composition of the dataset",
            style.Drawing(
                lambda figure: figures.draw_composition(figure, _sides(data, counts)),
                "composition",
                height=3.4,
            ),
            "Labelled frames of each subset; the pale part is the test set of the family split. "
            f"{note}",
        )
    )
    if data.frames:
        section.panels.append(
            Panel(
                "range",
                "",
                "Range of the dataset",
                style.Drawing(
                    lambda figure: figures.draw_range(figure, data.frames), "range", height=3.4
                ),
                "Pressure and energy of every labelled frame. Surrogate samples are under high "
                "pressure because the surrogate's density is above that of the glass; relaxed "
                "samples are at zero pressure.",
            )
        )
    return section


def potential(data: ReportData) -> Section:
    """Figs. 3b-d and S2: errors of the potential, and the effect of the feedback step."""
    section = Section("potential", "Potential", "The potential")
    best = data.best_potential
    if best is None:
        section.missing.append("No potential has been trained yet.")
        return section
    add_acceptance(section, best)
    section.paragraphs.append(_verdict(best))
    section.tables.append(_error_table(best))
    parity, note = best.parity, _training_note(best)
    if not parity:
        section.missing.append(
            "The parity values of this potential could not be read, so Figs. 3b, 3c and S2d are "
            "missing."
        )
    else:
        section.panels.extend(_parity_panels(best, parity, note))
    losses = _losses(data, best)
    if losses:
        section.panels.append(_loss_panel(losses, note))
    _add_feedback(section, data)
    return section


def _parity_panels(
    best: PotentialDocument, parity: Mapping[str, ParityTable], note: str
) -> list[Panel]:
    """Figs. 3b, 3c and S2: the potential against the labels."""
    return [
        Panel(
            "energy-parity",
            "Fig. 3b",
            "Energies",
            style.Drawing(
                lambda figure: figures.draw_energy_parity(figure, parity),
                "energy-parity",
                height=5.2,
            ),
            "Energy per atom by the potential against the labels, "
            f"{best.n_train} training and {best.n_test} test frames of the {best.split} "
            "split, in the range of the glasses; the inset shows all frames with the "
            f"crystals. Below: prediction less label. {note}",
        ),
        Panel(
            "virial-parity",
            "Fig. S2d",
            "Virials",
            style.Drawing(
                lambda figure: figures.draw_virial_parity(figure, parity),
                "virial-parity",
                height=3.0,
            ),
            f"The six components of the virial per atom, positive when compressed. {note}",
        ),
        Panel(
            "force-parity",
            "Fig. 3c",
            "Forces",
            style.Drawing(
                lambda figure: figures.draw_force_parity(figure, parity),
                "force-parity",
                height=3.0,
            ),
            "Logarithmic density of force components by the potential against the "
            "labels. Very many components are drawn as a random selection; the errors "
            f"are of all. {note}",
        ),
        Panel(
            "parity-by-side",
            "Fig. S2a–c",
            "Training and test frames",
            style.Drawing(
                lambda figure: figures.draw_parity_by_side(figure, parity),
                "parity-by-side",
                height=2.2,
            ),
            "Energies per atom, force components and virials per atom by the potential "
            f"against the labels, of training and test frames. {note}",
        ),
    ]


def _loss_panel(losses: list[Mapping[str, list[float | None]]], note: str) -> Panel:
    """Fig. 3d: the loss of the training."""
    return Panel(
        "loss",
        "Fig. 3d",
        "Loss of the training",
        style.Drawing(lambda figure: figures.draw_loss(figure, *losses), "loss", height=2.8),
        "Left: the loss and its regularisation terms, where they are not zero; right: "
        "errors of energy and virial per atom and of the forces, over the batches of the "
        "training and over all test frames."
        + (
            " The vertical line marks the end of the first training, before the feedback."
            if len(losses) > 1
            else ""
        )
        + " The trainer's errors differ in batches and precision from those of the table, "
        f"which were recomputed from nep.txt. {note}",
    )


def _losses(
    data: ReportData, potential: PotentialDocument
) -> list[Mapping[str, list[float | None]]]:
    """Loss tables of a potential and of those it started from, oldest first."""
    by_id = {each.potential_id: each for each in data.potentials}
    history: list[PotentialDocument] = []
    each: PotentialDocument | None = potential
    while each is not None and each not in history:
        history.insert(0, each)
        each = by_id.get(each.started_from or "")
    return [
        one.loss for one in history if any(step is not None for step in one.loss.get("step", []))
    ]


def _training_note(best: PotentialDocument) -> str:
    steps = next((step for step in reversed(best.loss.get("step", [])) if step is not None), None)
    if not best.scaled_down or steps is None:
        return ""
    return scaled_down(f"{steps:,.0f} steps of the trainer; the paper trains for 10⁵ generations")


def _verdict(best: PotentialDocument) -> str:
    test, train = best.errors.get("test", {}).get("all"), best.errors.get("train", {}).get("all")
    if test is None:
        return (
            f"Potential {best.potential_id} was trained on {plural(best.n_train, 'frame')}; its "
            "test errors are unknown."
        )
    text = (
        f"The potential was trained on {plural(best.n_train, 'frame')} and tested on {best.n_test} "
        f"others. Its test errors (RMSE) are {compact(test.energy_rmse)} meV/atom in the energy, "
        f"{compact(test.force_rmse)} meV/Å in the forces and {compact(test.virial_rmse)} meV/atom "
        "in the virial."
    )
    if train is not None and train.force_rmse > 0.0:
        text += (
            f" Its force error on the training frames is {compact(train.force_rmse)} meV/Å, a "
            f"test-to-train ratio of {test.force_rmse / train.force_rmse:.2f}."
        )
    subsets = {subset: errors for subset, errors in best.errors["test"].items() if subset != "all"}
    if len(subsets) > 1:
        worst = max(subsets, key=lambda subset: subsets[subset].force_rmse)
        text += (
            f" The force error is largest for {style.subset_style(worst).label} frames "
            f"({compact(subsets[worst].force_rmse)} meV/Å)."
        )
    return text


def _error_table(best: PotentialDocument) -> Table:
    test, train = best.errors.get("test", {}), best.errors.get("train", {})
    subsets = [*style.known_subsets([*test, *train]), "all"]
    rows = [
        [
            style.subset_style(subset).label if subset != "all" else "all frames",
            *_cells(train.get(subset)),
            *_cells(test.get(subset)),
        ]
        for subset in subsets
    ]
    return Table(
        "Errors by subset",
        ["subset", *["frames", "E", "F", "V"] * 2],
        rows,
        note=f"Root mean square errors of potential {best.potential_id} ({best.split} split), "
        "recomputed from nep.txt: energies E and virials V in meV/atom, force components F in "
        "meV/Å.",
        groups=(("", 1), ("training", 4), ("test", 4)),
        emphasised_rows=(len(rows) - 1,),
    )


def _cells(errors: ErrorStatistics | None) -> list[str]:
    if errors is None:
        return ["0", "–", "–", "–"]
    return [
        str(errors.n_frames),
        compact(errors.energy_rmse),
        compact(errors.force_rmse),
        compact(errors.virial_rmse),
    ]


def _add_feedback(section: Section, data: ReportData) -> None:
    before, after = data.potential(0), data.potential(1)
    if after is None:
        section.missing.append(
            "There is no potential after the feedback step: it has not run yet, or its quenches or "
            "training failed."
        )
        return
    if before is None or "test" not in before.errors or "test" not in after.errors:
        return
    old, new = before.errors["test"].get("all"), after.errors["test"].get("all")
    if old is None or new is None:
        return
    first, last = (without_feedback(each.errors["test"]) for each in (before, after))
    changes = [
        f"energies from {compact(first[0])} to {compact(last[0])} meV/atom",
        f"forces from {compact(first[1])} to {compact(last[1])} meV/Å",
    ]
    section.paragraphs.append(
        f"From the potential before the feedback step ({before.n_train} training frames) to the "
        f"one after it ({after.n_train}) the error on the same test frames, without those of the "
        f"feedback, changed for {listed(changes)}.{_own_change(before, after)}"
    )
    if worse := [
        quantity
        for quantity, one, other in zip(("energies", "forces"), first, last, strict=True)
        if other > _WORSE * one
    ]:
        section.paragraphs.append(
            f"The feedback step made the {listed(worse)} of the test frames worse."
        )
    refused = [frame for quench in data.quenches for frame in quench.refused]
    if refused:
        section.paragraphs.append(
            f"Before labels were computed, {plural(len(refused), 'configuration')} of the quenches "
            f"were refused; the first, at {refused[0].temperature:.0f} K: {refused[0].reason}."
        )
    section.panels.append(
        Panel(
            "feedback",
            "",
            "Before and after feedback",
            style.Drawing(
                lambda figure: figures.draw_feedback(
                    figure, before.errors["test"], after.errors["test"]
                ),
                "feedback",
                height=3.0,
            ),
            "Test errors of the potential before and after the MLIP-feedback step. The test set "
            "of the first potential has no feedback frames.",
        )
    )


def without_feedback(errors: Mapping[str, ErrorStatistics]) -> tuple[float, float]:
    """RMSE of energy (meV/atom) and force (meV/Å) over the frames that no feedback has added.

    The subsets' squares are averaged with their numbers of frames: exact for the energies, and for
    the forces if all frames have the same number of atoms.

    Parameters
    ----------
    errors
        Errors by subset, as in a potential's document.
    """
    kept = [
        group for subset, group in errors.items() if subset not in ("all", "mlip_feedback")
    ] or [errors["all"]]
    n_frames = sum(group.n_frames for group in kept)
    energy, force = (
        (sum(group.n_frames * getattr(group, name) ** 2 for group in kept) / n_frames) ** 0.5
        for name in ("energy_rmse", "force_rmse")
    )
    return energy, force


def _own_change(before: PotentialDocument, after: PotentialDocument) -> str:
    first, last = own_error(before, "force"), own_error(after, "force")
    if first is None or last is None:
        return ""
    return (
        " Along the potential's own molecular dynamics of a melt the force error changed from "
        f"{compact(first)} to {compact(last)} meV/Å."
    )


def _left_out(dataset: DatasetDocument) -> list[str]:
    parts = []
    if dataset.missing:
        parts.append(f"{plural(len(dataset.missing), 'label job')} without a result")
    if dataset.excluded_families:
        parts.append(f"{plural(len(dataset.excluded_families), 'family')} whose sample is ordered")
    if dataset.duplicates:
        parts.append(plural(dataset.duplicates, "duplicate frame"))
    return [f"Left out: {listed(parts)}."] if parts else []


def _sides(data: ReportData, counts: dict[str, int]) -> dict[str, tuple[int, int]]:
    dataset = data.dataset
    test = (
        {s: int(c.get("family_test", 0)) for s, c in dataset.counts.items()}
        if dataset is not None
        else {}
    )
    return {subset: (n - test.get(subset, 0), test.get(subset, 0)) for subset, n in counts.items()}
