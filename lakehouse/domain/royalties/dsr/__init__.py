"""DDEX Digital Sales Reports, the flat-file standard: what a licensor is told about the use of its recordings.

`cells` knows delimiters and types of cells, `records` which cells a record has (`profile-*.yaml`), `names` how files
are called, `writing` makes a report and `reading` checks anybody's. Which version it is, and where the rules
come from: docs/architecture/sales-reports.md.
"""
