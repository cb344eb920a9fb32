"""VGG: weights -> forward graph -> backward graph -> sessions. Knows no loss."""
