# Two commands matter: `make demo` and `make test`. Both set up what is missing first.
#   AUDIO=~/Music make demo     takes your own folder instead of the demo music
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests demo test lint types unit integration chaos up down status doctor
BIN := .wavehouse/venvs/main/bin
FAST := tests/unit tests/property tests/contracts tests/dags
# The main job first: later tests change the catalogue it compares with.
STACK := tests/main_job tests/integration tests/contracts/test_drift.py tests/browser

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## install what is missing: system packages, Python environments, engines
	@sh infra/local/setup.sh

setup-tests:
	@sh infra/local/setup.sh --tests

demo: setup ## set up, start the stack, run the main job end to end, leave the stack running
	@$(BIN)/wavehouse demo

test: setup-tests lint types unit integration chaos ## every check and test; starts its own stack and stops it after

lint:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/sqlfluff lint -q dbt/models
	@$(BIN)/nbstripout --verify notebooks/*.ipynb

types:
	@$(BIN)/mypy

unit: ## tests that need no service
	@$(BIN)/pytest -m "not stack" $(FAST)

integration: ## tests on the real local stack (profile `test`: its own ports and data)
	@$(BIN)/pytest --durations=25 $(STACK)

SEEDS ?= 0
# What the long run adds outside tests/chaos: a file of ten hours.
LONG := $(if $(filter-out 0,$(SEEDS)),tests/unit/test_bad_audio.py::test_the_length_of_a_file_needs_no_memory)
chaos: ## kill every service of a stack (profile `chaos`) in mid-run and compare with ledger and oracle; SEEDS=200 for more
	@WAVEHOUSE_CHAOS_SEEDS=$(SEEDS) $(BIN)/pytest tests/chaos $(LONG)

up: setup ## start the stack and wait until it answers
	@$(BIN)/wavehouse up

down: ## stop the stack; data stays
	@if [ -x $(BIN)/wavehouse ]; then $(BIN)/wavehouse down; fi

status: ## what runs, and how much memory it takes
	@$(BIN)/wavehouse status

doctor: ## what would keep the stack from running
	@$(BIN)/wavehouse doctor
