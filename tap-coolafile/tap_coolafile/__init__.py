"""tap-coolafile: CoolaData event files as Singer messages."""
