"""Images: read, written, resampled, recoloured, masked. Nothing is imported here; importers name the module."""
