"""What a statement may do, decided on its canonical text.

The engine's own parser turns a statement into canonical text first (`formatQuerySingleLine`): one statement, no
comments, keywords spelled out, strings and names escaped in one way. The rules here read that text, and the engine then
runs that text and nothing else, so that there is no second reading of the same statement to hide something in.

chDB is a client and an engine in one. What a server would never do for a remote user, it would do with the rights of
the process: read and write files (`file()`, INTO OUTFILE) and open connections (`url()`, `s3()`). Those are refused for
everybody; a user who is read-only is besides held by the engine's own `readonly = 1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.local.clickhouse.protocol import QueryError

#: First words of the statements that a read-only user may run.
READS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS"})
#: First words that a writer may use besides. Not here: SYSTEM, BACKUP, RESTORE, ATTACH, GRANT (they reach beyond the
#: data), SET and USE (a request is on its own: there is no session for them to change).
WRITES = frozenset(
    {"INSERT", "CREATE", "ALTER", "DROP", "TRUNCATE", "OPTIMIZE", "RENAME", "EXCHANGE", "DELETE", "UPDATE", "CHECK"}
)
#: Table functions that read nothing outside of the engine.
INNER_TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generate_series", "generateSeries", "generateRandom", "values",
     "null", "view", "merge", "format", "primes"}
)  # fmt: skip
#: Scalar functions that read outside of the engine.
OUTER_FUNCTIONS = frozenset({"file"})

TOKEN = re.compile(
    r"""(?P<space>\s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?\*/)
      | (?P<string>'(?:[^'\\] | \\. | '')*')
      | (?P<quoted>`(?:[^`\\] | \\. | ``)*` | "(?:[^"\\] | \\. | "")*")
      | (?P<word>[A-Za-z_]\w*)
      | (?P<other>.)""",
    re.S | re.X,
)


@dataclass(frozen=True)
class Token:
    """A lexical element: `kind` is `string`, `quoted` (a name in quotes), `word` or `other`; offsets in characters."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """The word in upper case; empty for all else."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """The name that a word or quoted name stands for; empty for all else."""
        if self.kind == "quoted":
            return re.sub(r"\\(.)|(``|\"\")", lambda m: m[1] or m[2][0], self.text[1:-1])
        return self.text if self.kind == "word" else ""


def tokens(sql: str) -> list[Token]:
    """The tokens of a statement without white space and comments."""
    return [Token(str(m.lastgroup), m[0], m.start(), m.end()) for m in TOKEN.finditer(sql) if m.lastgroup != "space"]


def data_offset(sql: str) -> int | None:
    """Where the data of an INSERT begins: behind `FORMAT <name>` and the end of its line, or behind VALUES.

    None for a statement that carries no data: no INSERT, or INSERT ... SELECT.
    """
    depth = 0
    elements = tokens(sql)
    if not elements or elements[0].keyword != "INSERT":
        return None
    for element, following in zip(elements, [*elements[1:], None], strict=True):
        depth += {"(": 1, ")": -1}.get(element.text, 0)
        if depth:
            continue
        if element.keyword in ("SELECT", "WITH"):
            return None
        if element.keyword == "VALUES":
            return element.end
        if element.keyword == "FORMAT" and following is not None and following.name:
            # Exactly the blanks and one line end: what follows may be binary and begin with any byte.
            line_end = re.compile(r"[ \t]*(?:\r?\n)?").match(sql, following.end)
            return following.end if line_end is None else line_end.end()
    return None


def check(canonical: str, *, readonly: bool, outer_functions: frozenset[str]) -> None:
    """Refuse what the user may not do. `canonical` is the engine's own spelling of one statement.

    `outer_functions` are the functions, in lower case, that read or write outside of the engine.

    Raises:
        QueryError: READONLY (164), ACCESS_DENIED (497) or NOT_IMPLEMENTED (48), as a server would answer.
    """
    elements = tokens(canonical)
    first = next((t.keyword for t in elements if t.text != "("), "")
    if readonly and first not in READS:
        raise QueryError(164, "READONLY", "Cannot execute query in readonly mode")
    if first in ("SET", "USE"):
        raise QueryError(
            48, "NOT_IMPLEMENTED", f"{first} has no effect here: send settings and the database with each query"
        )
    if first not in READS | WRITES:
        raise QueryError(497, "ACCESS_DENIED", f"Not enough privileges to execute {first or 'this'} statements")
    if first == "CREATE" and any(t.keyword == "TEMPORARY" for t in elements[:4]):
        raise QueryError(48, "NOT_IMPLEMENTED", "Temporary tables need a session, and requests here have none")
    for element, following in zip(elements, [*elements[1:], None], strict=True):
        if element.keyword in ("OUTFILE", "INFILE"):
            raise QueryError(48, "NOT_IMPLEMENTED", f"{element.keyword} is not allowed over HTTP")
        called = following is not None and following.text == "("
        if called and element.name.lower() in outer_functions:
            raise QueryError(497, "ACCESS_DENIED", f"Not enough privileges to use {element.name}()")


def insert_from_file(canonical: str, path: str) -> str:
    """The INSERT `canonical`, which ends in `FORMAT <name>`, with its data taken from the file at `path`."""
    elements = tokens(canonical)
    clauses, depth = elements[-2].start, 0
    for element in elements:
        depth += {"(": 1, ")": -1}.get(element.text, 0)
        if depth == 0 and element.text == "SETTINGS":
            clauses = element.start  # the grammar wants settings behind the file
    return f"{canonical[:clauses]}FROM INFILE {quote(path)} COMPRESSION 'none' {canonical[clauses:]}"


def format_of(canonical: str) -> str | None:
    """The output format that the statement itself asks for, if any."""
    elements = [*tokens(canonical), None, None]
    for keyword, name, after in zip(elements, elements[1:], elements[2:], strict=False):
        if keyword and keyword.text == "FORMAT" and name and name.name and (after is None or after.text == "SETTINGS"):
            return name.name
    return None


def quote(value: str) -> str:
    """`value` as a ClickHouse string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """`name` as a ClickHouse identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
