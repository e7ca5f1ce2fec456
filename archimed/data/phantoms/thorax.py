"""The thorax of the `xray` phantom: lungs, heart, ribs, and eight findings that may be drawn into it.

Places are shares of the image: (down, right). `side` is -1 for the patient's right lung, on the left of the image.
"""

from dataclasses import dataclass

import numpy as np

from archimed.data.phantoms.shapes import (
    Field,
    Grid,
    distance_to_segment,
    edge,
    ellipsoid,
    hill,
    smooth_noise,
    turned,
)

FINDINGS = (
    "Cardiomegaly",
    "Effusion",
    "Pneumothorax",
    "Nodule",
    "Mass",
    "Atelectasis",
    "Edema",
    "Fracture",
)
SIDES = (-1, 1)
RIBS = 9  # of each side


@dataclass(frozen=True)
class Thorax:
    """One patient's measures.

    Attributes:
        middle: column of the spine.
        half: half the width of the thorax.
        tops: row of the top of each lung.
        bases: row of each half of the diaphragm.
        ratio: width of the heart by that of the thorax.
        slant: how far ribs descend towards the side.
        streams: for each finding what draws it, drawn or not, so that one finding never changes another.
        texture: what draws the rest.
    """

    middle: float
    half: float
    tops: tuple[float, float]
    bases: tuple[float, float]
    ratio: float
    slant: float
    streams: tuple[int, ...]
    texture: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Thorax":
        """A thorax at random."""
        base = rng.uniform(0.76, 0.86)
        seeds = rng.integers(0, 2**62, len(FINDINGS) + 1).tolist()
        return cls(
            middle=rng.uniform(0.48, 0.52),
            half=rng.uniform(0.36, 0.43),
            tops=(rng.uniform(0.08, 0.14), rng.uniform(0.08, 0.14)),
            bases=(base - rng.uniform(0.0, 0.03), base + rng.uniform(0.0, 0.02)),
            ratio=rng.uniform(0.38, 0.49),
            slant=rng.uniform(0.03, 0.1),
            streams=tuple(seeds[:-1]),
            texture=seeds[-1],
        )


@dataclass
class _Film:
    """The picture while findings are drawn into it.

    Attributes:
        at: the pixels' places.
        lung: 1 in the lungs, one array for each side.
        opacity: how much of the air of the lungs is replaced, 0 to 1; below 0: more air than a lung has.
        extra: brightness on top of all.
    """

    at: Grid
    lung: tuple[Field, Field]
    opacity: Field
    extra: Field


def radiograph(body: Thorax, present: frozenset[str], at: Grid) -> Field:
    """The picture of a thorax with these findings, bright where X-rays are absorbed; about 0 to 1, without grain."""
    shape = (at[0].size, at[1].size)
    streams = {name: np.random.default_rng(stream) for name, stream in zip(FINDINGS, body.streams, strict=True)}
    rng = np.random.default_rng(body.texture)
    bases, broken = list(body.bases), np.random.default_rng(body.streams[-1])
    if "Atelectasis" in present:  # the lung shrinks and the diaphragm follows
        bases[_side_of(body, "Atelectasis")] -= 0.05
    film = _Film(at, _lungs(body, at, bases), *np.zeros((2, *shape), dtype=np.float32))
    film.opacity += 0.05 * smooth_noise(rng, shape, 12) + 0.04 * smooth_noise(rng, shape, 22)
    for side in SIDES:  # the roots of the lungs, where the vessels begin
        root = (0.47, body.middle + side * 0.3 * body.half)
        film.opacity += rng.uniform(0.25, 0.45) * hill(at, root, (0.1, 0.06)) * (1 + 0.4 * smooth_noise(rng, shape, 9))
    for name, finding in (
        ("Effusion", _effusion),
        ("Pneumothorax", _pneumothorax),
        ("Nodule", _nodule),
        ("Mass", _mass),
        ("Atelectasis", _atelectasis),
        ("Edema", _edema),
    ):
        if name in present:
            finding(film, body, streams[name])
    ratio = streams["Cardiomegaly"].uniform(0.52, 0.62) if "Cardiomegaly" in present else body.ratio
    film.opacity = film.opacity.clip(max=1)
    heart = _heart(body, at, ratio, float(np.mean(bases)))
    trunk = ellipsoid(at, (0.72, body.middle), (0.78, body.half + 0.1))
    image = 0.66 * edge(1 - trunk, 0.06) + 0.03 * smooth_noise(rng, shape, 3)
    image = image - 0.4 * (film.lung[0] + film.lung[1]) * (1 - film.opacity) * (1 - 0.9 * heart)
    image = image + _spine(body, at) + film.extra
    return image + _bones(body, at, broken if "Fracture" in present else None) * edge(1 - trunk, 0.06)


def _side_of(body: Thorax, finding: str) -> int:
    """Which lung (0 or 1) has the finding."""
    return body.streams[FINDINGS.index(finding)] % 2


def _lungs(body: Thorax, at: Grid, bases: list[float]) -> tuple[Field, Field]:
    """Both lungs: an egg, narrow at the top, cut by the diaphragm."""
    lungs = []
    for index, side in enumerate(SIDES):
        top, base = body.tops[index], bases[index]
        centre = body.middle + side * 0.53 * body.half
        narrow = 0.24 * body.half * np.clip((0.5 - at[0]) / 0.4, 0, 1) ** 1.5
        level = ellipsoid((at[0], at[1] + side * 0.4 * narrow), (base + 0.06, centre), (base + 0.06 - top, 1.0))
        across = (at[1] + side * 0.5 * narrow - centre) / (0.46 * body.half - 0.5 * narrow)
        level = np.sqrt(np.clip(level**2, 0, None) ** 1.5 + np.abs(across) ** 3)
        outward = side * (at[1] - centre) / (0.46 * body.half)
        dome = base - at[0] - 0.035 * (outward - 0.2) ** 2 + 0.09 * np.clip(outward - 0.55, 0, None)
        lungs.append(edge(1 - level, 0.12) * edge(dome, 0.02))
    return lungs[0], lungs[1]


def _heart(body: Thorax, at: Grid, ratio: float, base: float) -> Field:
    """1 in the heart and the great vessels; the heart lies for two thirds on the patient's left."""
    width = ratio * body.half
    centre = (base - 0.13, body.middle + 0.3 * width)
    heart = ellipsoid(turned(at, centre, 0.5), centre, (0.8 * width + 0.02, 1.05 * width))
    vessels = ellipsoid(at, (0.36, body.middle + 0.01), (0.24, 0.17 * body.half))
    return np.maximum(edge(1 - heart, 0.12), edge(1 - vessels, 0.3))


def _spine(body: Thorax, at: Grid) -> Field:
    column = 0.1 * np.exp(-(((at[1] - body.middle) / 0.045) ** 2)) * (1 + 0.25 * np.sin(at[0] * 85))
    windpipe = 0.16 * np.exp(-(((at[1] - body.middle) / 0.02) ** 2)) * edge(0.3 - at[0], 0.08)
    return np.asarray(column - windpipe, dtype=np.float32)


def _bones(body: Thorax, at: Grid, broken: np.random.Generator | None) -> Field:
    """Ribs and clavicles; with a stream, one rib is broken: its outer part is displaced, with a gap."""
    total = np.zeros((at[0].size, at[1].size), dtype=np.float32)
    out = np.abs(at[1] - body.middle) / body.half  # 0 at the spine, 1 at the side
    hurt_side, hurt_rib, place, step = 0, -1, 0.0, 0.0
    if broken is not None:
        hurt_side, hurt_rib = SIDES[broken.integers(2)], int(broken.integers(3, 8))
        place, step = broken.uniform(0.45, 0.8), broken.uniform(0.03, 0.045) * broken.choice((-1, 1))
    for side in SIDES:
        for rib in range(RIBS):
            row = 0.1 + 0.082 * rib - 0.05 * np.sin(2.6 * out) + (body.slant + 0.015 * rib) * out**2
            strength = 0.09 * edge(1.02 - out, 0.06) * edge(side * (at[1] - body.middle) - 0.03, 0.04)
            if (side, rib) == (hurt_side, hurt_rib):
                row = row + step * edge(out - place, 0.02)
                strength = strength * (1 - 0.9 * np.exp(-(((out - place) / 0.035) ** 2)))
            lower = np.abs(at[0] - row) - 0.013
            total += strength * (edge(-lower, 0.012) + 0.5 * np.exp(-((lower / 0.006) ** 2)))
        inner = np.array([0.15, body.middle + side * 0.04])
        outer = np.array([0.07, body.middle + side * 0.95 * body.half])
        total += 0.12 * edge(0.014 - distance_to_segment(at, inner, outer)[0], 0.014)
    return total


def _effusion(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """Fluid at the bottom of one lung or both, higher towards the side (the meniscus)."""
    first, both = _side_of(body, "Effusion"), rng.random() < 0.3
    for index, side in enumerate(SIDES):
        height, rise = rng.uniform(0.02, 0.16), rng.uniform(0.04, 0.12)
        if both or index == first:
            outward = side * (film.at[1] - body.middle) / body.half
            surface = body.bases[index] - height - rise * (outward - 0.4) * np.clip(outward, 0, 1)
            wet = edge(film.at[0] - surface, 0.04) * edge(outward, 0.05)
            film.opacity = np.maximum(film.opacity, 0.92 * wet)


def _pneumothorax(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """Free air at the top and side of one lung, without vessels, bordered by a fine line."""
    index = _side_of(body, "Pneumothorax")
    side, gap = SIDES[index], rng.uniform(0.1, 0.2)
    centre = (body.bases[index] + 0.02, body.middle + side * (0.5 - gap) * body.half)
    radii = (body.bases[index] - body.tops[index] - 0.5 * gap, (0.47 - 0.35 * gap) * body.half)
    level = ellipsoid(film.at, centre, radii)
    free = edge(level - 1, 0.05) * edge(side * (film.at[1] - body.middle) - 0.05, 0.03)
    film.opacity = film.opacity * (1 - free) - 0.22 * free
    film.extra += 0.13 * np.exp(-(((level - 1) / 0.022) ** 2)) * film.lung[index]


def _nodule(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """One to three small round spots."""
    for _ in range(rng.integers(1, 4)):
        radius = rng.uniform(0.016, 0.03)
        level = ellipsoid(film.at, _in_lung(body, rng), (radius, radius * rng.uniform(0.85, 1.15)))
        film.opacity += rng.uniform(0.45, 0.75) * edge(1 - level, 0.5)


def _mass(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """One large irregular spot."""
    rough = 0.18 * smooth_noise(rng, film.opacity.shape, 9)
    level = ellipsoid(film.at, _in_lung(body, rng), rng.uniform(0.05, 0.085, 2)) + rough
    film.opacity += rng.uniform(0.5, 0.8) * edge(1 - level, 0.35)


def _atelectasis(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """One to three plates of collapsed lung, level or nearly so, above a raised diaphragm."""
    index = _side_of(body, "Atelectasis")
    for _ in range(rng.integers(1, 4)):
        row = body.bases[index] - rng.uniform(0.1, 0.24)
        inner, outer = (body.middle + SIDES[index] * body.half * share for share in (rng.uniform(0.2, 0.4), 0.85))
        tilt = rng.uniform(-0.05, 0.05)
        distance, _ = distance_to_segment(film.at, (row, inner), (row + tilt, outer))
        film.opacity += rng.uniform(0.4, 0.65) * edge(rng.uniform(0.01, 0.018) - distance, 0.014)


def _edema(film: _Film, body: Thorax, rng: np.random.Generator) -> None:
    """Haze around both roots of the lungs, like a butterfly, with blurred vessels."""
    haze = np.zeros_like(film.opacity)
    for side in SIDES:
        centre = (rng.uniform(0.46, 0.54), body.middle + side * 0.42 * body.half)
        haze += rng.uniform(0.2, 0.4) * hill(film.at, centre, (0.16, 0.1))
    film.opacity += haze * (1 + 0.3 * smooth_noise(rng, haze.shape, 14))


def _in_lung(body: Thorax, rng: np.random.Generator) -> tuple[float, float]:
    """A place well within a lung."""
    index = int(rng.integers(2))
    row = rng.uniform(body.tops[index] + 0.12, body.bases[index] - 0.14)
    return row, body.middle + SIDES[index] * body.half * rng.uniform(0.42, 0.7)
