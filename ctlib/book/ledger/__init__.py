"""What papers claim, what was measured, what is recorded, and whether it still holds."""
