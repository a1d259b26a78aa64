"""Rules among settings, for a block that is made without a file; test_loader.py has each by its text."""

import pytest

from proxy.config.sections.limits import LimitSettings


def test_block_that_contradicts_itself_cannot_be_made():
    with pytest.raises(ValueError, match="does not go with concurrency"):
        LimitSettings(name="a", rate="1/s", concurrency=4)
