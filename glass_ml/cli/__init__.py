"""The glass-ml command line."""
