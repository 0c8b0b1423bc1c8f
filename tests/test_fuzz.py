"""A short run of the fuzzer; the long form is `python tests/fuzz.py`."""

import fuzz
import pytest


@pytest.mark.parametrize("name", fuzz.CAMPAIGNS)
def test_what_is_malformed_is_taken_or_refused_by_hamjl(name):
    counts, faults = fuzz.campaign(name, 60)
    assert not faults, "\n".join(faults)
    assert counts["taken"] + counts["refused"] == 60
    assert min(counts["taken"], counts["refused"]) >= 10  # neither door is shut


WRONG = {
    "foreign": lambda folder: {}["no key"],
    "outside": lambda folder: (folder.parent / "trap" / "secret.csv").read_text(),
    "memory": lambda folder: bytearray(fuzz.BYTES),
    "slow": lambda folder: sum(range(10**9)),
    "died": lambda folder: fuzz.os.abort(),
}


def _wrong(rng, folder):
    """A case of a campaign in which everything goes wrong; its seed says how."""
    _wrong.cases = getattr(_wrong, "cases", iter(WRONG.values()))
    next(_wrong.cases)(folder)


@pytest.mark.parametrize("kind", WRONG)
def test_the_fuzzer_sees_what_goes_wrong(kind, tmp_path, monkeypatch):
    """In this process, without its limits: they are the worker's."""
