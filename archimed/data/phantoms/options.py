"""What may follow the name of a phantom: `phantom:xray?cases=300&size=28`."""

from dataclasses import dataclass

from archimed.errors import DataError


@dataclass(frozen=True)
class Form:
    """What a phantom draws unless told otherwise, and what it can draw.

    Attributes:
        cases: number of images.
        size: pixels per side.
        most_cases: the largest number of images, so that they fit into memory.
        most_pixels: the largest size.
    """

    cases: int = 1000
    size: int = 64
    most_cases: int = 100_000
    most_pixels: int = 512


FLAT = Form()
SOLID = Form(cases=200, size=32, most_cases=5000, most_pixels=96)


@dataclass(frozen=True)
class PhantomOptions:
    """The options as written; what is left out, the phantom chooses.

    Attributes:
        cases: number of images: 20 to 100,000 (volumes: to 5,000).
        size: pixels per side: 16 to 512 (volumes: to 96).
    """

    cases: int | None = None
    size: int | None = None

    def fill(self, form: Form) -> tuple[int, int]:
        """Number of cases and size, with the phantom's own where left out; DataError if out of its bounds."""
        cases = form.cases if self.cases is None else self.cases
        size = form.size if self.size is None else self.size
        if not 20 <= cases <= form.most_cases or not 16 <= size <= form.most_pixels:
            raise DataError(
                f"A phantom has 20 to {form.most_cases} cases of 16 to {form.most_pixels} pixels; got cases={cases}, "
                f"size={size}. Write ?cases=300&size=28."
            )
        return cases, size


def parse_options(text: str, size: int | None) -> PhantomOptions:
    """Options written as `cases=300&size=28`; `size`, if given, wins. DataError names what cannot be used."""
    values: dict[str, int] = {}
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        if name not in ("cases", "size") or not value.isdecimal():
            raise DataError(f"A phantom takes cases=N and size=N; got {part!r}. Write ?cases=300&size=28.")
        values[name] = int(value)
    if size is not None:
        values["size"] = size
    options = PhantomOptions(**values)
    options.fill(FLAT)
    return options
