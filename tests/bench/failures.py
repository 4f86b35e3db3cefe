"""Why something was left out, for notes that are committed: nothing of the machine's folders stands in them."""

import re

QUOTED = re.compile(r"""(["'])(?:~?/|[A-Za-z]:[/\\])[^"'\n]*?([^/\\"'\n]*)\1""")  # with spaces in it, perhaps
FOLDERS = re.compile(r"""(?<![\w.:/\\])(?:~?/|[A-Za-z]:[/\\])(?:[^\s/\\"':,;()\[\]]+[/\\]+)+""")


def in_short(error: BaseException) -> str:
    """Type and first line of an error, absolute paths cut down to the names of files."""
    line = (str(error).strip().splitlines() or [""])[0]
    said = FOLDERS.sub("", QUOTED.sub(r"\1\2\1", line))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
