"""Public datasets: what is downloaded from where, verified and unpacked."""
