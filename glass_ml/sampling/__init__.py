"""Reverse diffusion guided by measurements."""
