"""People and programs from outside."""
