"""What structures look like, how an ensemble compares with a reference, and the report that people read."""
