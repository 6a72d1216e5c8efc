"""The quantities of the theory: divergences, bounds and rates of an iterate, and closed forms."""
