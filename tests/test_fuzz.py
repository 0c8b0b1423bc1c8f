"""A short run of the fuzzer; the long form is `python tests/fuzz.py`."""

import fuzz
import pytest
from conftest import posix


@posix
@pytest.mark.parametrize("name", fuzz.CAMPAIGNS)
def test_what_is_malformed_is_taken_or_refused_by_hamjl(name):
    counts, faults = fuzz.campaign(name, 60)
    assert not faults, "\n".join(faults)
    assert counts["taken"] + counts["refused"] == 60
    assert min(counts["taken"], counts["refused"]) >= 10  # neither door is shut


@posix
def test_the_fuzzer_sees_what_goes_wrong():
    counts, faults = fuzz.campaign("wrong", len(fuzz.WRONG))
    assert counts == dict.fromkeys(fuzz.WRONG, 1), "\n".join(faults)
