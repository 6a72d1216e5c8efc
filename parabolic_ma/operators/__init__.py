"""The equation on a grid: residuals, transfers between grids, conjugates and maps."""
