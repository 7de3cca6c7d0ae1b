"""Sweeps: a search space, trials that several processes share, and the choice of a winner."""
