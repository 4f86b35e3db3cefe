"""Commands one after another, as one step, up to the first that fails: `chain.py '[["a", "b"], ["c"]]'`."""

import json
import subprocess
import sys

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        if code := subprocess.call(words):
            sys.exit(code)
