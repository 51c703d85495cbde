# The loop: make setup once, make test after a change, make check before a commit.
PYTHON ?= python
PYTEST = $(PYTHON) -m pytest -n auto --dist loadfile

.PHONY: setup test all-tests fuzz check docs bench house

setup:  ## the tested set, editable, with everything the other targets need
	$(PYTHON) -m pip install -c constraints.txt -e '.[all,test,ci]'

test:  ## everything quick, in parallel: under three minutes on two cores
	$(PYTEST) -m 'not slow and not system'

all-tests:  ## the README's test line: all that needs only Python
	$(PYTEST)

fuzz:  ## the property tests with new random examples, and more of them
	HYPOTHESIS_PROFILE=fuzz $(PYTEST) -m 'hypothesis and not system'

check:  ## lint, format, types
	ruff check .
	ruff format --check .
	mypy

docs:  ## the documentation's pages, in build/site
	$(PYTHON) -m mkdocs build --strict

bench:  ## the quick benchmarks; each one's --help says more
	$(PYTHON) -m tests.benchmarks.trial_start
	$(PYTHON) -m tests.benchmarks.training --ratings 60000

house:  ## duplicate names, import circles, sizes
	$(PYTHON) -m tests.house
