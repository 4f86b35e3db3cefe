"""What a chapter writes onto its page: figures, listings, tables, widgets, glued numbers."""
