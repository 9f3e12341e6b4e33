"""How audio is packed for players. Pure."""
