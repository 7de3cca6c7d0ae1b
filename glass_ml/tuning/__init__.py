"""Search for guidance and training settings."""
