"""`python -m ctlib.book`."""

import sys

from ctlib.book.cli import main

sys.exit(main())
