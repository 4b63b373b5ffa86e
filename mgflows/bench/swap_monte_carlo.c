/* The algorithm of mgflows.surrogate.kernels as a C programmer would write it: the reference of `mgflows bench swap-mc`.
 *
 * Atoms grouped by species, constant parameter rows, energies of the atoms kept, positions in a padded structure of arrays, minimum
 * image by min(|d|, L - |d|), cutoff by a maximum. Compile with gcc -O3 -march=native -ffast-math -shared -fPIC -DREAL=double.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define FAR ((REAL)1e6)

typedef struct {
    int n, padded, n_species, n_pairs;
    REAL box, cut, shift, displacement;
    double swap_fraction, total;
    const int32_t *species, *first, *pairs; /* (n,), (n_species + 1,), (2 n_pairs,) */
    const double *cumulative;               /* (n_pairs,) */
    const REAL *sigma_squared, *four_epsilon; /* (n_species, padded) */
    REAL *x, *y, *z, *energy, *trial_i, *trial_k; /* (padded,) */
    uint64_t random[4];
    int64_t accepted[2];
} State;

static inline double uniform(uint64_t *s)
{
    const uint64_t result = s[0] + s[3], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return (double)(result >> 11) * 0x1.0p-53;
}

static inline REAL smaller(REAL a, REAL b) { return a < b ? a : b; }

static inline REAL pair(const State *c, REAL dx, REAL dy, REAL dz, REAL sigma_squared, REAL four_epsilon)
{
    dx = dx < 0 ? -dx : dx;
    dy = dy < 0 ? -dy : dy;
    dz = dz < 0 ? -dz : dz;
    dx = smaller(dx, c->box - dx);
    dy = smaller(dy, c->box - dy);
    dz = smaller(dz, c->box - dz);
    REAL s = sigma_squared / (dx * dx + dy * dy + dz * dz);
    s = s > c->cut ? s : c->cut;
    const REAL s3 = s * s * s;
    return four_epsilon * (s3 * (s3 - (REAL)1) - c->shift);
}

static REAL row(const State *c, REAL px, REAL py, REAL pz, int a, REAL *restrict trial)
{
    const int padded = c->padded;
    const REAL *restrict x = c->x, *restrict y = c->y, *restrict z = c->z;
    const REAL *restrict s2 = c->sigma_squared + a * padded, *restrict e4 = c->four_epsilon + a * padded;
    REAL total = 0;
    for (int j = 0; j < padded; j++) {
        const REAL u = pair(c, x[j] - px, y[j] - py, z[j] - pz, s2[j], e4[j]);
        trial[j] = u;
        total += u;
    }
    return total;
}

static void replace(const State *c, REAL px, REAL py, REAL pz, int a, const REAL *restrict trial)
{
    const int padded = c->padded;
    const REAL *restrict x = c->x, *restrict y = c->y, *restrict z = c->z;
    const REAL *restrict s2 = c->sigma_squared + a * padded, *restrict e4 = c->four_epsilon + a * padded;
    REAL *restrict energy = c->energy;
    for (int j = 0; j < padded; j++)
        energy[j] += trial[j] - pair(c, x[j] - px, y[j] - py, z[j] - pz, s2[j], e4[j]);
}

static int accept(State *c, double delta, double temperature)
{
    return delta <= 0 || uniform(c->random) < exp(-delta / temperature);
}

static REAL moved(State *c, REAL old)
{
    REAL coordinate = old + (REAL)(uniform(c->random) - 0.5) * c->displacement;
    if (coordinate < 0)
        coordinate += c->box;
    if (coordinate >= c->box)
        coordinate -= c->box;
    return coordinate;
}

static void displace(State *c, double temperature)
{
    const int i = (int)(uniform(c->random) * c->n), a = c->species[i];
    const REAL x = c->x[i], y = c->y[i], z = c->z[i];
    const REAL new_x = moved(c, x), new_y = moved(c, y), new_z = moved(c, z);
    c->x[i] = FAR;
    const REAL new = row(c, new_x, new_y, new_z, a, c->trial_i);
    const double delta = (double)new - c->energy[i];
    if (!accept(c, delta, temperature)) {
        c->x[i] = x;
        return;
    }
    replace(c, x, y, z, a, c->trial_i);
    c->x[i] = new_x, c->y[i] = new_y, c->z[i] = new_z, c->energy[i] = new;
    c->total += delta;
    c->accepted[0]++;
}

static void exchange(State *c, double temperature)
{
    const double chosen = uniform(c->random);
    int p = 0;
    while (chosen >= c->cumulative[p])
        p++;
    const int a = c->pairs[2 * p], b = c->pairs[2 * p + 1];
    const int i = c->first[a] + (int)(uniform(c->random) * (c->first[a + 1] - c->first[a]));
    const int k = c->first[b] + (int)(uniform(c->random) * (c->first[b + 1] - c->first[b]));
    const REAL xi = c->x[i], yi = c->y[i], zi = c->z[i], xk = c->x[k], yk = c->y[k], zk = c->z[k];
    const REAL mutual = pair(c, xi - xk, yi - yk, zi - zk, c->sigma_squared[a * c->padded + k], c->four_epsilon[a * c->padded + k]);
    c->x[i] = c->x[k] = FAR;
    const REAL new_i = row(c, xk, yk, zk, a, c->trial_i), new_k = row(c, xi, yi, zi, b, c->trial_k);
    const double delta = (double)new_i + new_k - (c->energy[i] - mutual) - (c->energy[k] - mutual);
    if (!accept(c, delta, temperature)) {
        c->x[i] = xi, c->x[k] = xk;
        return;
    }
    replace(c, xi, yi, zi, a, c->trial_i);
    replace(c, xk, yk, zk, b, c->trial_k);
    c->x[i] = xk, c->y[i] = yk, c->z[i] = zk, c->energy[i] = new_i + mutual;
    c->x[k] = xi, c->y[k] = yi, c->z[k] = zi, c->energy[k] = new_k + mutual;
    c->total += delta;
    c->accepted[1]++;
}

static void recompute(State *c)
{
    c->total = 0;
    for (int i = 0; i < c->n; i++) {
        const REAL x = c->x[i];
        c->x[i] = FAR;
        c->energy[i] = row(c, x, c->y[i], c->z[i], c->species[i], c->trial_i);
        c->x[i] = x;
        c->total += 0.5 * c->energy[i];
    }
}

/* Returns the mean potential energy per atom; coordinates and energies are left at the last configuration. */
double run(State *c, int64_t n_sweeps, double temperature)
{
    double sum = 0;
    recompute(c);
    for (int64_t sweep = 0; sweep < n_sweeps; sweep++) {
        for (int move = 0; move < c->n; move++) {
            if (uniform(c->random) < c->swap_fraction)
                exchange(c, temperature);
            else
                displace(c, temperature);
        }
        sum += c->total;
    }
    return n_sweeps ? sum / ((double)n_sweeps * c->n) : 0;
}
