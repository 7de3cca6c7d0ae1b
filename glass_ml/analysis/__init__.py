"""What a structure looks like, and how an ensemble compares with a reference."""
