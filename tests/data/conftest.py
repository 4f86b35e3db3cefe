import os

# Tests on real data need a folder of it: readers are tried on whatever is there, and nothing of it is kept.
collect_ignore = [] if os.environ.get("CTLIB_SHARED_DATA") else ["test_real_data.py"]
