"""The label stage: which jobs wait for the gate, and their resources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Job, Maker, OutputReference, job

from mgflows import Alloy, CampaignMaker
from mgflows.errors import InputError
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.scales import stand_in_campaign
from mgflows.flows.tags import all_jobs
from mgflows.jobs.fitness import FitnessMaker
from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod, AseRelaxMaker
from mgflows.launch.workflows import to_workflows
from mgflows.structures.crystal_databases import DatabaseCrystal
from mgflows.structures.crystals import crystal_prototypes

if TYPE_CHECKING:
    from jobflow import Flow


def tags(job: Job) -> dict[str, Any]:
    return job.metadata["mgflows"]


def label_jobs(flow: Flow) -> list[Job]:
    return [job for job in all_jobs(flow) if tags(job)["stage"] == "labels"]


@pytest.fixture(scope="module")
def small() -> Flow:
    return stand_in_campaign("small").make()


def test_all_labels_but_the_pilots_wait_for_the_verdict(small: Flow) -> None:
    jobs = label_jobs(small)
    (gate,) = [job for job in jobs if job.name == "surrogate fitness"]
    pilots = [job for job in jobs if tags(job).get("gate") is None and job is not gate]
    assert all(tags(job)["subset"] == "lj_surrogate" for job in pilots)
    assert {tags(job)["gate"] for job in jobs if job not in [*pilots, gate]} == {gate.uuid}
    lengths = Counter(tags(job)["family"].rsplit("-", 1)[0] for job in pilots)
    assert lengths == {"mc-1e3": 6, "mc-1e4": 6, "mc-1e5": 5, "mc-1e6": 3}, (
        "of all cooling lengths, not of the shortest"
    )
    assert {reference.uuid for reference in gate.function_kwargs["labels"]} == {
        job.uuid for job in pilots
    }
    assert gate.config.manager_config["_category"] == "sampling"
    others = [job for job in all_jobs(small) if tags(job)["stage"] != "labels"]
    assert all(tags(job).get("gate") != gate.uuid for job in others)


def test_the_forecast_counts_what_waits(small: Flow) -> None:
    (gate,) = [job for job in label_jobs(small) if job.name == "surrogate fitness"]
    assert gate.function_kwargs["evaluations"] == {
        "lj_surrogate": 60,
        "expanded_compressed": 8 * 6,
        "distorted": 8 * 36,
        "aimd": 4 * 120,
    }
    assert gate.function_kwargs["n_relaxations"] == {"dft_minimized": 10}


def test_small_campaigns_and_those_without_a_judge_have_no_gate() -> None:
    for maker in (stand_in_campaign("tiny"), stand_in_campaign("small")):
        if maker.scale == "small":
            maker.label_maker.fitness_maker = None
        jobs = all_jobs(maker.make())
        assert all(job.name != "surrogate fitness" for job in jobs)
        # The acceptance of the first potential holds back what comes after it, and nothing else.
        gated = {tags(job)["stage"] for job in jobs if "gate" in tags(job)}
        assert gated == {"feedback", "validation"}


def test_jobs_without_computation_need_no_node(small: Flow) -> None:
    light = {
        job.name.split(" mc-")[0].split(" crystal-")[0]
        for job in label_jobs(small)
        if job.config.manager_config["_category"] != "dft"
    }
    assert light == {
        "expand and compress",
        "distort",
        "strain crystal",
        "similarity",
        "surrogate fitness",
        "check trajectory",
    }


def test_every_descendant_of_a_sample_is_of_its_family(small: Flow) -> None:
    jobs = {
        job.uuid: job
        for job in label_jobs(small)
        if job.name != "surrogate fitness" and not job.name.startswith("similarity")
    }

    def ancestor(job: Job) -> object:
        """The sample or the crystal from which a labelled structure comes, by references alone."""
        source = job.function_args[0]
        if not isinstance(source, OutputReference):
            return id(source)
        return (
            ancestor(jobs[source.uuid])
            if source.uuid in jobs
            else (source.uuid, source.attributes[:-1])
        )

    members: dict[object, list[Job]] = {}
    for member in jobs.values():
        members.setdefault(ancestor(member), []).append(member)
    families = [{tags(job)["family"] for job in group} for group in members.values()]
    assert all(len(names) == 1 and None not in names for names in families)
    assert len(set.union(*families)) == len(families) == 80 + 8
    largest = max(members.values(), key=len)
    assert {tags(job).get("subset") for job in largest} >= {
        "lj_surrogate",
        "dft_minimized",
        "expanded_compressed",
        "distorted",
        "aimd",
    }
    crystals = [
        group for group in members.values() if tags(group[0])["family"].startswith("crystal-")
    ]
    assert {len(group) for group in crystals} == {3}, "relaxed, strained, and the copies labelled"


def test_resources_reach_the_fireworks_of_their_kind() -> None:
    maker = stand_in_campaign("small")
    maker.label_maker.resources = {
        "relax": {"nodes": 4, "walltime": "24:00:00"},
        "aimd": {"queue": "long"},
    }
    assert maker.feedback_maker is not None
    maker.feedback_maker.resources = {"nodes": 2}
    fireworks = {
        firework.name: firework
        for workflow in to_workflows(maker.make())
        for firework in workflow.fws
    }
    wanted = {name: firework.spec.get("_queueadapter") for name, firework in fireworks.items()}
    for name, found in wanted.items():
        if name.startswith("relax "):
            assert found == {"nodes": 4, "walltime": "24:00:00"}
        elif name.startswith("heat "):
            assert found == {"queue": "long"}
        elif name.startswith("label quench-"):
            assert found == {"nodes": 2}
        else:
            assert found is None
    assert sum(name.startswith("relax ") for name in wanted) == 18


def test_a_kind_of_job_that_does_not_exist_is_refused() -> None:
    with pytest.raises(
        InputError,
        match="resources has the unknown kind of job 'md'; the kinds are static, relax, aimd",
    ):
        LabelFlowMaker(resources={"md": {"nodes": 1}})


EMT = AseMethod("ase.calculators.emt.EMT", description="effective medium theory")
SOFTER = AseMethod(
    "ase.calculators.emt.EMT", {"asap_cutoff": True}, description="softer effective medium theory"
)


@dataclass
class OtherCodeMaker(Maker):
    """A label Maker of another code: one structure per job."""

    name: str = "other"

    @job
    def make(self, structure: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label_maker": AseLabelMaker(method=SOFTER)}, "asap_cutoff: True against None"),
        (
            {"relax_maker": AseRelaxMaker(method=SOFTER)},
            "label_maker.relax_maker labels with softer effective medium theory",
        ),
        (
            {"heating_maker": AseHeatingMaker(method=SOFTER)},
            "label_maker.heating_maker labels with softer",
        ),
        (
            {"label_maker": OtherCodeMaker(), "label_sets": False},
            "label_maker.label_maker labels with OtherCodeMaker but label_maker.relax_maker",
        ),
    ],
)
def test_two_methods_are_refused_before_anything_runs(changes: dict[str, Any], words: str) -> None:
    labels = LabelFlowMaker(
        label_maker=AseLabelMaker(method=EMT),
        relax_maker=AseRelaxMaker(method=EMT),
        heating_maker=AseHeatingMaker(method=EMT),
        n_crystals=0,
    )
    maker = CampaignMaker(
        alloy=Alloy.from_formula("Cu80Al20", number_density=0.0694),
        sampling_maker=SamplingFlowMaker(samples=((100, 10),), coolings=()),
        label_maker=labels,
        feedback_maker=FeedbackFlowMaker(label_maker=AseLabelMaker(method=EMT)),
        validation_maker=None,
    )
    assert maker.make()
    with pytest.raises(InputError, match=words):
        replace(maker, label_maker=replace(labels, **changes)).make()
    with pytest.raises(InputError, match=r"feedback_maker\.label_maker labels with stand-in"):
        replace(maker, feedback_maker=FeedbackFlowMaker()).make()


def test_a_maker_that_labels_one_structure_per_job_names_which_setting_it_needs() -> None:
    labels = LabelFlowMaker(label_maker=OtherCodeMaker(), relax_maker=AseRelaxMaker(method=EMT))
    samples = SamplingFlowMaker(samples=((100, 10),), coolings=()).make(Alloy.cuzral())
    with pytest.raises(
        InputError,
        match=r"labels one structure per job; use it with LabelFlowMaker\(label_sets=False\)",
    ):
        labels.make(Alloy.cuzral(), samples.output.samples)


def test_the_number_of_pilots_is_a_setting() -> None:
    maker = stand_in_campaign("small")
    maker.label_maker.fitness_maker = FitnessMaker(n_pilots=8, minimum_labels=4)
    pilots = [
        job
        for job in label_jobs(maker.make())
        if tags(job).get("gate") is None and tags(job).get("subset") == "lj_surrogate"
    ]
    assert Counter(tags(job)["family"].rsplit("-", 1)[0] for job in pilots) == {
        "mc-1e3": 2,
        "mc-1e4": 2,
        "mc-1e5": 2,
        "mc-1e6": 2,
    }


FETCHED = DatabaseCrystal(
    name="CuZr mp-2210",
    identifier="mp-2210",
    source="Materials Project",
    cell=((3.3, 0.0, 0.0), (0.0, 3.3, 0.0), (0.0, 0.0, 3.3)),
    symbols=("Cu", "Zr"),
    positions=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
)
NICKEL = replace(FETCHED, name="NiZr mp-9", symbols=("Ni", "Zr"))


def test_given_crystals_take_the_place_of_the_shipped_ones_and_are_named_in_the_tags() -> None:
    maker = stand_in_campaign("tiny")
    maker.label_maker.crystals = [NICKEL, FETCHED, crystal_prototypes(("Cu",))[0]]
    flow = maker.make()
    pins = {
        tags(job)["family"]: tags(job)["crystal"]
        for job in label_jobs(flow)
        if tags(job).get("subset") == "crystal"
    }
    assert pins == {
        "crystal-CuZr-mp-2210": {
            "name": "CuZr mp-2210",
            "identifier": "mp-2210",
            "source": "Materials Project",
        },
        "crystal-Cu-A1": {
            "name": "Cu A1",
            "identifier": "mgflows:Cu-A1",
            "source": crystal_prototypes(("Cu",))[0].source,
        },
    }
    (relax,) = [job for job in label_jobs(flow) if job.name == "relax crystal-CuZr-mp-2210"]
    assert relax.function_args[0].volume == pytest.approx(3.3**3)
    assert all(
        "crystal" not in tags(job)
        for job in label_jobs(flow)
        if tags(job).get("subset") != "crystal"
    )


def test_the_campaign_document_holds_the_crystals() -> None:
    maker = stand_in_campaign("tiny")
    without = maker.document(maker.make()).settings_digest
    maker.label_maker.crystals = [FETCHED]
    document = maker.document(maker.make())
    assert document.settings["label_maker"]["crystals"][0]["identifier"] == "mp-2210"
    assert document.settings_digest != without


@pytest.mark.parametrize(
    ("crystals", "words"),
    [
        ([NICKEL], "none of the 1 crystals given has only the elements Cu, Zr, Al"),
        ([FETCHED, FETCHED], "'CuZr mp-2210' is given more than once"),
    ],
)
def test_crystals_that_cannot_be_used_are_refused(crystals: list[Any], words: str) -> None:
    maker = stand_in_campaign("tiny")
    maker.label_maker.crystals = crystals
    with pytest.raises(InputError, match=words):
        maker.make()
