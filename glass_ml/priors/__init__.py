"""The learned prior: noise, network, training and checkpoints."""
