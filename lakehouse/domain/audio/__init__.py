"""Rules about audio: which files are accepted (`validation`) and what they sound like (`features`)."""
