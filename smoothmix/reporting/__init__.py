"""From run records to tables."""
