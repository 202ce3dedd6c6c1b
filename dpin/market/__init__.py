"""Who does which job for what."""
