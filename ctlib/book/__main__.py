"""`python -m ctlib.book`."""

import sys

# nbformat loads jsonschema, which would build a grammar of web addresses: a second of every process, and none is asked
sys.modules["rfc3987_syntax"] = None

from ctlib.book.cli import main  # noqa: E402

sys.exit(main())
