"""What compiled loops of every room share: threads."""
