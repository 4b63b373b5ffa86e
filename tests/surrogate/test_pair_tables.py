"""Pair tables in YAML files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mgflows.errors import InputError, MissingFileError
from mgflows.surrogate import LennardJones

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """
species:
  Pd: {sigma: 2.52, epsilon: 0.452}
  Ni: {sigma: 2.28, epsilon: 0.516}
  P: {sigma: 1.96, epsilon: 0.199}
pairs:
  Pd-P: {sigma: 2.20, epsilon: 0.513}
  P-Ni: {epsilon: 0.540}
cutoff_factor: 2.5
reference: Ni
"""


def test_a_table_has_the_given_and_the_mixed_pairs(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(TABLE)
    lj = LennardJones.from_yaml(path)
    assert lj.species == ("Pd", "Ni", "P")
    assert (lj.cutoff_factor, lj.reference, lj.length_unit) == (2.5, "Ni", 2.28)
    np.testing.assert_allclose(
        lj.sigma, [[2.52, 2.40, 2.20], [2.40, 2.28, 2.12], [2.20, 2.12, 1.96]]
    )
    np.testing.assert_allclose(
        lj.epsilon,
        [[0.452, (0.452 * 0.516) ** 0.5, 0.513], [0.4829451, 0.516, 0.540], [0.513, 0.540, 0.199]],
        rtol=1e-5,
    )
    assert LennardJones.from_dict(lj.as_dict()) == lj


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "cannot be read"),
        ("[1]", "must have named entries"),
        ("{}", "species of"),
        ("species: {}", "names no species"),
        ("species: {Pd: {sigma: 2}}", "no epsilon"),
        ("species: {Pd: 3}", "Pd in"),
        ("species: {Xx: {sigma: 1, epsilon: 1}}", "'Xx', which is not an element"),
        ("species: {Pd: {sigma: -1, epsilon: 1}}", "sigma of Pd .* is -1"),
        ("species: {Pd: {sigma: a, epsilon: 1}}", "sigma of Pd .* is 'a'"),
        ("species: {Pd: {sigma: 1, epsilon: .inf}}", "finite"),
        ("species: {Pd: {sigma: 1, eps: 1}}", "the entry 'eps'"),
        ("species: {Pd: {sigma: 1, epsilon: 1}}\ncutof: 2", "the entry 'cutof'"),
        ("species: {Pd: {sigma: 1, epsilon: 1}}\npairs: {Pd-Ni: {sigma: 1}}", "'Pd-Ni'"),
        ("species: {Pd: {sigma: 1, epsilon: 1}}\nreference: Ni", "reference species 'Ni'"),
        (f"{TABLE}\npairs: {{Pd-Ni: {{sigma: 1}}, Ni-Pd: {{sigma: 1}}}}", "twice"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        LennardJones.from_yaml(path)
    assert str(path) in str(error.value) or "reference" in words or words == "finite"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml does not exist"):
        LennardJones.from_yaml(tmp_path / "none.yaml")
