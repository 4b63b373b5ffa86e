"""Files of structures as other programs and editors write them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from mgflows.cli.paths import read_structures
from mgflows.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("name", ["glass.xyz", "POSCAR", "glass.vasp", "glass.cif"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_every_format_is_read_with_and_without_a_byte_order_mark(
    tmp_path: Path, name: str, mark: bytes
) -> None:
    atoms = bulk("Cu", cubic=True)
    path = tmp_path / name
    write(path, atoms)
    path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
    (found,) = read_structures(path)
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-6)
    assert found.get_chemical_formula() == "Cu4"


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "glass.xyz", bulk("Cu"))
    path = tmp_path / "glass.xyz.gz"
    path.write_bytes(gzip.compress((tmp_path / "glass.xyz").read_bytes()))
    assert len(read_structures(path)) == 1


def test_files_without_a_structure_are_named(tmp_path: Path) -> None:
    for name, content, words in (
        ("empty.xyz", b"", "empty.xyz is empty"),
        ("glass.foo", b"1\n\nCu 0 0 0\n", "no format has the ending '.foo'"),
        ("picture.xyz", b"\x89PNG\r\n\x1a\n", "picture.xyz cannot be read as structures"),
        ("none.xyz", b"0\n\n", "none.xyz holds no structure"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_structures(tmp_path / name)
    with pytest.raises(InputError, match="is a directory"):
        read_structures(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        read_structures(tmp_path / "missing.xyz")
