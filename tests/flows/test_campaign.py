from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
from monty.json import MontyDecoder, MontyEncoder

from mgflows import Alloy, CampaignMaker
from mgflows.errors import InputError
from mgflows.flows.campaign_settings import encode_settings, settings_digest
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.scales import (
    PAPER,
    SCALES,
    Scale,
    scale_table,
    stand_in_campaign,
    with_samplers,
)
from mgflows.flows.tags import all_jobs
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.md.exchanges import ExchangeSettings
from mgflows.nep import ErrorTarget, GpumdTrainer
from mgflows.schemas.training import SUBSETS


@pytest.fixture(scope="module")
def flow():
    return stand_in_campaign("small").make()


def _tags(job):
    return job.metadata["mgflows"]


def test_every_job_is_tagged_and_every_subset_is_there(flow):
    jobs = all_jobs(flow)
    assert all(
        _tags(job)["campaign"] == "Cu46Zr46Al8-small" and _tags(job)["stage"] for job in jobs
    )
    assert all(
        job.config.manager_config["_category"] in ("sampling", "dft", "training", "md")
        for job in jobs
    )
    assert {_tags(job).get("subset") for job in jobs} - {None} == set(SUBSETS)
    assert len({job.name for job in jobs}) == len(jobs), (
        "names are unique, so that people can tell jobs apart"
    )


def test_the_papers_proportions(flow):
    families = Counter(
        _tags(job).get("subset")
        for job in all_jobs(flow)
        if _tags(job).get("family", "").startswith("mc-")
    )
    assert families["lj_surrogate"] == 80
    assert families["expanded_compressed"] == families["distorted"] == 8, (
        "10 % of the samples are strained"
    )
    assert families["dft_minimized"] == 10, "and two more are relaxed for the test set"
    assert families["aimd"] == 4, "two trajectories for training, two for the test set"


def test_crystals_are_elements_first_and_spread_over_the_list():
    chosen = {
        _tags(job)["family"]
        for job in all_jobs(stand_in_campaign("small").make())
        if _tags(job).get("subset") == "crystal"
    }
    assert len(chosen) == 8
    assert chosen >= {
        "crystal-Cu-A1",
        "crystal-Zr-A3",
        "crystal-Al-A1",
        "crystal-CuZr-B2",
        "crystal-AlCu2Zr-L2_1",
    }


def test_each_split_continues_from_its_own_potential():
    """A potential warm-started from the other split would have trained on its test set."""
    jobs = {job.name: job for job in all_jobs(stand_in_campaign("small").make())}
    for first, second in (
        ("train 0", "train 1"),
        ("train 0 on the paper split", "train 1 on the paper split"),
    ):
        assert jobs[second].function_kwargs["initial_potential"].uuid == jobs[first].uuid
        assert jobs[first].maker.split == jobs[second].maker.split


def test_gpumd_starts_from_random_parameters_after_the_feedback():
    campaign = stand_in_campaign("small")
    for maker in (campaign.training_maker, campaign.retraining_maker):
        maker.training_maker.trainer = GpumdTrainer()
    jobs = {job.name: job for job in all_jobs(campaign.make())}
    assert "initial_potential" not in jobs["train 1"].function_kwargs
    assert (
        jobs["train 1 on the paper split"].function_kwargs["initial_potential"].uuid
        == jobs["train 0 on the paper split"].uuid
    )


def test_strained_families_have_the_papers_sizes(flow):
    by_subset = {
        _tags(job)["subset"]: job
        for job in all_jobs(flow)
        if _tags(job).get("subset") in ("expanded_compressed", "distorted")
        and len(job.function_args)
    }
    assert len(by_subset["expanded_compressed"].function_args[1]) == 6
    assert len(by_subset["distorted"].function_args[1]) == 36


def test_a_campaign_made_twice_is_the_same_campaign():
    first, second = stand_in_campaign("small"), stand_in_campaign("small")
    documents = [maker.document(maker.make()) for maker in (first, second)]
    assert documents[0].settings_digest == documents[1].settings_digest
    other = stand_in_campaign("small", seed=1)
    assert other.document(other.make()).settings_digest != documents[0].settings_digest
    assert sum(documents[0].planned.values()) == len(all_jobs(first.make()))


def test_seeds_differ_between_runs_and_purposes(flow):
    cooling = [job for job in all_jobs(flow) if job.name.startswith("cool")]
    seeds = [
        seed
        for job in cooling
        for seed in (job.function_args[2] if "x" in job.name else [job.function_kwargs["seed"]])
    ]
    assert len(seeds) == len(set(seeds)) == 80


def test_short_coolings_share_a_job_and_names_tell_lengths_apart():
    lengths = ((1_000, 5), (10_000, 3), (12_000, 2), (1_234_567, 1))
    flow = SamplingFlowMaker(samples=lengths, coolings=()).make(Alloy.cuzral())
    assert [job.name for job in flow.jobs] == [
        "cool 5 x 1e3 sweeps",
        "cool 3 x 1e4 sweeps",
        "cool mc-1.2e4-000",
        "cool mc-1.2e4-001",
        "cool mc-1.234567e6-000",
    ]
    assert len(flow.output.samples) == 11


def test_a_maker_survives_storage():
    maker = stand_in_campaign("tiny")
    again = json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder)
    assert isinstance(again, CampaignMaker)
    assert (
        again.document(again.make()).settings_digest == maker.document(maker.make()).settings_digest
    )


def test_other_samplers_are_settings_of_a_campaign() -> None:
    maker = stand_in_campaign("tiny")
    assert with_samplers(maker) == maker
    other = with_samplers(maker, "efficient", "swap")
    assert other.name == "Cu46Zr46Al8-tiny-efficient-swap"
    jobs = all_jobs(other.make())
    makers = {type(job.maker).__name__: job.maker for job in jobs if job.maker}
    assert makers["SwapMonteCarloMaker"].protocol == "efficient"
    assert makers["QuenchMaker"].exchanges == ExchangeSettings()
    assert with_samplers(replace(maker, feedback_maker=None), sampler="swap").feedback_maker is None
    with pytest.raises(InputError, match="sampler 'mc' of the feedback is unknown"):
        with_samplers(maker, sampler="mc")


def test_expensive_methods_get_one_job_a_label():
    maker = stand_in_campaign("small")
    maker.label_maker.label_sets = False
    labels = Counter(_tags(job).get("subset") for job in all_jobs(maker.make()))
    assert labels["distorted"] == 8 * 36
    assert labels["expanded_compressed"] == 8 * 6


def test_a_small_box_is_sampled_over_images_and_one_of_few_atoms_is_refused(caplog):
    stand_in_campaign(alloy=Alloy.cuzral(n_atoms=24)).make()
    (record,) = caplog.records
    assert "box of 24 atoms is 7.02 A wide" in record.getMessage()
    assert "113 atoms at this density would not" in record.getMessage()
    caplog.clear()
    stand_in_campaign(alloy=Alloy.cuzral(n_atoms=113)).make()
    assert not caplog.records
    with pytest.raises(
        InputError, match=r"7 atoms make a box of 4\.65 A, .* take at least 8 atoms"
    ):
        stand_in_campaign(alloy=Alloy.from_formula("CuZr", n_atoms=7, number_density=0.0694)).make()


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        (lambda: stand_in_campaign("large"), "'large' does not exist"),
        (
            lambda: stand_in_campaign(
                alloy=Alloy.from_formula("Ni60Nb40", number_density=0.06)
            ).make(),
            "Nb|Ni",
        ),
        (lambda: CampaignMaker(sampling_maker=SamplingFlowMaker(samples=())).make(), "samples is"),
        (
            lambda: CampaignMaker(label_maker=LabelFlowMaker(relaxed_fraction=1.5)).make(),
            "relaxed_fraction is 1.5",
        ),
        (
            lambda: CampaignMaker(label_maker=LabelFlowMaker(relaxed_fraction=1.0)).make(),
            "hold out",
        ),
        (
            lambda: CampaignMaker(
                label_maker=LabelFlowMaker(
                    label_maker=AseLabelMaker(method=AseMethod("no.such.Calculator"))
                )
            ).make(),
            "no.such.Calculator",
        ),
        (
            lambda: stand_in_campaign(alloy=Alloy.cuzral(n_atoms=14)).make(),
            "have 14 atoms, and a validation needs 15",
        ),
    ],
)
def test_mistakes_are_refused_before_anything_runs(maker, words):
    with pytest.raises(InputError, match=words):
        maker()


def test_the_scale_table_is_complete_and_the_docs_have_it():
    header, *rows = scale_table()
    assert header == ("setting", *SCALES, "paper")
    assert set(PAPER) == {field.name for field in fields(Scale)} - {"name"}
    assert len(rows) == len(PAPER)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "scales.md").read_text()
    assert all("| " + " | ".join(row) + " |" in page for row in rows), (
        "update it with: python -m mgflows.flows.scales"
    )


def test_everything_after_the_first_training_waits_for_its_acceptance():
    campaign = stand_in_campaign("tiny")
    jobs = list(all_jobs(campaign.make()))
    (training,) = [job for job in jobs if job.name == "train 0"]
    behind = {job.name for job in jobs if _tags(job).get("gate") == training.uuid}
    stages = {"feedback", "validation"}
    assert behind == {job.name for job in jobs if _tags(job)["stage"] in stages}
    assert {"dataset 1", "train 1", "validate"} < behind
    lenient = replace(campaign, continue_with_failed_potential=True)
    assert not any(
        _tags(job).get("gate") for job in all_jobs(lenient.make()) if _tags(job)["stage"] in stages
    )


def test_labels_are_selected_in_rounds_where_it_is_requested():
    target = ErrorTarget(force=50.0)
    campaign = replace(
        stand_in_campaign("tiny"), selection="committee", target=target, label_budget=40
    )
    rounds = campaign.rounds_maker
    assert rounds.settings.selection == "committee"
    assert rounds.settings.target == target
    assert rounds.settings.label_budget == 40
    assert rounds.training_maker.training_maker.acceptance is None, "tested after the last round"
    jobs = {job.name: job for job in all_jobs(campaign.make())}
    assert "committee 0 member 3" in jobs
    assert not any("label" in name and "quench" in name for name in jobs)
    judged = jobs["round 0"]
    last = jobs[f"train {rounds.settings.maximum_rounds + 1}"]
    assert last.metadata["mgflows"]["gate"] == judged.uuid
    assert last.function_kwargs["initial_potential"].uuid == judged.uuid
    assert (
        MontyDecoder()
        .process_decoded(json.loads(json.dumps(campaign, cls=MontyEncoder)))
        .rounds_maker.settings
        == rounds.settings
    )


def test_rounds_do_not_change_the_digest_of_other_campaigns():
    settings = encode_settings(CampaignMaker())
    new = ("selection", "target", "label_budget", "maximum_rounds", "active_learning_maker")
    assert set(new) <= set(settings)
    before = {name: value for name, value in settings.items() if name not in new}
    assert settings_digest(settings) == settings_digest(before)
    changed = encode_settings(CampaignMaker(selection="committee"))
    assert settings_digest(settings) != settings_digest(changed)


def test_limits_of_rounds_without_rounds_are_refused():
    with pytest.raises(InputError, match=r'target and label_budget .* selection="committee"'):
        CampaignMaker(target=ErrorTarget(force=50.0), label_budget=10)
    with pytest.raises(InputError, match="no feedback_maker"):
        CampaignMaker(selection="random", feedback_maker=None)
    with pytest.raises(InputError, match="'best' but must be one of: committee"):
        CampaignMaker(selection="best").make()
