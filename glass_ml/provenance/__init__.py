"""What made a structure, and whether it is still true: lineage, verification, descent, reproduction."""
