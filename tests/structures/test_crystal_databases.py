"""Crystals from databases.

OPTIMADE is queried over HTTP on a server of this machine, the Materials Project through a client
that returns documents as emmet defines them.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from ase.build import bulk
from emmet.core.summary import SummaryDoc
from pymatgen.core import Lattice, Structure

from mgflows.errors import InputError, install_command
from mgflows.structures.crystal_databases import (
    OPTIMADE_PROVIDERS,
    crystals_from_materials_project,
    crystals_from_optimade,
    load_crystals,
    save_crystals,
    space_group_of,
)
from mgflows.structures.crystals import crystal_prototypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SPECIES = ("Cu", "Zr", "Al")


def entry(
    identifier: str,
    cell: Sequence[Any],
    symbols: Sequence[str],
    positions: Sequence[Any],
    **changes: Any,
) -> dict[str, Any]:
    """An entry of the endpoint ``structures``, as the OPTIMADE specification 1.1 shows it."""
    elements = sorted(set(symbols))
    attributes = {
        "elements": elements,
        "nelements": len(elements),
        "nsites": len(symbols),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": np.asarray(cell, dtype=float).tolist(),
        "cartesian_site_positions": np.asarray(positions, dtype=float).tolist(),
        "species_at_sites": list(symbols),
        "species": [
            {"name": symbol, "chemical_symbols": [symbol], "concentration": [1.0]}
            for symbol in elements
        ],
        "structure_features": [],
    }
    return {"id": identifier, "type": "structures", "attributes": attributes | changes}


COPPER = bulk("Cu", cubic=True)
B2 = 3.26 * np.eye(3)
ENTRIES = [
    entry("mp-2210", B2, ["Cu", "Zr"], [[0, 0, 0], [1.63, 1.63, 1.63]]),
    entry("mp-30", COPPER.cell[:], ["Cu"] * 4, COPPER.positions),
    entry("mp-131", bulk("Zr").cell[:], ["Zr"] * 2, bulk("Zr").positions),
    entry(
        "mp-1",
        B2,
        ["Cu", "mix"],
        [[0, 0, 0], [1.63, 1.63, 1.63]],
        species=[
            {"name": "Cu", "chemical_symbols": ["Cu"], "concentration": [1.0]},
            {"name": "mix", "chemical_symbols": ["Zr", "Al"], "concentration": [0.5, 0.5]},
        ],
    ),
    entry("mp-2", B2, ["Cu", "Zr"], [[0, 0, 0], [1.63, 1.63, 1.63]], dimension_types=[1, 1, 0]),
    entry("mp-3", B2, ["Ni", "Zr"], [[0, 0, 0], [1.63, 1.63, 1.63]]),
]


class Optimade(ThreadingHTTPServer):
    """An OPTIMADE server: two entries per page, and faults on demand."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.queries: list[dict[str, list[str]]] = []
        self.fault = ""
        self.busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/optimade"


class _Handler(BaseHTTPRequestHandler):
    server: Optimade

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.server.queries.append(query)
        if self.server.fault == "silence":
            time.sleep(5)
            return
        if self.server.busy:
            self.server.busy -= 1
            self._send(429, {"errors": [{"title": "Too Many Requests"}]})
        elif parts.path != "/optimade/v1/structures":
            self._send(
                404,
                {"errors": [{"status": "404", "title": "Not Found", "detail": "no such endpoint"}]},
            )
        elif self.server.fault == "filter":
            self._send(
                501,
                {
                    "errors": [
                        {
                            "status": "501",
                            "title": "Not Implemented",
                            "detail": "HAS ONLY is not supported",
                        }
                    ]
                },
            )
        elif self.server.fault == "text":
            self._send(200, None)
        else:
            start = int(query.get("page_offset", ["0"])[0])
            entries = [] if self.server.fault == "empty" else ENTRIES
            more = start + 2 < len(entries)
            following = f"{self.server.url}/v1/structures?page_offset={start + 2}"
            # The specification allows a string or an object.
            link = {"href": following} if start else following
            self._send(
                200,
                {
                    "data": entries[start : start + 2],
                    "links": {"next": link if more else None},
                    "meta": {"more_data_available": more},
                },
            )

    def _send(self, status: int, answer: dict[str, Any] | None) -> None:
        body = b"<html>hello</html>" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print no log of requests."""


@pytest.fixture
def optimade() -> Iterator[Optimade]:
    with Optimade() as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield server
        server.shutdown()


def test_all_pages_are_read_and_only_ordered_crystals_of_the_alloy_are_kept(
    optimade: Optimade,
) -> None:
    crystals = crystals_from_optimade(SPECIES, [optimade.url])
    assert [crystal.name for crystal in crystals] == ["Cu mp-30", "Zr mp-131", "CuZr mp-2210"]
    assert [crystal.identifier for crystal in crystals] == ["mp-30", "mp-131", "mp-2210"]
    assert [space_group_of(crystal) for crystal in crystals] == [
        "Fm-3m (225)",
        "P6_3/mmc (194)",
        "Pm-3m (221)",
    ]
    assert crystals[2].source == f"{optimade.url} by OPTIMADE, {optimade.url}/v1/structures/mp-2210"
    atoms = crystals[2].atoms()
    assert atoms.get_chemical_symbols() == ["Cu", "Zr"]
    assert atoms.positions == pytest.approx(np.array([[0, 0, 0], [1.63, 1.63, 1.63]]))
    assert atoms.pbc.all()
    assert len(optimade.queries) == 3
    assert optimade.queries[0]["filter"] == ['elements HAS ONLY "Cu", "Zr", "Al" AND nsites<=70']
    assert "cartesian_site_positions" in optimade.queries[0]["response_fields"][0].split(",")


def test_conditions_and_sizes_are_part_of_the_query(optimade: Optimade) -> None:
    crystals = crystals_from_optimade(
        ("Cu", "Zr"), [optimade.url], max_atoms=2, condition="_mp_x<0.1 OR nelements=1"
    )
    assert optimade.queries[0]["filter"] == [
        'elements HAS ONLY "Cu", "Zr" AND nsites<=2 AND (_mp_x<0.1 OR nelements=1)'
    ]
    assert [crystal.name for crystal in crystals] == ["Zr mp-131", "CuZr mp-2210"], (
        "also where the server does not filter"
    )


def test_a_busy_server_is_queried_again(optimade: Optimade) -> None:
    optimade.busy = 2
    assert len(crystals_from_optimade(SPECIES, [optimade.url])) == 3
    assert len(optimade.queries) == 5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("filter", r"answered 501 \(HAS ONLY is not supported\)"),
        ("text", "answered 200 and no JSON; is it the base URL"),
        ("silence", "gave no answer .*; try again later, use another provider, or a saved file"),
        ("empty", "no crystal of Cu, Zr, Al was found in http"),
    ],
)
def test_faults_of_a_server_are_one_error(optimade: Optimade, fault: str, words: str) -> None:
    optimade.fault = fault
    with pytest.raises(InputError, match=words):
        crystals_from_optimade(SPECIES, [optimade.url], timeout=0.3)


def test_a_server_that_stays_busy_is_given_up(optimade: Optimade) -> None:
    optimade.busy = 100
    with pytest.raises(InputError, match="answered 429"):
        crystals_from_optimade(SPECIES, [optimade.url])
    assert len(optimade.queries) == 4


def test_wrong_addresses_and_elements_are_one_error(optimade: Optimade) -> None:
    with pytest.raises(InputError, match=r"answered 404 \(no such endpoint\)"):
        crystals_from_optimade(SPECIES, [f"{optimade.url}/elsewhere"])
    with pytest.raises(InputError, match="no OPTIMADE provider 'icsd'; take one of mp, oqmd"):
        crystals_from_optimade(SPECIES, ["icsd"])
    with pytest.raises(InputError, match="'Xx' is not a chemical element"):
        crystals_from_optimade(("Cu", "Xx"), [optimade.url])
    optimade.shutdown()
    optimade.server_close()
    with pytest.raises(InputError, match="gave no answer"):
        crystals_from_optimade(SPECIES, [optimade.url], timeout=0.3)
    assert all(address.startswith("https://") for address in OPTIMADE_PROVIDERS.values())


def document(
    identifier: str, structure: Structure, above: float, *, theoretical: bool = False
) -> SimpleNamespace:
    return SimpleNamespace(
        material_id=identifier,
        formula_pretty=structure.composition.reduced_formula,
        structure=structure,
        energy_above_hull=above,
        theoretical=theoretical,
    )


DOCUMENTS = [
    document(
        "mp-1080022",
        Structure(Lattice.orthorhombic(3.3, 10.3, 4.1), ["Zr", "Cu"], [[0, 0.1, 0], [0, 0.6, 0]]),
        0.01,
        theoretical=True,
    ),
    document(
        "mp-2210", Structure(Lattice.cubic(3.26), ["Zr", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 0.02
    ),
    document(
        "mp-30", Structure.from_spacegroup(225, Lattice.cubic(3.62), ["Cu"], [[0, 0, 0]]), 0.0
    ),
    document("mp-9", Structure(Lattice.cubic(3.0), [{"Cu": 0.5, "Zr": 0.5}], [[0, 0, 0]]), 0.0),
]


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for mp-api, which is otherwise not needed; returns the recorded requests."""
    queries: list[dict[str, Any]] = []

    class MPRester:
        db_version = "2025.09.25"

        def __init__(self, api_key: str | None = None, **_: Any) -> None:
            if api_key == "wrong":
                raise ValueError("REST query returned with error status code 403\nand more")
            self.materials = SimpleNamespace(summary=SimpleNamespace(search=self.search))

        def __enter__(self) -> MPRester:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def search(self, **query: Any) -> list[SimpleNamespace]:
            queries.append(query)
            return [] if query["energy_above_hull"][1] == 0.0 else DOCUMENTS

    package, client = ModuleType("mp_api"), ModuleType("mp_api.client")
    client.MPRester = MPRester  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mp_api", package)
    monkeypatch.setitem(sys.modules, "mp_api.client", client)
    monkeypatch.setattr("pymatgen.core.SETTINGS", {"PMG_MAPI_KEY": "a" * 32})
    return queries


def test_the_materials_project_is_queried_for_all_sub_systems(
    requested: list[dict[str, Any]],
) -> None:
    crystals = crystals_from_materials_project(
        SPECIES, energy_above_hull=0.05, max_atoms=40, observed_only=True
    )
    assert [crystal.name for crystal in crystals] == [
        "Cu mp-30",
        "ZrCu mp-1080022",
        "ZrCu mp-2210",
    ], "elements first, then from the hull upwards"
    assert [crystal.status for crystal in crystals] == ["observed", "trial", "observed"]
    assert (
        crystals[2].source
        == "Materials Project 2025.09.25, next-gen.materialsproject.org/materials/mp-2210"
    )
    assert crystals[2].energy_above_hull == 0.02
    assert crystals[0].atoms().get_volume() == pytest.approx(3.62**3)
    assert space_group_of(crystals[2]) == "Pm-3m (221)"
    (query,) = requested
    assert query["chemsys"] == ["Al", "Cu", "Zr", "Al-Cu", "Al-Zr", "Cu-Zr", "Al-Cu-Zr"]
    assert query["energy_above_hull"] == (0.0, 0.05)
    assert query["num_sites"] == (1, 40)
    assert query["theoretical"] is False
    assert query["include_gnome"] is False
    assert set(query["fields"]) <= set(SummaryDoc.model_fields), (
        "as the documents of the Materials Project have them"
    )


def test_faults_of_the_materials_project_are_one_error(
    requested: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        InputError,
        match=r"gave no answer \(ValueError: REST query returned with error status code 403\); "
        "check the key",
    ):
        crystals_from_materials_project(SPECIES, api_key="wrong")
    with pytest.raises(
        InputError,
        match="no crystal of Cu, Zr, Al was found in the Materials Project within 0 eV/atom",
    ):
        crystals_from_materials_project(SPECIES, energy_above_hull=0.0)
    with pytest.raises(InputError, match="'Xx' is not a chemical element"):
        crystals_from_materials_project(("Cu", "Xx"))
    monkeypatch.setattr("pymatgen.core.SETTINGS", {})
    with pytest.raises(
        InputError, match=r"no key of the Materials Project; get one at .* and set MP_API_KEY"
    ):
        crystals_from_materials_project(SPECIES)
    monkeypatch.setitem(sys.modules, "mp_api.client", None)
    with pytest.raises(InputError, match=re.escape(install_command("crystals"))):
        crystals_from_materials_project(SPECIES)


@pytest.fixture
def saved(tmp_path: Path, optimade: Optimade) -> Callable[[], Path]:
    crystals = crystals_from_optimade(SPECIES, [optimade.url])
    return lambda: save_crystals(
        tmp_path / "crystals.json", crystals, provider="optimade", query={"species": list(SPECIES)}
    )


def test_a_saved_file_gives_the_same_crystals_and_their_source(
    saved: Callable[[], Path], optimade: Optimade
) -> None:
    path = saved()
    assert load_crystals(path) == crystals_from_optimade(SPECIES, [optimade.url])
    text = json.loads(path.read_text())
    assert (text["provider"], text["query"]) == ("optimade", {"species": ["Cu", "Zr", "Al"]})
    assert text["retrieved"].startswith("20")
    assert len(text["sha256"]) == 64


def test_shipped_crystals_can_be_saved_too(tmp_path: Path) -> None:
    shipped = crystal_prototypes(SPECIES)
    loaded = load_crystals(
        save_crystals(tmp_path / "shipped.json", shipped, provider="shipped", query={})
    )
    assert [crystal.identifier for crystal in loaded] == [crystal.identifier for crystal in shipped]
    assert [crystal.status for crystal in loaded] == [crystal.status for crystal in shipped]
    for one, other in zip(loaded, shipped, strict=True):
        assert one.atoms().positions == pytest.approx(other.atoms().positions)
        assert one.atoms().get_chemical_symbols() == other.atoms().get_chemical_symbols()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace("1.63", "1.62").replace("0.5", "0.4"),
            "was changed after it was written",
        ),
        (
            lambda text: text.replace('"version": 1', '"version": 2'),
            "is not a file of crystals of version 1",
        ),
        (lambda text: text[:100], "is not JSON"),
        (lambda text: "[]", "is not a file of crystals"),
    ],
)
def test_a_changed_file_is_refused(
    saved: Callable[[], Path], change: Callable[[str], str], words: str
) -> None:
    path = saved()
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=words):
        load_crystals(path)


def test_a_missing_file_is_reported_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write one with: mgflows crystals"):
        load_crystals(tmp_path / "nothing.json")
