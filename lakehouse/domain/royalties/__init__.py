"""Money: what finance delivers, and how a pool is shared among those who were heard."""
