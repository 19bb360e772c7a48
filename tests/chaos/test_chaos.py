"""The trial, short: see `tests/chaos/trial.py`, which runs it for as long as one likes."""

from pathlib import Path

from tests.chaos.trial import run_trial, summary

SECONDS = 12
BUYERS = 64
SEED = 7


def test_a_crowd_feeds_and_dying_processes_leave_every_number_in_one_place(tmp_path: Path) -> None:
    outcome = run_trial(tmp_path, SECONDS, BUYERS, SEED)
    told = "\n".join(
        [summary(outcome), *(violation.text for violation in outcome.violations), *outcome.evidence]
    )
    assert not outcome.violations, told
    # It was a trial: much was bought, much was refused, and everything died.
    assert outcome.counts["orders complete"] > BUYERS, told
    assert outcome.counts["409 insufficient"] > BUYERS, told
    assert outcome.counts["orders cancelled"] > 0, told
    assert outcome.counts["bulk orders filled later"] > 0, told
    for kind in ("store", "api", "api-worker", "worker"):
        assert outcome.counts[f"killed {kind}"] > 0, told
    for kind in ("store", "api-worker", "worker"):
        assert outcome.counts[f"stopped {kind}"] > 0, told
