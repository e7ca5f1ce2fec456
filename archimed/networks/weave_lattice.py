"""Where the cells of U-shaped networks stand and what they read: the weave of MixSearch, and a plain U."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from archimed.networks.weave_operations import Resampling

KINDS: tuple[Resampling, ...] = ("down", "normal", "up")
EXITS = 3  # outputs with deep supervision at most, X[1,5], X[1,7] and X[1,9] of ten layers (MixSearch, Sec. IV-C)
FIRST_EXIT = 5  # layer of the first of them


class Place(NamedTuple):
    """Where a feature map X[depth, layer] stands; its sides are those of the image over 2 ** depth, rounded up."""

    depth: int
    layer: int

    @property
    def key(self) -> str:
        """As it stands in names of choices and weights, e.g. `d2.l4`."""
        return f"d{self.depth}.l{self.layer}"


class Inputs(NamedTuple):
    """What a cell reads: a map of its own size, where there is one, and the map that its kind resamples."""

    level: Place | None
    resampled: Place


STEM = Place(1, 1)


@dataclass(frozen=True)
class Lattice:
    """The places of a network, in the order they are computed.

    Attributes:
        cells: the kinds of cell that each place sums, and what each reads.
        exits: the places that give an output, the final one last.
    """

    cells: Mapping[Place, Mapping[Resampling, Inputs]]
    exits: tuple[Place, ...]

    @property
    def kinds(self) -> tuple[Resampling, ...]:
        """The kinds of cell that occur."""
        return tuple(kind for kind in KINDS if any(kind in kinds for kinds in self.cells.values()))

    def until(self, layer: int) -> "Lattice":
        """The same up to an exit, without what only later ones need."""
        exits = tuple(place for place in self.exits if place.layer <= layer)
        return self.needed(exits, {place: tuple(kinds) for place, kinds in self.cells.items()})

    def needed(self, exits: Sequence[Place], kept: Mapping[Place, Collection[Resampling]]) -> "Lattice":
        """What the exits depend on if each place keeps only some kinds of cell."""
        live = set(exits)
        cells = {}
        for place in reversed(list(self.cells)):
            if place in live:
                cells[place] = {kind: inputs for kind, inputs in self.cells[place].items() if kind in kept[place]}
                live.update(source for inputs in cells[place].values() for source in inputs if source is not None)
        return Lattice({place: cells[place] for place in self.cells if place in cells}, tuple(exits))


def weave(depth: int, layers: int) -> Lattice:
    """The lattice of MixSearch (Fig. 2, Eq. 7): X[d,l] where d + l is even, as far as it reaches the last output.

    Row 0 and X[1,1] are the stem and the outputs, so that cells stand in rows 1 to depth - 1. A kind of cell exists
    where the map it resamples does; a map of its own size that does not exist drops out of the cell.
    """
    last = (layers - 2) // 2 * 2 + 1
    places = [
        Place(row, layer)
        for layer in range(2, last + 1)
        for row in range(1, depth)
        if (row + layer) % 2 == 0 and row <= layer and layer + row - 1 <= last
    ]
    known = {STEM, *places}
    cells = {}
    for row, layer in places:
        level = Place(row, layer - 2)
        reads: dict[Resampling, tuple[Place, Place]] = {
            "down": (level, Place(row - 1, layer - 1)),
            "normal": (Place(row, layer - 4), level),
            "up": (level, Place(row + 1, layer - 1)),
        }
        cells[Place(row, layer)] = {
            kind: Inputs(same if same in known else None, source)
            for kind, (same, source) in reads.items()
            if source in known
        }
    outputs = [place for place in places if place.depth == 1]
    late = [place for place in outputs if place.layer >= FIRST_EXIT] or outputs
    return Lattice(cells, tuple(late[-EXITS:]))


def plain_u(depth: int) -> Lattice:
    """The U of NAS-Unet: cells that go down, then up, each reading the map of its size from the way down."""
    rows = range(1, depth)
    bottom = depth - 1
    cells: dict[Place, dict[Resampling, Inputs]] = {
        Place(d, d): {"down": Inputs(None, Place(d - 1, d - 1))} for d in rows if d > 1
    }
    for d in reversed(rows[:-1]):
        layer = 2 * bottom - d
        cells[Place(d, layer)] = {"up": Inputs(Place(d, d), Place(d + 1, layer - 1))}
    return Lattice(cells, (Place(1, 2 * bottom - 1),))
