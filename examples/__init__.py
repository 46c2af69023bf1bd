"""Parts as a user writes them: each file is complete by itself, and a configuration names its class."""
