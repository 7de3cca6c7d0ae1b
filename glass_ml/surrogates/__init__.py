"""Training of learned observables: the data of spectra per atom, and Lightning."""
