"""Commands one after another, as one step, up to the first that fails: `chain.py '[["a", "b"], ["c"]]'`."""

import json
import signal
import subprocess
import sys

from steps import end_with_parent


def main(commands: list[list[str]]) -> int:
    """Exit code of the last command that ran; one that is told to end passes it on, and the rest does not start."""
    running, ended = [], []

    def end(number: int, frame: object) -> None:
        ended.append(128 + number)
        for process in running:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, end)
    for words in commands:
        running[:] = [subprocess.Popen(words, preexec_fn=end_with_parent)]
        if ended:  # between two commands, or while this one started
            running[0].terminate()
        code = running[0].wait()
        if ended or code:
            return ended[0] if ended else code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
