"""Two kills: one at any moment, one while a checkpoint is written."""

from benchmarks import kill_campaign


def test_killed_and_resumed_runs_end_with_the_same_bits(tmp_path, capsys):
    assert kill_campaign.main(["--kills", "2", "--out", str(tmp_path)]) == 0
    assert "2 of 2 resumed runs ended with the weights" in capsys.readouterr().out
    # The same command finds the results, and kills nothing.
    assert kill_campaign.main(["--kills", "2", "--out", str(tmp_path)]) == 0
