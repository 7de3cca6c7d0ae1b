"""Measured spectra: files, conventions, and how well structures explain them."""
