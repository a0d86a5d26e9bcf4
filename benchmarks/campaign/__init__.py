"""The robustness campaign: what hostile, broken and interrupted work does to the library. See docs/robustness.md."""
