.PHONY: check lint types test full slow

check: lint types test

lint:
	ruff check
	ruff format --check

types:
	mypy

test:
	python -m pytest

full:
	python -m pytest -m full -n auto

slow:
	python -m pytest -m slow
