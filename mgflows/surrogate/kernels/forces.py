"""Compiled kernels of molecular dynamics and FIRE: forces, minimisation and integration.

All functions take an orthorhombic box and reduced units. In boxes with edges of at least twice the
cutoff, an atom interacts only with the nearest image of another: :func:`all_pairs_forces` visits
every pair, which for a few hundred atoms is faster than any list because the loop is vectorised;
:func:`listed_forces` visits the pairs of a Verlet list (L. Verlet, Phys. Rev. 159, 98 (1967),
doi:10.1103/PhysRev.159.98). In smaller boxes :func:`image_forces` visits every image within reach.

With ``f`` the cutoff factor and ``x = sigma^2/r^2``, a pair has
``u = 4 eps (x^6 - x^3 - f^-12 + f^-6)`` for ``x > f^-2``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows.compilation import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.surrogate.lennard_jones import LennardJones, ReducedConfiguration

# error_model="numpy" makes a division by zero give infinity; checking for it would prevent
# vectorisation.
_OPTIONS = {"error_model": "numpy"}
# Sums may be reordered, which vectorisation requires, but infinities and NaN keep their meaning.
_VECTOR_OPTIONS = {**_OPTIONS, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
_SKIN = 0.5
_LARGEST_ALL_PAIRS = 600


class Interaction(NamedTuple):
    """Input of the kernels other than the positions.

    Parameters
    ----------
    types
        (n,) species of the atoms.
    box
        (3,) edges of the box.
    sigma2, epsilon, cutoff2
        (m, n) squared diameter, well depth and squared cutoff of each species with each atom: a
        loop over atoms reads each row in order.
    shift
        Value of ``x^6 - x^3`` at the cutoff.
    skin
        Distance by which a Verlet list exceeds the cutoffs; zero where all pairs are visited and no
        list is kept.
    translations
        (3, n_images) shifts of the nearest image of a partner to the images to visit, zero first;
        zero only unless the box is small.
    """

    types: NDArray[np.int64]
    box: NDArray[np.float64]
    sigma2: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    cutoff2: NDArray[np.float64]
    shift: float
    skin: float
    translations: NDArray[np.float64]


def reduced_interaction(lj: LennardJones, configuration: ReducedConfiguration) -> Interaction:
    """Gather the tables of a configuration in reduced units.

    Unless the box is small, a Verlet list is used above 600 atoms (docs/concepts/surrogate.md,
    "Speed").
    """
    types = configuration.types
    sigma2 = np.ascontiguousarray((lj.reduced_sigma**2)[:, types])
    return Interaction(
        types=types,
        box=configuration.box,
        sigma2=sigma2,
        epsilon=np.ascontiguousarray(lj.reduced_epsilon[:, types]),
        cutoff2=lj.cutoff_factor**2 * sigma2,
        shift=float(lj.cutoff_factor**-12 - lj.cutoff_factor**-6),
        skin=_SKIN
        if len(types) > _LARGEST_ALL_PAIRS and configuration.nearest_image_suffices
        else 0.0,
        translations=np.ascontiguousarray((configuration.images * configuration.box).T),
    )


@njit(**_VECTOR_OPTIONS)
def all_pairs_forces(
    positions: NDArray[np.float64], interaction: Interaction, forces: NDArray[np.float64]
) -> None:
    """Write the forces on all atoms, visiting every pair once.

    Parameters
    ----------
    positions, forces
        (3, n); the positions need not be wrapped.
    interaction
        The tables.
    """
    n = positions.shape[1]
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    x, y, z = positions[0], positions[1], positions[2]
    forces[:] = 0.0
    for i in range(n - 1):
        t = interaction.types[i]
        # Slices of unit stride from i + 1: the form that the compiler turns into vector
        # instructions.
        xj, yj, zj = x[i + 1 :], y[i + 1 :], z[i + 1 :]
        fxj, fyj, fzj = forces[0, i + 1 :], forces[1, i + 1 :], forces[2, i + 1 :]
        sigma2 = interaction.sigma2[t, i + 1 :]
        epsilon = interaction.epsilon[t, i + 1 :]
        cutoff2 = interaction.cutoff2[t, i + 1 :]
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = 0.0
        for j in range(n - 1 - i):
            dx = xi - xj[j]
            dy = yi - yj[j]
            dz = zi - zj[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            r2 = dx * dx + dy * dy + dz * dz
            inverse_r2 = 1.0 / r2
            x1 = sigma2[j] * inverse_r2
            x3 = x1 * x1 * x1
            force_over_r = 24.0 * epsilon[j] * x3 * (2.0 * x3 - 1.0) * inverse_r2
            force_over_r = force_over_r if r2 < cutoff2[j] else 0.0
            fx += force_over_r * dx
            fy += force_over_r * dy
            fz += force_over_r * dz
            fxj[j] -= force_over_r * dx
            fyj[j] -= force_over_r * dy
            fzj[j] -= force_over_r * dz
        forces[0, i] += fx
        forces[1, i] += fy
        forces[2, i] += fz


@njit(**_VECTOR_OPTIONS)
def listed_forces(
    positions: NDArray[np.float64],
    interaction: Interaction,
    starts: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    forces: NDArray[np.float64],
) -> None:
    """Write the forces on all atoms, visiting the pairs of a Verlet list.

    Parameters
    ----------
    positions, forces
        (3, n); the positions need not be wrapped.
    interaction
        The tables.
    starts, neighbours
        (n + 1,) and (n_pairs,): the partners of atom i are ``neighbours[starts[i]:starts[i + 1]]``,
        each pair once.
    """
    n = positions.shape[1]
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    x, y, z = positions[0], positions[1], positions[2]
    forces_x, forces_y, forces_z = forces[0], forces[1], forces[2]
    forces[:] = 0.0
    for i in range(n):
        t = interaction.types[i]
        sigma2, epsilon, cutoff2 = (
            interaction.sigma2[t],
            interaction.epsilon[t],
            interaction.cutoff2[t],
        )
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = 0.0
        for k in range(starts[i], starts[i + 1]):
            j = neighbours[k]
            dx = xi - x[j]
            dy = yi - y[j]
            dz = zi - z[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            r2 = dx * dx + dy * dy + dz * dz
            inverse_r2 = 1.0 / r2
            x1 = sigma2[j] * inverse_r2
            x3 = x1 * x1 * x1
            force_over_r = 24.0 * epsilon[j] * x3 * (2.0 * x3 - 1.0) * inverse_r2
            force_over_r = force_over_r if r2 < cutoff2[j] else 0.0
            fx += force_over_r * dx
            fy += force_over_r * dy
            fz += force_over_r * dz
            forces_x[j] -= force_over_r * dx
            forces_y[j] -= force_over_r * dy
            forces_z[j] -= force_over_r * dz
        forces_x[i] += fx
        forces_y[i] += fy
        forces_z[i] += fz


@njit(**_VECTOR_OPTIONS)
def image_forces(
    positions: NDArray[np.float64], interaction: Interaction, forces: NDArray[np.float64]
) -> None:
    """Write the forces on all atoms, visiting every image of every pair: for boxes of any size.

    The forces of an atom's own images on it cancel in pairs and are left out.

    Parameters
    ----------
    positions, forces
        (3, n); the positions need not be wrapped.
    interaction
        The tables.
    """
    n = positions.shape[1]
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    shift_x, shift_y, shift_z = (
        interaction.translations[0],
        interaction.translations[1],
        interaction.translations[2],
    )
    forces[:] = 0.0
    for i in range(n - 1):
        t = interaction.types[i]
        for j in range(i + 1, n):
            nearest_x = positions[0, i] - positions[0, j]
            nearest_y = positions[1, i] - positions[1, j]
            nearest_z = positions[2, i] - positions[2, j]
            nearest_x -= lx * np.rint(nearest_x / lx)
            nearest_y -= ly * np.rint(nearest_y / ly)
            nearest_z -= lz * np.rint(nearest_z / lz)
            sigma2, epsilon, cutoff2 = (
                interaction.sigma2[t, j],
                interaction.epsilon[t, j],
                interaction.cutoff2[t, j],
            )
            fx = fy = fz = 0.0
            for m in range(len(shift_x)):
                dx = nearest_x + shift_x[m]
                dy = nearest_y + shift_y[m]
                dz = nearest_z + shift_z[m]
                r2 = dx * dx + dy * dy + dz * dz
                inverse_r2 = 1.0 / r2
                x1 = sigma2 * inverse_r2
                x3 = x1 * x1 * x1
                force_over_r = 24.0 * epsilon * x3 * (2.0 * x3 - 1.0) * inverse_r2
                force_over_r = force_over_r if r2 < cutoff2 else 0.0
                fx += force_over_r * dx
                fy += force_over_r * dy
                fz += force_over_r * dz
            forces[0, i] += fx
            forces[1, i] += fy
            forces[2, i] += fz
            forces[0, j] -= fx
            forces[1, j] -= fy
            forces[2, j] -= fz


@njit(**_VECTOR_OPTIONS)
def verlet_list(
    positions: NDArray[np.float64], interaction: Interaction
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """List the pairs closer than their cutoff plus the skin, each once.

    All distances are computed, one row at a time; up to a few thousand atoms this costs no more
    than the force evaluations between two lists.

    Parameters
    ----------
    positions
        (3, n), not necessarily wrapped.
    interaction
        The tables; the list is empty if the skin is zero.

    Returns
    -------
    starts, neighbours
        As :func:`listed_forces` takes them.
    """
    n = positions.shape[1]
    starts = np.zeros(n + 1, dtype=np.int64)
    if interaction.skin == 0.0:
        return starts, np.empty(0, dtype=np.int32)
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    reach2 = (np.sqrt(interaction.cutoff2) + interaction.skin) ** 2
    beyond = np.empty(n)
    neighbours = np.empty(64 * n, dtype=np.int32)
    count = 0
    for i in range(n):
        x, y, z = positions[0, i + 1 :], positions[1, i + 1 :], positions[2, i + 1 :]
        xi, yi, zi = positions[0, i], positions[1, i], positions[2, i]
        row = reach2[interaction.types[i], i + 1 :]
        m = n - 1 - i
        for j in range(m):
            dx = xi - x[j]
            dy = yi - y[j]
            dz = zi - z[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            beyond[j] = dx * dx + dy * dy + dz * dz - row[j]
        if count + m > len(neighbours):
            longer = np.empty(2 * (count + m), dtype=np.int32)
            longer[:count] = neighbours[:count]
            neighbours = longer
        for j in range(m):
            neighbours[count] = i + 1 + j
            count += beyond[j] < 0.0
        starts[i + 1] = count
    return starts, neighbours[:count].copy()


@njit(**_VECTOR_OPTIONS)
def largest_displacement(positions: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Largest distance of an atom from its reference position, both (3, n)."""
    largest = 0.0
    for i in range(positions.shape[1]):
        dx = positions[0, i] - reference[0, i]
        dy = positions[1, i] - reference[1, i]
        dz = positions[2, i] - reference[2, i]
        largest = max(largest, dx * dx + dy * dy + dz * dz)
    return math.sqrt(largest)


@njit(**_OPTIONS)
def minimum_image_energy(positions: NDArray[np.float64], interaction: Interaction) -> float:
    """Potential energy of (3, n) positions, every pair visited."""
    n = positions.shape[1]
    energy = 0.0
    for i in range(n - 1):
        t = interaction.types[i]
        for j in range(i + 1, n):
            r2 = 0.0
            for d in range(3):
                separation = positions[d, i] - positions[d, j]
                separation -= interaction.box[d] * np.rint(separation / interaction.box[d])
                r2 += separation * separation
            if r2 < interaction.cutoff2[t, j]:
                x3 = (interaction.sigma2[t, j] / r2) ** 3
                energy += 4.0 * interaction.epsilon[t, j] * (x3 * (x3 - 1.0) - interaction.shift)
    return energy


@njit(**_OPTIONS)
def image_energy(positions: NDArray[np.float64], interaction: Interaction) -> float:
    """Potential energy of (3, n) positions, every image of every pair visited.

    An atom has half the energy of itself with each of its own images, since the image's half
    belongs to another cell.
    """
    n = positions.shape[1]
    energy = 0.0
    for i in range(n):
        t = interaction.types[i]
        for j in range(i, n):
            share = 0.5 if i == j else 1.0
            for m in range(1 if i == j else 0, interaction.translations.shape[1]):
                r2 = 0.0
                for d in range(3):
                    separation = positions[d, i] - positions[d, j]
                    separation += interaction.translations[d, m] - interaction.box[d] * np.rint(
                        separation / interaction.box[d]
                    )
                    r2 += separation * separation
                if r2 < interaction.cutoff2[t, j]:
                    x3 = (interaction.sigma2[t, j] / r2) ** 3
                    energy += (
                        share
                        * 4.0
                        * interaction.epsilon[t, j]
                        * (x3 * (x3 - 1.0) - interaction.shift)
                    )
    return energy


def potential_energy(positions: NDArray[np.float64], interaction: Interaction) -> float:
    """Potential energy of (3, n) positions, by the nearest image if that suffices."""
    kernel = minimum_image_energy if interaction.translations.shape[1] == 1 else image_energy
    return float(kernel(positions, interaction))


# Values of the FIRE paper; the timesteps are chosen for unit mass and the stiffness of the mixture
# at rho* = 1.75.
_TIMESTEP, _LONGEST_TIMESTEP = 0.002, 0.02
_DELAY, _GROW, _SHRINK, _MIXING, _MIXING_DECAY = 5, 1.1, 0.5, 0.1, 0.99
# Largest displacement of an atom in one step, so that overlapping atoms separate slowly.
_LONGEST_MOVE = 0.05


@njit(**_OPTIONS)
def fire(
    positions: NDArray[np.float64], interaction: Interaction, force_tolerance: float, max_steps: int
) -> tuple[int, float]:
    """Minimise the energy of (3, n) positions in place, in reduced units and with unit mass.

    Returns
    -------
    n_steps, largest_force
        Steps taken and the largest force on an atom at the end; it exceeds ``force_tolerance`` only
        if ``max_steps`` was reached.
    """
    n = positions.shape[1]
    forces = np.empty((3, n))
    velocities = np.zeros((3, n))
    use_list = interaction.skin > 0.0
    use_images = interaction.translations.shape[1] > 1
    starts, neighbours = verlet_list(positions, interaction)
    reference = positions.copy()
    timestep, mixing, n_downhill, largest = _TIMESTEP, _MIXING, 0, np.inf
    for step in range(max_steps + 1):
        if use_list:
            if largest_displacement(positions, reference) > 0.5 * interaction.skin:
                starts, neighbours = verlet_list(positions, interaction)
                reference[:] = positions
            listed_forces(positions, interaction, starts, neighbours, forces)
        elif use_images:
            image_forces(positions, interaction, forces)
        else:
            all_pairs_forces(positions, interaction, forces)
        largest = np.sqrt(np.max(forces[0] ** 2 + forces[1] ** 2 + forces[2] ** 2))
        if largest < force_tolerance or step == max_steps:
            return step, largest

        power = np.sum(forces * velocities)
        if power > 0.0:
            speed_over_force = np.sqrt(np.sum(velocities**2) / np.sum(forces**2))
            velocities *= 1.0 - mixing
            velocities += mixing * speed_over_force * forces
            n_downhill += 1
            if n_downhill > _DELAY:
                timestep = min(timestep * _GROW, _LONGEST_TIMESTEP)
                mixing *= _MIXING_DECAY
        else:
            velocities[:] = 0.0
            timestep *= _SHRINK
            mixing = _MIXING
            n_downhill = 0
        velocities += timestep * forces
        fastest = np.sqrt(np.max(velocities[0] ** 2 + velocities[1] ** 2 + velocities[2] ** 2))
        positions += min(timestep, _LONGEST_MOVE / fastest) * velocities
    return max_steps, largest


@njit(**_VECTOR_OPTIONS)
def integrate(
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64],
    forces: NDArray[np.float64],
    reference: NDArray[np.float64],
    interaction: Interaction,
    timestep: float,
    thermostat_time: float,
    targets: NDArray[np.float64],
    normals: NDArray[np.float64],
    chi_squares: NDArray[np.float64],
) -> None:
    """Take ``len(targets)`` steps in place.

    Parameters
    ----------
    positions, velocities, forces
        (3, n) state; the forces are those at the positions.
    reference
        (3, n) positions at which the Verlet list was built; part of the state, so that a restarted
        run builds the same list.
    interaction
        The tables.
    timestep, thermostat_time
        Time step, and relaxation time of the kinetic energy; infinite for constant energy.
    targets, normals, chi_squares
        For each step the temperature, a standard normal number, and a chi-squared number with one
        degree of freedom less than the system.
    """
    n = positions.shape[1]
    memory = np.exp(-timestep / thermostat_time)
    use_list = interaction.skin > 0.0
    use_images = interaction.translations.shape[1] > 1
    starts, neighbours = verlet_list(reference, interaction)
    for step in range(len(targets)):
        for d in range(3):
            for i in range(n):
                velocities[d, i] += 0.5 * timestep * forces[d, i]
                positions[d, i] += timestep * velocities[d, i]
        if use_list:
            if largest_displacement(positions, reference) > 0.5 * interaction.skin:
                reference[:] = positions
                starts, neighbours = verlet_list(reference, interaction)
            listed_forces(positions, interaction, starts, neighbours, forces)
        elif use_images:
            image_forces(positions, interaction, forces)
        else:
            all_pairs_forces(positions, interaction, forces)
        twice_kinetic = 0.0
        for d in range(3):
            for i in range(n):
                velocities[d, i] += 0.5 * timestep * forces[d, i]
                twice_kinetic += velocities[d, i] ** 2
        if memory < 1.0:
            # Equation A7 of Bussi et al.; a is the ratio of target to current kinetic energy per
            # degree of freedom.
            a = (1.0 - memory) * targets[step] / twice_kinetic
            scale2 = (
                memory
                + a * (normals[step] ** 2 + chi_squares[step])
                + 2.0 * normals[step] * np.sqrt(memory * a)
            )
            scale = np.sqrt(scale2)
            if normals[step] + np.sqrt(memory / a) < 0.0:
                scale = -scale
            velocities *= scale
