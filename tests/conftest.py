"""Fixtures of every test: `one_thread` for files that ask, `pytestmark = pytest.mark.usefixtures("one_thread")`.

Those of tests/helpers are loaded too; that folder is on the path: writers of files, a miniature book, small operators.
"""

import pytest
import torch

pytest_plugins = ["model_fixtures", "operator_fixtures", "quiet_fixtures"]


@pytest.fixture(scope="module")
def one_thread():
    """Two threads for small tensors cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
