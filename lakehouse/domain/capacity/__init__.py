"""How much machinery a volume of new audio needs, and how long it waits: arithmetic and a simulation. Pure."""
