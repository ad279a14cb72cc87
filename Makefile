.PHONY: check lint types test full slow coverage docs

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

coverage:
	python -m pytest -n auto --dist loadfile --cov=pairkit

slow:
	python -m pytest -m slow

docs:
	python docs/site_pages.py
