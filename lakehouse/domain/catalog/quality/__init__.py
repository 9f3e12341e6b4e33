"""What can be wrong with metadata: the rules (`rules`), one record (`records`) and many against one another
(`duplicates`). docs/architecture/metadata-rules.md is generated from `rules`.
"""
