"""Settings: TOML, environment and flags in, frozen and validated models out."""
