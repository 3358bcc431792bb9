"""What the pair is measured against: a stock tap, a stock target, a bare decode loop."""
