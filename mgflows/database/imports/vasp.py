"""Outputs of VASP: single files, folders of calculations, and archives of them.

NOMAD and most repositories keep raw outputs as uploaded: one folder per calculation, with a
``vasprun.xml`` or an ``OUTCAR``, often compressed, and serve them as one archive. Archives are read
calculation by calculation; they are never unpacked as a whole.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from mgflows import units
from mgflows.database.imports.foreign import ForeignFrame, labelled_atoms
from mgflows.errors import InputError, MgflowsError
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["is_archive", "is_calculation", "read_vasp"]

_OUTPUT = re.compile(r"^(vasprun|OUTCAR)[\w.-]*$", re.IGNORECASE)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_COMPRESSED = (".gz", ".bz2", ".xz")
_KEYS = {"energy": "e_fr_energy", "forces": "forces", "stress": "stress"}
_OUTCAR_KEYS = {"energy": "free  energy   TOTEN", "forces": "TOTAL-FORCE", "stress": "in kB"}
_DECIDING = ("PREC", "ENCUT", "ISMEAR", "SIGMA", "ISPIN", "GGA", "LASPH", "LREAL")
_OPTIONAL = {"METAGGA": ("--", "NONE"), "IVDW": (0,), "LDAU": (False,), "LSORBIT": (False,)}
"""Tags that are recorded only where they are not at their default."""
_MOLECULAR_DYNAMICS = 0
"""IBRION of molecular dynamics."""


def is_calculation(name: str) -> bool:
    """Whether a file name is that of an output of VASP."""
    return _OUTPUT.match(PurePosixPath(name).name) is not None


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name."""
    return path.name.lower().endswith(_ARCHIVES)


def read_vasp(path: Path) -> Iterator[ForeignFrame]:
    """Yield every ionic step of every calculation in a file, a folder or an archive.

    ``vasprun.xml`` is preferred to ``OUTCAR`` in a folder with both. Steps whose electrons did not
    converge are yielded with that report, so that they can be refused; a calculation that cannot be
    read is yielded as a problem.

    Raises
    ------
    InputError
        If there is no calculation.
    """
    n_found = 0
    for name, top, file in _outputs(path):
        n_found += 1
        yield from _read_output(name, top, file, path)
    if not n_found:
        raise InputError(
            f"{path} holds no output of VASP",
            hint="give a folder or archive with vasprun.xml or OUTCAR in its folders",
        )


def _outputs(path: Path) -> Iterator[tuple[str, str, Path]]:
    """Outputs to read: their names and topmost folders within the source, and files."""
    if path.is_dir():
        files = {
            each.relative_to(path).as_posix(): each
            for each in sorted(path.rglob("*"))
            if is_calculation(each.name)
        }
        for name, top in _chosen(files):
            yield name, top, files[name]
    elif not is_archive(path):
        yield path.name, "", path
    else:
        yield from _archived(path)


def _archived(path: Path) -> Iterator[tuple[str, str, Path]]:
    with _members(path) as (names, extract), tempfile.TemporaryDirectory() as folder:
        for name, top in _chosen(each for each in names if is_calculation(each)):
            file = Path(folder) / PurePosixPath(name).name
            with extract(name) as source, file.open("wb") as target:
                shutil.copyfileobj(source, target)
            yield name, top, file
            file.unlink()


@contextmanager
def _members(path: Path) -> Iterator[tuple[list[str], Any]]:
    """Names of the files of an archive, and a function that opens one of them."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield archive.namelist(), archive.open
        else:
            with tarfile.open(path) as packed:

                def extract(name: str) -> IO[bytes]:
                    stream = packed.extractfile(name)
                    if stream is None:
                        raise InputError(
                            f"{name} in {path} is not a file",
                            hint="extract the archive, and import the folder",
                        )
                    return stream

                yield [member.name for member in packed if member.isfile()], extract
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(
            f"the archive {path} cannot be read: {error}", hint="download it again"
        ) from error


def _chosen(names: Iterable[str]) -> list[tuple[str, str]]:
    """One kind of output per folder, vasprun.xml where there is one, with its topmost folder.

    Folders that contain everything, such as those of the archives of NOMAD, do not count.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    chosen: list[str] = []
    for folder in sorted(folders):
        files = folders[folder]
        runs = [name for name in files if PurePosixPath(name).name.lower().startswith("vasprun")]
        chosen += sorted(runs or files)
    places = [PurePosixPath(name).parent.parts for name in chosen]
    levels = zip(*places, strict=False)
    n_shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    return [
        (name, next(iter(parts[n_shared:] or parts[-1:]), ""))
        for name, parts in zip(chosen, places, strict=True)
    ]


def _read_output(name: str, top: str, file: Path, source: Path) -> Iterator[ForeignFrame]:
    parent = PurePosixPath(name).parent
    folder = "" if str(parent) == "." else parent.as_posix()
    info = {
        "folder": top,
        "path": folder,
        "file": PurePosixPath(name).name,
        "calculation": folder or _own_name(source),
    }
    reader = _read_outcar if PurePosixPath(name).name.upper().startswith("OUTCAR") else _read_run
    try:
        yield from reader(name, file, info)
    except Exception as error:  # noqa: BLE001
        # The parsers raise anything, according to the place where a file is cut off.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        yield ForeignFrame(name, problem=f"it cannot be read; it may have been cut off ({reason})")


def _own_name(source: Path) -> str:
    """Name of a calculation that is not in a folder of the source."""
    return source.name if source.is_dir() else source.resolve().parent.name


def _read_run(name: str, file: Path, info: dict[str, Any]) -> Iterator[ForeignFrame]:
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.io.vasp import Vasprun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Vasprun(
            file,
            parse_dos=False,
            parse_eigen=False,
            parse_potcar_file=False,
            exception_on_bad_xml=False,
        )
    settings = _settings({**run.parameters, "ENCUT": run.parameters.get("ENMAX")})
    settings["code"] = "vasp"
    titles = [str(each.get("titel", "")) for each in run.potcar_spec or []]
    n_max = int(run.parameters.get("NELM", 60))
    is_step = int(run.parameters.get("IBRION", -1)) == _MOLECULAR_DYNAMICS
    for number, step in enumerate(run.ionic_steps, start=1):
        where = f"{name}, step {number}"
        try:
            if step.get("forces") is None or step.get("stress") is None:
                raise ValueError("it has no forces or no stress: the file is cut off")
            n_scf = len(step.get("electronic_steps") or [])
            atoms = labelled_atoms(
                AseAtomsAdaptor.get_atoms(step["structure"]),
                step["e_fr_energy"],
                step["forces"],
                stress=units.stress_from_vasp(step["stress"]),
            )
        except (KeyError, ValueError, MgflowsError) as error:
            yield ForeignFrame(where, problem=str(error))
            continue
        yield ForeignFrame(
            where,
            atoms,
            info={**info, "step": number},
            keys=_KEYS,
            settings=settings,
            potentials=_potentials(titles),
            report=CalculationReport(
                free_energy=True, scf_converged=0 < n_scf < n_max, scf_steps=n_scf
            ),
            is_step=is_step,
        )


_TAG = re.compile(r"\b(PREC|ENCUT|ISPIN|ISMEAR|SIGMA|LREAL|LASPH|GGA|NELM|IBRION)\s*=\s*([\w.+-]+)")
_ITERATION = re.compile(r"Iteration\s+(\d+)\(\s*(\d+)\)")


def _read_outcar(name: str, file: Path, info: dict[str, Any]) -> Iterator[ForeignFrame]:
    with _decompressed(file) as plain:
        yield from _read_plain_outcar(name, plain, info)


def _read_plain_outcar(name: str, file: Path, info: dict[str, Any]) -> Iterator[ForeignFrame]:
    from ase.calculators.calculator import PropertyNotImplementedError
    from ase.io import iread

    tags: dict[str, Any] = {}
    titles: list[str] = []
    iterations: dict[int, int] = {}
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if "TITEL" in line:
                titles.append(line.partition("=")[2].strip())
            elif match := _ITERATION.search(line):
                iterations[int(match[1])] = int(match[2])
            elif not iterations:
                # The INCAR comes first; the values that were used come later.
                tags.update(_TAG.findall(line))
    settings = _settings(
        {key: {"T": True, "F": False}.get(value, _number(value)) for key, value in tags.items()}
    )
    settings["code"] = "vasp"
    n_max = int(tags.get("NELM", 60))
    is_step = int(tags.get("IBRION", -1)) == _MOLECULAR_DYNAMICS
    for number, atoms in enumerate(iread(file, format="vasp-out"), start=1):
        where = f"{name}, step {number}"
        try:
            labelled = labelled_atoms(
                atoms,
                atoms.get_potential_energy(force_consistent=True),
                atoms.get_forces(apply_constraint=False),
                stress=atoms.calc.results["stress"],
            )
        except (KeyError, ValueError, MgflowsError, PropertyNotImplementedError) as error:
            yield ForeignFrame(where, problem=f"it has no complete label ({error})")
            continue
        n_scf = iterations.get(number, 0)
        yield ForeignFrame(
            where,
            labelled,
            info={**info, "step": number},
            keys=_OUTCAR_KEYS,
            settings=settings,
            potentials=_potentials(titles),
            report=CalculationReport(
                free_energy=True, scf_converged=0 < n_scf < n_max, scf_steps=n_scf
            ),
            is_step=is_step,
        )


@contextmanager
def _decompressed(file: Path) -> Iterator[Path]:
    """The file, or an uncompressed copy, because ASE cannot read every kind of compression."""
    from monty.io import zopen

    if file.suffix not in _COMPRESSED:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "OUTCAR"
        with zopen(file, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield copy


def _settings(tags: dict[str, Any]) -> dict[str, Any]:
    """The tags that determine a label, in the same form for all files."""
    found = {tag: _plain(tag, tags.get(tag)) for tag in _DECIDING}
    for tag, defaults in _OPTIONAL.items():
        value = tags.get(tag)
        if value is not None and value not in defaults:
            found[tag] = value
    return found


def _plain(tag: str, value: Any) -> Any:
    if tag == "PREC":
        # VASP writes the first letters only.
        return str(value).lower()[:5]
    if tag == "GGA":
        return str(value).upper()
    return value


def _number(word: str) -> Any:
    try:
        return int(word) if word.lstrip("+-").isdecimal() else float(word)
    except ValueError:
        return word


def _potentials(titles: Iterable[str]) -> dict[str, str]:
    """Element to the title of its POTCAR, such as ``PAW_PBE Zr_sv 04Jan2005``."""
    found = {}
    for title in titles:
        words = title.split()
        symbol = words[1] if len(words) > 1 else words[0] if words else ""
        if symbol:
            found[symbol.partition("_")[0]] = " ".join(words)
    return dict(sorted(found.items()))
