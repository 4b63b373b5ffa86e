from __future__ import annotations

from dataclasses import fields, replace

import pytest
from neppo.nep_in import get_loss, get_model, get_stages, read_nep_in

from mgflows.errors import InputError
from mgflows.nep.parameters import _READERS, NepParameters

CUZRAL = NepParameters(("Cu", "Zr", "Al"))


@pytest.mark.physics
def test_the_paper_s_model_has_3691_parameters() -> None:
    assert CUZRAL.descriptor_dimension == 30
    assert CUZRAL.number_of_parameters == 3691


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"l_max": (4, 2, 1)},
        {"l_max": (3, 0, 0), "neuron": 7},
        {"n_max": (6, 3), "basis_size": (9, 5)},
    ],
)
def test_number_of_parameters_is_that_of_neppo_s_model(tmp_path, changes) -> None:
    parameters = replace(CUZRAL, **changes)
    (tmp_path / "nep.in").write_text(parameters.to_text("neppo"))
    model = get_model(read_nep_in(tmp_path / "nep.in"))
    assert (
        sum(parameter.numel() for parameter in model.parameters())
        == parameters.number_of_parameters
    )


def test_every_keyword_of_the_paper_s_file_is_written() -> None:
    lines = {words[0]: words[1:] for words in map(str.split, CUZRAL.to_text("gpumd").splitlines())}
    assert lines == {
        "type": ["3", "Cu", "Zr", "Al"],
        "version": ["4"],
        "zbl": ["1.8"],
        "cutoff": ["6.5", "4"],
        "n_max": ["4", "4"],
        "basis_size": ["8", "8"],
        "l_max": ["4", "2", "0"],
        "neuron": ["30"],
        "lambda_e": ["1"],
        "lambda_f": ["1"],
        "lambda_v": ["0.1"],
        "batch": ["1000"],
        "population": ["50"],
        "generation": ["100000"],
        "output_interval": ["100"],
    }


def test_gpumd_gets_no_keyword_of_neppo_and_neppo_none_it_ignores() -> None:
    parameters = replace(CUZRAL, learning_rate=(1e-2, 1e-4), loss_form="rmse", seed=3)
    gpumd, neppo = (
        {line.split()[0] for line in parameters.to_text(dialect).splitlines()}
        for dialect in ("gpumd", "neppo")
    )
    assert gpumd - neppo == {"population"}
    assert neppo - gpumd == {"learning_rate", "loss_form"}


def test_text_and_back() -> None:
    parameters = replace(
        CUZRAL,
        zbl=None,
        lambda_1=0.03,
        lambda_2=0.02,
        seed=7,
        learning_rate=(0.005, 1e-5),
        loss_form="rmse",
        population=50,
        lambda_shear=5.0,
        type_weight=(1.0, 1.0, 2.5),
    )
    assert NepParameters.from_text(parameters.to_text("neppo")) == parameters
    assert NepParameters.from_text(CUZRAL.to_text("gpumd")) == CUZRAL
    others = {"species", "zbl_factor", "type_weight"}
    assert {field.name for field in fields(NepParameters)} == others | {*_READERS}
    typewise = replace(CUZRAL, zbl=2.0, zbl_factor=0.65, force_delta=0.5)
    assert NepParameters.from_text(typewise.to_text("gpumd")) == typewise
    text = typewise.to_text().replace("use_typewise_cutoff_zbl 0.65", "use_typewise_cutoff_zbl")
    assert NepParameters.from_text(text).zbl_factor == 0.7, "the default of GPUMD"


def test_production_keywords_mean_the_same_to_neppo(tmp_path) -> None:
    parameters = replace(CUZRAL, zbl_factor=0.7, lambda_shear=5.0, type_weight=(1.0, 1.0, 2.0))
    (tmp_path / "nep.in").write_text(parameters.to_text("neppo"))
    settings = read_nep_in(tmp_path / "nep.in")
    assert get_model(settings).zbl.typewise_cutoff_factor == 0.7
    (stage,) = get_stages(settings)
    _, force, virial = get_loss(stage, has_bec=False).terms
    assert force.type_weights == {"Cu": 1.0, "Zr": 1.0, "Al": 2.0}
    assert virial.shear_weight == 5.0


def test_comments_and_short_l_max_are_read_as_gpumd_does() -> None:
    text = CUZRAL.to_text("gpumd").replace("l_max           4 2 0", "l_max 4 1  # q_222 on")
    parameters = NepParameters.from_text("# a comment\n" + text.replace("3 Cu Zr Al", "2 Cu Zr"))
    assert parameters.species == ("Cu", "Zr")
    assert parameters.l_max == (4, 2, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutoff 6 4\n", "no line 'type'"),
        ("type 3 Cu Zr\n", "declares 3 species and lists 2"),
        ("type 1 Cu\ncutoff 6\n", "line 2"),
        ("type 1 Cu\nfine_tune a b\n", "'fine_tune'"),
        ("type 1 Cu\nsave_potential 100 1 0\n", "'save_potential': mgflows keeps the potential of"),
        ("type 1 Cu\ngeneration 500 500\n", "it has 2 values instead of 1"),
        ("type 1 Cu\nzbl 2\nzbl 2\n", "second time"),
        ("type 1 Cu\nneuron many\n", "neuron 30"),
        (CUZRAL.to_text().replace("n_max", "# n_max"), "leaves out n_max, .* write: n_max 4 4"),
    ],
)
def test_a_bad_line_is_named(text, message) -> None:
    with pytest.raises(InputError, match=message):
        NepParameters.from_text(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"species": ()}, "empty"),
        ({"species": "CuZr"}, "sequence"),
        ({"species": ("Cu", "Xx")}, "'Xx'"),
        ({"species": ("Cu", "Cu")}, "twice"),
        ({"version": 3}, "version is 3"),
        ({"zbl": 0.5}, "zbl is 0.5"),
        ({"cutoff": (4.0, 6.5)}, "angular <= radial"),
        ({"cutoff": (6.5, 2.0)}, "3 <= angular"),
        ({"n_max": (13, 4)}, "radial n_max is 13"),
        ({"basis_size": (8, 13)}, "angular basis_size is 13"),
        ({"l_max": (9, 2, 0)}, "l_max"),
        ({"neuron": 0}, "neuron is 0"),
        ({"lambda_v": -0.1}, "lambda_v is -0.1"),
        ({"lambda_shear": -1.0}, "lambda_shear is -1"),
        ({"type_weight": (1.0, 1.0)}, "one number for each species"),
        ({"zbl": None, "zbl_factor": 0.7}, "zbl_factor is 0.7 but needs a zbl"),
        ({"population": 5}, "population is 5"),
        ({"generation": 0}, "generation is 0"),
        ({"learning_rate": (1e-2, 0.0)}, "learning_rate"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_bad_value_is_named(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        replace(CUZRAL, **changes)


def test_trainings_that_can_be_continued() -> None:
    assert CUZRAL.can_become(replace(CUZRAL, generation=200_000, output_interval=10))
    assert not CUZRAL.can_become(replace(CUZRAL, generation=50_000))
    assert not CUZRAL.can_become(replace(CUZRAL, neuron=20))
