"""What dbt needs of contracts and rules, as the text of its files; written by `wavehouse contracts generate`.

A model's properties file is written by hand down to the line that starts its columns; the columns below are generated,
so that a column's type and meaning have one home. The tests compare the files with what this module returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lakehouse.contracts.model import Contract, all_ids, load
from lakehouse.domain.listening import rules
from lakehouse.domain.royalties import noise, terms

#: Folders of dbt models and the namespace their tables live in.
FOLDERS = {"models/silver": "silver_audit", "models/marts": "gold_audit"}
COLUMNS = "    columns: # generated from the contract; change it there\n"


def sources() -> str:
    """`models/staging/_sources.yml`: the bronze tables."""
    tables = [
        {"name": c.name, "description": c.purpose, "columns": c.dbt_columns()}
        for c in map(load, all_ids())
        if c.namespace == "bronze"
    ]
    document = {
        "version": 2,
        "sources": [
            {
                "name": "bronze",
                "description": "As received.",
                "database": "lake",
                "schema": "bronze",
                "tables": tables,
            }
        ],
    }
    return "# Generated from lakehouse/contracts/bronze by `wavehouse contracts generate`.\n" + _yaml(document)


def macros() -> str:
    """`macros/generated_rules.sql`: the listening rules and royalty terms as macros."""
    thresholds = {rule.name: {"version": rule.version} | rule.thresholds for rule in rules.artificial_rules()}
    shares = " ".join(f"when {{{{ period }}}} >= '{s.from_period}' then {s.share_bps}" for s in terms.shares())
    parts = {f"{topic}_rejection_reason()": rules.rejection_reason_sql(topic) for topic in ("plays", "ad_impressions")}
    parts |= {
        "is_bot()": rules.is_bot_sql(),
        "is_stream()": rules.is_stream_sql(),
        "royalty_bearing(period, flags)": rules.royalty_bearing_sql("{{ period }}", "{{ flags }}"),
        "royalty_bearing_but_for_flags(period)": rules.royalty_bearing_sql("{{ period }}", None),
        "royalty_policy(period)": rules.royalty_policy_sql("{{ period }}"),
        "artificial_rule(name, key)": f"{{{{ {thresholds}[name][key] }}}}",
        "is_noise(genre)": noise.is_noise_sql("{{ genre }}"),
        "royalty_share_bps(period)": f"cast(case {shares} end as bigint)",
    }
    head = (
        "{# Generated from the rules of lakehouse/domain/listening and of lakehouse/domain/royalties/terms.yaml by\n"
        "   `wavehouse contracts generate`. #}\n"
    )
    return head + "\n".join(f"{{% macro {name} -%}}\n{sql}\n{{%- endmacro %}}\n" for name, sql in parts.items())


def properties(contract: Contract, current: str) -> str:
    """`current` (a model's properties file) with the columns of `contract`.

    Raises:
        ValueError: the file has no line that starts the generated columns.
    """
    head, marker, _ = current.partition(COLUMNS)
    if not marker:
        raise ValueError(f"the properties of {contract.id} have no line '{COLUMNS.strip()}'")
    # What may be null is the table's to say: it is made from the same contract.
    columns = [{k: v for k, v in column.items() if k != "constraints"} for column in contract.dbt_columns()]
    return head + marker + "".join(f"      {line}\n" for line in _yaml(columns).splitlines())


def files(project: Path) -> dict[Path, str]:
    """Every generated file of the dbt project in `project` and the text it should have.

    Raises:
        ValueError: a contract has no model, or a model no contract.
    """
    wanted = {
        project / "models/staging/_sources.yml": sources(),
        project / "macros/generated_rules.sql": macros(),
    }
    for folder, namespace in FOLDERS.items():
        models = {path.stem for path in (project / folder).rglob("*.sql")}
        contracts = {c.name: c for c in map(load, all_ids()) if c.namespace == namespace}
        made_elsewhere = {name for name, c in contracts.items() if c.properties.get("madeBy", "dbt") != "dbt"}
        if models != contracts.keys() - made_elsewhere:
            raise ValueError(f"{folder}: models and contracts differ: {sorted(models ^ set(contracts))}")
        for name in models:
            path = next((project / folder).rglob(f"{name}.sql")).with_suffix(".yml")
            wanted[path] = properties(contracts[name], path.read_text() if path.is_file() else "")
    return wanted


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=1000, allow_unicode=True)
