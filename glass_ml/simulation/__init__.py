"""Low-fidelity structures from classical molecular dynamics, one recipe per material."""
