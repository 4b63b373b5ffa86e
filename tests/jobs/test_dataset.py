from __future__ import annotations

import zlib

import numpy as np
import pytest
from ase.build import bulk
from jobflow import Flow, job

from mgflows.errors import InputError
from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker, MixedMethodsError
from mgflows.jobs.freezing import Collected, FreezeSettings, freeze
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.jobs.store import load_label
from mgflows.jobs.training import materialise
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.training import DatasetDocument


def _label(method, family, subset="lj_surrogate", n=3, broken=False):
    structures = []
    for number in range(n):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.symbols[::4] = "Al"
        atoms.rattle(0.1, seed=zlib.crc32(f"{family} {subset} {number}".encode()))
        if broken:
            atoms.positions[1] = atoms.positions[0]
        structures.append(structure_from_atoms(atoms))
    return tag(
        AseLabelMaker(method=method).make_set(structures),
        stage="labels",
        category="dft",
        subset=subset,
        family=family,
    )


def _flow(method, families=10, **arguments):
    labels = [
        _label(method, f"family-{number}", subset)
        for number in range(families)
        for subset in ("lj_surrogate", "distorted")
    ]
    dataset = tag(
        DatasetMaker(split_seed=1).make(
            "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels], **arguments)
        ),
        stage="training",
        category="sampling",
    )
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    return flow


def test_a_dataset_lists_its_frames_and_splits_them_both_ways(run, method):
    dataset = DatasetDocument.model_validate(
        run(_flow(method, held_out_families=["family-3", "never-labelled"]))
    )
    assert dataset.n_frames == len(dataset.frames) == 60
    assert dataset.counts["distorted"]["families"] == 10
    assert dataset.held_out_families == ["family-3"]
    for scheme in ("family", "paper"):
        share = np.mean([frame.test[scheme] for frame in dataset.frames])
        assert share == pytest.approx(0.2, abs=0.05)
    sides = {(frame.family, frame.test["family"]) for frame in dataset.frames}
    assert len(sides) == 10, "a family lies on one side"
    assert ("family-3", True) in sides
    assert dataset.fingerprint.description == "effective medium theory"


def test_frames_of_a_teacher_are_split_as_those_of_the_method(run, method):
    subsets = {f"mc-{number}": "lj_surrogate" for number in range(6)}
    subsets |= {"crystal-1": "crystal", "crystal-2": "crystal", "held": "aimd"}
    labels = [_label(method, family, f"teacher/{name}") for family, name in subsets.items()]
    inputs = DatasetInputs([label.output for label in labels], held_out_families=["held"])
    dataset = tag(DatasetMaker().make("c", ["Cu", "Al"], inputs), stage="training", category="x")
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    dataset = DatasetDocument.model_validate(run(flow))
    # Every phase is trained on, and a held-out trajectory is tested on as a whole.
    assert dataset.counts["teacher/crystal"]["family_test"] == 0
    assert [dataset.counts["teacher/aimd"][f"{name}_test"] for name in ("family", "paper")] == [
        3,
        3,
    ]


def test_the_same_frames_have_the_same_id_everywhere(run, method):
    first = run(_flow(method, families=6))
    again = run(_flow(method, families=6))
    more = run(_flow(method, families=7))
    assert first["dataset_id"] == again["dataset_id"] != more["dataset_id"]


def test_methods_do_not_mix(run, store, method):
    other = AseMethod("ase.calculators.emt.EMT", {"asap_cutoff": True})
    labels = [_label(method, "a"), _label(other, "b")]
    dataset = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    run(flow, ensure_success=False)
    with pytest.raises(MixedMethodsError, match=r"asap_cutoff: (None|True) against (True|None)"):
        dataset.run(store)


def test_failed_labels_are_counted_and_too_many_are_refused(run, store, method):
    labels = [_label(method, f"family-{number}", broken=number in (2, 5)) for number in range(8)]
    dataset = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    document = run(flow, ensure_success=False)
    assert sorted(document["missing"]) == sorted(labels[number].uuid for number in (2, 5))
    assert document["n_frames"] == 18
    strict = DatasetMaker(minimum_fraction=0.9).make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    with pytest.raises(InputError, match="2 of 8 label jobs"):
        strict.run(store)


def test_a_later_dataset_keeps_the_sides_of_an_earlier_one(run, store, method):
    labels = [_label(method, f"family-{number}") for number in range(12)]
    early = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels[:8]])
    )
    late = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels]), early.output
    )
    flow = Flow([*labels, early, late])
    set_campaign(flow, "c")
    run(flow)
    first, second = (
        DatasetDocument.model_validate(store.get_output(job.uuid, load=True))
        for job in (early, late)
    )
    sides = {frame.frame_id: frame.test for frame in second.frames}
    assert all(sides[frame.frame_id] == frame.test for frame in first.frames)


def test_frames_come_back_as_they_were_labelled(run, store, method):
    flow = _flow(method, families=5)
    dataset = DatasetDocument.model_validate(run(flow))
    train, test = materialise(store, dataset, "family")
    assert len(train) + len(test) == dataset.n_frames
    ids = {atoms.info["frame_id"] for atoms in train} & {atoms.info["frame_id"] for atoms in test}
    assert not ids, "train and test are disjoint"
    entry = next(frame for frame in dataset.frames if not frame.test["family"])
    frame = load_label(store, entry.uuid).frames[entry.number]
    assert frame.frame_id == entry.frame_id
    assert train[0].info["frame_id"] == entry.frame_id
    assert train[0].get_potential_energy() / len(train[0]) == pytest.approx(entry.energy_per_atom)


def test_frames_of_other_origin_keep_the_name_of_their_subset(run, method):
    labels = [_label(method, f"family-{number}") for number in range(5)]
    labels += [_label(method, f"own-{number}", subset="my-own") for number in range(5)]
    dataset = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    document = DatasetDocument.model_validate(run(flow))
    assert list(document.counts) == ["lj_surrogate", "my-own"]
    assert document.counts["my-own"]["frames"] == document.counts["lj_surrogate"]["frames"] == 15
    # Both splits divide them.
    assert 0 < document.counts["my-own"]["paper_test"] < 15


@job
def _sampled(ordered: bool):
    return {"ordered": ordered}


@job
def _sampled_set(families: list[str], ordered: list[bool]):
    return {"families": families, "samples": [{"ordered": each} for each in ordered]}


def test_an_impossible_split_names_the_ordered_families():
    with (
        pytest.raises(InputError, match=r"2 ordered families are left out.*take more atoms"),
        record_provenance() as provenance,
    ):
        freeze(
            Collected(excluded={"a", "b"}),
            campaign="c",
            species=["Cu"],
            settings=FreezeSettings(),
            provenance=provenance,
        )


def test_ordered_samples_stay_out_of_training_unless_requested(run, store, method):
    labels = [_label(method, f"family-{number}", n=2) for number in range(8)]
    samples = [
        tag(_sampled(number == 1), stage="sampling", category="sampling", family=f"family-{number}")
        for number in range(4)
    ]
    several = tag(
        _sampled_set([f"family-{number}" for number in range(4, 8)], [False, True, False, False]),
        stage="sampling",
        category="sampling",
    )
    references = [*(sample.output for sample in samples), several.output]
    without = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels], samples=references)
    )
    everything = DatasetMaker(include_ordered=True).make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels], samples=references)
    )
    flow = Flow([*labels, *samples, several, without, everything])
    set_campaign(flow, "c")
    run(flow)
    kept, whole = (
        DatasetDocument.model_validate(store.get_output(each.uuid, load=True))
        for each in (without, everything)
    )
    assert kept.excluded_families == ["family-1", "family-5"]
    assert {frame.family for frame in kept.frames} == {
        f"family-{number}" for number in (0, 2, 3, 4, 6, 7)
    }
    assert whole.n_frames == 16
    assert whole.excluded_families == []


def test_a_dataset_names_the_crystals_whose_frames_it_has(run, method):
    pins = [
        {"name": f"Cu {name}", "identifier": name, "source": "somewhere"}
        for name in ("mp-2", "mp-1", "mp-3")
    ]
    labels = [
        _label(method, f"crystal-{pin['name']}", "crystal", broken=pin is pins[2])
        for pin in (*pins, pins[0])
    ]
    for label, pin in zip(labels, (*pins, pins[0]), strict=True):
        label.metadata["mgflows"]["crystal"] = pin
    labels += [_label(method, f"family-{number}") for number in range(6)]
    dataset = DatasetMaker().make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c")
    document = DatasetDocument.model_validate(run(flow, ensure_success=False))
    assert [crystal.model_dump() for crystal in document.crystals] == [pins[1], pins[0]], (
        "sorted, once each, and none that failed"
    )
