"""What the catalogue holds and the rules of its identities; see `ids`, `identifiers` and `content`."""
