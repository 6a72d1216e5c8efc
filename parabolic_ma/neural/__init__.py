"""Neural potentials, the maps that they are, and how to train them (extra ``neural``: torch)."""
