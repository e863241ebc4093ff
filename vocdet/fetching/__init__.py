"""Public datasets: download, verify, unpack."""
