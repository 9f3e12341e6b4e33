"""Listens sent live, over the submission API of ListenBrainz."""
