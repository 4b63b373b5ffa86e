"""Crystals of any alloy from the Materials Project or OPTIMADE, and the file that stores them.

The Materials Project is queried through its own client, mp-api, with a key; OPTIMADE needs no key
and is a REST interface of many databases (C. W. Andersen et al., Sci. Data 8, 217 (2021),
doi:10.1038/s41597-021-00974-z; specification at specification.optimade.org). Databases change:
fetch once, save, and pass the file to campaigns. docs/how_to/crystals.md has the licences.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError, install_command
from mgflows.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ase import Atoms

    from mgflows.structures.crystals import AnyCrystal

__all__ = [
    "OPTIMADE_PROVIDERS",
    "DatabaseCrystal",
    "crystals_from_materials_project",
    "crystals_from_optimade",
    "load_crystals",
    "save_crystals",
    "space_group_of",
]

logger = logging.getLogger(__name__)

OPTIMADE_PROVIDERS = {
    "mp": "https://optimade.materialsproject.org",
    "oqmd": "https://oqmd.org/optimade",
    "cod": "https://www.crystallography.net/cod/optimade",
    "aflow": "https://aflow.org/API/optimade",
    "alexandria-pbe": "https://alexandria.icams.rub.de/pbe",
    "jarvis": "https://jarvis.nist.gov/optimade/jarvisdft",
}
"""Base URLs of databases with alloys.

From the registry of providers, github.com/Materials-Consortia/providers, February 2026.
"""

_VERSION = 1
_FIELDS = (
    "chemical_formula_reduced",
    "cartesian_site_positions",
    "dimension_types",
    "elements",
    "lattice_vectors",
    "nsites",
    "species",
    "species_at_sites",
)
_MAX_PAGES = 1000


@dataclass(frozen=True)
class DatabaseCrystal:
    """A crystal structure atom by atom, with its identifier in the database.

    Parameters
    ----------
    name
        Reduced formula and identifier, such as "CuZr mp-2210".
    identifier
        Identifier of the entry in its database.
    source
        Database, with the address of the entry.
    cell
        Lattice vectors in A, as rows.
    symbols
        Element of each atom.
    positions
        Fractional coordinates of each atom.
    status
        "observed" if the database links the entry to an experiment or does not specify it, "trial"
        if the entry is known from computation only.
    energy_above_hull
        eV per atom, if the database provides it.
    """

    name: str
    identifier: str
    source: str
    cell: tuple[tuple[float, float, float], ...]
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    status: str = "observed"
    energy_above_hull: float | None = None

    def __post_init__(self) -> None:
        # JSON returns lists.
        object.__setattr__(self, "symbols", tuple(self.symbols))
        for name in ("cell", "positions"):
            object.__setattr__(
                self, name, tuple(tuple(float(x) for x in row) for row in getattr(self, name))
            )

    @property
    def species(self) -> tuple[str, ...]:
        """Its elements, alphabetically."""
        return tuple(sorted(set(self.symbols)))

    def atoms(self) -> Atoms:
        """The structure as stored in the database."""
        from ase import Atoms

        return Atoms(
            list(self.symbols),
            scaled_positions=self.positions,
            cell=self.cell,
            pbc=True,
            info={"name": self.name},
        )


def crystals_from_materials_project(
    species: Sequence[str],
    *,
    api_key: str | None = None,
    energy_above_hull: float = 0.1,
    max_atoms: int = 70,
    observed_only: bool = False,
) -> list[DatabaseCrystal]:
    """Crystals of an alloy and of all its sub-systems from the Materials Project.

    The paper's 44 crystals are from there (section II, subset vi). Entries of GNoME are left out,
    because their licence forbids commercial use.

    Parameters
    ----------
    species
        Element symbols.
    api_key
        Key of the Materials Project; by default PMG_MAPI_KEY of pymatgen's settings. The command
        line takes it from the setting ``materials_project_key`` or the variable MP_API_KEY.
    energy_above_hull
        Largest distance from the convex hull in eV per atom, as the Materials Project computes it.
    max_atoms
        Largest number of atoms in the primitive cell.
    observed_only
        Leave out entries without a counterpart in an experimental database.

    Returns
    -------
    list of DatabaseCrystal
        Elements first, then compounds, each from the hull upwards.

    Raises
    ------
    InputError
        If mp-api or the key is missing, for unknown elements, if the Materials Project does not
        answer, or if it has no such crystal.
    """
    systems = _sub_systems(species)
    try:
        from mp_api.client import MPRester
    except ImportError as error:
        raise InputError(
            f"the client of the Materials Project cannot be imported ({error})",
            hint=f"install it with: {install_command('crystals')}, "
            "or use OPTIMADE, which needs neither client nor key",
        ) from error
    from pymatgen.core import SETTINGS

    api_key = api_key or SETTINGS.get("PMG_MAPI_KEY")
    if not api_key:
        raise InputError(
            "there is no key of the Materials Project",
            hint="get one at materialsproject.org/api and set MP_API_KEY (in Python, give "
            "api_key), or use OPTIMADE, which needs none",
        )
    fields = ["material_id", "formula_pretty", "structure", "energy_above_hull", "theoretical"]
    try:
        with MPRester(api_key, mute_progress_bars=True) as rester:
            release = rester.db_version
            documents = rester.materials.summary.search(
                chemsys=systems,
                energy_above_hull=(0.0, energy_above_hull),
                num_sites=(1, max_atoms),
                deprecated=False,
                theoretical=False if observed_only else None,
                include_gnome=False,
                fields=fields,
            )
    # All exceptions of the client, from a wrong key to a broken connection, mean the same to users.
    except Exception as error:
        raise InputError(
            f"the Materials Project gave no answer ({_first_line(error)})",
            hint="check the key and the network, or use a saved file",
        ) from error
    crystals = []
    for document in documents:
        structure, identifier = document.structure, str(document.material_id)
        if not structure.is_ordered:
            logger.info("%s is disordered and left out", identifier)
            continue
        crystals.append(
            DatabaseCrystal(
                name=f"{document.formula_pretty} {identifier}",
                identifier=identifier,
                source=f"Materials Project {release}, "
                f"next-gen.materialsproject.org/materials/{identifier}",
                cell=structure.lattice.matrix.tolist(),
                symbols=tuple(site.specie.symbol for site in structure),
                positions=structure.frac_coords.tolist(),
                status="trial" if document.theoretical else "observed",
                energy_above_hull=document.energy_above_hull,
            )
        )
    return _ordered(
        crystals,
        species,
        f"the Materials Project within {energy_above_hull:g} eV/atom of the hull "
        f"and {max_atoms} atoms",
    )


def crystals_from_optimade(
    species: Sequence[str],
    providers: Sequence[str] = ("mp",),
    *,
    condition: str = "",
    max_atoms: int = 70,
    timeout: float = 60.0,
) -> list[DatabaseCrystal]:
    """Crystals of an alloy and of all its sub-systems from OPTIMADE databases; needs no key.

    optimade's own client is not used: its version 1.5.0 repeats a request that is answered with 429
    indefinitely.

    Parameters
    ----------
    species
        Element symbols.
    providers
        Keys of :data:`OPTIMADE_PROVIDERS`, or base URLs (without ``/v1``).
    condition
        Further OPTIMADE filter, such as ``_mp_...`` of a database; it is joined with AND.
    max_atoms
        Largest number of atoms in the cell.
    timeout
        Longest wait for one answer in s.

    Returns
    -------
    list of DatabaseCrystal
        Elements first. Entries with partial occupation or without three-dimensional periodicity are
        left out, with a note in the log.

    Raises
    ------
    InputError
        For an unknown element or provider, if a database does not answer or answers with an error,
        or if none has such a crystal.
    """
    _sub_systems(species)
    elements = ", ".join(f'"{symbol}"' for symbol in species)
    query = f"elements HAS ONLY {elements} AND nsites<={max_atoms}" + (
        f" AND ({condition})" if condition else ""
    )
    crystals = []
    for provider in providers:
        base = OPTIMADE_PROVIDERS.get(provider, provider).rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise InputError(
                f"there is no OPTIMADE provider {provider!r}",
                hint=f"take one of {', '.join(OPTIMADE_PROVIDERS)} or give the base URL of another",
            )
        for entry in _pages(
            f"{base}/v1/structures",
            {"filter": query, "response_fields": ",".join(_FIELDS)},
            timeout,
        ):
            crystal = _from_optimade(entry, provider, base)
            # Some servers ignore a filter that they do not support.
            if (
                crystal is not None
                and set(crystal.species) <= set(species)
                and len(crystal.symbols) <= max_atoms
            ):
                crystals.append(crystal)
    return _ordered(crystals, species, f"{', '.join(providers)} with {query!r}")


def save_crystals(
    path: Path | str, crystals: Sequence[AnyCrystal], *, provider: str, query: Mapping[str, Any]
) -> Path:
    """Write crystals with their origin.

    A campaign can then be repeated when the database has changed or there is no network.

    Parameters
    ----------
    path
        The file, JSON.
    crystals
        From any source; shipped ones are written atom by atom.
    provider, query
        The database, and the request.
    """
    entries = [asdict(_explicit(crystal)) for crystal in crystals]
    document = {
        "format": "mgflows crystals",
        "version": _VERSION,
        "provider": provider,
        "query": dict(query),
        "retrieved": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": _content_hash(entries),
        "crystals": entries,
    }
    path = Path(path)
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def load_crystals(path: Path | str) -> list[DatabaseCrystal]:
    """Read the crystals of a file that :func:`save_crystals` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not such a file, or was changed since it was written.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"there is no file {path}",
            hint=f"write one with: mgflows crystals Cu Zr Al --provider optimade --output {path}",
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error})", hint="write it again with: mgflows crystals"
        ) from error
    if (
        not isinstance(document, dict)
        or document.get("format") != "mgflows crystals"
        or document.get("version") != _VERSION
    ):
        raise InputError(
            f"{path} is not a file of crystals of version {_VERSION}",
            hint="write one with: mgflows crystals",
        )
    if _content_hash(document.get("crystals")) != document.get("sha256"):
        raise InputError(
            f"{path} was changed after it was written: its crystals do not have the hash "
            f"{document.get('sha256')}",
            hint="fetch them again",
        )
    return [DatabaseCrystal(**entry) for entry in document["crystals"]]


def space_group_of(crystal: AnyCrystal) -> str:
    """Symbol and number of the space group that spglib finds within 0.01 A."""
    import spglib

    atoms = crystal.atoms()
    return str(
        spglib.get_spacegroup(
            (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), symprec=0.01
        )
    )


def _sub_systems(species: Sequence[str]) -> list[str]:
    from ase.data import atomic_numbers

    for symbol in species:
        if atomic_numbers.get(symbol, 0) < 1:
            raise InputError(
                f"{symbol!r} is not a chemical element",
                hint="give symbols as in the periodic table, such as 'Zr'",
            )
    elements = sorted(set(species))
    return [
        "-".join(system)
        for size in range(1, len(elements) + 1)
        for system in combinations(elements, size)
    ]


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _ordered(
    crystals: list[DatabaseCrystal], species: Sequence[str], requested: str
) -> list[DatabaseCrystal]:
    if not crystals:
        raise InputError(
            f"no crystal of {', '.join(species)} was found in {requested}",
            hint="widen the query, or use the shipped ones",
        )
    unique = {crystal.name: crystal for crystal in crystals}
    return sorted(
        unique.values(),
        key=lambda crystal: (
            len(crystal.species) > 1,
            len(crystal.species),
            crystal.species,
            crystal.energy_above_hull or 0.0,
            crystal.identifier,
        ),
    )


def _pages(url: str, parameters: dict[str, str], timeout: float) -> Iterator[dict[str, Any]]:
    """The entries of all pages of an OPTIMADE answer."""
    next_url: str | None = url
    given: dict[str, str] | None = parameters
    for _ in range(_MAX_PAGES):
        answer = _answer(str(next_url), given, timeout)
        yield from answer.get("data") or []
        link = (answer.get("links") or {}).get("next")
        next_url, given = (link.get("href") if isinstance(link, dict) else link), None
        if not next_url:
            return
    raise InputError(
        f"{url} has more than {_MAX_PAGES} pages of such crystals",
        hint="narrow the query with a smaller max_atoms",
    )


def _answer(url: str, parameters: dict[str, str] | None, timeout: float) -> dict[str, Any]:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    import mgflows

    # A busy server answers 429 or 503, with the time to wait.
    retrying = HTTPAdapter(
        max_retries=Retry(
            total=3,
            backoff_factor=0.5,
            status_forcelist=(429, 502, 503, 504),
            raise_on_status=False,
            read=0,
        )
    )
    with requests.Session() as session:
        session.mount("https://", retrying)
        session.mount("http://", retrying)
        session.headers["User-Agent"] = f"mgflows/{mgflows.__version__}"
        try:
            response = session.get(url, params=parameters, timeout=timeout)
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise InputError(
                f"{url} answered {response.status_code} and no JSON",
                hint="is it the base URL of an OPTIMADE database?",
            ) from error
        except requests.RequestException as error:
            raise InputError(
                f"{url} gave no answer ({_first_line(error)})",
                hint="try again later, use another provider, or a saved file",
            ) from error
    if response.status_code != 200 or not isinstance(answer, dict) or answer.get("errors"):
        reasons = (
            [error.get("detail") or error.get("title") for error in answer.get("errors", [])]
            if isinstance(answer, dict)
            else []
        )
        raise InputError(
            f"{url} answered {response.status_code} "
            f"({'; '.join(filter(None, reasons)) or 'no reason given'})",
            hint="try again later, use another provider, or a saved file",
        )
    return answer


def _from_optimade(entry: Mapping[str, Any], provider: str, base: str) -> DatabaseCrystal | None:
    """The crystal of an entry of the endpoint ``structures``.

    None, with a note in the log, if it is not an ordered crystal.
    """
    from ase import Atoms

    identifier, attributes = str(entry["id"]), entry["attributes"]
    occupation = {
        kind["name"]: kind["chemical_symbols"][0]
        for kind in attributes.get("species") or []
        if len(kind["chemical_symbols"]) == 1
        and abs(kind["concentration"][0] - 1.0) < 1e-6
        and not kind.get("attached")
    }
    kinds = attributes.get("species_at_sites") or []
    periodic = attributes.get("dimension_types", [1, 1, 1]) == [1, 1, 1]
    if (
        not periodic
        or not kinds
        or not attributes.get("lattice_vectors")
        or any(occupation.get(kind) in (None, "X", "vacancy") for kind in kinds)
    ):
        logger.info("%s of %s is not an ordered crystal and left out", identifier, provider)
        return None
    symbols = tuple(occupation[kind] for kind in kinds)
    atoms = Atoms(
        list(symbols),
        positions=attributes["cartesian_site_positions"],
        cell=attributes["lattice_vectors"],
        pbc=True,
    )
    label = (
        identifier
        if provider == "mp"
        else f"{provider}:{identifier}"
        if provider in OPTIMADE_PROVIDERS
        else identifier
    )
    return DatabaseCrystal(
        name=f"{atoms.symbols.formula.reduce()[0].format('metal')} {label}".replace("/", "_"),
        identifier=label,
        source=f"{provider} by OPTIMADE, {base}/v1/structures/{identifier}",
        cell=atoms.cell[:].tolist(),
        symbols=symbols,
        positions=atoms.get_scaled_positions(wrap=False).tolist(),
    )


def _explicit(crystal: AnyCrystal) -> DatabaseCrystal:
    if isinstance(crystal, DatabaseCrystal):
        return crystal
    atoms = crystal.atoms()
    return DatabaseCrystal(
        name=crystal.name,
        identifier=crystal.identifier,
        source=crystal.source,
        cell=atoms.cell[:].tolist(),
        symbols=tuple(atoms.get_chemical_symbols()),
        positions=atoms.get_scaled_positions(wrap=False).tolist(),
        status=crystal.status,
    )


def _content_hash(entries: list[dict[str, Any]] | None) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
