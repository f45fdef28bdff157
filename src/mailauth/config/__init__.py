"""mailauth.toml, read once into frozen Settings."""

from mailauth.config.reading import find, load
from mailauth.config.settings import Listen, Settings
from mailauth.config.values import Address, ConfigError, Secret

__all__ = ["Address", "ConfigError", "Listen", "Secret", "Settings", "find", "load"]
