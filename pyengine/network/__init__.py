"""The network: model file -> architecture and weights -> graphs, forward and back -> sessions. Knows no loss."""
