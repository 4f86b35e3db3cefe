"""Readers for the data a user has: every problem ends in one DataError that names the file and the field."""
