"""How good a texture is: by figures, and by eye. Nothing is imported here; importers name the module."""
