"""Ensembles of amorphous structures from measured spectra, with a learned prior and full lineage."""

__version__ = "0.1.0"
