"""Learned CT reconstruction: the library under the reproduction book.

Importing it is cheap: modules are imported where they are used.
"""

__version__ = "0.1.0"
