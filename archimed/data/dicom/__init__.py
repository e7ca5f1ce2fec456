"""DICOM: files and series to a `Volume`, PET to SUV, RTSTRUCT and SEG to masks."""
