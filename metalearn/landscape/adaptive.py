"""A quadtree that selects the pixels near the border of a picture, and fills the others.

A cell is split into four if the computed pixels inside it and on its rim differ in label or are undecided, down to
single pixels. A cell that is not split has corners of one label and is filled by interpolation between them. The work
grows like N^D for a border of dimension D instead of N².
"""

import numpy as np

CELLS = 64  # coarsest cells per side; a structure that contains none of the computed pixels is missed


def coarsest_spacing(height: int, width: int) -> int:
    """Return the side of the coarsest cells in pixels, a power of two and at least 2."""
    return max(2, 2 ** int(np.log2(max(1, min(height, width) // CELLS))))


def lattice(height: int, width: int, spacing: int) -> np.ndarray:
    """Return the corners of the cells of one size as a mask `[height, width]`; the last cells may be smaller."""
    mask = np.zeros((height, width), bool)
    mask[np.ix_(_lines(height, spacing), _lines(width, spacing))] = True
    return mask


def wanted(converged: np.ndarray, undecided: np.ndarray, computed: np.ndarray, spacing: int) -> np.ndarray:
    """Return a mask of the pixels to compute next: the corners of the quarters of all cells that must be split.

    Args:
      converged, undecided: labels `[height, width]`, valid where `computed` is true.
      computed: a mask of the pixels that are computed.
      spacing: the side of the coarsest cells, all of whose corners are computed.
    """
    wish = np.zeros_like(computed)
    for lines, corners, mixed in _levels(converged, undecided, computed, spacing):
        spacing //= 2
        cut, fine = corners & mixed, [_lines(count, spacing) for count in computed.shape]
        below, above = zip(*(_locate_cells(new, old) for new, old in zip(fine, lines)))
        touched = [cut[np.ix_(r, c)] for r in (below[0], above[0]) for c in (below[1], above[1])]
        wish[np.ix_(*fine)] |= np.logical_or.reduce(touched)
    return wish & ~computed


def skipped_cells(converged: np.ndarray, undecided: np.ndarray, computed: np.ndarray, spacing: int) -> int:
    """Return the number of cells that are not split."""
    return sum(int(np.sum(corners & ~mixed)) for _, corners, mixed in _levels(converged, undecided, computed, spacing))


def _levels(converged, undecided, computed, spacing):
    """Yield for each cell size the grid lines, the cells with computed corners, and the cells that must be split."""
    while spacing >= 2:
        rows, columns = (_lines(count, spacing) for count in computed.shape)
        known = computed[np.ix_(rows, columns)]
        corners = known[:-1, :-1] & known[:-1, 1:] & known[1:, :-1] & known[1:, 1:]
        alive, dead, open_ = (_holds(mask & computed, rows, columns) for mask in (converged, ~converged, undecided))
        yield (rows, columns), corners, alive & dead | open_
        spacing //= 2


def fill(values: np.ndarray, computed: np.ndarray, spacing: int, *, nearest: bool = False) -> np.ndarray:
    """Fill the pixels that are not computed by linear interpolation between corners, or with the nearest corner."""
    values = values.copy()
    while spacing >= 2:
        coarse = [_lines(count, spacing) for count in values.shape]
        spacing //= 2
        fine = [_lines(count, spacing) for count in values.shape]
        _fill_rows(values, computed, coarse[0], fine[0], coarse[1], nearest)
        _fill_rows(values.T, computed.T, coarse[1], fine[1], fine[0], nearest)
    return values


def _fill_rows(values, computed, coarse, fine, columns, nearest):
    new = np.setdiff1d(fine, coarse)
    after = np.searchsorted(coarse, new)
    low, high = coarse[after - 1], coarse[after]
    share = (new - low) / (high - low) * (not nearest)
    between = (1 - share)[:, None] * values[np.ix_(low, columns)] + share[:, None] * values[np.ix_(high, columns)]
    place = np.ix_(new, columns)
    values[place] = np.where(computed[place], values[place], between)


def _lines(count, spacing):
    return np.append(np.arange(0, count - 1, spacing), count - 1)


def _holds(mask, rows, columns):
    """Return whether each cell, including its rim, contains a true pixel."""
    sums = np.pad(np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1), ((1, 0), (1, 0)))
    ends, starts = (rows[1:] + 1, columns[1:] + 1), (rows[:-1], columns[:-1])
    corner = lambda r, c: sums[np.ix_(r, c)]
    return corner(*ends) - corner(starts[0], ends[1]) - corner(ends[0], starts[1]) + corner(*starts) > 0


def _locate_cells(fine, lines):
    """Return the first and the last cell whose closed interval contains each line."""
    last = np.clip(np.searchsorted(lines, fine, side="right") - 1, 0, len(lines) - 2)
    first = np.clip(np.searchsorted(lines, fine, side="left") - 1, 0, len(lines) - 2)
    return first, last
