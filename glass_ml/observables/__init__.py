"""Differentiable forward models: from structures to what an instrument would measure."""
