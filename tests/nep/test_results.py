from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows import units
from mgflows.errors import InputError
from mgflows.nep import nep_calculator, parity, predict, read_loss


def write(path, *lines: str):
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_gpumd_without_header_by_the_number_of_columns(tmp_path) -> None:
    loss = read_loss(
        write(
            tmp_path / "loss.out",
            "100 9 1 2 3 4 5 6 7 8",
            "200 0.9 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8",
        )
    )
    assert len(loss) == 2
    np.testing.assert_array_equal(loss.step, [100, 200])
    expected = {
        "total": 9,
        "l1": 1,
        "l2": 2,
        "energy_train": 3,
        "force_train": 4,
        "virial_train": 5,
        "energy_test": 6,
        "force_test": 7,
        "virial_test": 8,
    }
    assert {name: getattr(loss, name)[0] for name in expected} == expected


def test_gnep_and_nep_write_ten_columns_of_different_meaning(tmp_path) -> None:
    """Formats of main_gnep/fitness.cu and main_nep/fitness.cu of GPUMD, neither with a header."""
    rows = [
        (1, 0.51, 0.021, 0.32, 0.08, 0.022, 0.33, 0.09, 1e-3, 3.1),
        (2, 0.31, 0.011, 0.22, 0.05, 0.012, 0.23, 0.06, 9.9e-4, 6.2),
    ]
    gnep = "%-8d" + 7 * "%-13.5f" + "%-15.7f%-13.5f"
    loss = read_loss(write(tmp_path / "gnep.out", *(gnep % row for row in rows)))
    assert (loss.energy_train[-1], loss.force_train[-1], loss.virial_train[-1]) == (
        0.011,
        0.22,
        0.05,
    )
    assert (loss.energy_test[-1], loss.force_test[-1], loss.virial_test[-1]) == (0.012, 0.23, 0.06)
    assert np.isnan([loss.l1, loss.l2]).all()
    nep = "%-8d" + 9 * "%-13.5f"
    loss = read_loss(write(tmp_path / "nep.out", *(nep % row for row in rows)))
    assert (loss.l1[-1], loss.l2[-1], loss.energy_train[-1], loss.virial_test[-1]) == (
        0.011,
        0.22,
        0.05,
        6.2,
    )
    with pytest.raises(InputError, match="those of neither GPUMD's nep nor its gnep"):
        read_loss(write(tmp_path / "other.out", "1 0.51 0.021 0.32 0.08 0.022 0.33 0.09 0.001 3.1"))


def test_gpumd_with_charges_and_dipoles(tmp_path) -> None:
    charges = read_loss(write(tmp_path / "charges.out", " ".join(map(str, range(14)))))
    assert (charges.virial_train[0], charges.energy_test[0], charges.virial_test[0]) == (6, 9, 11)
    dipoles = read_loss(write(tmp_path / "dipoles.out", "100 1 2 3 4 5"))
    assert dipoles.total[0] == 1
    assert np.isnan([dipoles.energy_train[0], dipoles.energy_test[0]]).all()


def test_a_header_names_the_columns_in_any_order(tmp_path) -> None:
    header = (
        "# columns generation total rmse_force_train rmse_energy_train rmse_charge_train "
        "rmse_energy_test"
    )
    loss = read_loss(
        write(
            tmp_path / "loss.out",
            "# format_version 1",
            "# output_interval 50",
            header,
            "50 1 2 3 4 5",
        )
    )
    assert (loss.force_train[0], loss.energy_train[0], loss.energy_test[0]) == (2, 3, 5)
    assert np.isnan([loss.l1[0], loss.force_test[0]]).all()


@pytest.mark.parametrize("with_test", [True, False])
def test_torchnep_s_ten_columns_are_not_taken_for_gpumd_s(tmp_path, with_test) -> None:
    header = "# epoch  loss  rmse_e(eV/atom)  rmse_f(eV/A)  rmse_v(eV/atom)  rmse_stress(GPa)"
    row = "1 10 2 3 4 5"
    if with_test:
        header += (
            "  rmse_e_test(eV/atom)  rmse_f_test(eV/A)  rmse_v_test(eV/atom)  rmse_stress_test(GPa)"
        )
        row += " 6 7 8 9"
    loss = read_loss(write(tmp_path / "loss.out", header, row))
    assert (loss.total[0], loss.energy_train[0], loss.force_train[0], loss.virial_train[0]) == (
        10,
        2,
        3,
        4,
    )
    assert np.isnan([loss.l1[0], loss.l2[0]]).all()
    np.testing.assert_equal(
        [loss.energy_test[0], loss.force_test[0], loss.virial_test[0]],
        [6, 7, 8] if with_test else 3 * [np.nan],
    )


def test_steps_continue_over_restarts(tmp_path) -> None:
    gpumd = write(
        tmp_path / "gpumd.out", *(f"{step} 1 1 1 1 1 1 1 1 1" for step in (100, 200, 100, 200, 300))
    )
    np.testing.assert_array_equal(read_loss(gpumd).step, [100, 200, 300, 400, 500])
    run = ("# columns generation total", "100 1", "200 1")
    neppo = write(tmp_path / "neppo.out", *run, "# columns generation total", "300 1")
    np.testing.assert_array_equal(read_loss(neppo).step, [100, 200, 500])


def test_an_unfinished_line_is_left_out(tmp_path) -> None:
    path = write(tmp_path / "loss.out", "# columns generation total rmse_energy_train", "100 1 2")
    with path.open("a") as file:
        file.write("200 0.5 0.")
    np.testing.assert_array_equal(read_loss(path).step, [100])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["100 1 2 3 4"], "line 1 .* 5 columns"),
        (
            ["1 1.0e-3 0.5 0.1 0.2 0.3 0.4 0.5 0.6 0.7"],
            "line 1 .* neither GPUMD's nep nor its gnep",
        ),
        (["# columns generation total", "100 1 2"], "line 2 .* 3 columns .* 2 as in its header"),
        (["# columns rmse_energy_train total", "1 2"], "none is 'generation'"),
        (["# columns generation total", "100 many"], "line 2"),
        (["# columns generation total total", "1 2 3"], "names two columns for total"),
        (["# columns generation total", "nan 2"], "has the step nan"),
        (["# columns generation total", "1.5 2"], "has the step 1.5 but must have a whole"),
        (["1 " + "0.1 " * 9, "2 " + "0.1 " * 13], "line 2 .* 14 columns, but .* before it have 10"),
    ],
)
def test_unknown_columns_are_refused(tmp_path, lines, message) -> None:
    with pytest.raises(InputError, match=message):
        read_loss(write(tmp_path / "loss.out", *lines))
    with pytest.raises(InputError, match="cannot be read"):
        read_loss(tmp_path / "absent.out")


@pytest.fixture
def labelled(glass, tiny_potential):
    """Three frames of different sizes, labelled by the potential itself (ASE convention)."""
    frames = []
    for number, repeat in enumerate((1, (2, 1, 1), 1)):
        frame = glass.repeat(repeat)
        frame.rattle(0.05, seed=number)
        frame.calc = nep_calculator(tiny_potential)
        results = {
            "energy": frame.get_potential_energy(),
            "forces": frame.get_forces(),
            "stress": frame.get_stress(),
        }
        frame.calc = SinglePointCalculator(frame, **results)
        frame.info = {
            "subset": ("aimd", "distorted", "aimd")[number],
            "family": "glass",
            "frame_id": f"glass{number}",
        }
        frames.append(frame)
    return frames


def test_many_frames_at_once_are_predicted_as_one_by_one(
    labelled, tiny_potential, monkeypatch
) -> None:
    from mgflows.nep import results

    monkeypatch.setattr(results, "_ATOMS_PER_BATCH", 120)
    predictions = predict(tiny_potential, labelled)
    for index, frame in enumerate(labelled):
        stress = units.voigt_to_tensor(frame.get_stress())
        assert predictions.energies[index] == pytest.approx(
            frame.get_potential_energy() / len(frame), abs=1e-12
        )
        np.testing.assert_allclose(predictions.forces[index], frame.get_forces(), atol=1e-10)
        np.testing.assert_allclose(predictions.stresses[index], stress, atol=1e-10)
        np.testing.assert_allclose(
            predictions.virials[index],
            units.virial_from_stress(stress, frame.cell.volume) / len(frame),
            atol=1e-10,
        )


def test_no_frames_give_empty_predictions(tiny_potential) -> None:
    predictions = predict(tiny_potential, [])
    assert predictions.energies.shape == (0,)
    assert predictions.virials.shape == (0, 3, 3)


@pytest.mark.physics
def test_known_errors_are_found_in_thousandths_and_per_subset(labelled, tiny_potential) -> None:
    shifted = []
    for frame in labelled:
        stress = units.voigt_to_tensor(frame.get_stress())
        # 3 meV per atom, 20 meV/A on every component, 5 meV per atom of hydrostatic virial.
        virial = units.virial_from_stress(stress, frame.cell.volume) + 0.005 * len(frame) * np.eye(
            3
        )
        results = {
            "energy": frame.get_potential_energy() + 0.003 * len(frame),
            "forces": frame.get_forces() - 0.02,
            "stress": units.tensor_to_voigt(units.stress_from_virial(virial, frame.cell.volume)),
        }
        copy = frame.copy()
        copy.calc = SinglePointCalculator(copy, **results)
        shifted.append(copy)
    table = parity(tiny_potential, shifted)
    for errors in (table.overall, *table.by_subset.values()):
        assert errors.energy_rmse == pytest.approx(3.0, abs=1e-6)
        assert errors.energy_mae == pytest.approx(3.0, abs=1e-6)
        assert errors.force_rmse == pytest.approx(20.0, abs=1e-6)
        # Three of six components are off by 5.
        assert errors.virial_rmse == pytest.approx(5.0 / 2**0.5, abs=1e-6)
        assert errors.virial_mae == pytest.approx(2.5, abs=1e-6)
    assert list(table.by_subset) == ["aimd", "distorted"]
    assert (table.by_subset["aimd"].n_frames, table.by_subset["distorted"].n_atoms) == (2, 108)
    assert np.isnan(table.by_subset["distorted"].energy_r2)


def test_errors_need_no_forces_in_memory(labelled, tiny_potential, monkeypatch) -> None:
    from mgflows.nep import results
    from mgflows.nep.frame_file import FrameFile

    for number, frame in enumerate(labelled):
        frame.calc = SinglePointCalculator(
            frame, **{**frame.calc.results, "forces": frame.get_forces() + 0.01 * number}
        )
    complete = parity(tiny_potential, labelled)
    frames = FrameFile()
    for frame in labelled:
        frames.append(frame)
    monkeypatch.setattr(results, "_ATOMS_PER_BATCH", 120)
    drawn = parity(tiny_potential, frames, n_components=50, seed=3)
    assert vars(drawn.overall) == pytest.approx(vars(complete.overall))
    assert list(drawn.by_subset) == list(complete.by_subset)
    np.testing.assert_allclose(drawn.force_errors, complete.force_errors)
    assert not drawn.predictions.forces
    # Each component that was drawn is one of the frame that it names, and none is drawn twice.
    found = drawn.components
    for frame, reference, predicted in zip(*vars(found).values(), strict=True):
        sides = complete.labels.forces[frame], complete.predictions.forces[frame]
        assert (reference, predicted) in list(zip(*map(np.ravel, sides), strict=True))
    assert len(found.reference) == len(set(found.reference)) == 50
    everything = parity(tiny_potential, frames, n_components=10**6).components
    np.testing.assert_array_equal(
        everything.reference, np.concatenate(complete.labels.forces).ravel()
    )


def test_r2_is_one_for_perfect_labels_and_zero_for_guessing_the_mean(
    labelled, tiny_potential
) -> None:
    from mgflows.nep.results import _errors

    assert parity(tiny_potential, labelled).overall.force_r2 == pytest.approx(1.0)
    target = np.array([1.0, 2.0, 6.0])
    assert _errors(np.full(3, 3.0), target)[2] == pytest.approx(0.0)


def test_labels_and_species_are_checked(labelled, tiny_potential) -> None:
    with pytest.raises(InputError, match="at least one"):
        parity(tiny_potential, [])
    labelled[1].calc = None
    with pytest.raises(InputError, match=r"frame 1 \(glass1, distorted, glass\) has no energy"):
        parity(tiny_potential, labelled)
    labelled[0].symbols[0] = "Ni"
    with pytest.raises(InputError, match="not Ni"):
        predict(tiny_potential, labelled)
