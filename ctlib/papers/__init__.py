"""Five papers, one folder each: their own networks, losses, data and experiments on the shared core."""
