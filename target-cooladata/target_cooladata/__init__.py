"""target-cooladata: Singer messages as CoolaData events."""
