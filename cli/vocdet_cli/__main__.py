"""`python -m vocdet_cli`, and `torchrun --nproc-per-node 2 -m vocdet_cli train-ssd …`."""

from __future__ import annotations

from vocdet_cli.app import main

if __name__ == "__main__":
    main()
