"""Small files of the simulator, for everybody who has no recorded data: imported and streamed."""

from conftest import ROOT, Cli

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.data.quality import data_quality
from crypto_anomaly.data.snapshots import read_snapshots
from crypto_anomaly.features.features import featurize

# the 30 biggest, irregular polls, a gap of 11 hours
MARKET = ROOT / "tests/data/simulated_market.csv.gz"
TRADES = ROOT / "tests/data/simulated_trades.csv"  # 597 trades with two gaps, 3 trades missing


def test_a_market_file_is_imported_and_its_gap_is_known(tmp_path):
    cli = Cli(tmp_path / "home")
    report = cli.json("import", str(MARKET))
    assert (report["stored"], report["coins"], report["snapshots"]) == (8310, 33, 277)
    table = read_snapshots(open_workspace(Settings(home=tmp_path / "home", workspace="coingecko")))
    quality = data_quality(table)
    assert 0.94 < quality.covered < 0.98
    assert 11.5 < quality.gaps.hours.max() < 12.5
    features = featurize(table)
    assert len(features) == 8310
    assert features.price_change_pct_1h.notna().mean() > 0.85  # derived: the file has no 1 h change


def test_trades_are_streamed_and_their_gaps_are_known(tmp_path):
    cli = Cli(tmp_path / "home")
    done = cli.json("stream", "--replay", str(TRADES), "--pace", "max", "--once")
    product = done["products"][0]
    assert (product["trades"], product["missing"], product["open_gaps"]) == (597, 3, 2)
    assert "has no column" in cli.error("stream", "--replay", str(TRADES), "--columns", "price=no")
