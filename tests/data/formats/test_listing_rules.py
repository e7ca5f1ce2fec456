import pytest

from archimed.data.formats.listing_rules import channel_kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CT", "ct"),
        ("ct_venous", "ct"),
        ("CT-1", "ct"),
        ("PET", "pet"),
        ("pt", "pet"),
        ("FDG SUV", "pet"),
        ("MRI", "mr"),
        ("T1w", "mr"),
        ("T2-FLAIR", "mr"),
        ("flair", "mr"),
        ("T1ce", "mr"),
        ("ADC", "mr"),
        ("dwi b1000", "mr"),
        ("PET/CT", None),
        ("octet", None),
        ("patient", None),
        ("image", None),
        ("", None),
    ],
)
def test_the_kind_of_a_modality_is_a_word_of_its_name(name: str, kind: str | None) -> None:
    assert channel_kind(name) == kind
