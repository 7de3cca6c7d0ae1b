"""Where runs, models and lineage are recorded, and how they are verified."""
