"""One kill, while a checkpoint is written."""

from benchmarks import kill_campaign


def test_a_killed_and_resumed_run_ends_with_the_same_bits(tmp_path, capsys):
    assert kill_campaign.main(["--kills", "1", "--out", str(tmp_path)]) == 0
    assert "1 of 1 resumed runs ended with the weights" in capsys.readouterr().out
    # The same command finds the results, and kills nothing.
    assert kill_campaign.main(["--kills", "1", "--out", str(tmp_path)]) == 0
