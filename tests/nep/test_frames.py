from __future__ import annotations

import gzip
import multiprocessing

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from mgflows import units
from mgflows.errors import InputError
from mgflows.nep.frames import (
    find_duplicates,
    frame_labels,
    frames_text,
    iter_frames,
    read_frames,
    structure_hash,
    write_frames,
)


def relabelled(frame, **results):
    copy = frame.copy()
    copy.calc = SinglePointCalculator(copy, **{**frame.calc.results, **results})
    return copy


def changed(frame, pbc=True, numbers=None, positions=None, **info):
    copy = relabelled(frame)
    copy.pbc = pbc
    copy.numbers[:] = frame.numbers if numbers is None else numbers
    copy.positions[:] = frame.positions if positions is None else positions
    copy.info |= info
    return copy


def test_written_and_read_frames_agree(tmp_path, emt_frames) -> None:
    write_frames(tmp_path / "train.xyz", emt_frames)
    for before, after in zip(emt_frames, read_frames(tmp_path / "train.xyz"), strict=True):
        assert after.info == before.info
        assert after.get_chemical_symbols() == before.get_chemical_symbols()
        assert structure_hash(after) == structure_hash(before)
        for was, now in zip(frame_labels(before), frame_labels(after), strict=True):
            np.testing.assert_allclose(now, was, atol=1e-9)


def test_ase_reads_the_same_labels(tmp_path, emt_frames) -> None:
    write_frames(tmp_path / "train.xyz", emt_frames[:2])
    for ours, theirs in zip(emt_frames, read(tmp_path / "train.xyz", ":"), strict=False):
        np.testing.assert_allclose(
            theirs.get_potential_energy(), ours.get_potential_energy(), atol=1e-9
        )
        np.testing.assert_allclose(theirs.get_forces(), ours.get_forces(), atol=1e-9)
        np.testing.assert_allclose(theirs.get_stress(), ours.get_stress(), atol=1e-9)
        assert theirs.info["config_type"] == ours.info["subset"]
        np.testing.assert_allclose(theirs.cell.array, ours.cell.array, atol=1e-9)


@pytest.mark.physics
def test_neppo_reads_a_virial_that_is_positive_when_compressed(tmp_path, make_emt_frame) -> None:
    from neppo import StructureContainer
    from neppo.models import NEP, Descriptor

    frame = make_emt_frame(0)
    frame.set_cell(frame.cell.array * 0.95, scale_atoms=True)
    frame = relabelled(
        frame,
        stress=np.array([-0.03, -0.02, -0.01, 0.004, 0.005, 0.006]),
        energy=1.0,
        forces=np.zeros((32, 3)),
    )
    write_frames(tmp_path / "train.xyz", [frame])
    container = StructureContainer(
        NEP(Descriptor(["Cu", "Al"], radial_cutoff=5.0, angular_cutoff=4.0)),
        read(tmp_path / "train.xyz", ":"),
    )
    ((_, targets),) = container.get_batches(1)
    expected = units.virial_from_stress(
        units.voigt_to_tensor(frame.calc.results["stress"]), frame.cell.volume
    )
    np.testing.assert_allclose(targets.virial.numpy().reshape(3, 3), expected, rtol=1e-5)
    assert expected[0, 0] > 0.0


def test_virial_and_stress_are_read_to_the_same_label(tmp_path, emt_frames) -> None:
    write_frames(tmp_path / "stress.xyz", emt_frames[:1])
    text = (tmp_path / "stress.xyz").read_text()
    stress = frame_labels(emt_frames[0])[2]
    virial = units.virial_from_stress(stress, emt_frames[0].cell.volume)
    start = text.index("stress=")
    end = text.index('"', start + 8) + 1
    written = 'virial="' + " ".join(f"{value:.10f}" for value in virial.ravel()) + '"'
    (tmp_path / "virial.xyz").write_text(text[:start] + written + text[end:])
    np.testing.assert_allclose(
        frame_labels(read_frames(tmp_path / "virial.xyz")[0])[2], stress, atol=1e-9
    )
    (tmp_path / "both.xyz").write_text(
        text[:start] + written.replace("virial", "Virials") + " " + text[start:]
    )
    np.testing.assert_allclose(
        frame_labels(read_frames(tmp_path / "both.xyz")[0])[2], stress, atol=1e-9
    )
    (tmp_path / "wrong.xyz").write_text(
        text[:start] + written.replace("virial", "stress") + " " + written + text[end:]
    )
    with pytest.raises(InputError, match="disagree"):
        read_frames(tmp_path / "wrong.xyz")


def test_identifiers_that_look_like_numbers_stay_text(tmp_path, make_emt_frame) -> None:
    frame = make_emt_frame(0)
    frame.info["frame_id"] = "123e45"
    write_frames(tmp_path / "train.xyz", [frame])
    assert read_frames(tmp_path / "train.xyz")[0].info["frame_id"] == "123e45"


FRAME = (
    '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-5.0 '
    'stress="0.01 0 0 0 0.02 0 0 0 0.03" {more}\nCu 0 0 0 0.1 0.2 0.3\nZr {x} 1 1 -0.1 -0.2 -0.3\n'
)


@pytest.mark.parametrize(
    "more",
    [
        'mace-energy=-4.0 mace-stress="9 0 0 0 9 0 0 0 9"',
        "mace.energy=-4.0",
        "ref:energy=-99.0",
        "comment='first guess energy=-9 eV'",
        'note="virial=1 2 3 energy=-9"',
        "my_energy=-1 energy_per_atom=-2",
        "{energy=3}",
        "tags={a energy=-9}",
        "energy=-5.0",
    ],
)
def test_labels_of_other_names_are_not_taken(tmp_path, more) -> None:
    (tmp_path / "other.xyz").write_text(FRAME.format(more=more, x=1.5))
    (frame,) = read_frames(tmp_path / "other.xyz")
    energy, _, stress = frame_labels(frame)
    assert energy == -5.0
    np.testing.assert_allclose(np.diag(stress), [0.01, 0.02, 0.03])


def test_a_label_of_another_name_is_pointed_out(tmp_path) -> None:
    text = FRAME.format(more="", x=1.5).replace(" energy=", " REF_energy=")
    (tmp_path / "mace.xyz").write_text(text)
    with pytest.raises(InputError, match="has no energy=; rename REF_energy= and the columns"):
        read_frames(tmp_path / "mace.xyz")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("Energy=-7.0", "gives energy= twice"),
        ('STRESS="1 0 0 0 1 0 0 0 1"', "gives stress= twice"),
    ],
)
def test_two_values_of_one_label_are_refused(tmp_path, more, message) -> None:
    (tmp_path / "two.xyz").write_text(FRAME.format(more=more, x=1.5))
    with pytest.raises(InputError, match=message):
        read_frames(tmp_path / "two.xyz")


@pytest.mark.parametrize("between", ["\n", "\n \n\n", ""])
def test_blank_lines_between_frames_lose_nothing(tmp_path, between) -> None:
    texts = [FRAME.format(more=f"frame_id=f{k}", x=1 + 0.1 * k) for k in range(3)]
    (tmp_path / "joined.xyz").write_text(between + between.join(texts) + between)
    frames = read_frames(tmp_path / "joined.xyz")
    assert [frame.info["frame_id"] for frame in frames] == ["f0", "f1", "f2"]


def test_the_free_energy_is_the_label(tmp_path, emt_frames) -> None:
    (tmp_path / "vasp.xyz").write_text(FRAME.format(more="free_energy=-5.25", x=1.5))
    (frame,) = read_frames(tmp_path / "vasp.xyz")
    assert frame.get_potential_energy() == -5.25
    both = relabelled(emt_frames[0], energy=-5.0, free_energy=-5.25)
    assert frame_labels(both)[0] == -5.25
    write_frames(tmp_path / "written.xyz", [both])
    assert read_frames(tmp_path / "written.xyz")[0].get_potential_energy() == -5.25


@pytest.mark.parametrize(
    ("key", "scale"), [("stress", 1.0), ("virial", -64.0)], ids=["stress", "virial"]
)
def test_rounding_may_break_the_symmetry_of_a_stress_but_a_torque_is_refused(
    tmp_path, key, scale
) -> None:
    """Files with six decimals, and single precision, differ in the last digits of xy and yx."""
    for asymmetry, allowed in ((1e-6, True), (8e-6, True), (3e-4, False), (0.01, False)):
        stress = np.diag([0.02, 0.03, 0.01])
        stress[0, 1], stress[1, 0] = 0.005, 0.005 + asymmetry
        numbers = " ".join(f"{value:.9f}" for value in (scale * stress).ravel())
        path = tmp_path / "rounded.xyz"
        text = FRAME.format(more="", x=1.5)
        path.write_text(text.replace('stress="0.01 0 0 0 0.02 0 0 0 0.03"', f'{key}="{numbers}"'))
        if allowed:
            read_stress = frame_labels(read_frames(path)[0])[2]
            np.testing.assert_allclose(read_stress, (stress + stress.T) / 2, atol=1e-9)
        else:
            with pytest.raises(InputError, match="not symmetric"):
                read_frames(path)


def test_weights_and_other_numbers_survive(tmp_path, make_emt_frame) -> None:
    frame = make_emt_frame(0)
    extra = {"weight": 0.3, "energy_weight": 0.1, "log10_time": 7.2, "source": "mp-30"}
    frame.info |= {**extra, "count": 3, "array": np.arange(3), "words": "two words"}
    write_frames(tmp_path / "weights.xyz", [frame])
    (read_back,) = read_frames(tmp_path / "weights.xyz")
    for key, value in extra.items():
        assert read_back.info[key] == value
    assert read_back.info["count"] == 3
    assert "array" not in read_back.info
    (from_ase,) = read(tmp_path / "weights.xyz", ":")
    assert from_ase.info["weight"] == 0.3
    write_frames(tmp_path / "again.xyz", [read_back])
    assert read_frames(tmp_path / "again.xyz")[0].info == read_back.info


def test_columns_of_forces_must_be_unique(tmp_path) -> None:
    text = FRAME.format(more="", x=1.5).replace("forces:R:3", "force:R:3:mace-forces:R:3")
    rows = [f"{line} 9 9 9" for line in text.splitlines()[2:]]
    (tmp_path / "mace.xyz").write_text("\n".join([*text.splitlines()[:2], *rows]))
    (frame,) = read_frames(tmp_path / "mace.xyz")
    np.testing.assert_allclose(frame.get_forces()[0], [0.1, 0.2, 0.3])
    (tmp_path / "twice.xyz").write_text(
        (tmp_path / "mace.xyz").read_text().replace("mace-forces", "forces")
    )
    with pytest.raises(InputError, match="both forces and force"):
        read_frames(tmp_path / "twice.xyz")


def _write_often(path, frames, errors) -> None:
    for _ in range(40):
        try:
            write_frames(path, frames)
        except OSError as error:
            errors.put(repr(error))


@pytest.mark.faults
def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path, emt_frames) -> None:
    path, errors = tmp_path / "train.xyz", multiprocessing.Queue()
    writers = [
        multiprocessing.Process(target=_write_often, args=(path, emt_frames, errors))
        for _ in range(2)
    ]
    write_frames(path, emt_frames)
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(read_frames(path)) == len(emt_frames)
    for writer in writers:
        writer.join()
    assert errors.empty()
    assert [file.name for file in tmp_path.iterdir()] == ["train.xyz"]


@pytest.mark.parametrize(
    ("break_frame", "message"),
    [
        (
            lambda frame: relabelled(frame, energy=float("nan")),
            "energy that is not a finite number",
        ),
        (
            lambda frame: relabelled(frame, forces=np.full((32, 3), np.inf)),
            "forces that is not a finite number",
        ),
        (lambda frame: relabelled(frame, stress=None), "no stress"),
        (lambda frame: frame.copy(), "no energy and no forces and no stress"),
        (lambda frame: relabelled(frame, forces=np.zeros((31, 3))), r"shape \(31, 3\)"),
        (
            lambda frame: relabelled(frame, stress=np.array([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]])),
            "not symmetric",
        ),
        (lambda frame: changed(frame, pbc=(True, True, False)), "not periodic in three directions"),
        (lambda frame: changed(frame, numbers=[0] * 32), "the species 'X', which is not an elem"),
        (lambda frame: changed(frame, positions=np.zeros((32, 3))), "at the same place"),
        (lambda frame: changed(frame, weight=-1.0), "weight -1.0, which must be a number that is"),
        (lambda frame: changed(frame, family="{a}"), "no bracket in the first place"),
    ],
)
def test_a_bad_label_is_refused_and_nothing_written(
    tmp_path, emt_frames, break_frame, message
) -> None:
    with pytest.raises(InputError, match=message):
        write_frames(tmp_path / "train.xyz", [emt_frames[0], break_frame(emt_frames[1])])
    assert list(tmp_path.iterdir()) == []


def test_duplicates_are_found_by_structure_and_by_id(tmp_path, emt_frames, make_emt_frame) -> None:
    copy = relabelled(emt_frames[0])
    copy.info = {"frame_id": "another"}
    namesake = make_emt_frame(99)
    namesake.info["frame_id"] = emt_frames[1].info["frame_id"]
    assert find_duplicates(emt_frames) == []
    assert find_duplicates([*emt_frames[:2], copy, namesake]) == [(0, 2), (1, 3)]
    with pytest.raises(
        InputError,
        match=r"frame 0 \(emt-0, aimd, sample0\) and frame 2 \(another\) are the same structure",
    ):
        write_frames(tmp_path / "train.xyz", [*emt_frames[:2], copy])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[:20], "cut off"),
        (lambda lines: ["0", *lines[1:2]], "has 0 atoms, but a frame has at least one"),
        (lambda lines: ["thirty", *lines[1:]], "number of atoms"),
        (lambda lines: [lines[0], lines[1].replace("energy", "enthalpy"), *lines[2:]], "no energy"),
        (lambda lines: [*lines[:5], "Cu 0 0", *lines[6:]], "atom 3 has 3 columns instead of 7"),
        (lambda lines: [*lines[:5], "Cu 0 0 zero 0 0 0", *lines[6:]], "line 1"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, emt_frames, spoil, message) -> None:
    path = tmp_path / "train.xyz"
    write_frames(path, emt_frames[:1])
    path.write_text("\n".join(spoil(path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=message):
        read_frames(path)


def test_no_frames(tmp_path) -> None:
    with pytest.raises(InputError, match="no frame"):
        write_frames(tmp_path / "train.xyz", [])
    with pytest.raises(InputError, match="cannot be read"):
        read_frames(tmp_path / "absent.xyz")


def test_a_device_is_no_file_of_frames() -> None:
    with pytest.raises(InputError, match=r"line 1 of /dev/zero is .* must be the number of atoms"):
        read_frames("/dev/zero")


def test_weights_and_missing_stresses_survive_the_file(tmp_path, make_emt_frame) -> None:
    frames = [make_emt_frame(number) for number in (101, 102)]
    frames[0].info |= {"weight": 0.25, "energy_weight": 3.0}
    del frames[1].calc.results["stress"]
    (tmp_path / "train.xyz").write_text(frames_text(frames, needs_stress=False))
    first, second = read_frames(tmp_path / "train.xyz")
    assert (first.info["weight"], first.info["energy_weight"]) == (0.25, 3.0)
    assert "weight" not in second.info
    assert second.calc.results.get("stress") is None
    assert np.all(np.isnan(frame_labels(second, needs_stress=False)[2]))
    with pytest.raises(InputError, match="has no stress"):
        frame_labels(second)


def test_frames_are_read_one_by_one(tmp_path, emt_frames) -> None:
    path = tmp_path / "train.xyz"
    write_frames(path, emt_frames[:3])
    with path.open("a") as stream:
        stream.write("7\nthis is cut off")
    frames = iter_frames(path)
    symbols = [str(next(frames).symbols) for _ in range(3)]
    assert symbols == [str(frame.symbols) for frame in emt_frames[:3]]
    with pytest.raises(InputError, match="cut off"):
        next(frames)


_FRAME = (
    '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-5.0 '
    'stress="0.01 0 0 0 0.02 0 0 0 0.03" pbc="T T T"\n'
    "Cu 0 0 0 0.1 0.2 0.3\nZr 1.5 1.5 1.5 -0.1 -0.2 -0.3\n"
)


@pytest.mark.parametrize(
    "text",
    [
        _FRAME.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + _FRAME.encode(),
        _FRAME.replace("Lattice", "LATTICE").replace("energy", "Energy").encode(),
        _FRAME.replace(
            'stress="0.01 0 0 0 0.02 0 0 0 0.03"', 'virial="-0.64 0 0 0 -1.28 0 0 0 -1.92"'
        ).encode(),
        _FRAME.replace("4 0 0 0 4 0 0 0 4", "0 4 0 4 0 0 0 0 4").encode(),
        _FRAME.replace("energy=-5.0", "energy=-5.0 Energy=-5.00").encode(),
        _FRAME.replace('"T T T"', "TTT").encode(),
        gzip.compress(_FRAME.encode()),
    ],
    ids=[
        *("Windows", "byte order mark", "case", "virial", "left-handed", "twice", "TTT"),
        "gzip under another name",
    ],
)
def test_files_of_other_editors_and_programs_give_the_same_label(tmp_path, text) -> None:
    (tmp_path / "frames.xyz").write_bytes(text)
    (frame,) = read_frames(tmp_path / "frames.xyz")
    assert frame.get_potential_energy() == -5.0
    assert frame.get_stress()[:3] == pytest.approx([0.01, 0.02, 0.03])
    assert frame.get_forces()[1] == pytest.approx([-0.1, -0.2, -0.3])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.1 0.2", "nan 0.2", "a value of its forces is not finite"),
        ("-5.0", "inf", "a value of its energy is not finite"),
        (
            "0.01 0 0 0 0.02",
            "nan 0 0 0 0.02",
            "its stress= has 9 numbers but must have nine finite",
        ),
        ("0.01 0 0 0 0.02 0 0 0 0.03", "0.01 0.02 0.03 0 0 0", "its stress= has 6 numbers"),
        ("4 0 0 0 4 0 0 0 4", "0 0 0 0 0 0 0 0 0", "its cell has the volume 0"),
        ("4 0 0 0 4", "nan 0 0 0 4", "a cell vector that is not finite"),
        ("1.5 1.5 1.5", "1.5 nan 1.5", r"atom 1 \(Zr\) at \(1.5, nan, 1.5\)"),
        ("1.5 1.5 1.5", "4 0 0.01", "atoms 0 and 1 at the same place"),
        ("T T T", "T T F", "not periodic in three directions"),
        ("T T T", "F", "not periodic in three directions"),
        ('"T T T"', "TTF", "not periodic in three directions"),
        ("T T T", "1,1,0", "not periodic in three directions"),
        ("T T T", "T T", "its pbc= is 'T T' but must be three of T and F"),
        ("T T T", "T T maybe", "its pbc= is 'T T maybe' but must be"),
        ("forces:R:3", "forces:R:1:charge:R:2", "its column forces has 1 numbers per atom"),
        ("forces:R:3", "forces:R", "but must be name:type:width of each column"),
        ("4 0 0 0 4 0 0 0 4", "4 4 4 90 90 90", "its lattice has 6 numbers but must have nine"),
        ("Cu 0", "cu 0", "atom 0 has the species 'cu', which is not an element"),
        ("Cu 0", "X 0", "atom 0 has the species 'X'"),
        ("pbc", "weight=heavy pbc", "its weight is 'heavy' but must be a number"),
        ("pbc", "Weight=-1 pbc", "its weight is '-1' but must be"),
        ("pbc", "energy_weight=-1 pbc", "its energy_weight is '-1' but must be"),
    ],
)
def test_values_that_cannot_be_a_label_are_refused(tmp_path, old, new, message) -> None:
    assert old in _FRAME
    (tmp_path / "frames.xyz").write_text(_FRAME + _FRAME.replace(old, new, 1).replace("-5.0", "-6"))
    with pytest.raises(InputError, match=f"the frame at line 5 of .*{message}"):
        read_frames(tmp_path / "frames.xyz")
