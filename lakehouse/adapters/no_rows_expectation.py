"""An expectation of Great Expectations' kind: a query finds no rows. Importing this module registers it."""

from __future__ import annotations

from typing import Any, ClassVar

from great_expectations.expectations.core import UnexpectedRowsExpectation

ROW_COUNT = "unexpected_rows_query.row_count"


class ExpectQueryToFindNoRows(UnexpectedRowsExpectation):  # type: ignore[misc]  # the library is not typed
    """`unexpected_rows_query` finds no rows in `{batch}`; observed is how many it finds.

    The expectation this derives from asks twice, for the rows and for their number, and shows rows only in its most
    verbose format. Rows hold what listeners did, and belong neither in logs nor in Data Docs; so one query does.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = (ROW_COUNT,)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        del runtime_configuration, execution_engine
        return {"success": metrics[ROW_COUNT] == 0, "result": {"observed_value": metrics[ROW_COUNT]}}
