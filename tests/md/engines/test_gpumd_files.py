"""Files as GPUMD writes them."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows.errors import InputError
from mgflows.md.engines.gpumd_files import (
    model_text,
    parse_run_in,
    read_model,
    read_rdf,
    read_thermo,
    read_viscosity,
    run_in_text,
)

HEADER = "# dump_thermo 10\n# format_version 1\n# num_atoms 2\n# dt_output 1.0e+01 fs\n"
ROW = "".join(f"{value:20.10e}" for value in (300.0, 0.1, -8.0, 1, 2, 3, 4, 5, 6))


def test_thermo_of_new_and_old_versions(tmp_path):
    path = tmp_path / "thermo.out"
    cell = "".join(f"{value:20.10e}" for value in (9, 0, 0, 1, 8, 0, 0, 2, 7))
    path.write_text(HEADER + (ROW + cell + "\n") * 2)
    rows = read_thermo(path)
    assert rows.shape == (2, 18)
    assert rows[1, 9:].tolist() == [9, 0, 0, 1, 8, 0, 0, 2, 7]
    # Before version 3.3: three box lengths, no header.
    path.write_text(ROW + "".join(f"{value:20.10e}" for value in (9, 8, 7)) + "\n")
    assert read_thermo(path)[0, 9:].tolist() == [9, 0, 0, 0, 8, 0, 0, 0, 7]
    path.write_text(ROW + cell + "\n" + ROW[:50])
    with pytest.raises(InputError, match=r"line 2 .* [23] columns"):
        read_thermo(path)
    path.write_text(HEADER)
    with pytest.raises(InputError, match="no values"):
        read_thermo(path)
    path.write_text("GPUMD stopped\n")
    with pytest.raises(InputError, match="not numeric"):
        read_thermo(path)


def test_rdf_with_and_without_names(tmp_path):
    path = tmp_path / "rdf.out"
    rows = "0.50000 0.00000 0.0 0.0 0.0\n1.50000 1.25000 1.0 2.0 3.0\n"
    path.write_text("#radius total Cu-Cu Cu-Zr Zr-Zr\n" + rows)
    rdf = read_rdf(path)
    assert rdf.distance.tolist() == [0.5, 1.5]
    assert rdf.total[1] == 1.25
    assert {pair: g[1] for pair, g in rdf.partial.items()} == {
        "Cu-Cu": 1.0,
        "Cu-Zr": 2.0,
        "Zr-Zr": 3.0,
    }
    path.write_text(rows + rows.replace("1.25000", "1.75000"))
    assert read_rdf(path).total.tolist() == [0.0, 1.75]
    assert list(read_rdf(path).partial) == ["1", "2", "3"]


def test_viscosity_is_converted_from_pascal_seconds(tmp_path):
    path = tmp_path / "viscosity.out"
    rows = [[0.002 * k, *[1.0] * 9, *[9.0] * 3, *[0.003] * 6] for k in range(3)]
    text = "\n".join(" ".join(f"{value:25.15e}" for value in row) for row in rows)
    path.write_text("# compute_viscosity 1 3\n# format_version 1\n" + text + "\n" + text + "\n")
    found = read_viscosity(path)
    assert found.time.tolist() == [0.0, 0.002, 0.004]
    np.testing.assert_allclose(found.shear, 3.0)
    assert found.correlation.shape == (3, 9)


def test_models_keep_velocities_and_masses(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.set_masses([60.0, 61.0, 62.0, 63.0])
    atoms.set_momenta(np.arange(12).reshape(4, 3) + 0.1)
    (tmp_path / "model.xyz").write_text(model_text(atoms))
    (back,) = read_model(tmp_path / "model.xyz")
    np.testing.assert_allclose(back.get_masses(), atoms.get_masses())
    np.testing.assert_allclose(back.get_momenta(), atoms.get_momenta(), atol=1e-12)
    np.testing.assert_allclose(back.cell.array, atoms.cell.array)


def test_run_in_is_read_back():
    ensemble = ("npt_scr", 300.0, 300.0, 100, 0.0, 100.0, 1000)
    text = run_in_text([("time_step", 2.0), ("ensemble", *ensemble), ("run", 100)])
    assert parse_run_in(text + "# comment\n\n") == [
        ("time_step", ["2"]),
        ("ensemble", ["npt_scr", "300", "300", "100", "0", "100", "1000"]),
        ("run", ["100"]),
    ]
    with pytest.raises(InputError, match=r"line 2 .* 'compute_magic'"):
        parse_run_in("run 1\ncompute_magic 3\n")
    with pytest.raises(InputError, match="run 2 parameters"):
        parse_run_in("run 1 2\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        # GPUMD stops at each of these: run.cu, integrate.cu, rdf.cu, viscosity.cu, dump_*.cu.
        ("velocity 300 seed", "velocity 2 parameters, but it takes 1 or 3"),
        ("velocity 300 seed x", "velocity 'x', which is not an integer"),
        ("run 1e4", "run '1e4', which is not an integer"),
        ("time_step one", "time_step 'one', which is not a number"),
        ("ensemble nve 300", "ensemble nve 1 parameter, but it takes 0"),
        ("ensemble nvt_bdp 300 300", "ensemble nvt_bdp 2 parameters, but it takes 3"),
        ("ensemble npt_scr 300 300 100 0 100", "npt_scr 5 parameters, but it takes 6 or 10 or 16"),
        ("ensemble npt_nhc 300 300 100", "the ensemble 'npt_nhc', which is unknown"),
        ("ensemble", "the ensemble ''"),
        ("compute_rdf 8 400 100 atom", "compute_rdf 4 parameters, but it takes 3"),
        ("compute_viscosity 10", "compute_viscosity 1 parameter, but it takes 2"),
        ("dump_xyz 0 0 100 file.xyz", "old order"),
        ("dump_xyz all", "dump_xyz 1 parameter, but it takes 2"),
        ("dump_xyz x file.xyz", "dump_xyz 'x', which is not an integer"),
        ("dump_restart", "dump_restart 0 parameters, but it takes 1"),
        ("replicate 2 2", "replicate 2 parameters, but it takes 3"),
    ],
)
def test_run_in_with_what_gpumd_rejects(line, reason):
    with pytest.raises(InputError, match=reason):
        parse_run_in(f"time_step 1\n{line}\n")
