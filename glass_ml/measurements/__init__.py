"""Measured spectra, the file that lists them, and how well structures meet them."""
