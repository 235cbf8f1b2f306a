"""Data sets as they are on disk: the Decathlon layout, NIfTI files, phantoms and downloads."""
