"""Rules that merge the updates of a round though some of their makers lie; all in integers."""
