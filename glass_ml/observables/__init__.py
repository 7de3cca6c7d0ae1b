"""Differentiable forward models: structures in, spectra out."""
