"""The figures of a report, drawn as SVG by hand: small, repeatable, and coloured by the page they stand in."""
