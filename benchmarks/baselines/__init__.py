"""What inversions are compared with in benchmarks/realism.py."""
