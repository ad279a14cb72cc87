.PHONY: check lint types test slow

check: lint types test

lint:
	ruff check
	ruff format --check

types:
	mypy

test:
	python -m pytest

slow:
	python -m pytest -m slow
