"""Linear algebra of the Newton steps."""
