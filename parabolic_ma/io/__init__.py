"""Files: the HDF5 format, exports, problems as TOML, points in and out."""
