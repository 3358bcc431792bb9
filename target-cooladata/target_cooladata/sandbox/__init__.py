"""A local stand-in for CoolaData: its tracking API over HTTP, its validity rules, its events in SQLite."""
