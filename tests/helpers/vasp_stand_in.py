"""A program with VASP's files and the numbers of the stand-in EAM.

It reads INCAR, KPOINTS, POSCAR and POTCAR and writes vasprun.xml, OUTCAR, OSZICAR and CONTCAR.

The environment variable STAND_IN_VASP changes a run: ``slow`` needs ALGO = All to converge,
``never`` does not converge, ``cut`` is killed while it writes, ``coarse`` runs with another SIGMA
than that of its INCAR, ``stutter`` does not converge in its second ionic step, ``dead`` ends with
an error before it writes anything.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from mgflows import units

if TYPE_CHECKING:
    from ase import Atoms

VERSION = "6.3.2"
TITELS = {
    "Al": "PAW_PBE Al 04Jan2001",
    "Cu": "PAW_PBE Cu 22Jun2005",
    "Si": "PAW_PBE Si 05Jan2001",
    "Zr_sv": "PAW_PBE Zr_sv 04Jan2005",
}
_DEFAULTS: dict[str, Any] = {
    "PREC": "normal",
    "NELM": 60,
    "ISMEAR": 1,
    "SIGMA": 0.2,
    "ISPIN": 1,
    "LASPH": False,
    "LREAL": False,
    "EDIFF": 1e-4,
    "ISYM": 2,
    "NSW": 0,
    "IBRION": -1,
    "ISIF": 2,
    "EDIFFG": 1e-3,
    "PSTRESS": 0.0,
    "POTIM": 0.5,
    "TEBEG": 1e-4,
    "TEEND": 1e-4,
    "GGA": "--",
    "NBANDS": 8,
    "NELECT": 8.0,
    "LHFCALC": False,
    "LDAU": False,
    "LNONCOLLINEAR": False,
    "LORBIT": 0,
    "LEPSILON": False,
}


def write_potcars(directory: Path) -> None:
    """A folder for PMG_VASP_PSP_DIR with files that pymatgen can read, without VASP's numbers."""
    folder = directory / "POT_GGA_PAW_PBE_54"
    folder.mkdir(parents=True)
    for symbol, titel in TITELS.items():
        element = symbol.partition("_")[0]
        text = (
            f"  {titel}\n   11.0000000000000\n parameters from PSCTR are:\n   VRHFIN ={element}:\n"
            f"   LEXCH  = PE\n   EATOM  =  1.0000 eV\n\n   TITEL  = {titel}\n"
            "   ENMAX  =  295.446; ENMIN  =  221.585 eV\n"
            "   POMASS =   63.546; ZVAL   =   11.000    mass and valenz\n"
            "  END of PSCTR-controll parameters\n local part\n   1.0\n End of Dataset\n"
        )
        (folder / f"POTCAR.{symbol}").write_text(text)


def write_command(directory: Path) -> Path:
    """An executable ``vasp_std`` that runs this module."""
    directory.mkdir(parents=True, exist_ok=True)
    command = directory / "vasp_std"
    root = Path(__file__).resolve().parent.parent
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m tests.helpers.vasp_stand_in\n'
    )
    command.chmod(0o755)
    return command


def run(directory: Path, behaviour: str = "") -> None:
    """Run the calculation of the inputs in a directory."""
    from pymatgen.io.vasp import Incar, Kpoints, Poscar

    from mgflows.jobs.labels import AseMethod
    from mgflows.schemas.labels import atoms_from_structure

    if behaviour == "dead":
        raise SystemExit("forrtl: severe (174): SIGSEGV, segmentation fault occurred")
    incar = Incar.from_file(directory / "INCAR")
    divisions = Kpoints.from_file(directory / "KPOINTS").kpts[0]
    atoms = atoms_from_structure(
        Poscar.from_file(directory / "POSCAR", check_for_potcar=False).structure
    )
    symbols = _potcar_symbols(directory)
    atoms.calc = AseMethod.stand_in().build()
    frames, kinetic = _visit(atoms, incar)
    n_steps = (
        incar["NELM"]
        if behaviour == "never" or (behaviour == "slow" and incar["ALGO"][0] != "A")
        else 9
    )
    used = {**incar, "SIGMA": 0.2} if behaviour == "coarse" else dict(incar)
    scf = [
        incar["NELM"] if behaviour == "stutter" and number == 1 else n_steps
        for number in range(len(frames))
    ]
    xml = vasprun(frames, kinetic, used, tuple(divisions), symbols, scf)
    (directory / "vasprun.xml").write_text(xml[: len(xml) * 2 // 3] if behaviour == "cut" else xml)
    _write_texts(directory, frames, symbols)


def _potcar_symbols(directory: Path) -> list[str]:
    spec = directory / "POTCAR.spec"
    if spec.is_file():
        return spec.read_text().split()
    from pymatgen.io.vasp import Potcar

    return list(Potcar.from_file(directory / "POTCAR").symbols)


def _visit(atoms: Atoms, incar: dict[str, Any]) -> tuple[list[Atoms], list[float] | None]:
    """Labelled structures along the way, and for molecular dynamics the kinetic energies."""
    if incar.get("IBRION") == 0:
        from mgflows.md.quench import AIMD_SETTINGS, HeatingRamp, heat

        result = heat(
            atoms,
            atoms.calc,
            HeatingRamp(temperature_end=incar["TEEND"], n_steps=incar["NSW"]),
            npt=replace(AIMD_SETTINGS, timestep=incar["POTIM"]),
            seed=incar["RANDOM_SEED"][0]
            if isinstance(incar["RANDOM_SEED"], list)
            else int(str(incar["RANDOM_SEED"]).split()[0]),
        )
        temperatures = np.asarray(result.trace.temperature)
        return list(result.frames), (1.5 * len(atoms) * units.BOLTZMANN * temperatures).tolist()
    if incar.get("NSW", 0) > 0:
        from mgflows.structures.relaxation import relax

        first = atoms.copy()
        first.calc = atoms.calc
        before = _labelled(first)
        outcome = relax(
            atoms,
            atoms.calc,
            relax_cell=incar["ISIF"] == 3,
            force_tolerance=-incar["EDIFFG"],
            max_steps=2000,
        )
        outcome.atoms.calc = first.calc
        return [before, _labelled(outcome.atoms)], None
    return [_labelled(atoms)], None


def _labelled(atoms: Atoms) -> Atoms:
    from mgflows.schemas.labels import Frame

    return Frame.from_atoms(atoms).to_atoms()


def vasprun(
    frames: list[Atoms],
    kinetic: list[float] | None,
    incar: dict[str, Any],
    divisions: tuple[int, ...],
    symbols: list[str],
    n_scf: list[int],
) -> str:
    """The text of a vasprun.xml."""
    first = frames[0]
    species = list(dict.fromkeys(first.get_chemical_symbols()))
    lines = [
        '<?xml version="1.0" encoding="ISO-8859-1"?>',
        "<modeling>",
        " <generator>",
        '  <i name="program" type="string">vasp </i>',
        f'  <i name="version" type="string">{VERSION}  </i>',
        '  <i name="subversion" type="string">stand-in </i>',
        '  <i name="platform" type="string">LinuxGNU </i>',
        '  <i name="date" type="string">2025 01 01 </i>',
        '  <i name="time" type="string">00:00:00 </i>',
        " </generator>",
        " <incar>",
    ]
    lines += [_value(tag, value) for tag, value in incar.items() if not isinstance(value, dict)]
    lines += [
        " </incar>",
        " <kpoints>",
        '  <generation param="Gamma">',
        f'   <v type="int" name="divisions"> {" ".join(map(str, divisions))} </v>',
        '   <v name="usershift"> 0.0 0.0 0.0 </v>',
        '   <v name="shift"> 0.0 0.0 0.0 </v>',
        "  </generation>",
        '  <varray name="kpointlist" >',
        "   <v> 0.0 0.0 0.0 </v>",
        "  </varray>",
        '  <varray name="weights" >',
        "   <v> 1.0 </v>",
        "  </varray>",
        " </kpoints>",
        " <parameters>",
    ]
    parameters = (
        _DEFAULTS
        | {tag: value for tag, value in incar.items() if tag in _DEFAULTS}
        | {"ENMAX": incar["ENCUT"]}
    )
    lines += [_value(tag, value) for tag, value in parameters.items()]
    lines += [
        " </parameters>",
        " <atominfo>",
        f"  <atoms> {len(first)} </atoms>",
        f"  <types> {len(species)} </types>",
    ]
    lines += [
        '  <array name="atoms" >',
        '   <dimension dim="1">ion</dimension>',
        '   <field type="string">element</field>',
        '   <field type="int">atomtype</field>',
        "   <set>",
    ]
    lines += [
        f"    <rc><c>{symbol} </c><c> {species.index(symbol) + 1}</c></rc>"
        for symbol in first.get_chemical_symbols()
    ]
    lines += [
        "   </set>",
        "  </array>",
        '  <array name="atomtypes" >',
        '   <dimension dim="1">type</dimension>',
        '   <field type="int">atomspertype</field>',
        '   <field type="string">element</field>',
        "   <field>mass</field>",
        "   <field>valence</field>",
        '   <field type="string">pseudopotential</field>',
        "   <set>",
    ]
    for element, symbol in zip(species, symbols, strict=True):
        count = first.get_chemical_symbols().count(element)
        lines.append(
            f"    <rc><c> {count}</c><c>{element} </c><c> 1.0</c><c> 11.0</c>"
            f"<c>  {TITELS[symbol]} </c></rc>"
        )
    lines += ["   </set>", "  </array>", " </atominfo>", _structure(first, ' name="initialpos"')]
    for number, atoms in enumerate(frames):
        lines.append(
            _calculation(atoms, n_scf[number], None if kinetic is None else kinetic[number])
        )
    lines += [_structure(frames[-1], ' name="finalpos"'), "</modeling>"]
    return "\n".join(lines) + "\n"


def _value(tag: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        kind = ' type="int"' if all(isinstance(each, int) for each in value) else ""
        return f'  <v{kind} name="{tag}"> {" ".join(map(str, value))}</v>'
    if isinstance(value, bool):
        return f'  <i type="logical" name="{tag}"> {"T" if value else "F"}  </i>'
    if isinstance(value, int):
        return f'  <i type="int" name="{tag}"> {value}</i>'
    if isinstance(value, float):
        return f'  <i name="{tag}"> {value:.8f}</i>'
    return f'  <i type="string" name="{tag}"> {escape(str(value))}</i>'


def _structure(atoms: Atoms, name: str = "") -> str:
    lines = [
        f" <structure{name} >",
        "  <crystal>",
        *_varray("basis", atoms.cell.array),
        f'   <i name="volume"> {atoms.get_volume():.8f} </i>',
    ]
    lines += [*_varray("rec_basis", atoms.cell.reciprocal().array), "  </crystal>"]
    return "\n".join(
        [*lines, *_varray("positions", atoms.get_scaled_positions(wrap=True)), " </structure>"]
    )


def _varray(name: str, rows: Any) -> list[str]:
    return [
        f'   <varray name="{name}" >',
        *(f"    <v> {' '.join(f'{number:.8f}' for number in row)} </v>" for row in rows),
        "   </varray>",
    ]


def _calculation(atoms: Atoms, n_scf: int, kinetic: float | None) -> str:
    energy = atoms.get_potential_energy()
    # The two other energies differ, which shows a reader that takes the wrong one.
    energies = [
        f'    <i name="{name}"> {value:.8f} </i>'
        for name, value in (
            ("e_fr_energy", energy),
            ("e_wo_entrp", energy + 0.5),
            ("e_0_energy", energy + 0.25),
        )
    ]
    lines = [" <calculation>"]
    for _ in range(n_scf):
        lines += ["  <scstep>", "   <energy>", *energies, "   </energy>", "  </scstep>"]
    stress = units.stress_to_vasp(units.voigt_to_tensor(atoms.get_stress()))
    lines += [
        _structure(atoms),
        *_varray("forces", atoms.get_forces()),
        *_varray("stress", stress),
        "  <energy>",
        *energies,
    ]
    if kinetic is not None:
        lines += [
            f'    <i name="kinetic"> {kinetic:.8f} </i>',
            f'    <i name="total"> {energy + kinetic:.8f} </i>',
        ]
    bands = [f"      <r> {energy:.1f} {float(energy < 5.0)} </r>" for energy in range(8)]
    lines += [
        "  </energy>",
        "  <eigenvalues>",
        "   <array>",
        '    <dimension dim="1">band</dimension>',
        '    <dimension dim="2">kpoint</dimension>',
        '    <dimension dim="3">spin</dimension>',
        "    <field>eigene</field>",
        "    <field>occ</field>",
        "    <set>",
        '     <set comment="spin 1">',
        '      <set comment="kpoint 1">',
        *bands,
        "      </set>",
        "     </set>",
        "    </set>",
        "   </array>",
        "  </eigenvalues>",
    ]
    lines += [
        "  <dos>",
        '   <i name="efermi"> 5.0 </i>',
        "   <total>",
        "    <array>",
        "     <set>",
        '      <set comment="spin 1">',
        *(f"       <r> {energy:.1f} 1.0 {energy:.1f} </r>" for energy in range(8)),
        "      </set>",
        "     </set>",
        "    </array>",
        "   </total>",
        "  </dos>",
        " </calculation>",
    ]
    return "\n".join(lines)


def _write_texts(directory: Path, frames: list[Atoms], symbols: list[str]) -> None:
    from ase.io import write

    last = frames[-1]
    write(directory / "CONTCAR", last, format="vasp", direct=True)
    oszicar = [
        f"{number:4d} F= {atoms.get_potential_energy():.8E} "
        f"E0= {atoms.get_potential_energy():.8E}  d E =0.0"
        for number, atoms in enumerate(frames, 1)
    ]
    (directory / "OSZICAR").write_text("\n".join(oszicar) + "\n")
    titels = "\n".join(f" TITEL  = {TITELS[symbol]}" for symbol in symbols)
    (directory / "OUTCAR").write_text(
        f" vasp.{VERSION} stand-in\n{titels}\n"
        "   number of dos      NEDOS =    301   number of bands    NBANDS=      8\n"
        "   total plane-waves  NPLWV =   1000\n   IBRION =     -1    ionic relax\n"
        "    total drift:                                0.000000      0.000000      0.000000\n"
        " NELECT =       8.0000    total number of electrons\n"
        f"  free  energy   TOTEN  =  {last.get_potential_energy():.8f} eV\n\n"
        " General timing and accounting informations for this job:\n"
        " ========================================================\n"
        "                  Total CPU time used (sec):        1.000\n"
        "                            User time (sec):        1.000\n"
        "                          System time (sec):        0.000\n"
        "                         Elapsed time (sec):        1.000\n"
        "                   Maximum memory used (kb):        1000.\n"
    )


if __name__ == "__main__":
    run(Path.cwd(), os.environ.get("STAND_IN_VASP", ""))
