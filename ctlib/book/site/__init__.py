"""From executed notebooks to pages that are checked."""
